"""The light synthesizer streams exactly, is in tune exactly, and moves formants alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from made_voices import light
from scipy.signal import hilbert
from torch import Tensor

from sovits.config import AudioConfig, NativeConfig
from sovits.models import losses, native
from sovits.models.build import make_synthesizer
from sovits.models.decoders.source import frame_phases
from sovits.models.native import NativePast, NativeSynthesizer, pitch_code
from sovits.models.noise import NoiseSource
from sovits.models.shaping import LAG, MIN_GAIN, OVERLAP, Shaper, Shapes, minimum_phase, overlapped
from sovits.models.synthesizer import TrainBatch

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "with a flow": {"latent": 6, "flow_layers": 2},
    "of noise": {"harmonics": False},
    "far-sighted": {"look_ahead": 6, "prior_blocks": 3},
}
FRAMES = 42


def network(**changes: Any) -> NativeSynthesizer:
    """Return a small network in which everything is heard."""
    config = light(**changes)
    assert isinstance(config.synthesizer, NativeConfig)
    torch.manual_seed(4)
    made = NativeSynthesizer(config.synthesizer, config.audio)
    for name, parameter in made.named_parameters():
        if not name.startswith("shaper.head"):
            torch.nn.init.normal_(parameter, 0, 0.3)
    torch.nn.init.normal_(made.shaper.head.weight, 0, 0.3)
    return made.eval()


def inputs(frames: int = FRAMES, seed: int = 0) -> dict[str, Tensor]:
    """Return what one conversion hears."""
    random = torch.Generator().manual_seed(seed)
    return {
        "content": torch.randn(1, 9, frames, generator=random),
        "f0": torch.linspace(110, 500, frames)[None],
        "voiced": (torch.arange(frames) % 9 > 1)[None],
        "volume": 0.3 * torch.rand(1, frames, generator=random),
    }


def sing(made: NativeSynthesizer, heard: dict[str, Tensor], **more: Any) -> Tensor:
    return made.infer(**heard, speaker=torch.tensor([1]), **more)  # type: ignore[arg-type]


def in_chunks(
    made: NativeSynthesizer, heard: dict[str, Tensor], size: int, **more: Any
) -> Iterator[Tensor]:
    """Yield what comes out of a stream, in which the last frame goes on for the look-ahead."""
    ahead = made.config.look_ahead
    late = {
        name: torch.cat([x, x[..., -1:].expand(*x.shape[:-1], ahead)], -1)
        for name, x in heard.items()
    }
    past: NativePast | None = None
    for begin in range(0, late["f0"].shape[1], size):
        now = {name: x[..., begin : begin + size] for name, x in late.items()}
        wave, past = made.stream(
            **now,  # type: ignore[arg-type]
            speaker=torch.tensor([1]),
            past=past,
            noise=NoiseSource(5, 100 + begin),
            phase=torch.tensor([0.3]) if begin == 0 else None,
            **more,
        )
        yield wave


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_a_stream_is_the_whole(kind: str) -> None:
    made, heard = network(**KINDS[kind]), inputs()
    hop, ahead = made.audio.hop_length, made.config.look_ahead
    whole = sing(made, heard, noise=NoiseSource(5, 100), phase=torch.tensor([0.3]), formants=1.2)
    assert whole.shape == (1, FRAMES * hop)
    for size in (1, 3, 14, 100):
        parts = list(in_chunks(made, heard, size, formants=1.2))
        assert all(part.shape[1] % hop == 0 for part in parts)
        joined = torch.cat(parts, 1)[:, ahead * hop :]
        assert (joined - whole).abs().max() < 1e-4 * max(1.0, float(whole.abs().max()))


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_computed_in_chunks_and_nobody_hears_it(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, heard = network(**KINDS[kind]), inputs()
    whole = sing(made, heard)
    monkeypatch.setattr(native, "CHUNK", 5)
    torch.testing.assert_close(sing(made, heard), whole, rtol=1e-4, atol=1e-4)
    cut = sing(made, heard, kept=slice(7, 20))
    hop = made.audio.hop_length
    torch.testing.assert_close(cut, whole[:, 7 * hop : 20 * hop], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["content", "f0", "voiced", "volume"])
def test_it_looks_ahead_as_far_as_it_says(kind: str, name: str) -> None:
    made, heard, at = network(**KINDS[kind]), inputs(), 21
    for block in made.prior.blocks:  # so that what is furthest ahead is heard well
        torch.nn.init.constant_(block.scale, 3.0)
        torch.nn.init.constant_(block.depthwise.conv.weight[..., -1], 3.0)
    hop, ahead = made.audio.hop_length, made.config.look_ahead
    changed = {key: x.clone() for key, x in heard.items()}
    # From here on, as a new phase is then heard for ever.
    changed[name][..., at:] = {
        "voiced": ~heard["voiced"], "f0": 1.3 * heard["f0"]
    }.get(name, heard[name] + 0.5)[..., at:]  # fmt: skip
    before = sing(made, heard)
    moved = (sing(made, changed) - before).abs()[0] / before.abs().max()
    # The first frame that may move begins softly, by its window.
    begin = (at - ahead) * hop
    assert moved[:begin].max() < 1e-7
    assert moved[begin : begin + 2 * hop].max() > 2e-7
    assert moved[at * hop :].max() > 1e-3


@pytest.mark.parametrize("frames", [1, 2, 5, 33])
def test_there_are_as_many_samples_as_there_should_be(frames: int) -> None:
    wave = sing(network(), inputs(frames))
    assert wave.shape == (1, frames * 160)
    assert wave.isfinite().all()


def test_no_stream_leaves_anything_on_the_network() -> None:
    made, one, other = network(latent=4), inputs(), inputs(seed=1)
    state = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    attributes = {name: set(vars(module)) for name, module in made.named_modules()}
    with torch.inference_mode():
        alone = [torch.cat(list(in_chunks(made, heard, 6)), 1) for heard in (one, other)]
        pairs = list(zip(in_chunks(made, one, 6), in_chunks(made, other, 6), strict=True))
    for i in range(2):
        torch.testing.assert_close(torch.cat([p[i] for p in pairs], 1), alone[i], rtol=0, atol=0)
    assert all(torch.equal(tensor, state[name]) for name, tensor in made.state_dict().items())
    assert {name: set(vars(module)) for name, module in made.named_modules()} == attributes


def flat(envelope: Tensor | None = None, audio: AudioConfig | None = None) -> NativeSynthesizer:
    """Return a network that says the same of every frame, and makes no noise."""
    config = NativeConfig(content_channels=9, width=8, n_speakers=2, harmonic_bands=64)
    made = NativeSynthesizer(config, audio or AudioConfig()).eval()
    with torch.no_grad():
        made.shaper.head.weight.zero_()
        made.shaper.head.bias.fill_(MIN_GAIN)
        made.shaper.head.bias[:64] = 0.0 if envelope is None else envelope
    return made


def melody(f0: Tensor) -> dict[str, Tensor]:
    frames = len(f0)
    return {
        "content": torch.zeros(1, 9, frames),
        "f0": f0[None],
        "voiced": torch.ones(1, frames, dtype=torch.bool),
        "volume": torch.full((1, frames), 0.1),
    }


def partials(wave: Tensor, f0: float, rate: int) -> tuple[Tensor, float]:
    """Return how loud each harmonic of `f0` is, by least squares, and the share that is left."""
    count = int(min(7000, rate / 2 - 2 * f0) / f0)
    turns = torch.arange(len(wave), dtype=torch.float64)[:, None] / rate * f0
    angle = 2 * math.pi * turns * torch.arange(1, int(rate / 2 / f0) + 1)
    basis = torch.cat([angle.cos(), angle.sin()], 1)
    target = wave.double()[:, None]
    found = torch.linalg.lstsq(basis, target).solution
    left = (target - basis @ found).square().sum() / target.square().sum()
    both = found[:, 0].view(2, -1).square().sum(0).sqrt()
    return both[:count], float(left)


@pytest.mark.parametrize("hertz", [60.0, 110.3, 440.0, 777.7, 1500.0])
def test_a_held_note_is_exactly_in_tune(hertz: float) -> None:
    tilted = flat(torch.linspace(0, -4, 64))
    wave = sing(tilted, melody(torch.full((30,), hertz)), deterministic=True)[0]
    inner = wave[4000:8000]
    _, left = partials(inner, hertz, 44_100)
    assert left < 1e-5
    for cents in (-4, 4):  # and it is not in tune with anything else
        assert partials(inner, hertz * 2 ** (cents / 1200), 44_100)[1] > 10 * left


@pytest.mark.parametrize(("low", "high"), [(60.0, 240.0), (300.0, 1500.0), (900.0, 450.0)])
def test_a_glide_goes_where_it_was_asked_to(low: float, high: float) -> None:
    hop, rate, frames = 512, 44_100, 120
    f0 = low * (high / low) ** torch.linspace(0, 1, frames)
    wave = sing(flat(torch.linspace(0, -4, 64)), melody(f0), deterministic=True)[0].double()
    begin = frame_phases(f0[None], rate, hop)[0, :-1, None]
    steps = torch.arange(1, hop + 1, dtype=torch.float64) / rate
    cycles = (begin + f0.double()[:, None] * steps).flatten()
    # What is left of the fundamental once the phase that was asked for is taken from it.
    still = wave * torch.exp(-2j * math.pi * cycles)
    size = 2048
    window = torch.hann_window(size, dtype=torch.float64)
    pieces = (still.unfold(0, size, hop) * window).sum(-1)[6:-6]
    drift = np.unwrap(torch.angle(pieces).numpy())
    error = np.diff(drift) / (2 * np.pi) * rate / hop  # Hz
    at = f0[8 : 8 + len(error)].double().numpy()
    cents = 1200 * np.log2(1 + error / at)
    assert np.abs(cents).mean() < 3
    assert np.abs(np.median(cents)) < 1


def test_the_phase_goes_on_where_it_was_told_to() -> None:
    made, note = flat(), melody(torch.full((20,), 440.0))
    turned = 440.0 * 10 * 512 / 44_100
    whole = sing(made, note, deterministic=True)
    later = sing(made, note, deterministic=True, phase=torch.tensor([turned]))
    inner = slice(3000, 4000)
    torch.testing.assert_close(
        later[0, inner], whole[0, 5120:][inner], rtol=0, atol=2e-3 * float(whole.abs().max())
    )


def test_formants_move_the_envelope_and_not_the_pitch() -> None:
    place = torch.arange(64.0)
    made = flat(-6 + 5 * torch.exp(-((place - 30) / 6).square()))
    note, hertz = melody(torch.full((30,), 80.0)), 80.0
    loud = {}
    for factor in (0.8, 1.0, 1.25):
        wave = sing(made, note, deterministic=True, formants=factor)[0, 4000:9000]
        loud[factor], left = partials(wave, hertz, 44_100)
        assert left < 1e-5
    hz = hertz * np.arange(1, len(loud[1.0]) + 1)
    decibels = {factor: 20 * np.log10(x.numpy()) for factor, x in loud.items()}
    for factor in (0.8, 1.25):
        inside = (hz > 200) & (hz < 5000)
        wanted = np.interp(hz / factor, hz, decibels[1.0])
        assert np.abs(decibels[factor] - wanted)[inside].max() < 1.0
        assert hz[decibels[factor].argmax()] / hz[decibels[1.0].argmax()] == pytest.approx(
            factor, rel=0.08
        )


def test_noise_alone_has_no_pulses() -> None:
    heard = inputs()
    for made in (network(harmonics=False), network(latent=3, harmonics=False)):
        assert not sing(made, heard, deterministic=True).any()
        assert sing(made, heard).abs().max() > 1e-3


def test_a_voice_with_a_latent_varies_as_much_as_it_is_asked_to() -> None:
    made, heard = network(latent=4, harmonics=True), inputs()
    still = sing(made, heard, noise_scale=0.0)
    gaps = [float((sing(made, heard, noise_scale=s) - still).square().mean()) for s in (0.2, 1.0)]
    assert 0 < gaps[0] < gaps[1]


def shaper(bands: int = 16, **changes: Any) -> Shaper:
    config = NativeConfig(width=8, harmonic_bands=bands, noise_bands=8, **changes)
    return Shaper(config, AudioConfig(16_000, 160, 640))


def test_windows_add_up_to_the_constant_that_is_divided_by() -> None:
    window = torch.hann_window(640, dtype=torch.float64)
    total = window.square().view(4, 160).sum(0)
    torch.testing.assert_close(total, torch.full_like(total, OVERLAP), rtol=1e-12, atol=0)


def test_gains_of_one_change_nothing() -> None:
    """Two routes: pulses cut, filtered and added up, and pulses."""
    made, f0 = shaper(), torch.full((1, 40), 130.0)
    shapes = Shapes(torch.zeros(1, 40, 16), torch.full((1, 40, 4, 8), MIN_GAIN))
    wave = made(shapes, f0, torch.zeros(1))
    pulses = made.pulses(f0, frame_phases(f0, 16_000, 160)[:, :-1])
    inner = slice(LAG * 160, -LAG * 160)
    torch.testing.assert_close(wave[:, inner], pulses[:, inner], rtol=0, atol=1e-4)
    assert pulses.square().mean() == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("look_ahead", [4, 7])
@torch.inference_mode()
def test_training_and_streaming_make_the_same_sound(look_ahead: int) -> None:
    made, frames = shaper(look_ahead=look_ahead), 50
    f0 = torch.linspace(100, 300, frames)[None]
    shapes = Shapes(torch.randn(1, frames, 16), torch.full((1, frames, 4, 8), MIN_GAIN))
    trained = made(shapes, f0, torch.tensor([0.2]))
    late = look_ahead - LAG
    delayed = Shapes(*(torch.cat([x[:, :1]] * late + [x], 1) for x in shapes))
    heard = torch.cat([f0, f0[:, -1:].expand(-1, late)], 1)
    wave, _ = made.stream(delayed, heard, None, noise=None, phase=torch.tensor([0.2]))
    aligned = wave[:, look_ahead * 160 :]
    inner = slice(LAG * 160, (frames - 4) * 160)
    torch.testing.assert_close(aligned[:, inner], trained[:, inner], rtol=0, atol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 0.7, 1.3])
def test_the_quick_way_to_filter_is_the_one_of_training(scale: float) -> None:
    """Two routes: Fourier transforms of each frame's envelope, and one matrix for all of them."""
    made = shaper()
    shapes = Shapes(torch.randn(2, 7, 16), torch.randn(2, 7, 4, 8))
    pulses, noise = torch.randn(2, 6 * 160 + 640), torch.randn(2, 27 * 40 + 160)
    trained = made._shaped(shapes, pulses, noise, torch.full((2,), scale))
    quick = made._filtered(shapes, pulses, noise, scale)
    for one, other in zip(trained, quick, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4 * float(one.abs().max()))


