"""Which parts each term of the training can move."""

from __future__ import annotations

import pytest
import torch
from reference_cases import AUDIO, RATES, small

from sovits.config import DecoderKind
from sovits.models.synthesizer import Synthesizer, TrainBatch, TrainOutput

FRAMES, SEGMENT = 12, 3


def trained(decoder: DecoderKind) -> tuple[Synthesizer, TrainOutput]:
    """Return a synthesizer whose flow is no identity, and what it makes of two clips."""
    config = small(decoder, volume=True)
    synthesizer = Synthesizer(config, AUDIO)
    for name, weight in synthesizer.flow.named_parameters():
        if ".post." in name:
            torch.nn.init.normal_(weight)
    batch = TrainBatch(
        content=torch.randn(2, config.content_channels, FRAMES),
        f0=100 + 300 * torch.rand(2, FRAMES),
        voiced=torch.rand(2, FRAMES) < 0.5,
        volume=torch.rand(2, FRAMES),
        spectrogram=torch.rand(2, AUDIO.n_bins, FRAMES),
        speaker=torch.tensor([0, 2]),
        mask=torch.ones(2, 1, FRAMES),
        start=torch.tensor([1, 8]),
        formants=torch.ones(2),
    )
    return synthesizer, synthesizer(batch, SEGMENT)


def moved(synthesizer: Synthesizer) -> set[str]:
    """Return the names of the parameters that have a gradient other than zero."""
    return {
        name
        for name, weight in synthesizer.named_parameters()
        if weight.grad is not None and weight.grad.abs().max() > 0
    }


def test_the_pitch_loss_moves_the_pitch_decoder_alone() -> None:
    synthesizer, out = trained("istft")
    assert out.predicted_log_f0 is not None
    (out.predicted_log_f0 - out.log_f0).square().mean().backward()
    assert moved(synthesizer) <= {
        f"f0_decoder.{n}" for n, _ in synthesizer.f0_decoder.named_parameters()
    }
    assert "f0_decoder.cond.weight" in moved(synthesizer)


def test_the_sound_moves_decoder_and_posterior_alone() -> None:
    synthesizer, out = trained("hifi-gan")
    out.wave.square().mean().backward()
    parts = {name.split(".")[0] for name in moved(synthesizer)}
    assert parts == {"dec", "enc_q", "emb_g"}


@pytest.mark.parametrize("decoder", list(RATES))
def test_every_parameter_is_moved_by_something(decoder: DecoderKind) -> None:
    synthesizer, out = trained(decoder)
    assert out.predicted_log_f0 is not None
    terms = [out.wave, out.predicted_log_f0, out.z_prior, out.posterior.log_std, *out.prior]
    sum((term * torch.randn_like(term)).sum() for term in terms).backward()  # type: ignore[union-attr]
    rest = {name for name, _ in synthesizer.named_parameters()} - moved(synthesizer)
    # Adding one number to every score changes no attention, so keys learn nothing of their bias.
    assert all(name.endswith("conv_k.bias") for name in rest)
