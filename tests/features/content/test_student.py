"""The small encoder hears a stream as it hears a whole, as far ahead as it says."""

from __future__ import annotations

from itertools import pairwise
from math import erf, log2
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from sovits.errors import AudioError, WeightsError
from sovits.features.content import CONTENT, load_content_encoder
from sovits.features.content import student as module
from sovits.features.content.student import (
    AHEAD,
    AUDIO,
    CENTRE,
    DELAY,
    FLOOR,
    LEVEL,
    MARGIN,
    SCALE,
    SILENCE,
    WINDOW,
    Layer,
    StudentContent,
    StudentEncoder,
    StudentPast,
)
from sovits.types import Content, Wave

HOP, N_FFT = AUDIO.hop_length, AUDIO.n_fft
SPEC = CONTENT["sovits-content"]
REACH = 2 * len(AHEAD) * (WINDOW - 1) + 2
"""Frames of the past that the first frame of a step depends on."""


def lively(network: StudentEncoder) -> StudentEncoder:
    """Return it without the parameters that begin as nothing, and frozen."""
    for parameter in (network.position, *(layer.places for layer in network.layers)):
        torch.nn.init.normal_(parameter)
    torch.nn.init.normal_(network.head.weight)
    network.softness.fill_(300.0)  # so that several units count
    return network.requires_grad_(False).eval()


def encoder() -> StudentContent:
    """Return a narrow one, of as far a look ahead as the real one."""
    torch.manual_seed(1)
    return StudentContent(SPEC, lively(StudentEncoder(12)), torch.device("cpu"))


SMALL = encoder()


def noise(samples: int, seed: int = 0) -> Wave:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def size(past: StudentPast) -> int:
    """Return how many bytes are kept alive by what a stream remembers."""
    tensors = [past.wave, past.mel, *(tensor for layer in past.layers for tensor in layer)]
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


def streamed(wave: Wave, sizes: list[int]) -> Content:
    """Return what is heard when so many samples come at a time, the last size again and again."""
    padded = torch.nn.functional.pad(wave, (0, -len(wave) % HOP + DELAY))
    parts, past, begin, turn = [], None, 0, 0
    while begin < len(padded):
        count = sizes[min(turn, len(sizes) - 1)]
        part, past = SMALL.push(padded[begin : begin + count], past)
        parts.append(part)
        begin, turn = begin + count, turn + 1
    return torch.cat(parts, 1)[:, : -(-len(wave) // HOP)]


@pytest.mark.parametrize("size", [1, 137, 441, 511, 512, 513, 882, 7056, 100_000])
def test_a_stream_is_the_whole(size: int) -> None:
    wave = noise(20_001 if size > 1 else 1100)
    torch.testing.assert_close(streamed(wave, [size]), SMALL.encode(wave), rtol=0, atol=1e-4)


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=6), st.integers(64, 3000))
def test_a_stream_of_uneven_chunks_is_the_whole(sizes: list[int], last: int) -> None:
    wave = noise(8000)
    heard = streamed(wave, [*sizes, last])
    torch.testing.assert_close(heard, SMALL.encode(wave), rtol=0, atol=1e-4)


@settings(max_examples=10)
@given(st.lists(st.integers(20_000, 90_000), min_size=1, max_size=4))
def test_a_stream_is_the_whole_when_the_past_is_full(sizes: list[int]) -> None:
    wave = noise(180_000)
    torch.testing.assert_close(streamed(wave, sizes), SMALL.encode(wave), rtol=0, atol=1e-4)


