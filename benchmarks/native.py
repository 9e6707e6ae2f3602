"""How fast, lean, quick to start and exact are light voices, beside so-vits-svc-fork 4.2.30?

    python benchmarks/native.py [--write] [--repeats 3] [--voice NAME] [--sound FILE]

One command, a few minutes on one thread; `--write` puts the tables into docs/benchmarks.md. The
fork runs in an environment of its own, which `sh benchmarks/fork_env.sh` makes (3 minutes, 2 GB);
without it only our side is measured, and that is said. Where a bundled light voice or the weights
of `sovits-content` are missing, random ones of the same shape stand in: speed does not depend on
them. How far bfloat16 moves the sound does, and is then left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import numpy as np
import soundfile
import torch
from run import FORK, PAGE, ROOT, WORK, measure, processor
from safetensors.torch import save_file

from sovits.config import AudioConfig, NativeConfig, VoiceConfig
from sovits.device import MEL_BOUND, choose_arithmetic
from sovits.features.content import CONTENT
from sovits.features.content.student import StudentEncoder
from sovits.library import STREAMING, list_voices
from sovits.models.native import NativeSynthesizer
from sovits.voice import Voice, save_voice
from sovits.weights import at_hand

BEGIN, END = "<!-- native.py writes from here -->", "<!-- native.py up to here -->"
RATE, LONG_MINUTES, CHUNKS_MS = 44_100, 10, (20, 40, 160)
SPEED, TIMES, MEMORY_MB, START_S, DIFFERENCE = 0.08, 12.0, 900.0, 2.0, 1e-4
"""What is promised."""
SOUND = ROOT / "examples" / "speech.flac"

Result = dict[str, float]


def ours(stage: str, voice: str, sound: Path, *more: object) -> Result:
    """Run one stage of native_side.py in a process of its own, on one thread."""
    script = str(ROOT / "benchmarks" / "native_side.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script, stage, voice, str(sound), *map(str, more)],
        cwd=WORK,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def make_long(clip: Path, folder: Path) -> Path:
    """Write `LONG_MINUTES` of a clip."""
    path = folder / "long.wav"
    wave, rate = soundfile.read(clip, dtype="float32")
    with soundfile.SoundFile(path, "w", rate, 1) as file:
        for _ in range(round(LONG_MINUTES * 60 * rate / len(wave))):
            file.write(wave)
    return path


def make_clip(path: Path) -> None:
    """Write the ten seconds that fork_side.py makes, if it could not."""
    t = np.arange(10 * RATE) / RATE
    phase = 2 * np.pi * np.cumsum(220 * 2 ** (0.05 * np.sin(35 * t))) / RATE
    wave = sum(np.sin(k * phase) / k for k in range(1, 20))
    soundfile.write(path, 0.2 * wave * (t % 5 < 4.6), RATE)


def find_voice(folder: Path, wanted: str | None) -> tuple[str, list[str]]:
    """Return a light voice, and what of it has random weights for want of real ones."""
    torch.manual_seed(0)
    spec, random = CONTENT["sovits-content"], []
    if not at_hand(spec.weights):
        random.append("the encoder")
        state = {name: x.half().contiguous() for name, x in StudentEncoder().state_dict().items()}
        save_file(state, folder / spec.weights.filename)
        os.environ["SOVITS_WEIGHTS"] = str(folder)
    light = [v.name for v in list_voices(bundled_only=True) if v.architecture == STREAMING]
    if wanted or light:
        return wanted or light[0], random
    network = NativeConfig(content_channels=spec.channels, n_speakers=1)
    config = VoiceConfig(AudioConfig(), network, spec.name, {"nobody": 0})
    path = folder / "voice.safetensors"
    synthesizer = NativeSynthesizer(network, config.audio, posterior=False)
    save_voice(path, Voice(config, synthesizer, {}))
    return str(path), [*random, "the voice"]


class Report:
    """Lines of a table, with what was promised and whether it holds."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.failed = 0

    def add(self, what: str, found: str, promise: str = "", *, holds: bool = True) -> None:
        """Add a line, and print it."""
        self.failed += not holds
        verdict = "" if not promise else "yes" if holds else "**no**"
        self.lines.append(f"| {what} | {found} | {promise} | {verdict} |")
        print(self.lines[-1], flush=True)