@pytest.mark.parametrize(("length", "hop"), [(8, 2), (6, 6), (9, 3)])
def test_pieces_are_added_up_where_they_lie(length: int, hop: int) -> None:
    pieces = torch.randn(2, 5, length, dtype=torch.float64)
    wanted = torch.zeros(2, 4 * hop + length, dtype=torch.float64)
    for frame in range(5):
        wanted[:, frame * hop : frame * hop + length] += pieces[:, frame]
    torch.testing.assert_close(overlapped(pieces, hop), wanted)


def test_a_filter_of_minimum_phase_is_that_of_hilberts_transform() -> None:
    random = np.random.default_rng(0)
    smooth = np.convolve(random.normal(size=257 + 40), np.hanning(41) / 20, "valid")
    found = minimum_phase(torch.from_numpy(smooth)).numpy()
    whole = np.concatenate([smooth, smooth[-2:0:-1]])
    wanted = np.exp(smooth - 1j * np.imag(hilbert(whole))[:257])
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    response = np.fft.irfft(found)
    assert np.square(response[:64]).sum() > 0.95 * np.square(response).sum()


def test_the_code_of_a_pitch_covers_the_range_evenly() -> None:
    f0 = torch.tensor([[1.0, 40.0, 80.0, 160.0, 2000.0, 9999.0]])
    code = pitch_code(f0)[0]
    assert torch.equal(code[0], code[1])
    assert torch.equal(code[4], code[5])
    best = code.argmax(-1)
    assert best[0] == 0
    assert best[-1] == 31
    assert abs(int(best[3] - best[2]) - int(best[2] - best[1])) <= 1


