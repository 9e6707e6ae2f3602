"""A light voice sings a stream as it sings a whole file, as late as it says, hearing all once."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_ins import Singer, steady, tone

from sovits.audio.loudness import frame_rms
from sovits.config import AudioConfig, ConvertOptions, NativeConfig, VoiceConfig
from sovits.convert import convert
from sovits.features.content import CONTENT
from sovits.features.content.student import StudentContent, StudentEncoder
from sovits.models.native import NativeSynthesizer
from sovits.models.noise import NoiseSource
from sovits.retrieval import Index
from sovits.stream import VoiceStream
from sovits.types import Wave

RATE, HOP = 44_100, 512
SPEC = CONTENT["sovits-content"]


def encoder() -> StudentContent:
    """Return a narrow one in which everything is heard."""
    torch.manual_seed(1)
    network = StudentEncoder(12).requires_grad_(False).eval()
    for name, parameter in network.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, 0, 0.3)
    return StudentContent(SPEC, network, torch.device("cpu"))


def network(rate: int = RATE) -> NativeSynthesizer:
    """Return a small one in which everything is heard."""
    torch.manual_seed(2)
    config = NativeConfig(
        content_channels=SPEC.channels,
        width=8,
        prior_blocks=2,
        decoder_blocks=2,
        n_speakers=3,
        harmonic_bands=12,
        noise_bands=10,
    )
    made = NativeSynthesizer(config, AudioConfig(sample_rate=rate))
    for name, parameter in made.named_parameters():
        if not name.startswith("shaper.head.bias"):
            torch.nn.init.normal_(parameter, 0, 0.3)
    return made.fold()


ENCODER, NETWORK = encoder(), network()


def song(seconds: float, rate: int = RATE) -> Wave:
    """Return a sound that changes all the time."""
    time = torch.arange(round(seconds * rate)) / rate
    swell = 0.5 - 0.5 * torch.cos(2 * math.pi * 1.7 * time)
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(3))
    return tone(seconds, rate, 300) * swell + 0.03 * noise


def told(wave: Wave, hop: int = HOP) -> tuple[torch.Tensor, ...]:
    """Return pitch, voicing and loudness of each whole frame."""
    frames = len(wave) // hop
    voiced = torch.arange(frames) % 9 > 1
    return torch.linspace(110, 500, frames), voiced, frame_rms(wave, hop)


def streamed(stream: VoiceStream, wave: Wave, sizes: list[int]) -> Wave:
    """Return what comes out when so many samples come at a time, the last size again and again."""
    known, parts, heard, given, turn = told(wave), [], 0, 0, 0
    while heard < len(wave):
        size = sizes[min(turn, len(sizes) - 1)]
        frames = slice(heard // HOP, min(heard + size, len(wave)) // HOP)
        part = stream.push(wave[heard : heard + size], *(x[frames] for x in known))
        assert (part.dtype, part.dim()) == (torch.float32, 1)
        heard, turn = min(heard + size, len(wave)), turn + 1
        parts.append(part)
        given += len(part)
        assert heard - given <= stream.latency
    parts.append(stream.finish())
    return torch.cat(parts)


def whole(wave: Wave, **more: Any) -> Wave:
    """Return what the two networks make of the whole, called one after the other."""
    content = ENCODER.encode(wave)
    f0, voiced, volume = told(wave)
    return NETWORK.infer(
        content[None],
        f0[None],
        voiced[None],
        torch.tensor([1]),
        volume=volume[None],
        noise=NoiseSource(7),
        **more,
    )[0]


WAVE = song(60 * HOP / RATE)
WHOLE = whole(WAVE)


def near(one: Wave, other: Wave) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-4 * max(1.0, float(other.abs().max())))


@pytest.mark.parametrize("size", [441, 512, 882, 1764, 7056, 100_000])
def test_a_stream_is_the_whole(size: int) -> None:
    near(streamed(VoiceStream(ENCODER, NETWORK, 1, seed=7), WAVE, [size]), WHOLE)


@settings(max_examples=8)
@given(st.lists(st.integers(1, 4000), min_size=1, max_size=5).filter(lambda x: x[-1] > 300))
def test_a_stream_of_uneven_chunks_is_the_whole(sizes: list[int]) -> None:
    near(streamed(VoiceStream(ENCODER, NETWORK, 1, seed=7), WAVE, sizes), WHOLE)


def test_it_is_as_late_as_it_says() -> None:
    """4 frames of the synthesizer's future, 2,304 samples of the encoder's, and the frame."""
    stream = VoiceStream(ENCODER, NETWORK)
    assert stream.latency == 5 * HOP + 2304
    known, given, latest = told(WAVE), 0, 0
    for sample in range(len(WAVE) // 64):
        heard = 64 * (sample + 1)
        frames = slice(64 * sample // HOP, heard // HOP)
        part = stream.push(WAVE[heard - 64 : heard], *(x[frames] for x in known))
        given += len(part)
        latest = max(latest, heard - given)
    assert stream.latency - 64 <= latest <= stream.latency


def test_what_is_given_out_does_not_depend_on_what_comes_later() -> None:
    at = 30 * HOP
    changed = WAVE.clone()
    changed[at:] = song(2.0)[: len(WAVE) - at]
    moved = (whole(changed) - WHOLE).abs()
    assert float(moved[: at - VoiceStream(ENCODER, NETWORK).latency].max()) < 1e-6
    assert float(moved[at:].max()) > 1e-3


def test_a_voice_of_another_rate_streams_too() -> None:
    slow = network(48_000)
    wave = song(0.8, 48_000)
    made = [
        streamed(VoiceStream(ENCODER, slow, first=first), wave, [size])
        for first, size in ((0, 20_000), (0, 700), (31, 20_000), (31, 960))
    ]
    assert all(len(one) == len(wave) // HOP * HOP for one in made)
    near(made[0], made[1])
    near(made[2], made[3])
    assert not torch.allclose(made[0], made[2])  # other noise


def test_an_empty_stream_is_empty() -> None:
    assert VoiceStream(ENCODER, NETWORK).finish().shape == (0,)


# Files


def singer(rate: int = RATE, bank: Index | None = None) -> Singer:
    """Return a voice that hears with the small encoder."""
    made = NETWORK if rate == RATE else network(rate)
    config = VoiceConfig(made.audio, made.config, "sovits-content")
    return Singer(made, config, bank, encoder())


@pytest.fixture(autouse=True)
def _steady_pitch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sovits.convert.load_pitch_extractor", steady())


@pytest.mark.parametrize("rate", [RATE, 48_000])
def test_cutting_a_file_changes_nothing(rate: int) -> None:
    wave = song(3.3, 22_050)
    made = [
        convert(singer(rate), wave, 22_050, ConvertOptions(max_piece_seconds=s)) for s in (1, 60)
    ]
    assert made[0].shape == wave.shape
    near(*made)


def test_a_file_is_what_the_networks_make_of_it() -> None:
    wave = song(1.2)
    frames = -(-len(wave) // HOP)
    padded = torch.nn.functional.pad(wave, (0, frames * HOP - len(wave)))
    wanted = NETWORK.infer(
        ENCODER.encode(padded)[None],
        torch.full((1, frames), 440.0),
        torch.ones(1, frames),
        torch.tensor([2]),
        volume=frame_rms(padded, HOP)[None],
        noise=NoiseSource(5),
        formants=2 ** (3 / 12),
    )[0]
    options = ConvertOptions(speaker="2", semitones=12, formants=3.0, seed=5)
    near(convert(singer(), wave, RATE, options), wanted[: len(wave)])


def test_nothing_is_heard_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder hears each sample once, though five phrases are four pauses apart."""
    samples: list[int] = []
    push = StudentContent.push

    def counted(self: StudentContent, wave: Wave, past: Any = None) -> Any:
        samples.append(len(wave))
        return push(self, wave, past)

    monkeypatch.setattr(StudentContent, "push", counted)
    phrase, pause = song(1.4), torch.zeros(round(0.7 * RATE))
    wave = torch.cat([phrase, pause] * 4 + [phrase])
    convert(singer(), wave, RATE, ConvertOptions(max_piece_seconds=1.0))
    assert len(wave) <= sum(samples) < len(wave) + 0.2 * RATE  # the silence after it
    samples.clear()
    pause = torch.zeros(5 * RATE)
    convert(singer(), torch.cat([phrase, pause, phrase]), RATE)
    most = 2 * (len(phrase) + (0.5 + 0.2 + 0.2 + 0.15) * RATE)  # pad, margins and latency
    assert sum(samples) < most


