"""Does a training that is killed again and again make the weights of one that never was?

    python benchmarks/kills.py [--write] [--steps 300] [--kills 50] [--seed 0]

A tiny voice trains for so many steps on one thread, once undisturbed and once through SIGKILLs at
random moments, each followed by a new process that goes on. What the newest checkpoints hold is
compared bit for bit: weights, optimizers, averages, random numbers and place in the data. After
each kill all checkpoints but the one being written must be there and sound. `--write` puts the
result into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from run import PAGE, ROOT, processor
from section import put

sys.path.insert(0, str(ROOT / "tests" / "train"))

from killed_training import KEPT, Deaths, Life, train_through
from test_resume import contents, same
from toy_training import toy

EVERY = 5
"""Steps from one checkpoint to the next."""


def main() -> None:
    """Train twice, and print or write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put it into docs/benchmarks.md")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home, begun = Path(folder), time.monotonic()
        settings = {"name_by_step": True, "eval_interval": EVERY, "patience": 0, "average": 0.9}
        config = toy(home, keep_checkpoints=KEPT, **settings)
        whole = Life(config, home / "whole", options.steps)
        whole.listen()
        whole.process.join()
        chance = random.Random(options.seed)  # not for secrets
        deaths = train_through(config, home / "parts", options.steps, options.kills, chance)
        equal = same(contents(home / "whole"), contents(home / "parts"))
        seconds = time.monotonic() - begun
    lines = page(options.steps, deaths, equal, seconds)
    print("\n".join(lines))
    if options.write:
        PAGE.write_text(put(PAGE.read_text("utf-8"), "kills.py", lines), "utf-8")
        print(PAGE.relative_to(ROOT))
    if not equal or deaths.trouble:
        sys.exit(1)


def page(steps: int, deaths: Deaths, equal: bool, seconds: float) -> list[str]:
    """Return the section of docs/benchmarks.md."""
    return [
        "## A training that is killed",
        "",
        f"Written by `benchmarks/kills.py --write`. {date.today().isoformat()}, {processor()}, "
        f"shared, one thread, {seconds:.0f} s.",
        f"A tiny voice, {steps} steps, a checkpoint every {EVERY}, SIGKILL at random moments of "
        "random steps.",
        "",
        "| what | |",
        "|---|---:|",
        f"| kills | {deaths.kills} |",
        f"| kills in the middle of a save | {deaths.in_saves} |",
        f"| steps that were taken again | {deaths.repeated} |",
        f"| checkpoints lost or damaged, but for one being written | {len(deaths.trouble)} |",
        "| weights, optimizers, average, random numbers and place equal those of a training that "
        f"was never killed, bit for bit | {'yes' if equal else '**no**'} |",
    ]


if __name__ == "__main__":
    main()
