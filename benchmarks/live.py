"""How late and how dear is live conversion, beside so-vits-svc-fork 4.2.30 in one run?

    python benchmarks/live.py            # print
    python benchmarks/live.py --write    # and put into docs/benchmarks.md
    python benchmarks/live.py --picture  # draw docs/live.svg
    python benchmarks/live.py --soak 3600   # an hour on a virtual clock, with losses and nonsense

Both sides get the same phrases, block by block, on one thread. Time is that of the processor, so
that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from datetime import date

from run import FORK, PAGE, ROOT, WORK, measure, processor
from section import put

FORKS = (
    ("fork, algorithm 1, GPU preset", "1-0.35", 0.35),
    ("fork, algorithm 2, default of svc vc", "2-0.5", 0.5),
)
OURS = (
    ("heart, 23 ms", "heart-0.0233", 0.0233),
    ("heart, 46 ms", "heart-0.0465", 0.0465),
    ("heart, 93 ms", "heart-0.0929", 0.0929),
    ("hifi-gan of others, bf16", "hifi-gan-0.35-bf16", 0.35),
    ("hifi-gan of others, bf16", "hifi-gan-1.0-bf16", 1.0),
)


def row(name: str, block: float, got: dict[str, float]) -> str:
    """Return a line of the table."""
    late = got["late_ms"]
    delay = f"{1000 * block + late:.0f}" if late >= 0 else "never"
    apart = f"{got['apart_ms']:.0f}" if late >= 0 else ""
    keeps = "yes" if got["p99_ms"] < 700 * block else "no"
    return (
        f"| {name} | {1000 * block:.0f} | {delay} | {apart} | {got['cpu']:.3f} "
        f"| {got['p50_ms']:.1f} | {got['p99_ms']:.1f} | {got['misses']:.0f} of {got['blocks']:.0f} "
        f"| {keeps} |"
    )


def page(rows: list[str]) -> list[str]:
    """Return the part of docs/benchmarks.md."""
    return [
        "## Live",
        "",
        f"Written by `benchmarks/live.py --write`. {date.today().isoformat()}, {processor()},",
        f"Python {platform.python_version()}, one thread; the machine did other work meanwhile,",
        "which makes caches colder. Two phrases between pauses, block by block, the same for both.",
        "*Delay*: from the beginning of a phrase to that of what comes out, with the block that",
        "has to be heard first, without devices and computing. *Differs*: how much it does between",
        "phrases. *CPU*: processor seconds per second of sound. *Missed*: blocks that took longer",
        "than they last. *Holds*: whether the slowest of a hundred takes less than 70 % of one.",
        "Voices of others have random weights of the real shapes.",
        "",
        "| | block, ms | delay, ms | differs, ms | CPU | p50, ms | p99, ms | missed | holds |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|",
        *rows,
        "",
    ]


def main() -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--soak", type=float)
    parser.add_argument("--picture", action="store_true")
    asked = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    if asked.soak or asked.picture:
        stage = f"soak-{asked.soak:g}" if asked.soak else "picture-0.0465"
        print(json.dumps(measure(sys.executable, "live_our", stage), indent=1))
        return
    subprocess.run(["sh", str(ROOT / "benchmarks" / "fork_env.sh")], check=True)
    if not (WORK / "hifi-gan" / "G_1.pth").is_file():
        measure(FORK, "fork", "make")
    rows = []
    for python, side, stages in ((FORK, "live_fork", FORKS), (sys.executable, "live_our", OURS)):
        for name, stage, block in stages:
            rows.append(row(name, block, measure(python, side, stage)))
            print(rows[-1], flush=True)
    lines = page(rows)
    if asked.write:
        PAGE.write_text(put(PAGE.read_text("utf-8"), "live.py", lines), "utf-8")


if __name__ == "__main__":
    main()
