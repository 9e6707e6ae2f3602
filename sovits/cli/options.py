"""The flags of `svc infer`, made of `ConvertOptions` and of the names that people type."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import fields
from typing import Annotated, Any, NamedTuple, get_type_hints

import tyro

from sovits.choices import check_f0_method, field_docs
from sovits.config import ConvertOptions
from sovits.errors import ConfigError


class Flag(NamedTuple):
    """How an option is typed."""

    aliases: tuple[str, ...] = ()
    """Other flags for the same."""
    name: str | None = None
    """Flag to show first, if it is not made of the option's own name."""
    metavar: str | None = None
    """What to show for its value."""
    hint: str = ""
    """What to add to its help."""


FLAGS: dict[str, Flag] = {
    "speaker": Flag(("-s",), metavar="NAME"),
    "mix": Flag(metavar="PATH"),
    "semitones": Flag(("-t", "--semitones"), name="transpose"),
    "formants": Flag(("-fo",), metavar="SEMITONES"),
    "f0_method": Flag(("-fm",), metavar="METHOD"),
    "auto_f0": Flag(("-a", "--auto-f0"), name="auto-predict-f0", hint=" -na: do not."),
    "noise_scale": Flag(("-n",)),
    "retrieval": Flag(("-k", "--retrieval"), name="cluster-model-path", metavar="PATH"),
    "retrieval_ratio": Flag(("-r", "--retrieval-ratio"), name="cluster-infer-ratio"),
    "silence_db": Flag(("-db", "--silence-db"), name="db-thresh"),
    "absolute_silence": Flag(
        ("-ab", "--absolute-silence"), name="absolute-thresh", hint=" -nab: do not."
    ),
    "silence_seconds": Flag(("-ch", "--silence-seconds"), name="chunk-seconds"),
    "max_piece_seconds": Flag(("-mc", "--max-piece-seconds"), name="max-chunk-seconds"),
    "pad_seconds": Flag(("-p",)),
    "output_rate": Flag(metavar="HZ"),
    "refine": Flag(("-rf",), metavar="STRENGTH"),
    "refiner": Flag(("-dm", "--refiner"), name="diffusion-model-path", metavar="PATH"),
    "refiner_config": Flag(
        ("-dc", "--refiner-config"), name="diffusion-config-path", metavar="PATH"
    ),
    "refine_steps": Flag(metavar="N"),
    "only_refiner": Flag(("-od", "--only-refiner"), name="only-diffusion"),
    "vocoder": Flag(metavar="PATH"),
}
"""Flags that are not only the option's name, by option; those of so-vits-svc-fork among them."""


def option_flags(names: Collection[str] | None = None) -> Callable[..., ConvertOptions]:
    """Return a function with one annotated argument per option, for tyro to make flags of.

    Args:
        names: Options that have a flag; all if not given.
    """

    def build(**values: Any) -> ConvertOptions:
        method = values["f0_method"]
        values["f0_method"] = check_f0_method(method)
        return ConvertOptions(**values)

    docs, hints = field_docs(ConvertOptions), get_type_hints(ConvertOptions)
    annotated: Any = Annotated  # a type checker knows no types that are made while running
    arguments = []
    for option in fields(ConvertOptions):
        if names is not None and option.name not in names:
            continue
        flag = FLAGS.get(option.name, Flag())
        kind = annotated[
            hints[option.name],
            tyro.conf.arg(
                name=flag.name,
                aliases=flag.aliases,
                metavar=flag.metavar,
                help=docs[option.name] + flag.hint,
            ),
        ]
        arguments.append(
            inspect.Parameter(
                option.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=option.default,
                annotation=kind,
            )
        )
    build.__signature__ = inspect.Signature(arguments)  # type: ignore[attr-defined]
    build.__annotations__ = {argument.name: argument.annotation for argument in arguments}
    return build


def check_between(flag: str, value: float, low: float, high: float) -> None:
    """Refuse a number that is too small or too large.

    Raises:
        ConfigError: It is.
    """
    if not low <= value <= high:
        raise ConfigError.wrong_value(flag, value, f"between {low:g} and {high:g}")


def check_jobs(n_jobs: int) -> int | None:
    """Return a number of processes, or None for as many as there should be.

    Raises:
        ConfigError: There cannot be so many.
    """
    if not -1 <= n_jobs <= 1024:
        raise ConfigError.wrong_value("--n-jobs", n_jobs, "between 1 and 1024, or -1 for automatic")
    return None if n_jobs < 1 else n_jobs
