"""How a live conversion cuts sound; no torch."""

from __future__ import annotations

from dataclasses import dataclass

from sovits.errors import LiveError


@dataclass(frozen=True)
class LiveSettings:
    """How a live conversion cuts sound; what is not given is chosen for the voice.

    Only `block_seconds` matters to light voices that stream.
    """

    block_seconds: float | None = None
    """Sound converted at once; by default 0.023 for light voices, and 0.25 for others."""
    before_seconds: float = 0.7
    """Sound before a chunk that others hear too, and convert anew."""
    after_seconds: float = 0.06
    """Sound after a chunk that others wait for."""
    crossfade_seconds: float = 0.03
    """Over how much sound chunks of others go over into each other."""
    search_seconds: float = 0.006
    """How far chunks of others may be moved to fit, to each side."""
    gate_db: float | None = None
    """Level below which there is silence (dBFS); silence_db of the options if not given."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("block_seconds", 0.005, 10.0),
            ("before_seconds", 0.0, 10.0),
            ("after_seconds", 0.0, 5.0),
            ("crossfade_seconds", 0.001, 1.0),
            ("search_seconds", 0.0, 0.1),
            ("gate_db", -200.0, 0.0),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise LiveError.wrong_setting(name, value, low, high)
