from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sovits.audio.mel import mel_filters
from sovits.audio.resample import resample
from sovits.errors import AudioError, WeightsError
from sovits.features.speaker import (
    AUDIO,
    SpeakerEncoder,
    load_speaker_encoder,
    partial_starts,
    raised,
    similarity,
    without_silence,
)


@cache
def encoder() -> SpeakerEncoder:
    return load_speaker_encoder()


def hum(seconds: float, hz: float = 120.0, sample_rate: int = 16_000) -> Tensor:
    """A voice that swells twice a second, with vibrato and falling harmonics."""
    t = torch.arange(round(seconds * sample_rate), dtype=torch.float64) / sample_rate
    swell = 0.55 + 0.45 * torch.sin(2 * math.pi * 2 * t)
    wobble = 0.5 * torch.sin(2 * math.pi * 3 * t)
    tones = [
        torch.sin(2 * math.pi * hz * h * t + h + wobble) / h for h in range(1, 30) if hz * h < 7500
    ]
    return (0.05 * swell * torch.stack(tones).sum(0)).float()


def test_the_bundled_network_gives_what_resemblyzer_gives() -> None:
    """The largest entries of resemblyzer 0.1.4's embed_utterance on the same sound.

    Its weights are stored in half precision here, which moves entries by up to 4e-4.
    """
    expected = {89: 0.18379, 203: 0.17976, 206: 0.16329, 121: 0.16132, 87: 0.15833, 136: 0.1549}
    expected |= {24: 0.1543, 199: 0.15234, 247: 0.15177, 72: 0.14734, 9: 0.14713, 162: 0.14136}
    found = encoder().embed_prepared(hum(4.0))
    assert {int(index) for index in found.topk(12).indices} == expected.keys()
    for index, value in expected.items():
        assert float(found[index]) == pytest.approx(value, abs=6e-4)


def test_an_embedding_is_a_unit_vector_that_is_nowhere_negative() -> None:
    found = encoder().embed(hum(2.5), 16_000)
    assert found.shape == (256,)
    assert found.dtype == torch.float32
    assert float(found.norm()) == pytest.approx(1, abs=1e-5)
    assert (found >= 0).all()


def test_the_same_sound_is_the_same_speaker_at_any_level_and_rate() -> None:
    reference = encoder().embed(hum(4.0), 16_000)
    assert similarity(reference, encoder().embed(hum(4.0, sample_rate=44_100), 44_100)) > 0.995
    quiet = hum(4.0) * 1e-3
    assert similarity(encoder().embed(quiet, 16_000), encoder().embed(quiet / 5, 16_000)) > 0.9999
    noise = encoder().embed(torch.randn(64_000) * 0.05, 16_000)
    assert similarity(reference, noise) < 0.75
    assert similarity(reference, reference) == pytest.approx(1, abs=1e-5)


def test_silence_around_and_within_changes_little() -> None:
    sound, pause = hum(4.0), torch.zeros(32_000)
    reference = encoder().embed(sound, 16_000)
    paused = encoder().embed(torch.cat([pause, sound[:32_000], pause, sound[32_000:]]), 16_000)
    assert similarity(reference, paused) > 0.9


def test_many_partials_in_batches_are_their_mean() -> None:
    sound = hum(1.6)
    one = encoder().embed_prepared(sound)
    assert len(partial_starts(len(sound))) == 1
    long = encoder().embed_prepared(hum(4.0).repeat(20))
    assert similarity(one, long) > 0.8


@pytest.mark.parametrize("wave", [torch.zeros(16_000), torch.zeros(0)])
def test_silence_has_no_speaker(wave: Tensor) -> None:
    with pytest.raises(AudioError, match="no speaker can be heard"):
        encoder().embed(wave, 16_000)


def test_only_one_channel_is_heard() -> None:
    with pytest.raises(AudioError, match="one channel"):
        encoder().embed(torch.zeros(2, 16_000), 16_000)


@pytest.mark.parametrize("samples", [1, 100, 4000])
def test_very_short_sounds_are_embedded(samples: int) -> None:
    found = encoder().embed(0.1 + torch.rand(samples), 16_000)
    assert found.isfinite().all()


# Parts of it.


@given(st.integers(1, 16_000 * 30))
def test_partials_step_evenly_and_leave_little_sound_out(samples: int) -> None:
    starts = partial_starts(samples)
    assert starts[0] == 0
    assert all(b - a == 77 for a, b in pairwise(starts))
    heard = (starts[-1] + 160) * 160
    assert samples - heard < 77 * 160
    if len(starts) > 1:
        assert samples - starts[-1] * 160 >= 0.75 * 160 * 160


def test_the_spectrogram_is_the_plain_one() -> None:
    wave = hum(2.0)
    spectrum = torch.stft(
        wave,
        400,
        160,
        window=torch.hann_window(400),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    expected = mel_filters(AUDIO) @ spectrum.abs().square()
    torch.testing.assert_close(encoder()._mel(wave, 160), expected[:, :160], rtol=1e-3, atol=1e-5)


@given(st.floats(1e-5, 1.0))
def test_quiet_sound_is_raised_and_loud_sound_left_alone(gain: float) -> None:
    wave = torch.sin(torch.arange(8000) * 0.1) * gain
    level = 20 * math.log10(float(raised(wave).square().mean().sqrt()))
    before = 20 * math.log10(float(wave.square().mean().sqrt()))
    assert level == pytest.approx(max(before, -30), abs=1e-3)


def test_long_silences_go_and_short_ones_stay() -> None:
    sound = hum(3.0)
    with_pause = torch.cat([sound, torch.zeros(48_000), sound])
    found = without_silence(with_pause)
    assert len(sound) * 2 - 16_000 <= len(found) <= len(sound) * 2 + 16_000 * 0.8
    with_gap = torch.cat([sound, torch.zeros(1600), sound])
    assert len(without_silence(with_gap)) >= len(with_gap) - 960


@given(st.integers(0, 8 * 480 - 1))
def test_short_sounds_are_kept_whole(samples: int) -> None:
    wave = torch.randn(samples)
    assert torch.equal(without_silence(wave), wave)


def test_noise_below_the_sound_is_silence_and_alone_is_sound() -> None:
    noise = torch.randn(48_000) * 1e-4
    assert len(without_silence(noise)) == len(noise)
    assert len(without_silence(torch.cat([hum(3.0), noise]))) < 48_000 * 1.4


def test_other_weights_are_refused_or_used(tmp_path: Path) -> None:
    state = encoder().network.state_dict()
    path = tmp_path / "pretrained.pt"
    both = {"similarity_weight": torch.ones(1), "similarity_bias": torch.ones(1)} | state
    torch.save({"step": 1, "model_state": both, "optimizer_state": {}}, path)
    wave = hum(2.0)
    again = load_speaker_encoder(path=path)
    torch.testing.assert_close(again.embed(wave, 16_000), encoder().embed(wave, 16_000))
    del both["linear.bias"]
    torch.save({"model_state": both}, path)
    with pytest.raises(WeightsError, match=r"linear\.bias is not in it"):
        load_speaker_encoder(path=path)


def test_the_rate_is_changed_before_anything_else() -> None:
    wave = hum(2.0, sample_rate=48_000)
    direct = encoder().embed(resample(wave, 48_000, 16_000), 16_000)
    torch.testing.assert_close(encoder().embed(wave, 48_000), direct)
