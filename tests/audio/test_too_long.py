"""No more of a sound is decoded than is asked for, however small its file is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sovits.audio.io import AudioReader, write
from sovits.errors import AudioError


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "opus"])
def test_sounds_that_are_too_long_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    write(path, torch.zeros(1, 3 * 48_000), 48_000)
    with pytest.raises(AudioError, match=r"lasts longer than 2\.5 s"):
        AudioReader(path, max_seconds=2.5)
    with AudioReader(path, max_seconds=3.5) as reader:
        assert reader.frames >= 3 * 48_000
