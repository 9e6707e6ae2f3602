"""Spectrograms have one frame a hop, and tones lie where they belong."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sovits.audio.mel import (
    VOCODER_MEL,
    VOCODER_POWER_FLOOR,
    LogMel,
    hz_to_mel,
    linear_spectrogram,
    mel_filters,
    mel_to_hz,
)
from sovits.audio.pad import reflect
from sovits.config import AudioConfig
from sovits.errors import AudioError

FORK = AudioConfig()
SMALL = AudioConfig(sample_rate=16_000, hop_length=160, n_fft=640, n_mels=40)


def tone(hz: float, audio: AudioConfig, samples: int) -> torch.Tensor:
    return torch.sin(2 * math.pi * hz / audio.sample_rate * torch.arange(samples).double()).float()


@given(st.integers(0, 3000), st.integers(1, 300), st.integers(0, 700))
def test_there_is_one_frame_for_every_hop(samples: int, hop: int, extra: int) -> None:
    audio = AudioConfig(sample_rate=8000, hop_length=hop, n_fft=hop + extra, n_mels=4)
    spectrum = linear_spectrogram(torch.rand(2, samples), audio)
    assert spectrum.shape == (2, audio.n_bins, samples // hop)
    assert spectrum.isfinite().all()


def test_magnitudes_are_those_of_the_definition() -> None:
    """The second route: each frame cut out by hand and transformed by numpy."""
    wave = torch.randn(5 * 512 + 100)
    pad = (2048 - 512) // 2
    padded = np.pad(wave.double().numpy(), pad, mode="reflect")
    window = np.sin(np.pi * np.arange(2048) / 2048) ** 2
    frames = [np.fft.rfft(padded[512 * i : 512 * i + 2048] * window) for i in range(5)]
    expected = np.sqrt(np.abs(np.stack(frames, 1)) ** 2 + 1e-6)
    found = linear_spectrogram(wave, FORK)
    torch.testing.assert_close(found, torch.from_numpy(expected).float(), atol=1e-4, rtol=1e-4)


def test_a_frame_is_centred_on_the_middle_of_its_hop() -> None:
    wave = torch.zeros(20 * 512)
    wave[7 * 512 + 256] = 1.0
    spectrum = linear_spectrogram(wave, FORK)
    torch.testing.assert_close(spectrum[:, 7], torch.ones(FORK.n_bins), atol=1e-4, rtol=0)


def test_silence_is_the_floor() -> None:
    assert (linear_spectrogram(torch.zeros(2048), FORK) == math.sqrt(1e-6)).all()
    log_mel = LogMel(FORK)
    heard = (1e-3 * log_mel.filters.sum(1)).log()[:, None].expand(2, 80, 4)
    torch.testing.assert_close(log_mel(torch.zeros(2, 2048)), heard)
    nothing = log_mel.from_linear(torch.zeros(2, FORK.n_bins, 4))
    torch.testing.assert_close(nothing, torch.full((2, 80, 4), math.log(1e-5)))


@pytest.mark.parametrize("hz", [120.0, 440.0, 1000.0, 2500.0, 9000.0])
def test_a_tone_lands_in_its_band(hz: float) -> None:
    mel = LogMel(FORK)(tone(hz, FORK, 44_100))[:, 10:-10].mean(-1)
    top = hz_to_mel(FORK.sample_rate / 2)
    centres = mel_to_hz(torch.linspace(0, top, FORK.n_mels + 2)[1:-1])
    # Bands overlap by half, and the lowest are narrower than a bin: a neighbour may win.
    assert abs(int(mel.argmax()) - int((centres - hz).abs().argmin())) <= 1


def triangles(audio: AudioConfig) -> np.ndarray:
    """Slaney's filters once more, from their definition in words, one value at a time."""

    def hz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    def mel(value: float) -> float:
        return value * 3 / 200 if value < 1000 else 15 + 27 * math.log(value / 1000, 6.4)

    top = mel(audio.mel_max or audio.sample_rate / 2)
    low = mel(audio.mel_min)
    edges = [hz(low + (top - low) * i / (audio.n_mels + 1)) for i in range(audio.n_mels + 2)]
    bank = np.zeros((audio.n_mels, audio.n_bins))
    for band in range(audio.n_mels):
        points = edges[band : band + 3]
        height = 2 / (points[2] - points[0])
        for index in range(audio.n_bins):
            bank[band, index] = np.interp(
                index * audio.sample_rate / audio.n_fft, points, [0, height, 0]
            )
    return bank