def spread(values: list[float], digits: int = 3) -> str:
    """Return the median, and the least and the most."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def beside_the_fork(report: Report, voice: str, clip: Path, repeats: int) -> None:
    """Measure both sides by turns."""
    own, half, theirs = [], [], []
    bf16 = choose_arithmetic("auto", torch.device("cpu"), light=True).bf16
    for _ in range(repeats):
        own.append(ours("convert", voice, clip, "fp32", 4)["cpu"])
        if FORK.is_file():
            theirs.append(measure(FORK, "fork", "convert")["cpu"])
        if bf16:
            half.append(ours("convert", voice, clip, "bf16", 4)["cpu"])
    holds = statistics.median(own) <= SPEED
    report.add("CPU s per s, end to end", spread(own), f"at most {SPEED}", holds=holds)
    if half:
        report.add("the same in bfloat16", spread(half))
    if theirs:
        report.add("so-vits-svc-fork 4.2.30, end to end, dio", spread(theirs))
        ratios = [fork / mine for fork, mine in zip(theirs, own, strict=True)]
        holds = statistics.median(ratios) >= TIMES
        report.add(
            "times less than the fork", spread(ratios, 1), f"at least {TIMES:g}", holds=holds
        )
    else:
        report.add("so-vits-svc-fork 4.2.30", "not measured: its environment is missing")


def alone(report: Report, voice: str, clip: Path, folder: Path, repeats: int) -> None:
    """Measure what else is promised."""
    for name, value in ours("parts", voice, clip).items():
        if name != "peak_mb":
            report.add(f"CPU s per s, {name} alone", f"{value:.3f}")
    long = ours("convert", voice, make_long(clip, folder), "fp32", 1)
    report.add(f"CPU s per s, {LONG_MINUTES} minutes", f"{long['cpu']:.3f}")
    holds = long["peak_mb"] < MEMORY_MB
    what = f"peak memory, {LONG_MINUTES} minutes, MB"
    report.add(what, f"{long['peak_mb']:.0f}", f"below {MEMORY_MB:g}", holds=holds)
    starts = [ours("start", voice, clip) for _ in range(repeats)]
    cpu, wall = ([start[kind] for start in starts] for kind in ("cpu", "wall"))
    holds = statistics.median(cpu) <= START_S
    what = "load and first second of sound, CPU s"
    report.add(what, spread(cpu, 2), f"at most {START_S:g}", holds=holds)
    report.add("the same by the clock, s", spread(wall, 2))


def streams(report: Report, voice: str, sound: Path) -> None:
    """Check that a stream is the whole, and as late as it says."""
    for milliseconds in CHUNKS_MS:
        found = ours("stream", voice, sound, milliseconds)
        what = f"{milliseconds} ms at a time: largest difference to the whole"
        holds = found["difference"] <= DIFFERENCE
        difference = f"{found['difference']:.1e} (peak {found['peak']:.2f})"
        report.add(what, difference, f"at most {DIFFERENCE:.0e}", holds=holds)
        declared = found["latency"]
        report.add(
            "- latest by, samples",
            f"{found['latest']:.0f}",
            f"declared: {declared:.0f} ({1000 * declared / RATE:.0f} ms)",
            holds=found["latest"] <= declared,
        )
        report.add("- CPU s per s", f"{found['cpu']:.3f}")


def half_precision(report: Report, voice: str, sound: Path, random: list[str]) -> None:
    """Check the bound within which `--precision auto` may choose bfloat16."""
    report.add("`--precision auto` here", choose_arithmetic("auto", CPU, light=True).because)
    if random:
        found = f"not measured: weights of {' and '.join(random)} are random"
        report.add("log-mel distance of bfloat16", found)
        return
    found = ours("distance", voice, sound)
    holds = found["bf16"] <= MEL_BOUND
    report.add(
        "log-mel distance of bfloat16", f"{found['bf16']:.4f}", f"at most {MEL_BOUND}", holds=holds
    )
    report.add("- of another seed, to compare with", f"{found['seed']:.4f}")


CPU = torch.device("cpu")


def main() -> int:
    """Measure, and print or write the table; return 1 if a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3, help="pairs of processes (default: 3)")
    parser.add_argument("--voice", help="a light voice; bundled or random if not given")
    parser.add_argument("--sound", type=Path, default=SOUND, help="to stream, and for bfloat16")
    parser.add_argument("--write", action="store_true", help=f"to {PAGE.relative_to(ROOT)}")
    args = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    clip, report = WORK / "clip.wav", Report()
    if not FORK.is_file():
        print(
            "so-vits-svc-fork's environment is missing, so nothing is compared with it: "
            "make it by sh benchmarks/fork_env.sh (3 minutes, 2 GB).",
            file=sys.stderr,
        )
        if not clip.is_file():
            make_clip(clip)
    elif not (WORK / "ms-istft" / "G_1.pth").is_file():
        measure(FORK, "fork", "make")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        voice, random = find_voice(folder, args.voice)
        beside_the_fork(report, voice, clip, args.repeats)
        alone(report, voice, clip, folder, args.repeats)
        streams(report, voice, args.sound.resolve())
        half_precision(report, voice, args.sound.resolve(), random)
    lines = section(report.lines, random)
    if args.write:
        PAGE.write_text(put(PAGE.read_text("utf-8"), lines), "utf-8")
        print(PAGE.relative_to(ROOT))
    return 1 if report.failed else 0


def section(table: list[str], random: list[str]) -> list[str]:
    """Return the part of docs/benchmarks.md."""
    weights = f" Weights of {' and '.join(random)} were random." if random else ""
    return [
        "## Light voices",
        "",
        f"Written by `benchmarks/native.py --write`. {date.today().isoformat()}, {processor()},",
        f"Python {platform.python_version()}, torch {torch.__version__},",
        f"one thread{busy()}.{weights}",
        "CPU seconds of the process for each second of sound: of ours from file to file (reading,",
        "encoder, `swift`, synthesizer, writing), of the fork's in memory (HuBERT of ContentVec's",
        "shape, `dio`, `hifi-gan`). The same clip of ten seconds, both sides by turns; median,",
        "least and most of the runs, each the best of a few after a warm-up.",
        "",
        "| what | found | promised | holds |",
        "|---|---:|---:|---|",
        *table,
    ]


def busy() -> str:
    """Return how much else the machine does, as far as that is known: clocks depend on it."""
    if not hasattr(os, "getloadavg"):
        return ""
    return f" of {os.cpu_count()} cores with a load of {os.getloadavg()[0]:.0f}"


def put(page: str, lines: list[str]) -> str:
    """Return a page with these lines between our marks, which are put at its end if not there."""
    block = "\n".join([BEGIN, "", *lines, "", END])
    before, begin, rest = page.partition(BEGIN)
    if not begin:
        return f"{page.rstrip()}\n\n{block}\n"
    return before + block + rest.partition(END)[2]


if __name__ == "__main__":
    sys.exit(main())
