"""What does a training step cost beside so-vits-svc-fork 4.2.30: same clips, batch and segment?

    python benchmarks/train.py [--write] [--steps 3] [--batch 4]

Both sides by turns in one run, one thread each. The fork's side is its own VitsLightning with its
own data set and its own template under its own Trainer; ours is what `svc train` does from one step
to the next. CPU seconds of a process, loading included, the median after a warm-up. The fork runs
in an environment that `sh benchmarks/fork_env.sh` makes. `--write` puts the table into
docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
from run import FORK, PAGE, ROOT, WORK, processor
from safetensors.torch import save_file
from section import put

from sovits.audio.loudness import frame_rms
from sovits.audio.mel import LogMel, linear_spectrogram
from sovits.config import Config
from sovits.device import has_bf16
from sovits.features.content import stretch
from sovits.legacy.presets import PRESETS
from sovits.legacy.settings import write_config

SECONDS = (3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 4.5)
"""Lengths of the clips; people cut recordings into 3 to 15 seconds."""
KINDS = {"hifi-gan": "so-vits-svc-4.0v1", "ms-istft": "quickvc", "native": "sovits-native"}
TIMES = {"hifi-gan": 2.0, "ms-istft": 2.0, "native": 6.0}
"""How many times less ours is to cost."""
SEGMENT = 20
"""Frames of a segment, of the fork's templates."""


def settings(kind: str, folder: Path, batch: int, **train: object) -> Config:
    """Return the settings of one side of a comparison."""
    content = "sovits-content" if kind == "native" else "contentvec-768l12"
    config = PRESETS[KINDS[kind]](content, {"singer": 0})
    chosen = {
        "batch_size": batch,
        "segment_frames": SEGMENT,
        "adversarial_from": 0,
        "moved": 0.0,
        "others": 0.0,
        "training_files": str(folder / kind / "train.txt"),
        "validation_files": str(folder / kind / "train.txt"),
    }
    return replace(config, train=replace(config.train, **chosen | train))


