"""svc mix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from sovits.cli.infer import check_output
from sovits.cli.models import choose
from sovits.cli.progress import note
from sovits.errors import ConfigError, OutputError
from sovits.hub import NATIVE

if TYPE_CHECKING:
    from sovits.voice import Voice


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Make a new voice of the speakers of one voice, or of several voices.

    VOICE a=0.7 b=0.3 makes a speaker between two of a voice; one.pth=0.5 two.pth=0.5 makes the mean
    of two voices of the same architecture.
    """

    parts: Positional[Annotated[tuple[str, ...], arg(metavar="PART...")]]
    """Voice (as -m of svc infer) and SPEAKER=SHARE for each; or VOICE=SHARE for each."""
    output_path: Annotated[Path, arg(aliases=("-o",))]
    """Voice file to write (.safetensors)."""
    name: Annotated[str | None, arg(aliases=("-n",), metavar="NAME")] = None
    """What the new speaker is called; the names of whom it is made, with +, if not given."""

    def run(self) -> int:
        """Write the voice."""
        if self.output_path.suffix != NATIVE:
            raise OutputError.not_a_voice(self.output_path, NATIVE)
        check_output(self.output_path)
        first, rest = "".join(self.parts[:1]), self.parts[1:]
        if _has_share(first):
            made = self._of_voices(self.parts)
        elif rest:
            made = self._of_speakers(first, rest)
        else:
            raise ConfigError.not_a_mix(first, "there is no share")
        from sovits.voice import save_voice

        save_voice(self.output_path, made)
        print(self.output_path)
        return 0

    def _of_speakers(self, model: str, words: Sequence[str]) -> Voice:
        """Return a voice of one speaker between some of a voice."""
        choice = choose(model, None)
        from sovits.merging import mix_speakers
        from sovits.mixing import read_shares

        shares = read_shares(words)
        return mix_speakers(_loaded(choice.model), shares, self.name or "+".join(shares))

    def _of_voices(self, words: Sequence[str]) -> Voice:
        """Return the mean of voices."""
        from sovits.merging import FAR, difference, mix_voices
        from sovits.mixing import read_shares

        shares = read_shares(words)
        voices = [_loaded(choose(name, None).model) for name in shares]
        made = mix_voices(voices, [*shares.values()], self.name)
        if self.name is not None and self.name not in made.speakers:
            note(f"--name is not used: the speakers keep their names, {', '.join(made.speakers)}.")
        if max(difference(voices[0], other) for other in voices) > FAR:
            note(
                "These voices were not trained from the same beginning: their weights have little "
                "in common, and their mean is hardly a voice. Listen to it."
            )
        return made


def _has_share(word: str) -> bool:
    """Return whether a word ends with a share."""
    try:
        return math.isfinite(float(word.rpartition("=")[2]))
    except ValueError:
        return False


def _loaded(model: Path | str) -> Voice:
    from sovits.voice import load_voice

    voice = load_voice(model)
    for remark in voice.remarks:
        note(remark)
    return voice
