"""Convolutions of the CPU against those of torch, and stages in stretches against whole ones."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from reference_cases import AUDIO, RATES, clip, random_weights, small
from torch import Tensor

from sovits.config import DecoderKind
from sovits.models import time_major
from sovits.models.decoders import upsampler
from sovits.models.synthesizer import Synthesizer


def close(found: Tensor, wanted: Tensor, tolerance: float) -> None:
    """Assert that the largest deviation is small beside the largest value."""
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max() / wanted.abs().max()) < tolerance


@pytest.fixture
def _no_grad() -> object:
    with torch.no_grad():
        yield


pytestmark = pytest.mark.usefixtures("_no_grad")


@pytest.mark.parametrize("taps", [3, 7, 11])
@pytest.mark.parametrize("dilation", [1, 3, 5])
@pytest.mark.parametrize("time", [1, 2, 21, 22, 67, 500])
def test_overlapping_blocks_give_the_sum_over_the_taps(taps: int, dilation: int, time: int) -> None:
    x, kernel, bias = torch.randn(1, 5, time), torch.randn(3, 5, taps), torch.randn(3)
    x, kernel, bias = x.double(), kernel.double(), bias.double()
    padding = (taps - 1) * dilation // 2
    wanted = F.conv1d(x, kernel, bias, padding=padding, dilation=dilation)
    spectra = time_major.spectra(kernel)
    quick = time_major.time_major(x)
    close(time_major.overlap_save(quick, spectra, taps, bias, dilation), wanted, 1e-13)
    without = time_major.overlap_save(quick, spectra, taps, None, dilation)
    close(without + bias[:, None], wanted, 1e-13)
    close(time_major.conv(quick, kernel, bias, padding, dilation), wanted, 1e-13)


def test_overlapping_blocks_are_as_exact_as_the_direct_sum() -> None:
    x, kernel, bias = torch.randn(1, 64, 4096), torch.randn(64, 64, 11) / 26, torch.randn(64)
    wanted = F.conv1d(x.double(), kernel.double(), bias.double(), padding=15, dilation=3)
    spectra = time_major.spectra(kernel)
    found = time_major.overlap_save(time_major.time_major(x), spectra, 11, bias, 3)
    direct = F.conv1d(x, kernel, bias, padding=15, dilation=3)
    close(found.double(), wanted, 1e-6)
    assert (found - wanted).std() < 3 * (direct - wanted).std()


@pytest.mark.parametrize(("taps", "stride"), [(16, 8), (4, 2), (3, 1), (11, 5), (2, 2), (32, 8)])
@pytest.mark.parametrize("time", [1, 2, 37])
def test_upsampling_adds_up_shifted_kernels(taps: int, stride: int, time: int) -> None:
    x, kernel, bias = torch.randn(1, 6, time), torch.randn(6, 3, taps), torch.randn(3)
    padding = (taps - stride) // 2
    wanted = F.conv_transpose1d(x, kernel, bias, stride, padding)
    found = time_major.conv_transpose(time_major.time_major(x), kernel, bias, stride, padding)
    close(found, wanted, 1e-5)


def test_only_what_needs_no_gradient_and_lies_time_major_is_taken() -> None:
    x = time_major.time_major(torch.randn(1, 4, 9))
    assert time_major.is_time_major(x)
    assert not time_major.is_time_major(x.contiguous())
    assert not time_major.is_time_major(torch.randn(2, 9, 4).transpose(1, 2))
    with torch.enable_grad():
        assert not time_major.is_time_major(x)
    wide, kernel = time_major.time_major(torch.randn(1, 64, 2000)), torch.randn(64, 64, 7)
    assert time_major.pays(wide, kernel)
    assert not time_major.pays(wide, kernel[..., :3])
    assert not time_major.pays(wide.bfloat16(), kernel.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert not time_major.pays(wide, kernel)


@pytest.mark.parametrize("resblock", ["1", "2"])
@pytest.mark.parametrize("decoder", list(RATES))
def test_a_sound_decoded_in_stretches_is_the_same(
    decoder: DecoderKind, resblock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(decoder, resblock=resblock)
    synthesizer = Synthesizer(config, AUDIO).eval()
    weights = random_weights({k: tuple(v.shape) for k, v in synthesizer.state_dict().items()})
    synthesizer.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    synthesizer.double().fold()
    sound = clip(23)

    def convert() -> Tensor:
        return synthesizer.infer(
            torch.from_numpy(sound.content)[None].double(),
            torch.from_numpy(sound.f0)[None].double(),
            torch.from_numpy(sound.voiced)[None],
            torch.tensor([sound.speaker]),
        )

    monkeypatch.setattr(upsampler, "TILE", 2**30)
    whole = convert()
    monkeypatch.setattr(time_major, "is_time_major", lambda x: False)
    plain = convert()
    monkeypatch.undo()
    for name in ("MIN_TAPS", "MIN_CHANNELS", "MIN_TIME"):
        monkeypatch.setattr(time_major, name, 1)
    counts = []
    taken = time_major.overlap_save
    monkeypatch.setattr(
        time_major, "overlap_save", lambda *given: counts.append(1) or taken(*given)
    )
    for tile in (64, 300):
        monkeypatch.setattr(upsampler, "TILE", tile)
        close(convert(), plain, 1e-12)
    close(whole, plain, 1e-12)
    assert len(counts) > 50