@pytest.mark.parametrize("samples", [1, 2, 37, 511, 512, 513, 5000])
def test_short_sounds_are_as_long_as_they_were(samples: int) -> None:
    for rate in (8_000, RATE, 48_000):
        assert convert(singer(), 0.1 * torch.ones(samples), rate).shape == (samples,)


def test_silence_between_phrases_is_silent_and_the_edges_do_not_click() -> None:
    for seconds in (1.0, 3.0):  # of silence: one stream, or two
        phrase, gap = song(0.8), torch.zeros(round(seconds * RATE))
        made = convert(singer(), torch.cat([phrase, gap, phrase]), RATE)
        inner = made[len(phrase) + RATE // 4 :][: len(gap) - RATE // 2]
        assert not inner.any()
        edge = made[len(phrase) + RATE // 4 - RATE // 20 :][: RATE // 10]
        assert float(edge.diff().abs().max()) < 0.5 * float(made.diff().abs().max())


def test_channels_are_converted_each_on_its_own_and_a_silent_one_is_silent() -> None:
    left, right = song(2.1), tone(2.1, RATE, 500, 0.1)
    both = ConvertOptions(stereo="both", max_piece_seconds=1.0)
    made = convert(singer(), torch.stack([left, right, 0 * left]), RATE, both)
    for channel, wave in zip(made, (left, right), strict=False):
        near(channel, convert(singer(), wave, RATE))
    assert not made[2].any()


def test_retrieval_moves_what_is_sung() -> None:
    wave = song(1.0)
    plain = convert(singer(), wave, RATE)
    bank = Index(torch.randn(4, SPEC.channels))
    options = ConvertOptions(retrieval="unread", retrieval_ratio=0.5)
    moved = convert(singer(bank=bank), wave, RATE, options)
    assert not torch.allclose(moved, plain, atol=1e-3)
    cut = ConvertOptions(retrieval="unread", retrieval_ratio=0.5, max_piece_seconds=1.0)
    near(convert(singer(bank=bank), wave, RATE, cut), moved)
