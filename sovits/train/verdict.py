"""Which checkpoint is the best, why, and whether training goes on gaining; kept in one file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sovits.config import build
from sovits.errors import ConfigError, OutputError
from sovits.library import VERDICT
from sovits.train.ears import MEASURES, Values

FORMAT = "sovits-verdict-1"
GAIN = 0.5
"""Points by which an evaluation has to beat all before it to count as a gain."""
MOST_BYTES = 64 << 20

Table = dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """What was measured at one step."""

    step: int
    seconds: float
    """How long the training had taken until then (s)."""
    cost: float
    """How long the evaluation took (s)."""
    values: dict[str, float]
    """By the names in `MEASURES`."""
    checkpoint: str | None = None
    """File that holds the weights; none before the first step."""
    regular: bool = True
    """Whether it was due; one at the end of a run is not, and counts for no patience."""
    each: dict[str, Values] = field(default_factory=dict)
    """Measurements of single probes, by their keys."""


@dataclass
class State:
    """All that is known of a training's evaluations."""

    evaluations: list[Evaluation] = field(default_factory=list)
    every: int = 1
    """How many intervals lie between two evaluations, so that they cost little."""
    seconds: float = 0.0
    """How long the training had taken when it was saved last (s)."""
    saved: int = 0
    """The step at which that was."""

    def forget_after(self, step: int) -> None:
        """Leave out what a training that goes on from `step` will do again."""
        self.evaluations = [e for e in self.evaluations if e.step <= step]
        if self.saved > step:
            self.saved = max((e.step for e in self.evaluations), default=0)
            self.seconds = max((e.seconds for e in self.evaluations), default=0.0)

    def saved_as(self, name: str, step: int, seconds: float) -> None:
        """Note that a file now holds the weights of `step`, and no others any more."""
        self.saved, self.seconds = step, seconds
        self.evaluations = [
            _without_file(e) if e.checkpoint == name and e.step != step else e
            for e in self.evaluations
        ]


class Best(NamedTuple):
    """The checkpoint to take."""

    evaluation: Evaluation
    because: str
    """Why, as what follows the word because."""


def choose(
    evaluations: Sequence[Evaluation],
    there: Callable[[str], bool],
    *,
    adversarial_from: int = 0,
) -> Best | None:
    """Return the best of the checkpoints that are there, if there are any.

    The best has the most points: each measurement by what it has to change to be worth one
    (`MEASURES`), over the measurements that all of them have. Those from before the
    discriminators took part count only while there are no others, as their low distances are
    those of a blurred voice.

    Args:
        evaluations: What was measured.
        there: Whether a file of that name is.
        adversarial_from: Step from which the discriminators take part.
    """
    found = [e for e in evaluations if e.checkpoint is not None and there(e.checkpoint)]
    kept = _comparable(found, adversarial_from)
    if not kept:
        return None
    keys = _common(kept)
    best = max(kept, key=lambda e: (points(e.values, keys), e.step))
    # Those whose files are gone had fewer points, unless somebody else has deleted them.
    ever = _comparable([e for e in evaluations if e.step], adversarial_from)
    ever = [e for e in ever if all(key in e.values for key in keys)]
    which = " since the discriminators took part" if 0 < adversarial_from < best.step else ""
    if any(points(e.values, keys) > points(best.values, keys) for e in ever):
        ever, which = kept, f"{which} and still there"
    return Best(best, _because(best, ever, keys, which))


def points(values: Values, keys: Sequence[str]) -> float:
    """Return the points of some measurements; only differences mean something."""
    return sum(values[key] / MEASURES[key].point for key in keys)


def without_gain(evaluations: Sequence[Evaluation], *, adversarial_from: int = 0) -> int:
    """Return how many of the newest evaluations gained nothing on the best before them."""
    regular = _comparable([e for e in evaluations if e.regular], adversarial_from)
    keys, reference, count = _common(regular), -math.inf, 0
    for evaluation in regular:
        found = points(evaluation.values, keys)
        if found >= reference + GAIN:
            reference, count = found, 0
        else:
            count += 1
    return count


