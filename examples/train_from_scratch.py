"""A folder of recordings becomes a voice: everything from nothing, killed twice on the way.

    python examples/train_from_scratch.py [--folder WORK] [--steps 300] [--minutes 5]

The recordings are the Romanian descriptions of Tux Paint's stamps, spoken by one person, which
Debian and Ubuntu package as tuxpaint-stamps-default (GPL). They are fetched with apt-get, which
needs a network but no root; nothing of them is part of this repository.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

import sovits
from sovits.evaluate.pitch import compare_pitch, melody
from sovits.features.pitch import load_pitch_extractor

PACKAGE = "tuxpaint-stamps-default"
SPEAKER = "tux-ro"
SOURCE = Path(__file__).resolve().with_name("speech.flac")
SVC = [sys.executable, "-c", "from sovits.cli import entry; entry()"]
"""The command svc, of this very Python."""


def main() -> None:
    """Run every stage in one folder, and tell how it went."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="where to work; a new one if not given")
    parser.add_argument("--steps", type=int, default=300, help="steps of the training")
    parser.add_argument("--minutes", type=float, default=5.0, help="how much to train on")
    given = parser.parse_args()
    work = (given.folder or Path(tempfile.mkdtemp(prefix="sovits-"))).resolve()
    work.mkdir(parents=True, exist_ok=True)
    print(f"Working in {work}.", flush=True)

    collect(fetch(work), work / "dataset_raw" / SPEAKER, given.minutes * 60)
    svc(work, "pre-resample")
    svc(work, "pre-config", "-t", "sovits-small")
    make_light(work / "configs/44k/config.json", given.steps)
    svc(work, "pre-hubert")
    train_and_kill(work, given.steps)
    result = work / "speech.tux-ro.wav"
    svc(work, "infer", str(SOURCE), "-o", str(result), "-m", "logs/44k")
    report(work, result)


def svc(work: Path, *words: str) -> None:
    """Run one command to its end."""
    print("$ svc", *words, flush=True)
    subprocess.run([*SVC, *words], cwd=work, check=True)


def fetch(work: Path) -> list[Path]:
    """Get the package, unpack it, and return its Romanian recordings in a fixed order."""
    unpacked = work / "package"
    if not unpacked.is_dir():
        subprocess.run(["apt-get", "download", PACKAGE], cwd=work, check=True)
        [package] = work.glob(f"{PACKAGE}_*.deb")
        subprocess.run(["dpkg", "-x", str(package), str(unpacked)], check=True)
    return sorted(unpacked.rglob("*_desc_ro.ogg"))


def collect(phrases: list[Path], folder: Path, seconds: float) -> None:
    """Join neighbouring phrases, which last a second or two, into recordings of 5 to 10 seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    total = 0.0
    for number, recording in enumerate(joined(phrases)):
        if total >= seconds:
            break
        sovits.write(folder / f"{number:03}.wav", recording, 44_100)
        total += recording.shape[-1] / 44_100
    print(f"{total / 60:.1f} minutes of {SPEAKER} from {len(phrases)} phrases.", flush=True)


def joined(phrases: list[Path]) -> Iterator[torch.Tensor]:
    """Yield recordings `[1, samples]` of as many phrases as fit into 10 seconds."""
    pause = torch.zeros(1, 44_100 // 5)
    parts: list[torch.Tensor] = []
    for path in phrases:
        wave, _ = sovits.read(path, sample_rate=44_100, mono=True)
        length = sum(part.shape[-1] for part in parts)
        if parts and length + wave.shape[-1] > 10 * 44_100:
            if length >= 5 * 44_100:
                yield torch.cat(parts, dim=-1)
            parts = []
        parts += [wave, pause]


def make_light(config: Path, steps: int) -> None:
    """Change what makes it quick enough to watch; a real training keeps its settings."""
    table = json.loads(config.read_text("utf-8"))
    table["train"] |= {
        "batch_size": 4,
        "log_interval": 10,
        "eval_interval": 25,  # a kill costs at most so many steps
        "adversarial_from": steps * 3 // 4,
    }
    config.write_text(json.dumps(table, indent=2) + "\n", "utf-8")


def train_and_kill(work: Path, steps: int) -> None:
    """Train, but end it without warning at one third and two thirds; each run goes on."""
    for until in (steps // 3, steps * 2 // 3, None):
        command = ["train", "--max-steps", str(steps)]
        print("$ svc", *command, flush=True)
        training = subprocess.Popen([*SVC, *command], cwd=work, stderr=subprocess.PIPE, text=True)
        assert training.stderr is not None
        for line in training.stderr:
            print(line, end="", flush=True)
            step = re.match(r"step (\d+)  epoch", line)
            if until is not None and step and int(step[1]) >= until:
                training.kill()
                print("Killed.", flush=True)
        status = training.wait()
        if until is None and status:
            sys.exit(f"svc train ended with {status}.")


def report(work: Path, result: Path) -> None:
    """Print what was learnt, and whether the result follows the source."""
    entries = [json.loads(line) for line in (work / "logs/44k/train.jsonl").open(encoding="utf-8")]
    terms = [entry for entry in entries if "mel" in entry]
    held_out = [entry["held_out_mel"] for entry in entries if "held_out_mel" in entry]
    for name in ("mel", "kl", "f0"):
        print(f"{name}: {terms[0][name]:.3f} at step {terms[0]['step']}, "
              f"{terms[-1][name]:.3f} at step {terms[-1]['step']}")  # fmt: skip
    print(f"held-out log-mel distance: {held_out[0]:.3f} at first, {held_out[-1]:.3f} at last")
    source, rate = sovits.read(SOURCE, mono=True)
    made, made_rate = sovits.read(result, mono=True)
    print(f"result: {result}, {made.shape[-1]} samples at {made_rate} Hz; "
          f"source: {source.shape[-1]} at {rate} Hz")  # fmt: skip
    print(f"all samples finite: {bool(made.isfinite().all())}, peak {float(made.abs().max()):.2f}")
    swift = load_pitch_extractor("swift")
    agreement = compare_pitch(melody(swift, source[0], rate), melody(swift, made[0], made_rate))
    print(f"log-f0 correlation with the source: {agreement.correlation:.3f} "
          f"over {agreement.frames / 100:.1f} s voiced in both")  # fmt: skip
    falls = terms[-1]["mel"] < terms[0]["mel"] and held_out[-1] < held_out[0]
    if not falls or made.shape != source.shape or not bool(made.isfinite().all()):
        sys.exit("The training has not gone as it should.")


if __name__ == "__main__":
    main()
