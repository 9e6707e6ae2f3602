"""The small encoder hears a stream as it hears a whole, as far ahead as it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from sovits.errors import AudioError, WeightsError
from sovits.features.content import CONTENT, load_content_encoder
from sovits.features.content import student as module
from sovits.features.content.student import (
    AUDIO,
    CENTRE,
    DELAY,
    FLOOR,
    LOOK_AHEAD,
    MARGIN,
    SCALE,
    StudentContent,
    StudentEncoder,
)
from sovits.types import Content, Wave

HOP = AUDIO.hop_length
SPEC = CONTENT["sovits-content"]


def encoder() -> StudentContent:
    """Return a narrow one, of as far a look ahead as the real one."""
    torch.manual_seed(1)
    network = StudentEncoder(width=12, blocks=3).requires_grad_(False).eval()
    for block in network.stack.blocks:
        torch.nn.init.normal_(block.scale)
    torch.nn.init.normal_(network.head.weight)
    return StudentContent(SPEC, network, torch.device("cpu"))


SMALL = encoder()


def noise(samples: int, seed: int = 0) -> Wave:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def streamed(wave: Wave, sizes: list[int]) -> Content:
    """Return what is heard when so many samples come at a time, the last size again and again."""
    padded = torch.nn.functional.pad(wave, (0, -len(wave) % HOP + DELAY))
    parts, past, begin, turn = [], None, 0, 0
    while begin < len(padded):
        size = sizes[min(turn, len(sizes) - 1)]
        part, past = SMALL.push(padded[begin : begin + size], past)
        parts.append(part)
        begin, turn = begin + size, turn + 1
        assert past.wave.shape[1] < AUDIO.n_fft
        assert past.wave.untyped_storage().nbytes() <= 4 * (AUDIO.n_fft + size)
    return torch.cat(parts, 1)[:, LOOK_AHEAD:]


@pytest.mark.parametrize("size", [1, 137, 441, 511, 512, 513, 882, 7056, 100_000])
def test_a_stream_is_the_whole(size: int) -> None:
    wave = noise(9001 if size > 1 else 3001)
    torch.testing.assert_close(streamed(wave, [size]), SMALL.encode(wave), rtol=0, atol=1e-4)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=6))
def test_a_stream_of_uneven_chunks_is_the_whole(sizes: list[int]) -> None:
    wave = noise(8000)
    torch.testing.assert_close(streamed(wave, sizes), SMALL.encode(wave), rtol=0, atol=1e-4)


@pytest.mark.parametrize("samples", [0, 1, 511, 512, 513, 1024, 5 * 512 + 7, 70_001])
def test_there_is_a_frame_for_every_hop_that_has_begun(
    samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wave = noise(samples)
    content = SMALL.encode(wave)
    assert content.shape == (256, -(-samples // HOP))
    monkeypatch.setattr(module, "CHUNK", 3 * HOP)
    torch.testing.assert_close(SMALL.encode(wave), content, rtol=0, atol=1e-4)


@pytest.mark.parametrize("at", [20 * HOP, 20 * HOP + 1, 21 * HOP - 1])
def test_it_looks_ahead_as_far_as_it_says(at: int) -> None:
    wave = noise(40 * HOP)
    changed = wave.clone()
    changed[at:] = noise(len(wave), 1)[at:]
    moved = (SMALL.encode(changed) - SMALL.encode(wave)).abs().amax(0)
    # Frame i hears what comes before sample (i + 1) * hop + look_ahead.
    assert SPEC.look_ahead == DELAY == 2304
    ends = (torch.arange(40) + 1) * HOP + DELAY
    assert moved[ends <= at].max() < 1e-6
    assert moved[ends > at + 64].min() > 5e-6  # the window's very ends are as good as zero


def test_a_frame_comes_out_as_soon_as_it_can() -> None:
    wave = noise(30 * HOP)
    for samples in (HOP + DELAY - 1, HOP + DELAY, 7 * HOP + DELAY, 8 * HOP + DELAY - 1):
        content, _ = SMALL.push(wave[:samples])
        assert content.shape[1] - LOOK_AHEAD == (samples - DELAY) // HOP


def test_two_streams_do_not_know_of_each_other() -> None:
    one, other = noise(6000), noise(6000, 1)
    pasts, heard = [None, None], [[], []]  # type: ignore[var-annotated]
    for begin in range(0, 6000, 500):
        for i, wave in enumerate((one, other)):
            part, pasts[i] = SMALL.push(wave[begin : begin + 500], pasts[i])
            heard[i].append(part)
    for i, wave in enumerate((one, other)):
        torch.testing.assert_close(torch.cat(heard[i], 1), SMALL.push(wave)[0], rtol=0, atol=1e-4)


def test_bands_are_those_of_a_spectrum_centred_on_the_frame() -> None:
    """Two routes: the front end, and NumPy's own transform of the samples around a frame."""
    wave = noise(6 * HOP).numpy().astype(np.float64)
    bands = SMALL.network.mel(torch.from_numpy(np.pad(wave, MARGIN)).float()[None])[0]
    assert bands.shape == (80, 6)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(AUDIO.n_fft) / AUDIO.n_fft)
    for frame in (1, 3):
        piece = wave[frame * HOP - MARGIN : frame * HOP - MARGIN + AUDIO.n_fft]
        power = np.abs(np.fft.rfft(piece * window)) ** 2
        filtered = SMALL.network.bands.double().numpy() @ power
        wanted = (np.log(np.maximum(filtered, FLOOR)) - CENTRE) / SCALE
        np.testing.assert_allclose(bands[:, frame].numpy(), wanted, atol=1e-4)


def test_silence_is_heard_as_silence_and_more_than_one_channel_is_refused() -> None:
    assert SMALL.encode(torch.zeros(9000)).isfinite().all()
    for call in (SMALL.encode, SMALL.push):
        with pytest.raises(AudioError, match="one channel"):
            call(torch.zeros(2, 100))  # type: ignore[operator]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "content.safetensors"
    torch.manual_seed(0)
    save_file({n: t.half() for n, t in StudentEncoder().state_dict().items()}, path)
    return path


def test_it_is_loaded_by_its_name(weights: Path) -> None:
    loaded = load_content_encoder("sovits-content", path=weights)
    assert loaded.spec is SPEC
    content = loaded.encode(noise(4000))
    assert content.shape == (SPEC.channels, 8)
    assert content.dtype == torch.float32
    assert not content.requires_grad
    half = load_content_encoder("sovits-content", path=weights, bf16=True).encode(noise(4000))
    assert half.dtype == torch.float32
    assert 0 < (half - content).square().mean() < 1e-2 * content.square().mean()


def test_it_is_as_small_as_was_promised() -> None:
    size = sum(parameter.numel() for parameter in StudentEncoder().parameters())
    assert size < 12e6
    assert size * AUDIO.frame_rate < 1.5e9  # multiplications a second, as each weight is used once
    assert DELAY / AUDIO.sample_rate <= 0.06


def test_another_networks_weights_are_refused(weights: Path, tmp_path: Path) -> None:
    save_file(StudentEncoder(width=8, blocks=2).state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="StudentEncoder"):
        load_content_encoder("sovits-content", path=tmp_path / "other.safetensors")
