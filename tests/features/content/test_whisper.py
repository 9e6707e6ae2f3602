from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import small_whisper as small
import torch
from babble import babble
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sovits.audio.mel import mel_filters
from sovits.errors import WeightsError
from sovits.features.content import load_content_encoder
from sovits.features.content.encoder import WindowedEncoder
from sovits.features.content.whisper import (
    AUDIO,
    POSITIONS,
    WhisperContent,
    WhisperEncoder,
    WhisperMel,
    load_whisper,
)
from sovits.weights import find, load_tensors

CPU = torch.device("cpu")

# The front end.


@given(st.integers(1, 9000), st.integers(0, 60), st.integers(1, 60))
def test_any_stretch_of_frames_is_that_of_the_whole_spectrogram(
    samples: int, first: int, count: int
) -> None:
    wave, mel = torch.randn(samples) * torch.linspace(0, 1, samples), WhisperMel()
    frames = 2 * -(-samples // 320)
    first = min(first, frames - 1)
    stop = min(first + count, frames)
    # torch.stft mirrors at both ends; silence after the end is what Whisper was trained on.
    spectrum = torch.stft(
        torch.nn.functional.pad(wave, (0, 160 * frames + 400 - samples)),
        400,
        160,
        window=torch.hann_window(400),
        center=True,
        return_complex=True,
    )
    whole = (mel_filters(AUDIO) @ spectrum.abs().square()).clamp(min=1e-10).log10()
    torch.testing.assert_close(
        mel.power(wave, first, stop), whole[:, first:stop], rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("hz", [200, 440, 1000, 2500, 6000])
def test_a_tone_lands_in_its_band(hz: int) -> None:
    wave = torch.sin(2 * math.pi * hz * torch.arange(16_000) / 16_000)
    centres = mel_filters(AUDIO).argmax(1) * 40.0
    loudest = WhisperMel().power(wave, 10, 90).mean(1).argmax()
    assert abs(float(centres[loudest]) - hz) <= 40 + 0.06 * hz


def test_louder_sound_has_the_same_bands() -> None:
    wave, mel = babble(2.0), WhisperMel()
    bands = [mel(part, 0, 200, mel.peak(part, 200)) for part in (wave, 10 * wave)]
    assert (bands[1] - bands[0]).max() <= 0.5 + 1e-4
    assert (bands[1] - bands[0]).median() == pytest.approx(0.5, abs=1e-3)
    assert bands[0].max() - bands[0].min() <= 2 + 1e-6


def test_silence_is_finite() -> None:
    mel = WhisperMel()
    assert mel(torch.zeros(3200), 0, 20, mel.peak(torch.zeros(3200), 20)).isfinite().all()


# The network.

SAVERS = (small.save_openai, small.save_hugging_face, small.save_ctranslate2)


@pytest.mark.parametrize("save", SAVERS)
def test_every_layout_is_what_torchs_own_layers_make_of_it(
    tmp_path: Path, save: Callable[[Path], None]
) -> None:
    save(tmp_path / "x")
    network = load_whisper(tmp_path / "x", small.WIDTH, CPU)
    mel = torch.randn(1, 80, 70)
    with torch.no_grad():
        torch.testing.assert_close(network(mel)[0].T, small.second_route(mel), rtol=1e-4, atol=1e-5)


def test_ctranslate2_may_hold_float32(tmp_path: Path) -> None:
    small.save_ctranslate2(tmp_path / "16")
    small.save_ctranslate2(tmp_path / "32", torch.float32)
    mel = torch.randn(1, 80, 20)
    outputs = [load_whisper(tmp_path / name, small.WIDTH, CPU)(mel) for name in ("16", "32")]
    torch.testing.assert_close(*outputs)


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"

    def refused(message: str, channels: int = small.WIDTH) -> None:
        with pytest.raises(WeightsError, match=message) as error:
            load_whisper(path, channels, CPU)
        assert "\n" not in str(error.value)
        assert str(path) in str(error.value)

    small.save_ctranslate2(path, torch.int8)
    refused("quantised")
    small.save_ctranslate2(path, version=5)
    refused("format 5 is not 6")
    small.save_ctranslate2(path)
    whole = path.read_bytes()
    for length in (40, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:length])
        refused("ends in the middle|the width|not in it|has no convolutions|other names")
    path.write_bytes(whole)
    refused("the width in it is 16", channels=512)
    small.save_openai(path)
    tensors = torch.load(path)["model_state_dict"]
    for gone, message in (
        ("encoder.positional_embedding", "no convolutions"),
        ("encoder.blocks.1.attn.value.weight", "attention is incomplete"),
        ("encoder.blocks.1.mlp.0.bias", r"layers\.1\.up\.bias is not in it"),
        ("encoder.blocks.0.attn_ln.weight", "other names"),
    ):
        torch.save({name: t for name, t in tensors.items() if name != gone}, path)
        refused(message)
    torch.save(tensors | {"encoder.blocks.0.attn.gate.weight": torch.zeros(1)}, path)
    refused("blocks.0.attn.gate.weight is not part of it")


@given(st.integers(0, 5000))
def test_every_320_samples_begun_make_a_frame(samples: int) -> None:
    network = WhisperContent(WhisperEncoder(16, 1, 30))
    assert network.count(samples) == math.ceil(samples / 320)
    if 0 < samples < 3000:
        heard = network.listen(torch.zeros(samples))(0, network.count(samples))
        assert network(heard).shape == (1, 16, math.ceil(samples / 320))


# The real weights, which two packages carry.


@cache
def real(name: str) -> WindowedEncoder:
    return load_content_encoder(name)


def likeness(a: Tensor, b: Tensor) -> Tensor:
    return torch.cosine_similarity(a, b, dim=0)


def in_one_window(encoder: WindowedEncoder) -> WindowedEncoder:
    spec = replace(encoder.spec, window_seconds=30.0)
    return WindowedEncoder(spec, encoder.network, encoder.device)


def test_the_real_weights_give_what_transformers_gives() -> None:
    """Every 64th channel of six frames of transformers 5.23, mel and network, on 30 s."""
    expected = {
        0: [-0.2316, 0.11, -0.2437, 0.2455, 0.7527, 1.3126, 0.0245, -1.2242],
        37: [0.004, 0.1854, -0.3844, 0.8875, -0.2371, 0.8556, -0.2606, 0.6664],
        90: [0.9603, -1.211, 0.9609, -1.263, -0.3164, 0.8236, -0.0831, -0.3156],
        149: [-0.7249, -1.2352, 0.17, 0.715, 0.9041, 1.8218, -0.0572, -0.2189],
        700: [-0.2179, 0.3581, 0.0843, 0.8169, -0.24, -0.4662, 0.4318, 0.2808],
        1499: [-1.1921, -0.4365, -0.8253, 0.6376, 0.4625, 0.349, 0.3833, 0.9843],
    }
    wave = torch.cat([babble(3.0), torch.zeros(27 * 16_000)])
    content = in_one_window(real("whisper-base")).encode(wave)
    assert content.shape == (512, 1500)
    for frame, values in expected.items():
        torch.testing.assert_close(content[::64, frame], torch.tensor(values), rtol=0, atol=2e-3)


def test_still_content_is_the_same_wherever_a_sound_stands() -> None:
    sound, other = babble(3.0, seed=1), babble(6.0, seed=2)

    def alike(name: str) -> float:
        early = real(name).encode(torch.cat([sound, other]))[:, :150]
        late = real(name).encode(torch.cat([other, sound]))[:, 300:]
        return float(likeness(early, late).mean())

    assert alike("whisper-base") < 0.72
    assert alike("whisper-base-still") > 0.82


def test_the_directions_projected_out_are_orthonormal_and_gone() -> None:
    directions = load_tensors(find(POSITIONS))["directions"]
    assert directions.shape == (8, 512)
    torch.testing.assert_close(directions @ directions.T, torch.eye(8), rtol=0, atol=1e-5)
    wave = babble(1.0)
    raw, still = (real(name).encode(wave) for name in ("whisper-base", "whisper-base-still"))
    assert (directions @ raw).abs().max() > 5
    assert (directions @ still).abs().max() < 1e-3
    torch.testing.assert_close(still + directions.T @ (directions @ raw), raw, rtol=0, atol=1e-3)


def test_windows_leave_no_seam() -> None:
    """Around a join, content is as near to that of one long window as elsewhere."""
    wave, encoder = babble(20.0, seed=3), real("whisper-base-still")
    parts, whole = encoder.encode(wave), in_one_window(encoder).encode(wave)
    alike = likeness(parts, whole)
    join = slice(475, 525)
    assert alike.mean() > 0.8
    assert alike[join].mean() > alike.mean() - 0.05
    steps = (parts[:, 1:] - parts[:, :-1]).norm(dim=0)
    assert steps[join].mean() < 1.25 * steps.mean()


def test_bf16_is_near() -> None:
    wave, encoder = babble(2.0), real("whisper-base-still")
    half = WindowedEncoder(encoder.spec, encoder.network, CPU, bf16=True).encode(wave)
    assert half.dtype == torch.float32
    exact = encoder.encode(wave)
    assert (half - exact).square().mean() < 0.003 * exact.square().mean()
