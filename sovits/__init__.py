"""Singing and speech voice conversion.

>>> import sovits
>>> wave, rate = sovits.read("examples/speech.flac")
>>> voice = sovits.load_voice("heart")
>>> sovits.write("out.wav", voice.convert(wave, rate), rate)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sovits.config import ConvertOptions
from sovits.errors import SovitsError

if TYPE_CHECKING:
    from sovits.audio.io import read, write
    from sovits.refiners import load_refiner, load_vocoder
    from sovits.voice import Voice, load_voice, save_voice

__version__ = "0.1.0"
__all__ = [
    "ConvertOptions",
    "SovitsError",
    "Voice",
    "load_refiner",
    "load_vocoder",
    "load_voice",
    "read",
    "save_voice",
    "write",
]

_HOMES = {
    "Voice": "sovits.voice",
    "load_refiner": "sovits.refiners",
    "load_vocoder": "sovits.refiners",
    "load_voice": "sovits.voice",
    "save_voice": "sovits.voice",
    "read": "sovits.audio.io",
    "write": "sovits.audio.io",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for, so that `svc --help` is quick."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
