"""Are we faster and leaner than so-vits-svc-fork 4.2.30, stage by stage, on one thread?

Run by `make bench`: both sides by turns, in one run, on the same clip and the same weights.
Writes docs/benchmarks.md, and leaves there what other benchmarks have written.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / ".bench" / "work"
FORK = ROOT / ".bench" / "fork" / "bin" / "python"
PAGE = ROOT / "docs" / "benchmarks.md"

PAIRS = (
    ("content encoder, ContentVec's shape", "content", "content"),
    ("pitch, dio", "dio", "dio"),
    ("pitch, harvest", "harvest", "harvest"),
    ("pitch, crepe-tiny", "crepe-tiny", "crepe-tiny"),
    ("synthesizer, hifi-gan", "hifi-gan", "hifi-gan"),
    ("synthesizer, ms-istft", "ms-istft", "ms-istft"),
    ("end to end, hifi-gan and dio", "convert", "convert:hifi-gan"),
)
OURS = (
    ("content encoder, bundled sovits-content", "content-bundled"),
    ("pitch, swift (default)", "swift"),
    ("synthesizer, hifi-gan, bfloat16", "hifi-gan-bf16"),
    ("synthesizer, ms-istft, bfloat16", "ms-istft-bf16"),
    ("synthesizer, heart", "heart"),
    ("end to end, heart and swift", "convert:heart"),
)


def measure(python: Path | str, side: str, stage: str) -> dict[str, float]:
    """Run one stage in a process of its own, on one thread."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONPATH": str(ROOT / "benchmarks"),
    }
    script = str(ROOT / "benchmarks" / f"{side}_side.py")
    done = subprocess.run(
        [str(python), "-W", "ignore", script, stage],
        cwd=WORK,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return dict(json.loads(lines[-1])) if lines else {}


def row(name: str, fork: dict[str, float], ours: dict[str, float]) -> str:
    """Return one line of the table of pairs."""
    return (
        f"| {name} | {fork['cpu']:.3f} | {ours['cpu']:.3f} | {fork['cpu'] / ours['cpu']:.2f} "
        f"| {fork['peak_mb']:.0f} | {ours['peak_mb']:.0f} |"
    )


def processor() -> str:
    """Return the name of this machine's processor."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    """Measure, and write the page."""
    subprocess.run(["sh", str(ROOT / "benchmarks" / "fork_env.sh")], check=True)
    WORK.mkdir(parents=True, exist_ok=True)
    if not (WORK / "ms-istft" / "G_1.pth").is_file():
        measure(FORK, "fork", "make")
    pairs, alone = [], []
    for name, theirs, ours in PAIRS:
        pairs.append(row(name, measure(FORK, "fork", theirs), measure(sys.executable, "our", ours)))
        print(pairs[-1], flush=True)
    for name, stage in OURS:
        result = measure(sys.executable, "our", stage)
        alone.append(f"| {name} | {result['cpu']:.3f} | {result['peak_mb']:.0f} |")
        print(alone[-1], flush=True)
    below = others(PAGE.read_text("utf-8")) if PAGE.is_file() else ""
    PAGE.write_text(page(pairs, alone) + below, "utf-8")
    print(PAGE.relative_to(ROOT))


def others(page: str) -> str:
    """Return what other benchmarks have put below, each between marks of its own."""
    begin = page.find("<!--")
    return "" if begin < 0 else "\n" + page[begin:]


def page(pairs: list[str], alone: list[str]) -> str:
    """Return docs/benchmarks.md."""
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Written by `make bench`; do not edit. CPU seconds per second of sound on one thread,",
            "the least of two after a warm-up, and the peak memory of the process that ran it.",
            f"{date.today().isoformat()}, {processor()}, Python {platform.python_version()}.",
            "",
            "## Beside so-vits-svc-fork 4.2.30, in one run",
            "",
            "The same clip of ten seconds and the same random weights of the real shapes.",
            "",
            "| stage | fork | sovits | times faster | fork MB | sovits MB |",
            "|---|---:|---:|---:|---:|---:|",
            *pairs,
            "",
            "## Ours alone",
            "",
            "| stage | CPU s per s | MB |",
            "|---|---:|---:|",
            *alone,
            "",
        ]
    )


if __name__ == "__main__":
    main()
