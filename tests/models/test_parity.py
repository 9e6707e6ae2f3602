"""The synthesizer, and what trains it, against a float64 NumPy evaluation of the formulae.

The reference was written from a description of so-vits-svc alone, and then compared with
so-vits-svc-fork 4.2.30 itself. They agree to 2e-9 in float64, and to 4e-6 where the fork has
float32 inside; in one thing, the phase of the filter bank, the reference was put right by it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference
import reference_blocks as blocks
import reference_decoders as decoders
import torch
from reference_blocks import Array, at
from reference_cases import AUDIO, Clip, clip, random_weights, small

from sovits.config import AudioConfig, DecoderKind, SynthesizerConfig
from sovits.models import transformer
from sovits.models.convolution import fold_weight_norm
from sovits.models.decoders.filterbank import InverseStft, Pqmf
from sovits.models.encoders import coarse_f0, log_f0
from sovits.models.noise import NoiseSource
from sovits.models.synthesizer import Synthesizer, TrainBatch

DECODERS: tuple[DecoderKind, ...] = ("hifi-gan", "istft", "ms-istft", "mb-istft")


def build(
    config: SynthesizerConfig, audio: AudioConfig = AUDIO
) -> tuple[Synthesizer, dict[str, Array]]:
    """Return a synthesizer with random weights, and the same as the reference reads them."""
    synthesizer = Synthesizer(config, audio).eval()
    weights = random_weights({k: tuple(v.shape) for k, v in synthesizer.state_dict().items()})
    synthesizer.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    return synthesizer, blocks.fold(weights)


def convert(synthesizer: Synthesizer, sound: Clip, **options: Any) -> Array:
    """Return what `infer` makes of a clip without any noise, in the synthesizer's own dtype."""
    dtype = synthesizer.emb_g.weight.dtype
    if synthesizer.config.volume:
        options["volume"] = torch.from_numpy(sound.volume)[None].to(dtype)
    wave = synthesizer.infer(
        torch.from_numpy(sound.content)[None].to(dtype),
        torch.from_numpy(sound.f0)[None].to(dtype),
        torch.from_numpy(sound.voiced)[None],
        torch.tensor([sound.speaker]),
        **{"deterministic": True} | options,
    )
    assert wave.dtype == dtype
    return wave[0].numpy().astype(np.float64)


def error(found: Array | torch.Tensor, wanted: Array) -> float:
    """Return the largest deviation over the largest value."""
    if isinstance(found, torch.Tensor):
        found = found.detach().numpy()
    assert found.shape == wanted.shape
    assert wanted.std() > 1e-2  # what vanishes would agree with anything
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("frames", [3, 21])
@pytest.mark.parametrize(("resblock", "volume"), [("1", False), ("2", True)])
@pytest.mark.parametrize("decoder", DECODERS)
def test_conversion_is_that_of_the_formulae(
    decoder: DecoderKind, resblock: str, volume: bool, frames: int
) -> None:
    config = small(decoder, resblock=resblock, volume=volume, predicts_f0=not volume)
    synthesizer, weights = build(config)
    sound = clip(frames)
    options = {"volume": sound.volume.astype(np.float64)} if volume else {}
    wanted = reference.infer(*sound.doubles(), sound.speaker, weights, config, AUDIO, **options)
    assert wanted.shape == (512 * frames,)
    assert decoder != "hifi-gan" or wanted.std() < 0.6  # the last tanh is not saturated
    assert error(convert(synthesizer, sound), wanted) < 2e-5
    assert error(convert(synthesizer.double(), sound), wanted) < EXACT[decoder]
    assert error(convert(synthesizer.fold(), sound), wanted) < EXACT[decoder]


# Inverse STFT and filter bank keep their fixed kernels in float32, whatever the weights are in.
EXACT = {"hifi-gan": 1e-9, "istft": 1e-6, "ms-istft": 1e-6, "mb-istft": 1e-6}