def told(values: Values) -> str:
    """Return measurements in words, in a line."""
    return "  ".join(
        f"{_lower(measure.title)} {number(values[key], key)}"
        for key, measure in MEASURES.items()
        if key in values
    )


def number(value: float, key: str) -> str:
    """Return a measurement with its unit, as it is shown."""
    measure = MEASURES[key]
    return f"{value:.{measure.digits}f} {measure.unit}".strip()


def read_state(folder: Path, on_log: Callable[[str], None]) -> State:
    """Return what is known of a training; nothing, and that is said, if the file is damaged."""
    path = folder / VERDICT
    if not path.is_file():
        return State()
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("it is too large")
        table = json.loads(path.read_text("utf-8"))
        if not isinstance(table, dict) or table.get("format") != FORMAT:
            raise ValueError(f"it is not of the format {FORMAT}")
        evaluations = [build(Evaluation, entry) for entry in table["evaluations"]]
        known = [e for e in evaluations if e.values.keys() <= MEASURES.keys()]
        settings = {key: table[key] for key in ("every", "seconds", "saved")}
        state = build(State, settings)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ConfigError) as error:
        on_log(f"{path} cannot be read ({error}); its curves begin anew.")
        return State()
    state.evaluations = sorted(known, key=lambda e: e.step)
    return state


def write_state(folder: Path, state: State, more: Table) -> None:
    """Write all that is known, at once or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    table = {
        "format": FORMAT,
        **more,
        "every": max(1, state.every),
        "seconds": round(state.seconds, 1),
        "saved": state.saved,
        "evaluations": [asdict(evaluation) for evaluation in state.evaluations],
    }
    write_text(folder / VERDICT, json.dumps(table, indent=1, ensure_ascii=False, allow_nan=False))


def write_text(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text + "\n", "utf-8")
        part.replace(path)
    except OSError as error:
        raise OutputError.cannot_write(path, error.strerror or str(error)) from error
    finally:
        part.unlink(missing_ok=True)


def _without_file(evaluation: Evaluation) -> Evaluation:
    return Evaluation(**{**vars(evaluation), "checkpoint": None})


def _comparable(evaluations: list[Evaluation], adversarial_from: int) -> list[Evaluation]:
    """Return the evaluations of voices whose discriminators took part; all if none did."""
    later = [e for e in evaluations if e.step > adversarial_from]
    return (later or evaluations) if adversarial_from else evaluations


def _common(evaluations: Sequence[Evaluation]) -> list[str]:
    """Return what was measured in all evaluations."""
    return [key for key in MEASURES if all(key in e.values for e in evaluations)]


def _because(
    best: Evaluation, others: Sequence[Evaluation], keys: Sequence[str], which: str
) -> str:
    """Return in what an evaluation is ahead of others, and in what it is behind."""
    if len(others) == 1:
        shown = ", ".join(f"{_lower(MEASURES[k].title)} {number(best.values[k], k)}" for k in keys)
        return f"it is the only one that was evaluated{which} ({shown})"
    first, behind = [], []
    for key in keys:
        leader = max(others, key=lambda e: e.values[key] / MEASURES[key].point)
        value, title = number(best.values[key], key), _lower(MEASURES[key].title)
        ahead = number(leader.values[key], key)
        if all(number(e.values[key], key) == value for e in others):
            continue
        if value == ahead:
            first.append(f"{title} {value}")
        else:
            behind.append(f"{title} {value} ({ahead} at step {leader.step})")
    parts = []
    if first:
        parts.append(f"none has a better {_listed(first, 'or')}")
    if behind:
        parts.append(f"others are better in {_listed(behind, 'and')}, but not in all together")
    return f"it has the most points of the {len(others)} evaluated{which}: {'; '.join(parts)}"


def _listed(parts: Sequence[str], last: str) -> str:
    return f"{', '.join(parts[:-1])} {last} {parts[-1]}" if len(parts) > 1 else parts[0]


def _lower(title: str) -> str:
    """Return a title as it stands within a sentence."""
    return title if title[:2].isupper() or title.startswith("DNS") else title[0].lower() + title[1:]