@pytest.mark.parametrize("samples", [0, 1, 511, 512, 513, 1024, 1025, 5 * 512 + 7, 70_001])
def test_there_is_a_frame_for_every_hop_that_has_begun(
    samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wave = noise(samples)
    content = SMALL.encode(wave)
    assert content.shape == (192, -(-samples // HOP))
    monkeypatch.setattr(module, "CHUNK", 3 * HOP)
    torch.testing.assert_close(SMALL.encode(wave), content, rtol=0, atol=1e-4)


@pytest.mark.parametrize("at", [20 * HOP, 20 * HOP + 1, 21 * HOP - 1, 21 * HOP])
def test_it_looks_ahead_as_far_as_it_says(at: int) -> None:
    wave = noise(40 * HOP)
    changed = wave.clone()
    changed[at:] = noise(len(wave), 1)[at:]
    moved = (SMALL.encode(changed) - SMALL.encode(wave)).abs().amax(0)
    assert SPEC.look_ahead == DELAY == 2304
    # Frame i hears what comes before sample (i + 1) * hop + look_ahead; the second of a pair, what
    # the first hears.
    ends = (torch.arange(40) // 2 * 2 + 1) * HOP + DELAY
    assert not moved[ends <= at].any()
    assert moved[ends > at + 32].min() > 1e-7  # the window's very end is as good as zero


@pytest.mark.parametrize("until", [1, 700, 5000])
def test_it_forgets(until: int) -> None:
    wave = noise((REACH + 20) * HOP)
    changed = wave.clone()
    changed[:until] = 0
    moved = (SMALL.encode(changed) - SMALL.encode(wave)).abs().amax(0)
    begins = (torch.arange(REACH + 20) // 2 * 2 - REACH) * HOP - MARGIN
    assert moved[: 2 * len(AHEAD)].min() > 1e-7
    assert moved[begins < until].count_nonzero() > 0.95 * REACH
    torch.testing.assert_close(moved[begins >= until], 0 * moved[begins >= until], rtol=0, atol=0)
    assert (begins >= until).sum() > 4


def test_a_frame_comes_out_as_soon_as_it_can() -> None:
    wave = noise(30 * HOP)
    past, heard = None, 0
    for begin in range(0, len(wave), 64):
        content, past = SMALL.push(wave[begin : begin + 64], past)
        heard += content.shape[1]
        ready = (begin + 64 - DELAY) // HOP  # as it was promised: the first so many
        assert heard == 2 * max(0, (ready + 1) // 2)
    for samples in (HOP + DELAY - 1, HOP + DELAY, 3 * HOP + DELAY - 1, 3 * HOP + DELAY):
        frames = SMALL.push(wave[:samples])[0].shape[1]
        assert frames == 2 * (((samples - DELAY) // HOP + 1) // 2)


def test_two_streams_do_not_know_of_each_other() -> None:
    one, other = noise(6000), noise(6000, 1)
    pasts, heard = [None, None], [[], []]  # type: ignore[var-annotated]
    for begin in range(0, 6000, 500):
        for i, wave in enumerate((one, other)):
            part, pasts[i] = SMALL.push(wave[begin : begin + 500], pasts[i])
            heard[i].append(part)
    for i, wave in enumerate((one, other)):
        torch.testing.assert_close(torch.cat(heard[i], 1), SMALL.push(wave)[0], rtol=0, atol=1e-4)


def test_a_batch_is_so_many_streams() -> None:
    network, waves = SMALL.network, torch.stack([noise(9000), noise(9000, 1)])
    mel = network.mel(waves)
    together, _ = network(mel, network.begin(2))
    for i in range(2):
        alone, _ = network(mel[i : i + 1], network.begin())
        torch.testing.assert_close(together[i], alone[0], rtol=0, atol=1e-4)


def test_what_is_remembered_does_not_grow() -> None:
    wave, past, sizes = noise(250_000), None, []
    for chunk in wave.split(10_000):
        past = SMALL.push(chunk, past)[1]
        sizes.append(size(past))
    steps = [layer.keys.shape[1] for layer in past.layers]
    assert steps == [WINDOW - 1 + ahead for ahead in AHEAD]
    assert max(sizes[-8:]) <= sizes[-1] + 4 * (N_FFT + 2 * AUDIO.n_mels)
    # Nor does it hold on to what it was cut out of.
    assert size(SMALL.push(wave)[1]) <= max(sizes) + 4 * (N_FFT + 2 * AUDIO.n_mels)


def test_a_past_can_be_gone_on_with_twice() -> None:
    _, past = SMALL.push(noise(7000))
    held = [tensor.clone() for tensor in (past.wave, past.mel, *past.layers[0])]
    first, _ = SMALL.push(noise(4000, 1), past)
    again, _ = SMALL.push(noise(4000, 1), past)
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    for tensor, before in zip((past.wave, past.mel, *past.layers[0]), held, strict=True):
        assert torch.equal(tensor, before)


def bands(wave: NDArray[np.float64], frame: int) -> NDArray[np.float64]:
    """Return the bands of a frame as NumPy finds them, from the samples around it."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    begin = frame * HOP - MARGIN
    power = np.abs(np.fft.rfft(wave[begin : begin + N_FFT] * window)) ** 2
    # Slaney's scale: linear below 1 kHz, then 27 bands for each factor of 6.4.
    top = 15 + 27 * np.log(8) / np.log(6.4)
    places = np.linspace(0, top, AUDIO.n_mels + 2)
    edges = np.where(places < 15, places * 200 / 3, 1000 * 6.4 ** ((places - 15) / 27))
    hertz = np.arange(N_FFT // 2 + 1) * AUDIO.sample_rate / N_FFT
    rows = []
    for low, peak, high in zip(edges, edges[1:], edges[2:], strict=False):
        triangle = np.minimum((hertz - low) / (peak - low), (high - hertz) / (high - peak))
        rows.append(2 / (high - low) * triangle.clip(min=0) @ power)
    loudness = np.log10(np.maximum(rows, 1e-30)) - LEVEL
    found: NDArray[np.float64] = (np.maximum(loudness, FLOOR) - CENTRE) / SCALE
    return found


def test_bands_are_those_of_a_spectrum_centred_on_the_frame() -> None:
    """Two routes: the front end, and NumPy's own transform of the samples around a frame."""
    wave = noise(6 * HOP)
    wave[4 * HOP :] *= 1e-4  # of which some bands are silent
    found = SMALL.network.mel(torch.nn.functional.pad(wave, (MARGIN, MARGIN))[None])[0]
    assert found.shape == (80, 6)
    for frame in (1, 3, 4):
        wanted = bands(wave.double().numpy(), frame)
        np.testing.assert_allclose(found[:, frame].numpy(), wanted, atol=1e-4)
    assert SMALL.network.mel(torch.zeros(1, N_FFT)).unique().item() == SILENCE


def test_silence_is_heard_as_silence_and_more_than_one_channel_is_refused() -> None:
    content = SMALL.encode(torch.zeros(9000))
    assert content.isfinite().all()
    torch.testing.assert_close(content[:, 6:8], content[:, 12:14], rtol=0, atol=1e-4)
    for call in (SMALL.encode, SMALL.push):
        for shape in ((2, 100), (1, 100), ()):
            with pytest.raises(AudioError, match="one channel"):
                call(torch.zeros(shape))  # type: ignore[operator]


def attended(layer: Layer, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what a layer answers to `[steps, width]`, step by step and head by head."""
    held = {name: tensor.double().numpy() for name, tensor in layer.state_dict().items()}

    def linear(name: str, v: NDArray[np.float64]) -> NDArray[np.float64]:
        return held[f"{name}.weight"] @ v + held[f"{name}.bias"]

    def normed(name: str, v: NDArray[np.float64]) -> NDArray[np.float64]:
        v = (v - v.mean()) / np.sqrt(v.var() + 1e-5)
        return v * held[f"{name}.weight"] + held[f"{name}.bias"]

    width, out = x.shape[1], []
    each = width // layer.heads
    qkv = np.array([linear("qkv", normed("attention_norm", step)) for step in x])
    for i in range(len(x) - layer.ahead):
        near = range(max(i - layer.window + 1, 0), i + layer.ahead + 1)
        heads = []
        for head in range(layer.heads):
            part = slice(head * each, (head + 1) * each)
            q, k, v = qkv[i, :width][part], qkv[:, width:][:, part], qkv[:, 2 * width :][:, part]
            scores = [
                q @ k[j] / np.sqrt(each) + held["places"][head, j - i + layer.window - 1]
                for j in near
            ]
            weights = np.exp(scores) / np.exp(scores).sum()
            heads.append(sum(w * v[j] for w, j in zip(weights, near, strict=True)))
        y = x[i] + linear("out", np.concatenate(heads))
        up = linear("up", normed("mlp_norm", y))
        out.append(y + linear("down", up * (1 + np.vectorize(erf)(up / np.sqrt(2))) / 2))
    return np.array(out)


@pytest.mark.parametrize(("ahead", "window"), [(0, 5), (2, 5), (1, 1), (0, 1), (1, 30)])
@torch.no_grad()
def test_a_layer_attends_to_its_window_as_numpy_does(ahead: int, window: int) -> None:
    layer = Layer(128, ahead, window).eval()
    assert layer.heads == 2
    for parameter in layer.parameters():
        if parameter.dim() == 1 or parameter is layer.places:
            torch.nn.init.normal_(parameter)
    x = torch.randn(23, 128, generator=torch.Generator().manual_seed(1))
    wanted = attended(layer, x.double().numpy())
    past, parts = layer.begin(1, x.device), []
    for begin, stop in pairwise((0, 1, 1, 2, 9, 23)):
        part, past = layer(x[None, begin:stop], past)
        parts.append(part[0])
    np.testing.assert_allclose(torch.cat(parts).numpy(), wanted, atol=1e-4)
    assert past.late.shape[1] == ahead


def test_what_is_said_is_moved_towards_the_units() -> None:
    """By formula, in NumPy: each unit counts by how much farther it is than the nearest."""
    network, mel = SMALL.network, torch.randn(1, 80, 12)
    content, _ = network(mel, network.begin())
    hidden, _ = network.hidden(mel, network.begin())
    x = np.repeat(hidden[0].double().numpy(), 2, axis=0)
    held = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}
    assert content.shape == (1, 192, len(x))
    several = 0
    for frame, step in enumerate(x):
        said = (held["head.weight"] @ step + held["head.bias"])[192 * (frame % 2) :][:192]
        gap = ((held["units"] - said) ** 2).sum(1)
        weights = np.exp((gap.min() - gap) / held["softness"])
        weights /= weights.sum()
        several += weights.max() < 0.9
        wanted = weights @ held["units"]
        np.testing.assert_allclose(content[0, :, frame].numpy(), wanted, atol=1e-4)
    assert several > len(x) / 3


@given(st.floats(0.01, 100.0), st.floats(0.0, 30.0))
@torch.no_grad()
def test_content_lies_among_the_units(softness: float, spread: float) -> None:
    """In no direction it goes beyond the unit that lies farthest in it."""
    network = encoder().network
    network.softness.fill_(softness)
    found = network.nearest(spread * torch.randn(1, 50, 192))[0]
    directions = torch.cat([torch.randn(300, 192), found - network.units.mean(0)])
    ends = directions @ network.units.T
    assert ((directions @ found.T).amax(1) <= ends.amax(1) + 1e-3 * directions.norm(dim=1)).all()
    assert ((directions @ found.T).amin(1) >= ends.amin(1) - 1e-3 * directions.norm(dim=1)).all()


@torch.no_grad()
def test_what_is_near_a_unit_becomes_it_and_what_lies_between_two_stays_there() -> None:
    network = encoder().network
    network.softness.fill_(4.0)
    units = network.units
    near = units + 0.1 * torch.randn_like(units)
    torch.testing.assert_close(network.nearest(near[None])[0], units, rtol=0, atol=1e-4)
    torch.testing.assert_close(network.nearest(units[None])[0], units, rtol=0, atol=1e-4)
    # A third unit is far from the middle of two, as there are many dimensions.
    middle = (units[0] + units[1]) / 2
    torch.testing.assert_close(network.nearest(middle[None, None])[0, 0], middle, rtol=0, atol=1e-3)
    # Which of two is nearer decides for it, and how sharply, softness does.
    share = torch.tensor(0.6)
    between = share * units[0] + (1 - share) * units[1]
    gap = (units[0] - units[1]).square().sum()
    for softness in (50.0, 200.0):
        network.softness.fill_(softness)
        weight = ((2 * share - 1) * gap / softness).sigmoid()
        alone = torch.stack([units[0], units[1]])
        network.units = alone
        found = network.nearest(between[None, None])[0, 0]
        torch.testing.assert_close(found, weight * alone[0] + (1 - weight) * alone[1])
        network.units = units


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "content.safetensors"
    torch.manual_seed(0)
    save_file({n: t.half() for n, t in lively(StudentEncoder()).state_dict().items()}, path)
    return path


def test_it_is_loaded_by_its_name(weights: Path) -> None:
    loaded = load_content_encoder("sovits-content", path=weights)
    assert isinstance(loaded, StudentContent)
    assert loaded.spec is SPEC
    content = loaded.encode(noise(4000))
    assert content.shape == (SPEC.channels, 8)
    assert content.dtype == torch.float32
    assert not content.requires_grad


def test_it_is_as_small_as_was_promised() -> None:
    network = StudentEncoder().to("meta")
    assert sum(parameter.numel() for parameter in network.parameters()) < 12e6
    assert DELAY / AUDIO.sample_rate <= 0.06
    frames = module.CHUNK // HOP
    mel = torch.empty(1, AUDIO.n_mels, frames, device="meta")
    _, past = network.hidden(mel, network.begin())
    with FlopCounterMode(display=False) as counter:
        content = network.nearest(network.said(network.hidden(mel, past)[0]))
    assert content.shape == (1, frames, SPEC.channels)
    # Two operations are a multiplication and the addition of its product.
    found = counter.get_total_flops() / 2 / frames
    # What is not counted: distances to the units, and the spectrum.
    found += network.units.numel() + network.bands.numel() + 2.5 * N_FFT * log2(N_FFT)
    for_each_step = sum(p.numel() for p in network.parameters() if p.dim() > 1)
    assert for_each_step / 2 + 2 * network.units.numel() < found < 1.5e9 / AUDIO.frame_rate


def test_another_networks_weights_are_refused(weights: Path, tmp_path: Path) -> None:
    save_file(StudentEncoder(width=8).state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="StudentEncoder"):
        load_content_encoder("sovits-content", path=tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(WeightsError, match=r"cut\.safetensors"):
        load_content_encoder("sovits-content", path=tmp_path / "cut.safetensors")


@pytest.mark.parametrize("octaves", [-0.4, 0.3])
def test_a_sound_can_be_heard_as_if_all_of_it_was_lower(octaves: float) -> None:
    """A tone is then heard as the tone that is so much lower, and content changes with it."""
    time = torch.arange(8192) / AUDIO.sample_rate
    tone, lower = (0.1 * (2 * torch.pi * hz * time).sin()[None] for hz in (2000, 2000 / 2**octaves))
    network = SMALL.network
    heard, wanted = network.mel(tone, octaves), network.mel(lower)
    assert torch.equal(heard.mean(2).argmax(1), wanted.mean(2).argmax(1))
    assert not torch.equal(network.mel(tone).mean(2).argmax(1), wanted.mean(2).argmax(1))
    wave = noise(9000)
    assert not torch.allclose(SMALL.encode(wave), SMALL.encode(wave, octaves=octaves), atol=1e-3)