@pytest.mark.parametrize("decoder", ["hifi-gan", "istft"])
def test_conversion_with_predicted_pitch_is_that_of_the_formulae(decoder: DecoderKind) -> None:
    config = small(decoder)
    synthesizer, weights = build(config)
    sound = clip(21)
    wanted = reference.infer(
        *sound.doubles(), sound.speaker, weights, config, AUDIO, predict_f0=True
    )
    given = reference.infer(*sound.doubles(), sound.speaker, weights, config, AUDIO)
    assert error(given, wanted) > 0.1  # the prediction matters
    # An error of 1e-6 in pitch has grown to 1e-3 cycles of the ninth harmonic by the last frame.
    assert error(convert(synthesizer, sound, predict_f0=True), wanted) < 2e-3
    assert error(convert(synthesizer.double(), sound, predict_f0=True), wanted) < 2e-5


@pytest.mark.parametrize("noise_scale", [0.0, 0.4, 1.3])
def test_noise_scale_counts_standard_deviations_of_the_prior(noise_scale: float) -> None:
    config = small("istft")
    synthesizer, weights = build(config)
    sound = clip(9)
    content, f0, voiced = sound.doubles()
    speaker = weights["emb_g.weight"][sound.speaker][:, None]
    x = blocks.prenet(content, voiced, None, weights)
    mean, log_std = blocks.prior(x, f0, at(weights, "enc_p"), config.n_heads)
    drawn = NoiseSource(3).latent(config.inter_channels, 9)[0].numpy().astype(np.float64)
    z = mean + drawn * np.exp(log_std) * noise_scale
    z = blocks.flow(z, speaker, at(weights, "flow"), reverse=True)
    wanted = reference.decode(z, f0, speaker, weights, config, AUDIO)
    options = {"deterministic": False, "noise": NoiseSource(3), "noise_scale": noise_scale}
    assert error(convert(synthesizer, sound, **options), wanted) < 2e-5


def test_the_source_follows_the_sample_rate_of_the_voice() -> None:
    config, audio = small("hifi-gan"), AudioConfig(sample_rate=32_000)
    synthesizer, weights = build(config, audio)
    sound = clip(9)
    wanted = reference.infer(*sound.doubles(), sound.speaker, weights, config, audio)
    other = reference.infer(*sound.doubles(), sound.speaker, weights, config, AUDIO)
    assert error(other, wanted) > 0.1
    assert error(convert(synthesizer, sound), wanted) < 2e-5


def test_frames_without_pitch_have_no_sines() -> None:
    config = small("hifi-gan")
    synthesizer, weights = build(config)
    sound = clip(9)
    sound.f0[:] = 0
    sound.voiced[:] = False
    for predict_f0 in (False, True):
        wanted = reference.infer(
            *sound.doubles(), sound.speaker, weights, config, AUDIO, predict_f0=predict_f0
        )
        assert error(convert(synthesizer, sound, predict_f0=predict_f0), wanted) < 2e-3


def test_a_start_phase_goes_on_where_an_earlier_piece_ended() -> None:
    config = small("hifi-gan")
    synthesizer, weights = build(config)
    sound = clip(10)
    f0 = sound.f0.astype(np.float64)
    whole = decoders.source(f0, at(weights, "dec.m_source"), sample_rate=44_100, hop_length=512)
    phase = torch.tensor([f0[:6].sum() * 512 / 44_100 % 1], dtype=torch.float64)
    source = synthesizer.double().dec.m_source
    part = source(torch.from_numpy(f0[6:])[None], phase, None)
    assert error(part[0], whole[:, 6 * 512 :]) < 1e-9