def make_clips(kind: str, folder: Path) -> None:
    """Write the features of some clips, for both sides, of sung tones with vibrato."""
    config = settings(kind, folder, 1)
    audio, home = config.voice.audio, folder / kind / "singer"
    home.mkdir(parents=True, exist_ok=True)
    log_mel, lines = LogMel(audio), []
    for i, seconds in enumerate(SECONDS):
        frames = int(seconds * audio.frame_rate)
        generator = torch.Generator().manual_seed(i)
        at = torch.arange(frames * audio.hop_length) / audio.sample_rate
        f0 = 180 * 2 ** (i / 8 + 0.03 * torch.sin(2 * math.pi * 5.5 * at))
        turns = (f0 / audio.sample_rate).double().cumsum(0)
        wave = sum(torch.sin(2 * math.pi * k * turns) / k for k in range(1, 16))
        assert isinstance(wave, torch.Tensor)
        wave = 0.2 * wave.float() + 0.003 * torch.randn(len(wave), generator=generator)
        pitch = f0[audio.hop_length // 2 :: audio.hop_length][:frames].contiguous()
        channels = config.voice.synthesizer.content_channels
        content = torch.randn(channels, int(seconds * 50), generator=generator).half()
        voiced = torch.arange(frames) % 40 > 4
        clip = home / f"{i}.wav"
        lines.append(str(clip))
        save_file(
            {
                "wave": (wave * 32767).to(torch.int16),
                "content": content,
                "f0": pitch,
                "voiced": voiced,
                "volume": frame_rms(wave[None], audio.hop_length)[0],
            },
            clip.with_name(f"{clip.name}.features.safetensors"),
            {
                "content": config.voice.content,
                "sample_rate": str(audio.sample_rate),
                "hop_length": str(audio.hop_length),
            },
        )
        theirs = {
            "spec": linear_spectrogram(wave, audio),
            "mel_spec": log_mel(wave),
            "f0": pitch,
            "uv": voiced.float(),
            "content": stretch(content.float(), frames),
            "audio": wave[None],
            "spk": torch.tensor(0),
        }
        torch.save(theirs, clip.with_name(f"{clip.name}.data.pt"))
    (folder / kind / "train.txt").write_text("".join(f"{line}\n" for line in lines))


def measure(python: Path | str, *words: object) -> dict[str, float]:
    """Run one side in a process of its own, on one thread."""
    home = ROOT / "benchmarks"
    done = subprocess.run(
        [str(python), "-W", "ignore", str(home / str(words[0])), *map(str, words[1:])],
        cwd=WORK,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    times = json.loads(lines[-1])
    return {"cpu": statistics.median(times["cpu"]), "peak_mb": times["peak_mb"]}


def compare(path: Path, steps: int, fork: dict[str, float] | None) -> dict[str, float]:
    """Return what a step costs on both sides, ours also in bfloat16 if that is of use here."""
    theirs = fork or measure(FORK, "train_fork.py", path, steps)
    ours = measure(sys.executable, "train_ours.py", path, steps)
    half = None
    if has_bf16(torch.device("cpu")):
        half = measure(sys.executable, "train_ours.py", path, steps, "bf16")
    return {
        "fork": theirs["cpu"],
        "fork_mb": theirs["peak_mb"],
        "ours": ours["cpu"],
        "ours_mb": ours["peak_mb"],
        "half": half["cpu"] if half else math.nan,
    }


def row(kind: str, cost: dict[str, float]) -> str:
    """Return a line of the table."""
    cells = [
        kind,
        f"{cost['fork']:.2f}",
        f"{cost['ours']:.2f}",
        f"{cost['fork'] / cost['ours']:.1f}",
        f"{TIMES[kind]:g}",
        f"{cost['half']:.2f}",
        f"{cost['fork_mb']:.0f}",
        f"{cost['ours_mb']:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def page(costs: dict[str, dict[str, float]], batch: int, steps: int) -> list[str]:
    """Return the section of docs/benchmarks.md."""
    mean = sum(SECONDS) / len(SECONDS)
    missed = [k for k, cost in costs.items() if cost["fork"] < TIMES[k] * cost["ours"]]
    return [
        "## A step of training, beside so-vits-svc-fork 4.2.30",
        "",
        f"Written by `benchmarks/train.py --write`. {date.today().isoformat()}, {processor()}, "
        "shared, one thread.",
        f"CPU seconds of a step of both networks on {batch} clips of {min(SECONDS):g} to "
        f"{max(SECONDS):g} s ({mean:.1f} on average), with segments of",
        f"{SEGMENT * 512} samples, loading included; the median of {steps} after a warm-up, in one "
        "run. The fork's side is its own",
        "VitsLightning, data set and template under its own Trainer, without progress bar and "
        "checkpoints. It encodes whole",
        "clips, ours 128 frames around a segment. `native` is beside the fork's hifi-gan, with "
        "clips at their own speed",
        "(`train.moved` 0). *bf16*: ours with `bf16_run`, which pays on processors that multiply "
        "in bfloat16 themselves; all",
        "else is float32.",
        "",
        "| network | fork | sovits | times less | promised | bf16 | fork MB | sovits MB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *(row(kind, cost) for kind, cost in costs.items()),
        "",
        f"Promises that do not hold: {', '.join(missed) or 'none'}.",
    ]


def main() -> None:
    """Measure, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put it into docs/benchmarks.md")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4)
    options = parser.parse_args()
    subprocess.run(["sh", str(ROOT / "benchmarks" / "fork_env.sh")], check=True)
    torch.set_num_threads(1)
    folder = WORK / "train"
    shutil.rmtree(folder, ignore_errors=True)
    costs: dict[str, dict[str, float]] = {}
    for kind in KINDS:
        make_clips(kind, folder)
        path = folder / kind / "config.json"
        write_config(path, settings(kind, folder, options.batch))
        fork = None
        if kind == "native":
            before = costs["hifi-gan"]
            fork = {"cpu": before["fork"], "peak_mb": before["fork_mb"]}
        costs[kind] = compare(path, options.steps, fork)
        print(row(kind, costs[kind]), flush=True)
    lines = page(costs, options.batch, options.steps)
    print("\n".join(lines))
    if options.write:
        PAGE.write_text(put(PAGE.read_text("utf-8"), "train.py", lines), "utf-8")
        print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
