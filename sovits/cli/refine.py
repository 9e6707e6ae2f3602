"""What flags ask of a refiner."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sovits.cli.progress import note
from sovits.config import ConvertOptions
from sovits.errors import ConfigError, RefinerError

if TYPE_CHECKING:
    from sovits.voice import Voice


def check_refiner(options: ConvertOptions, asked: bool) -> None:
    """Refuse files that are not there, before the work begins, and tell what has no effect.

    Args:
        options: Of the conversion.
        asked: Whether another flag asks for a refiner.

    Raises:
        RefinerError: A file is not there.
    """
    for what, name in (
        ("refiner: one of ours, or model_*.pt of so-vits-svc", options.refiner),
        ("diffusion.yaml", options.refiner_config),
        ("vocoder: a file of ours, or the folder of an NSF-HiFiGAN", options.vocoder),
    ):
        if name is not None and not Path(name).exists():
            raise RefinerError.missing(what, Path(name))
    if options.refiner is not None and not (asked or options.refine or options.only_refiner):
        note(f"{options.refiner} is not used, as --refine is 0. Add -shd, say.")


def refined(voice: Voice, options: ConvertOptions, k: int | None) -> ConvertOptions:
    """Return the options with a strength in them, once it is known of which refiner.

    Args:
        voice: Who sings.
        options: As they were typed.
        k: Steps of noise, if they were typed.

    Raises:
        RefinerError: There is no refiner or vocoder, they do not go together or with the voice,
            or the refiner was not trained for so many steps.
        ConfigError: Both a strength and a number of steps were typed.
    """
    refiner = voice.refiner(options)
    strength = options.refine or refiner.strength
    if k is not None:
        if options.refine:
            wanted = "left out where -ks is given"
            raise ConfigError.wrong_value("--refine", options.refine, wanted)
        strength = _strength(refiner, k)
    options = replace(options, refine=strength)
    for remark in voice.refining(options).remarks:
        note(remark)
    return options


def _strength(refiner: object, k: int) -> float:
    """Return the strength that is `k` steps of noise."""
    strength_of = getattr(refiner, "strength_of", None)
    if strength_of is None:
        raise RefinerError.counts_no_steps(k)
    return float(strength_of(k))
