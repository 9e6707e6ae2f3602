"""What `--precision auto` chooses, and that the bundled weights allow it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sovits import device as module
from sovits.audio.io import read
from sovits.audio.mel import LogMel
from sovits.config import ConvertOptions
from sovits.device import MEL_BOUND, choose_arithmetic
from sovits.features.content import CONTENT
from sovits.library import STREAMING, list_voices
from sovits.voice import load_voice
from sovits.weights import ASSETS

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SPEECH = Path(__file__).parents[1] / "examples" / "speech.flac"


@pytest.mark.parametrize("light", [True, False])
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("where", [CPU, GPU])
def test_what_is_asked_for_is_done(
    where: torch.device, there: bool, light: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "has_bf16", lambda _: there)
    assert choose_arithmetic("fp32", where, light=light) == (False, "fp32 was asked for.")
    assert choose_arithmetic("bf16", where, light=light) == (True, "bf16 was asked for.")


@pytest.mark.parametrize(
    ("where", "there", "light", "bf16", "because"),
    [
        (CPU, True, True, True, "the sound stays within 0.02 (log-mel)"),
        (CPU, True, False, True, "the sound changes a little"),
        (CPU, False, True, False, "does not multiply in bfloat16 itself"),
        (GPU, True, True, False, "not known to make a light voice faster on a GPU"),
        (GPU, True, False, True, "multiplies in it itself"),
    ],
)
def test_auto_is_bfloat16_only_where_it_is_faster_and_says_why(
    where: torch.device,
    there: bool,
    light: bool,
    bf16: bool,
    because: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "has_bf16", lambda _: there)
    chosen = choose_arithmetic("auto", where, light=light)
    assert chosen.bf16 == bf16
    assert because in chosen.because
    assert chosen.because.startswith("bf16" if bf16 else "fp32")
    assert len(chosen.because.splitlines()) == 1


LIGHT = [voice.name for voice in list_voices(bundled_only=True) if voice.architecture == STREAMING]
BUNDLED = CONTENT["sovits-content"].weights.bundled or ""


@pytest.mark.skipif(not (ASSETS / BUNDLED).is_file(), reason="sovits-content is not bundled")
@pytest.mark.parametrize("name", LIGHT)
def test_bfloat16_stays_within_the_bound_for_bundled_voices(name: str) -> None:
    """Far from it: measured 0.003 on a base, where 16 bits a sample made 0.006."""
    voice = load_voice(name)
    log_mel = LogMel(voice.config.audio)
    wave, rate = read(SPEECH, mono=True)
    wave = wave[0, : 3 * rate]

    def bands(options: ConvertOptions) -> torch.Tensor:
        bands: torch.Tensor = log_mel(voice.convert(wave, rate, options))
        return bands

    full = bands(ConvertOptions(output_rate=voice.sample_rate))
    half = bands(ConvertOptions(output_rate=voice.sample_rate, precision="bf16"))
    distance = float((half - full).abs().mean())
    assert 0 < distance < MEL_BOUND