@pytest.mark.parametrize(
    "audio", [SMALL, AudioConfig(n_mels=20, mel_min=40.0, mel_max=16_000.0, n_fft=1024)]
)
def test_filters_agree_with_their_definition(audio: AudioConfig) -> None:
    expected = torch.from_numpy(triangles(audio)).float()
    torch.testing.assert_close(mel_filters(audio), expected, atol=1e-7, rtol=1e-4)


def test_filters_have_known_values() -> None:
    """Peaks of the 80 bands of 44.1 kHz: the linear part has equal heights, 2 / (2 * 60.3 Hz)."""
    bank = mel_filters(FORK)
    assert bank.shape == (80, 1025)
    step = hz_to_mel(22_050.0) / 81 * 200 / 3
    area = bank.sum(1) * FORK.sample_rate / FORK.n_fft
    torch.testing.assert_close(area[20:], torch.ones(60), atol=2e-2, rtol=0)
    assert float(bank[:12].max()) == pytest.approx(1 / step, rel=0.15)


def test_both_ways_to_a_mel_agree() -> None:
    wave, log_mel = torch.rand(2, 4000), LogMel(SMALL)
    assert torch.equal(log_mel(wave), log_mel.from_linear(linear_spectrogram(wave, SMALL)))


def test_louder_is_a_constant_more() -> None:
    wave, log_mel = torch.randn(8000), LogMel(SMALL)
    torch.testing.assert_close(log_mel(3 * wave), log_mel(wave) + math.log(3), atol=1e-3, rtol=0)


def test_mel_is_float32_under_autocast() -> None:
    wave, log_mel = torch.rand(1, 4000), LogMel(SMALL)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mel = log_mel(wave)
    assert mel.dtype == torch.float32
    torch.testing.assert_close(mel, log_mel(wave))


def test_silence_has_a_gradient() -> None:
    wave = torch.zeros(1600, requires_grad=True)
    linear_spectrogram(wave, SMALL).sum().backward()
    assert wave.grad is not None
    assert wave.grad.isfinite().all()


def test_nothing_is_stored_in_checkpoints() -> None:
    assert not LogMel(SMALL).state_dict()


@given(st.integers(1, 20), st.integers(0, 50), st.integers(0, 50))
def test_mirrors_as_numpy_does(samples: int, left: int, right: int) -> None:
    wave = torch.rand(2, samples)
    expected = np.pad(wave.numpy(), ((0, 0), (left, right)), mode="reflect")
    assert np.array_equal(reflect(wave, left, right).numpy(), expected)


def test_nothing_cannot_be_mirrored() -> None:
    with pytest.raises(AudioError, match="holds 0 samples"):
        reflect(torch.zeros(2, 0), 1, 1)


def test_vocoders_hear_a_tone_in_its_band_and_silence_at_the_floor() -> None:
    log_mel = LogMel(VOCODER_MEL, VOCODER_POWER_FLOOR)
    heard = log_mel(0.5 * tone(60 * 44_100 / 2048, VOCODER_MEL, 44_100))[:, 40]
    # A Hann window of N samples makes N / 4 of an amplitude of 1, and half of it beside that.
    spectrum = torch.zeros(VOCODER_MEL.n_bins)
    spectrum[59:62] = 0.5 * 2048 / 4 * torch.tensor([0.5, 1.0, 0.5])
    expected = (mel_filters(VOCODER_MEL) @ spectrum).clamp(min=1e-5).log()
    loud = expected > -2
    torch.testing.assert_close(heard[loud], expected[loud], atol=1e-4, rtol=0)
    assert loud.any()
    assert log_mel(torch.zeros(44_100)).max() == pytest.approx(math.log(1e-5))
