"""The bundled voices do what their cards say, heard on a recording they have not learnt from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import pad

from sovits.audio.io import read
from sovits.config import ConvertOptions
from sovits.evaluate.pitch import compare_pitch, melody
from sovits.features.pitch import load_pitch_extractor
from sovits.features.speaker import load_speaker_encoder, similarity
from sovits.library import SAMPLE, VOICES
from sovits.types import Wave
from sovits.voice import Voice, load_voice
from sovits.weights import ASSETS

SPEECH = Path(__file__).parents[1] / "examples/speech.flac"
NAMES = sorted(path.stem for path in VOICES.glob("*.safetensors"))
MOST_BYTES = 60_000_000


@pytest.fixture(scope="module")
def speech() -> tuple[Wave, int]:
    wave, rate = read(SPEECH, mono=True)
    return wave[:, : 12 * rate], rate


def to_range(voice: Voice, source_hz: float) -> int:
    """Return how many semitones bring a source into the voice's range."""
    return round(12 * float(torch.tensor(voice.card["median_f0_hz"] / source_hz).log2()))


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_voice_sounds_like_its_target_and_keeps_the_melody(
    name: str, speech: tuple[Wave, int]
) -> None:
    voice, (wave, rate) = load_voice(name), speech
    judge = load_pitch_extractor("crepe-tiny")
    sung = melody(judge, wave[0], rate)
    semitones = to_range(voice, float(sung.f0[sung.voiced].median()))
    made = voice.convert(wave, rate, ConvertOptions(semitones=semitones))
    assert made.shape == wave.shape
    ears = load_speaker_encoder()
    target, target_rate = read(VOICES / f"{name}{SAMPLE}", mono=True)
    like = similarity(ears.embed(made[0], rate), ears.embed(target[0], target_rate))
    before = similarity(ears.embed(wave[0], rate), ears.embed(target[0], target_rate))
    assert like > max(0.78, before + 0.05)
    found = compare_pitch(sung, melody(judge, made[0], rate), semitones)
    assert found.correlation > 0.95
    assert found.octave_errors < 0.03
    assert found.voicing_f1 > 0.9


def test_there_is_a_high_and_a_low_voice_with_samples_and_cards() -> None:
    cards = [load_voice(name).card for name in NAMES]
    heights = sorted(card["median_f0_hz"] for card in cards)
    assert heights[0] < 140 < 170 < heights[-1]
    for name, card in zip(NAMES, cards, strict=True):
        sample, rate = read(VOICES / f"{name}{SAMPLE}", mono=True)
        assert sample.shape[1] >= 15 * rate
        assert {"licence", "data", "recipe", "description", "metrics"} <= card.keys()
        low, high = card["f0_range_hz"]
        assert low < card["median_f0_hz"] < high


def test_all_that_is_bundled_is_small() -> None:
    total = sum(path.stat().st_size for path in ASSETS.rglob("*") if path.is_file())
    assert total <= MOST_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_formants_move_apart_from_pitch(name: str, speech: tuple[Wave, int]) -> None:
    """A smaller body is brighter, at the same pitch."""
    voice, (wave, rate) = load_voice(name), speech
    judge = load_pitch_extractor("swift")
    plain, small = (
        voice.convert(wave[:, : 5 * rate], rate, ConvertOptions(formants=semitones))
        for semitones in (0.0, 4.0)
    )
    found = compare_pitch(melody(judge, plain[0], rate), melody(judge, small[0], rate))
    assert abs(found.error_cents) < 40

    def centre(sound: Wave) -> float:
        power = (
            torch.stft(
                pad(sound[0], (0, 0)),
                1024,
                256,
                window=torch.hann_window(1024),
                return_complex=True,
            )
            .abs()
            .square()
            .sum(1)
        )
        hertz = torch.linspace(0, rate / 2, len(power))
        keep = (hertz > 200) & (hertz < 6000)
        return float((hertz * power)[keep].sum() / power[keep].sum())

    assert centre(small) > 1.05 * centre(plain)
