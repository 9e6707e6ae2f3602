"""A flow goes where the mathematics says, and a refiner does what it is asked and no more."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from sovits.audio.mel import FLOOR
from sovits.config import AudioConfig, RefinerConfig
from sovits.errors import ConfigError, RefinerError
from sovits.models.noise import NoiseSource
from sovits.models.refiner import (
    CENTRE,
    FAULT,
    POWER,
    SPAN,
    Conditions,
    NativeRefiner,
    Velocity,
    euler,
    flow_loss,
    gain,
    read_refiner,
    write_refiner,
)

BANDS, CHANNELS = 6, 5
SMALL = RefinerConfig(
    content_channels=CHANNELS, n_speakers=2, speaker_channels=4, width=12, blocks=2, kernel_size=5
)
AUDIO = AudioConfig(n_mels=BANDS, mel_min=40.0)


def made_refiner(*, taught: bool = True) -> NativeRefiner:
    torch.manual_seed(1)
    network = Velocity(SMALL, BANDS)
    if taught:  # a new one says 0
        nn.init.normal_(network.out.weight)
    network.eval().requires_grad_(False)
    return NativeRefiner(SMALL, network, "sovits-content", {"a": 0, "b": 1}, AUDIO)


def a_sound(frames: int, seed: int = 0) -> tuple[Tensor, Conditions]:
    g = torch.Generator().manual_seed(seed)
    told = Conditions(
        torch.randn(1, CHANNELS, frames, generator=g),
        100 + 400 * torch.rand(1, frames, generator=g),
        0.1 * torch.rand(1, frames, generator=g),
        torch.tensor([1]),
    )
    return torch.randn(1, BANDS, frames, generator=g) - 4, told


# Normal distributions: z of (0, a), y of (m, b), independent. Where x(t) is, the mean velocity is
# m + (t b^2 - (1 - t) a^2) / (t^2 b^2 + (1 - t)^2 a^2) (x - t m).
def exact(a: float, b: float, m: float) -> torch.nn.Module:
    class Exact(nn.Module):
        def forward(self, x: Tensor, t: float) -> Tensor:
            variance = t**2 * b**2 + (1 - t) ** 2 * a**2
            slope = (t * b**2 - (1 - t) * a**2) / variance
            return m + slope * (x - t * m)

    return Exact()


@pytest.mark.parametrize(("a", "b", "m"), [(1.0, 1.0, 0.0), (1.0, 0.3, 2.0), (0.2, 0.9, -1.0)])
def test_a_flow_between_normal_distributions_maps_each_place_to_its_place(
    a: float, b: float, m: float
) -> None:
    x = a * torch.linspace(-3, 3, 13).double()
    end = euler(exact(a, b, m), x, 500)
    torch.testing.assert_close(end, m + b / a * x, atol=0.03, rtol=0)


def test_lines_that_do_not_cross_need_one_evaluation() -> None:
    x = torch.linspace(-3, 3, 13).double()
    end = euler(lambda place, t: (1.5 * place - place) / (1 + 0.5 * t) + 0 * t, x, 1)
    torch.testing.assert_close(end, 1.5 * x)


class Line(nn.Module):
    """Stands in for a network: a line of its place, for one time."""

    def __init__(self) -> None:
        super().__init__()
        self.slope, self.offset = nn.Parameter(torch.zeros(2)), None

    def known(self, told: Conditions) -> Tensor:
        return told.f0

    def forward(self, x: Tensor, _time: Tensor, _strength: Tensor, _known: Tensor) -> Tensor:
        return self.slope[0] + self.slope[1] * x


@pytest.mark.parametrize(("strength", "time"), [(1.0, 0.3), (0.4, 0.7), (0.4, 0.0)])
def test_what_is_learnt_of_normal_distributions_is_their_mean_velocity(
    strength: float, time: float
) -> None:
    g = torch.Generator().manual_seed(0)
    n, b, m = 20_000, 0.5, 1.2
    # The synthesizer's mel is the recording's and an error of its own.
    real = m + b * torch.randn(1, 1, n, generator=g)
    made = real + 0.3 * torch.randn(1, 1, n, generator=g)
    noise = torch.randn(1, 1, n, generator=g)
    network, told = Line(), a_sound(n)[1]
    optimizer = torch.optim.LBFGS(network.parameters(), line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = flow_loss(
            network,  # type: ignore[arg-type]
            made * SPAN + CENTRE,
            real * SPAN + CENTRE,
            told,
            torch.ones(1, 1, n),
            strength=torch.tensor([strength]),
            time=torch.tensor([time]),
            noise=noise,
        )
        value.backward()
        return value

    for _ in range(3):
        optimizer.step(loss)
    s, t = strength, time
    # z = s e + (1 - s) (y + d), x = (1 - t) z + t y, v = y - z, all jointly normal.
    of_y = (1 - t) * (1 - s) + t
    var_x = of_y**2 * b**2 + (1 - t) ** 2 * ((1 - s) ** 2 * 0.09 + s**2)
    covariance = s * of_y * b**2 - (1 - t) * ((1 - s) ** 2 * 0.09 + s**2)
    slope = covariance / var_x
    expected = torch.tensor([s * m - slope * of_y * m, slope])
    torch.testing.assert_close(network.slope.detach(), expected, atol=0.03, rtol=0)


def test_strength_0_is_what_it_was() -> None:
    mel, told = a_sound(20)
    assert made_refiner().refine(mel, *told, strength=0.0) is mel


@pytest.mark.parametrize(("strength", "time"), [(1.0, 0.0), (0.1, 0.0), (0.4, 0.6), (0.7, 1.0)])
def test_a_new_one_says_what_is_right_of_normal_distributions(strength: float, time: float) -> None:
    g = torch.Generator().manual_seed(0)
    y, d, e = (torch.randn(200_000, generator=g) for _ in range(3))
    y, d = y * POWER**0.5, d * FAULT**0.5
    z = strength * e + (1 - strength) * (y + d)
    x, v = (1 - time) * z + time * y, y - z
    slope = float((x * v).mean() / x.square().mean())
    assert float(gain(torch.tensor(time), torch.tensor(strength))) == pytest.approx(slope, abs=0.02)


def test_one_that_has_learnt_nothing_takes_noise_out_of_noise() -> None:
    refiner, told = made_refiner(taught=False), a_sound(4000)[1]
    g = torch.Generator().manual_seed(3)
    real = torch.randn(1, BANDS, 4000, generator=g) * POWER**0.5
    made = real + FAULT**0.5 * torch.randn(real.shape, generator=g)
    for strength in (0.2, 0.5):
        drawn = refiner.refine(made * SPAN + CENTRE, *told, strength=strength, steps=20)
        refined = (drawn - CENTRE) / SPAN
        # However much noise there was, it ends with the variance of recordings.
        assert float(refined.var()) == pytest.approx(POWER, rel=0.15)


def test_strength_1_draws_from_noise_alone() -> None:
    (mel, told), (other, _) = a_sound(20), a_sound(20, 5)
    a, b = (made_refiner().refine(x, *told, strength=1.0) for x in (mel, other))
    assert torch.equal(a, b)


def test_a_seed_is_a_sound() -> None:
    mel, told = a_sound(20)
    refiner = made_refiner()
    first, again, other = (
        refiner.refine(mel, *told, noise=NoiseSource(seed)) for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@given(st.integers(0, 60), st.integers(1, 30), st.integers(1, 4))
def test_a_part_heard_with_what_it_depends_on_is_that_of_the_whole(
    begin: int, length: int, steps: int
) -> None:
    refiner, total = made_refiner(), 90
    mel, told = a_sound(total)
    whole = refiner.refine(mel, *told, steps=steps, noise=NoiseSource(2, 11))
    reach = refiner.reach(steps)
    low, high = max(0, begin - reach), min(total, begin + length + reach)
    part = refiner.refine(
        mel[..., low:high],
        *(x[..., low:high] for x in told[:3]),
        told.speaker,
        steps=steps,
        noise=NoiseSource(2, 11 + low),
    )
    torch.testing.assert_close(
        part[..., begin - low : begin - low + length],
        whole[..., begin : begin + length],
        atol=1e-4,
        rtol=1e-4,
    )


def test_all_that_is_told_matters() -> None:
    refiner = made_refiner()
    mel, told = a_sound(30)
    plain = refiner.refine(mel, *told)
    changed = [
        told._replace(content=told.content + 1),
        told._replace(f0=told.f0 * 2),
        told._replace(volume=told.volume * 3),
        told._replace(speaker=torch.tensor([0])),
    ]
    assert all(not torch.allclose(refiner.refine(mel, *other), plain) for other in changed)


def test_speakers_can_be_mixed() -> None:
    refiner = made_refiner()
    mel, told = a_sound(60)
    alone = refiner.refine(mel, *told)
    shares = torch.zeros(1, 2, 60)
    shares[:, 1] = 1
    torch.testing.assert_close(refiner.refine(mel, *told[:3], shares), alone, atol=1e-5, rtol=1e-5)
    shares[:, 0, 40:], shares[:, 1, 40:] = 0.5, 0.5
    mixed = refiner.refine(mel, *told[:3], shares)
    reach = refiner.reach(None)
    torch.testing.assert_close(
        mixed[..., : 40 - reach], alone[..., : 40 - reach], atol=1e-5, rtol=1e-5
    )
    assert not torch.allclose(mixed[..., 40:], alone[..., 40:])


@pytest.mark.parametrize("steps", [1, 2, 20])
def test_what_it_draws_is_a_mel_spectrogram(steps: int) -> None:
    mel, told = a_sound(10)
    refined = made_refiner().refine(mel - 6, *told, steps=steps)
    assert refined.shape == mel.shape
    assert refined.isfinite().all()
    assert refined.min() >= math.log(FLOOR) - 1e-5


def test_a_sound_of_nothing_is_nothing() -> None:
    mel, told = a_sound(5)
    nothing = made_refiner().refine(mel[..., :0], *(x[..., :0] for x in told[:3]), told.speaker)
    assert nothing.shape == (1, BANDS, 0)


def test_what_it_cannot_do_is_refused() -> None:
    mel, told = a_sound(5)
    with pytest.raises(RefinerError, match="no sampler ddim"):
        made_refiner().refine(mel, *told, sampler="ddim")
    with pytest.raises(RefinerError, match=r"21 evaluations .* 1 to 20"):
        made_refiner().refine(mel, *told, steps=21)


def test_padding_teaches_nothing() -> None:
    torch.manual_seed(0)
    network, (mel, told) = Velocity(SMALL, BANDS), a_sound(12)
    mask = torch.ones(1, 1, 12)
    mask[..., 8:] = 0
    how = {
        "strength": torch.tensor([0.5]),
        "time": torch.tensor([0.2]),
        "noise": torch.zeros(1, BANDS, 12),
    }
    other = mel.clone()
    other[..., 8:] += 5
    losses = [flow_loss(network, mel, x, told, mask, **how) for x in (mel, other)]
    assert losses[0].item() == losses[1].item()


def test_it_learns_what_a_synthesizer_gets_wrong() -> None:
    torch.manual_seed(0)
    network, (real, told) = Velocity(SMALL, BANDS), a_sound(60)
    made = real.roll(1, 1) * 0.5 - 3
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    history = []
    for _ in range(60):
        loss = flow_loss(
            network,
            made,
            real,
            told,
            torch.ones(1, 1, 60),
            strength=torch.rand(1) * 0.3,
            time=torch.rand(1),
            noise=torch.randn(1, BANDS, 60),
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert sum(history[-10:]) < 0.75 * sum(history[:10])
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def test_one_is_kept_in_a_file(tmp_path: Path) -> None:
    refiner, path = made_refiner(), tmp_path / "refiner.safetensors"
    write_refiner(path, refiner)
    again = read_refiner(path)
    assert (again.config, again.audio, again.content) == (SMALL, AUDIO, "sovits-content")
    assert (again.speakers, again.strength) == ({"a": 0, "b": 1}, refiner.strength)
    mel, told = a_sound(20)
    torch.testing.assert_close(
        again.refine(mel, *told), refiner.refine(mel, *told), atol=0.05, rtol=0.01
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"speakers": {"a": 7}}, "its speakers"),
        ({"strength": 3.0}, "its strength is 3.0"),
        ({"content": 5}, "its speakers, content or card"),
    ],
)
def test_what_contradicts_itself_is_refused(
    tmp_path: Path, change: dict[str, object], told: str
) -> None:
    refiner, path = made_refiner(), tmp_path / "refiner.safetensors"
    for name, value in change.items():
        setattr(refiner, name, value)
    write_refiner(path, refiner)
    with pytest.raises(RefinerError, match=told):
        read_refiner(path)


@pytest.mark.parametrize("settings", [{"width": 0}, {"kernel_size": 4}])
def test_shapes_that_cannot_be_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"width|kernel_size"):
        RefinerConfig(**settings)  # type: ignore[arg-type]


def test_it_is_light() -> None:
    count = sum(p.numel() for p in Velocity(RefinerConfig(n_speakers=10), 128).parameters())
    assert count < 15e6