@pytest.mark.parametrize("decoder", ["hifi-gan", "mb-istft"])
def test_training_on_a_padded_batch_is_that_of_the_formulae_for_each_clip(
    decoder: DecoderKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(decoder, volume=True)
    synthesizer, weights = build(config)
    synthesizer.double()
    lengths, segment = (13, 7, 3), 4  # the last is shorter than what is decoded
    clips = [clip(n, seed=i) for i, n in enumerate(lengths)]
    random = np.random.default_rng(1)
    spectra = [np.abs(random.standard_normal((AUDIO.n_bins, n))) for n in lengths]
    starts = [9, 2, 0]

    def padded(items: list[Array], value: float = 7) -> torch.Tensor:
        """Stack items of different lengths; what lies in the padding must not matter."""
        widths = [[(0, 0)] * (x.ndim - 1) + [(0, lengths[0] - x.shape[-1])] for x in items]
        rows = [np.pad(x, w, constant_values=value) for x, w in zip(items, widths, strict=True)]
        return torch.from_numpy(np.stack(rows))

    batch = TrainBatch(
        content=padded([c.content.astype(np.float64) for c in clips], 0),
        f0=padded([c.f0.astype(np.float64) for c in clips]),
        voiced=padded([c.voiced for c in clips]).bool(),
        volume=padded([c.volume.astype(np.float64) for c in clips]),
        spectrogram=padded(spectra),
        speaker=torch.tensor([c.speaker for c in clips]),
        mask=torch.tensor([[[float(i < n) for i in range(lengths[0])]] for n in lengths]).double(),
        start=torch.tensor(starts),
        formants=torch.ones(len(starts)),
    )
    monkeypatch.setattr(torch, "randn_like", lambda x: 0.3 * torch.ones_like(x))
    stretches = []
    monkeypatch.setattr(
        torch.Tensor, "uniform_", lambda x, *span: stretches.append(span) or x.fill_(1.125)
    )
    out = synthesizer(batch, segment)
    assert stretches == [(0.8, 1.2)]
    for i, (sound, n) in enumerate(zip(clips, lengths, strict=True)):
        content, f0, voiced = sound.doubles()
        speaker = weights["emb_g.weight"][sound.speaker][:, None]
        x = blocks.prenet(content, voiced, sound.volume.astype(np.float64), weights)
        normalised = blocks.normalised_log_f0(f0, voiced, 1.125)
        melody = blocks.f0_decoder(x, normalised, speaker, at(weights, "f0_decoder"), 2)
        mean, log_std = blocks.prior(x, f0, at(weights, "enc_p"), 2)
        q_mean, q_log_std = blocks.posterior(spectra[i], speaker, at(weights, "enc_q"))
        z = q_mean + 0.3 * np.exp(q_log_std)
        z_prior = blocks.flow(z, speaker, at(weights, "flow"))
        heard = slice(starts[i], starts[i] + segment)
        z_padded = np.pad(z, ((0, 0), (0, 1)))[:, heard]
        f0_padded = np.pad(f0, (0, 1), constant_values=7)[heard]
        wave = reference.decode(z_padded, f0_padded, speaker, weights, config, AUDIO)
        assert out.predicted_log_f0 is not None
        for found, wanted in (
            (out.prior.mean, mean),
            (out.prior.log_std, log_std),
            (out.posterior.mean, q_mean),
            (out.posterior.log_std, q_log_std),
            (out.z_prior, z_prior),
            (out.predicted_log_f0, melody[None]),
            (out.log_f0, blocks.log_f0(f0)[None]),
        ):
            assert error(found[i, ..., :n], wanted) < 1e-9
        for masked in (out.prior.mean, out.z_prior, out.predicted_log_f0):
            assert not masked[i, :, n:].any()
        assert error(out.wave[i, 0], wave) < 1e-6


def test_flow_back_and_forth_is_that_of_the_formulae() -> None:
    synthesizer, weights = build(small("istft"))
    synthesizer.double()
    z = np.random.default_rng(2).standard_normal((8, 11))
    speaker = weights["emb_g.weight"][1][:, None]
    mask = torch.ones(1, 1, 11, dtype=torch.float64)
    g = torch.from_numpy(speaker)[None]
    for reverse in (False, True):
        wanted = blocks.flow(z, speaker, at(weights, "flow"), reverse=reverse)
        found = synthesizer.flow(torch.from_numpy(z)[None], mask, g, inverse=reverse)
        assert error(found[0], wanted) < 1e-12


@pytest.mark.parametrize("at_once", [1, 3, 4, 7, 1024])
def test_attention_in_pieces_is_that_of_the_formulae(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(transformer, "QUERIES_AT_ONCE", at_once)
    synthesizer, weights = build(small("istft"))
    layer = synthesizer.double().enc_p.enc_.attn_layers[0]
    for frames in (1, 2, 4, 5, 9, 22):
        x = np.random.default_rng(frames).standard_normal((16, frames))
        wanted = blocks.attention(x, at(weights, "enc_p.enc_.attn_layers.0"), 2, window=4)
        mask = torch.ones(1, 1, frames, dtype=torch.float64)
        assert error(layer(torch.from_numpy(x)[None], mask)[0], wanted) < 1e-12


def test_predicted_pitch_does_not_hear_the_future() -> None:
    """But for the two frames that its first convolutions look ahead."""
    synthesizer, _ = build(small("istft"))
    decoder = synthesizer.f0_decoder
    assert decoder is not None
    x, melody, g = torch.randn(1, 16, 12), torch.randn(1, 1, 12), torch.randn(1, 8, 1)
    changed = x.clone()
    changed[..., 8:] += 1
    mask = torch.ones(1, 1, 12)
    before, after = decoder(x, melody, mask, g), decoder(changed, melody, mask, g)
    torch.testing.assert_close(before[..., :7], after[..., :7])
    assert not torch.allclose(before[..., 7], after[..., 7])


def test_coarse_pitch_is_that_of_the_formulae() -> None:
    f0 = np.concatenate(
        [[0.0, 1.0, 49.9, 50.0, 1100.0, 1101.0, 5000.0], np.arange(40.3, 1200, 0.7)]
    )
    found = coarse_f0(torch.from_numpy(f0)).numpy()
    np.testing.assert_array_equal(found, blocks.coarse(f0))
    assert set(found) == set(range(1, 256))
    assert error(log_f0(torch.from_numpy(f0)), blocks.log_f0(f0)) < 1e-15


@pytest.mark.parametrize(("n_fft", "hop_length"), [(16, 4), (12, 3), (8, 4)])
def test_inverse_stft_is_that_of_the_formulae_and_of_torch(n_fft: int, hop_length: int) -> None:
    random = np.random.default_rng(3)
    magnitude = np.exp(random.standard_normal((n_fft // 2 + 1, 20)))
    phase = 3 * random.standard_normal((n_fft // 2 + 1, 20))
    found = InverseStft(n_fft, hop_length)(
        torch.from_numpy(magnitude)[None], torch.from_numpy(phase)[None]
    )
    wanted = decoders.inverse_stft(magnitude, phase, n_fft, hop_length)
    spectrum = torch.polar(torch.from_numpy(magnitude), torch.from_numpy(phase))
    window = torch.hann_window(n_fft, dtype=torch.float64)
    assert error(found[0, 0], wanted) < 1e-6
    assert error(torch.istft(spectrum, n_fft, hop_length, n_fft, window), wanted) < 1e-12


def test_filter_bank_is_that_of_the_formulae() -> None:
    wave = np.random.default_rng(4).standard_normal(512)
    bands = decoders.pqmf_analysis(wave)
    bank = Pqmf(4)
    assert error(bank.split(torch.from_numpy(wave)[None, None])[0], bands) < 1e-6
    joined = decoders.pqmf_synthesis(bands)
    assert error(bank.join(torch.from_numpy(bands)[None])[0, 0], joined) < 1e-6


@pytest.mark.parametrize("decoder", DECODERS)
def test_folding_keeps_the_numbers(decoder: DecoderKind) -> None:
    synthesizer, weights = build(small(decoder))
    before = convert(synthesizer, clip(5))
    fold_weight_norm(synthesizer)
    folded = synthesizer.state_dict()
    assert folded.keys() == weights.keys()
    for name, weight in weights.items():
        np.testing.assert_allclose(folded[name].numpy(), weight, rtol=2e-6, atol=1e-7)
    assert error(convert(synthesizer, clip(5)), before) < 1e-5