def batch(frames: int = 20) -> TrainBatch:
    heard = [inputs(frames, seed) for seed in (0, 1)]
    stacked = {name: torch.cat([one[name] for one in heard]) for name in heard[0]}
    return TrainBatch(
        **stacked,
        spectrogram=torch.rand(2, 321, frames),
        speaker=torch.tensor([0, 2]),
        mask=torch.ones(2, 1, frames),
        start=torch.tensor([0, 11]),
        formants=torch.tensor([1.0, 1.3]),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter(kind: str) -> None:
    made = network(**KINDS[kind]).train()
    out = made(batch(), 9)
    assert out.wave.shape == (2, 1, 9 * 160)
    loss = out.wave.square().mean() + out.wave[..., 1:].mul(out.wave[..., :-1]).mean()
    if made.latent is not None:
        mask = torch.ones(2, 1, 20)
        loss = loss + losses.divergence(out.z_prior, out.posterior, out.prior, mask)
    loss.backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_what_a_clip_is_told_of_its_speed_moves_its_envelope_alone() -> None:
    made = network().eval()
    plain, moved = batch(), batch()._replace(formants=torch.tensor([1.3, 1.3]))
    torch.manual_seed(0)
    first = made(plain, 9).wave
    torch.manual_seed(0)
    second = made(moved, 9).wave
    assert not torch.allclose(first[0], second[0])
    torch.testing.assert_close(first[1], second[1], rtol=0, atol=1e-6)


def test_what_it_cannot_do_without_is_asked_for() -> None:
    made, heard = network(latent=3), inputs()
    with pytest.raises(ValueError, match="needs the volume"):
        sing(made, {**heard, "volume": None})  # type: ignore[dict-item]
    folded = network(latent=3).fold()
    assert not any("posterior" in name for name in folded.state_dict())
    with pytest.raises(ValueError, match="cannot be trained"):
        folded(batch(), 9)
    config = light(latent=3)
    lean = make_synthesizer(config.synthesizer, config.audio, posterior=False)
    assert lean.state_dict().keys() == folded.state_dict().keys()
