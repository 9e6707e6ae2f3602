"""Several speakers sing as one, in shares that change smoothly, whole or cut."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import made_voices
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stand_ins import AUDIO, NearbySound, steady, tone
from test_stream import ENCODER, HOP, NETWORK, RATE, WAVE, near, singer, song, streamed, told, whole

from sovits.audio.loudness import frame_rms
from sovits.config import AudioConfig, ConvertOptions, DecoderKind, SynthesizerConfig, VoiceConfig
from sovits.convert import convert
from sovits.errors import ConfigError, VoiceError
from sovits.mixing import Mix, mix_of, read_shares, read_timeline
from sovits.models.noise import NoiseSource
from sovits.models.speakers import conditioning
from sovits.retrieval import Index
from sovits.stream import VoiceStream
from sovits.voice import Voice

NAMES = {"alice": 0, "bob": 2, "a:b": 1}


def row(name: str | None) -> int:
    if name is not None and name not in NAMES:
        raise VoiceError.unknown_speaker(name, NAMES)
    return NAMES[name or "alice"]


def timeline(path: Path, *points: tuple[float, dict[str, float]]) -> str:
    table = [{"time": time, "speakers": speakers} for time, speakers in points]
    path.write_text(json.dumps(table))
    return str(path)


def asked(**options: Any) -> Mix:
    return mix_of(ConvertOptions(**options), row)


# What is asked for


def test_one_speaker_is_a_row() -> None:
    assert (asked().alone, asked(speaker="bob").alone, asked(speaker="a:b").alone) == (0, 2, 1)
    with pytest.raises(VoiceError, match="no speaker carol"):
        asked(speaker="carol")


@pytest.mark.parametrize("text", ["alice:3,bob:1", "alice=3, bob = 1", "alice:0.75,bob:.25"])
def test_a_blend_has_shares_that_add_up_to_1(text: str) -> None:
    mix = asked(speaker=text)
    assert (mix.alone, mix.names, mix.rows) == (None, ("alice", "bob"), (0, 2))
    table = mix.frames(4, 7, 3, 100.0)
    assert torch.equal(table, torch.tensor([[[0.75], [0], [0.25], [0]]]))
    assert asked(speaker="a:b:1,bob:1").names == ("a:b", "bob")
    assert asked(speaker="alice:0,bob:1").alone == 2


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("alice:x,bob:1", "alice:x has no share of at least 0"),
        ("alice:-1,bob:2", "alice:-1 has no share"),
        ("alice:nan", "has no share"),
        (":1,bob:1", "has no share"),
        ("alice:1,bob", "bob has no share"),
        ("alice:1,alice:2", "alice is there twice"),
        ("alice:0,bob:0", "all shares are 0"),
        ("alice:inf", "shares are too large"),
    ],
)
def test_other_blends_are_refused(text: str, because: str) -> None:
    with pytest.raises(ConfigError, match="is no mix of speakers") as caught:
        asked(speaker=text)
    assert because in str(caught.value)
    with pytest.raises(VoiceError, match="no speaker carol"):
        asked(speaker="alice:1,carol:1")


def test_shares_change_in_straight_lines_and_stay_at_the_ends(tmp_path: Path) -> None:
    points = (1, {"alice": 2.0}), (3, {"alice": 1.0, "bob": 3.0}), (4, {"a:b": 5.0})
    mix = asked(mix=timeline(tmp_path / "mix.json", *points))
    assert mix.names == ("alice", "bob", "a:b")
    times = torch.tensor([-9.0, 0, 1, 2, 3, 3.5, 4, 1e6])
    alice = [1, 1, 1, 0.625, 0.25, 0.125, 0, 0]
    bob = [0, 0, 0, 0.375, 0.75, 0.375, 0, 0]
    third = [0, 0, 0, 0, 0, 0.5, 1, 1]
    torch.testing.assert_close(
        mix.at(times), torch.tensor([alice, bob, third], dtype=torch.float32)
    )
    frames = mix.frames(3, 10, 100, 50.0)
    assert frames.shape == (1, 3, 100)
    torch.testing.assert_close(frames[0, 2], mix.at((torch.arange(10, 110) + 0.5) / 50)[1])
    torch.testing.assert_close(frames.sum(1), torch.ones(1, 100))


GOOD = [{"time": 0, "speakers": {"alice": 1}}]


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("", "line 1"),
        ("{", "line 1"),
        ("{}", "it holds no list"),
        ("[]", "it has no point"),
        ("[" * 100_000, "nested too deeply"),
        ("[1]", "its point 1 has not just a time and speakers"),
        ('[{"time": 0}]', "its point 1 has not just a time and speakers"),
        ('[{"time": 0, "speakers": {"alice": 1}, "x": 1}]', "its point 1 has not just"),
        ('[{"time": -1, "speakers": {"alice": 1}}]', "a time that is not 0 s or later"),
        ('[{"time": NaN, "speakers": {"alice": 1}}]', "a time that is not 0 s or later"),
        ('[{"time": true, "speakers": {"alice": 1}}]', "a time that is not 0 s or later"),
        ('[{"time": "0", "speakers": {"alice": 1}}]', "a time that is not 0 s or later"),
        (json.dumps([*GOOD, *GOOD]), "its point 2 is at 0 s, not after the one before it"),
        ('[{"time": 0, "speakers": ["alice"]}]', "its point 1 has speakers that are no object"),
        ('[{"time": 0, "speakers": {}}]', "its point 1: there is no speaker"),
        ('[{"time": 0, "speakers": {"alice": -1}}]', "gives alice a share that is not 0 or more"),
        ('[{"time": 0, "speakers": {"alice": "1"}}]', "gives alice a share that is not"),
        ('[{"time": 0, "speakers": {"alice": Infinity}}]', "gives alice a share that is not"),
        ('[{"time": 0, "speakers": {"alice": 0, "bob": 0}}]', "its point 1: all shares are 0"),
        ('[{"time": 0, "speakers": {"alice": 1, "alice": 2}}]', "a name stands twice"),
        (b"\xff\xfe\x00", "it is not UTF-8 text"),
        (b" " * 5_000_000, "it is too large"),
    ],
)
def test_other_timelines_are_refused_in_one_line(
    tmp_path: Path, text: str | bytes, because: str
) -> None:
    path = tmp_path / "mix.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match="is no timeline of speakers") as caught:
        read_timeline(path)
    message = str(caught.value)
    assert because in message
    assert str(path) in message
    assert len(message.splitlines()) == 1


def test_a_timeline_names_speakers_that_there_are(tmp_path: Path) -> None:
    path = timeline(tmp_path / "mix.json", (0, {"alice": 1}), (1, {"carol": 1}))
    with pytest.raises(VoiceError, match="no speaker carol"):
        asked(mix=path)
    with pytest.raises(ConfigError, match="Both the speaker 'bob' and the timeline"):
        asked(mix=path, speaker="bob")
    with pytest.raises(ConfigError, match="No such file"):
        asked(mix=str(tmp_path / "none.json"))
    with pytest.raises(ConfigError, match="directory"):
        asked(mix=str(tmp_path))


@given(st.text(max_size=40))
def test_whatever_is_typed_is_understood_or_refused(text: str) -> None:
    with suppress(ConfigError):
        assert sum(read_shares(text.split(",")).values()) == pytest.approx(1)


# What is heard


def test_conditioning_is_the_mean_of_rows_by_their_shares() -> None:
    table = torch.nn.Embedding(3, 5).requires_grad_(False)
    shares = torch.tensor([[[1.0, 0.5], [0, 0], [0, 0.5]]])
    made = conditioning(table, shares)
    assert torch.equal(made[0, 0], conditioning(table, torch.tensor([0]))[0, 0])
    torch.testing.assert_close(made[0, 1], (table.weight[0] + table.weight[2]) / 2)


def described(kind: DecoderKind, **changes: Any) -> SynthesizerConfig:
    """Return a small network of any kind."""
    known: DecoderKind = "hifi-gan" if kind == "harmonic" else kind
    return replace(made_voices.synthesizer_config(known, **changes), decoder=kind)


@pytest.mark.parametrize("kind", ["hifi-gan", "ms-istft", "harmonic", "light"])
def test_a_share_of_everything_is_the_speaker_alone(kind: Any) -> None:
    config = made_voices.light(latent=4, flow_layers=2)
    if kind != "light":
        config = VoiceConfig(AudioConfig(), described(kind), "unheard of")
    network = made_voices.synthesizer(config.synthesizer, config.audio).fold()
    random = torch.Generator().manual_seed(5)
    frames, rows = 70, config.synthesizer.n_speakers

    def sung(speaker: torch.Tensor) -> torch.Tensor:
        random.manual_seed(5)
        return network.infer(
            torch.randn(1, network.config.content_channels, frames, generator=random),
            torch.linspace(100, 400, frames)[None],
            (torch.arange(frames) % 3 > 0)[None],
            speaker,
            volume=torch.rand(1, frames, generator=random) if network.config.volume else None,
            noise=NoiseSource(3),
        )

    alone = [sung(torch.tensor([number])) for number in (0, 1)]
    assert not torch.allclose(alone[0], alone[1])
    shares = torch.eye(rows)[None]
    assert torch.equal(sung(shares[..., :1]), alone[0])
    near(sung(shares[..., :1].expand(-1, -1, frames)), alone[0])
    changing = shares[..., :1].repeat(1, 1, frames)
    changing[0, :2, frames // 2 :] = torch.tensor([[0.0], [1.0]])
    moved = sung(changing)
    samples = moved.shape[1] // frames
    if kind in ("harmonic", "light"):
        near(moved[:, : 15 * samples], alone[0][:, : 15 * samples])
        near(moved[:, 65 * samples :], alone[1][:, 65 * samples :])
    else:
        assert not torch.allclose(moved, alone[0])


MIX = Mix(("a", "b"), (1, 2), (0.1, 0.5), ((1.0, 0.0), (0.0, 1.0)))


def mixed_whole() -> torch.Tensor:
    content = ENCODER.encode(WAVE)
    f0, voiced, volume = told(WAVE)
    return NETWORK.infer(
        content[None],
        f0[None],
        voiced[None],
        MIX.frames(3, 0, len(f0), RATE / HOP),
        volume=volume[None],
        noise=NoiseSource(7),
    )[0]


@pytest.mark.parametrize("size", [441, 512, 1764, 100_000])
def test_a_stream_is_mixed_as_the_whole_is(size: int) -> None:
    made = streamed(VoiceStream(ENCODER, NETWORK, MIX, seed=7), WAVE, [size])
    near(made, mixed_whole())
    alone = whole(WAVE)
    assert not torch.allclose(made, alone, atol=1e-3)
    near(made[: HOP * 6], alone[: HOP * 6])  # who sings alone at the beginning is row 1


def listed(names: dict[str, int]) -> Any:
    """Return the light voice of the streams, with names."""
    made = singer()
    config = VoiceConfig(made.config.audio, made.config.synthesizer, "sovits-content", names)
    return Voice(config, cast(Any, made.synthesizer), {}, _encoder=made.encoder)


@pytest.fixture(autouse=True)
def _steady_pitch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sovits.convert.load_pitch_extractor", steady())


def test_cutting_a_file_changes_nothing_of_its_mix(tmp_path: Path) -> None:
    path = timeline(tmp_path / "mix.json", (0.4, {"alice": 1}), (2.6, {"bob": 1}))
    voice, wave = listed({"alice": 0, "bob": 2}), song(3.3)
    made = [
        convert(voice, wave, RATE, ConvertOptions(mix=path, max_piece_seconds=seconds))
        for seconds in (1, 60)
    ]
    near(*made)
    alice, bob = (convert(voice, wave, RATE, ConvertOptions(speaker=n)) for n in ("alice", "bob"))
    assert torch.equal(convert(voice, wave, RATE, ConvertOptions(speaker="alice:1")), alice)
    first, last = slice(0, int(0.3 * RATE)), slice(int(3.0 * RATE), None)
    near(made[0][first], alice[first])
    near(made[0][last], bob[last])
    middle = slice(int(1.2 * RATE), int(1.8 * RATE))
    for other in (alice, bob):
        assert not torch.allclose(made[0][middle], other[middle], atol=1e-3)
    # No click anywhere: it steps no further from sample to sample than who is mixed.
    steps = [float(sound.diff().abs().max()) for sound in (made[0], alice, bob)]
    assert steps[0] < 1.2 * max(steps[1:])


def test_halves_of_one_and_the_same_are_the_same() -> None:
    voice, wave = listed({"alice": 1, "again": 1}), song(0.6)
    both = convert(voice, wave, RATE, ConvertOptions(speaker="alice:1,again:1"))
    near(both, convert(voice, wave, RATE, ConvertOptions(speaker="alice")))


@dataclass
class Shared:
    """Sings a sine as loud as the share of the second speaker."""

    asked: list[torch.Tensor] = field(default_factory=list)

    def infer(self, content: Any, f0: Any, voiced: Any, speaker: Any, **more: Any) -> Any:
        self.asked.append(speaker)
        share = speaker[:, 1].expand(-1, content.shape[-1])[:, more["kept"]]
        return share.repeat_interleave(AUDIO.hop_length, dim=1)


def test_windows_are_mixed_where_they_lie(tmp_path: Path) -> None:
    path = timeline(tmp_path / "mix.json", (1.0, {"0": 1}), (4.0, {"1": 1}))
    config = VoiceConfig(AUDIO, described("harmonic", content_channels=4), "x")
    voice = SimpleNamespace(
        synthesizer=Shared(),
        config=config,
        device=torch.device("cpu"),
        row=lambda name: int(name or 0),
        content_encoder=NearbySound,
    )
    wave = tone(5, AUDIO.sample_rate)
    options = ConvertOptions(mix=path, max_piece_seconds=1.5)
    made = convert(cast(Any, voice), wave, AUDIO.sample_rate, options)
    assert len(voice.synthesizer.asked) > 2
    time = torch.arange(len(wave)) / AUDIO.sample_rate
    wanted = ((time - 1) / 3).clamp(0, 1)
    inner = slice(AUDIO.sample_rate // 10, -AUDIO.sample_rate // 10)
    torch.testing.assert_close(made[inner], wanted[inner], atol=0.01, rtol=0)


# Retrieval


@dataclass
class Banked:
    """A light voice whose speakers have a bank each."""

    voice: Voice
    banks: dict[str | None, Index]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.voice, name)

    def index(self, _path: Path | None, speaker: str | None) -> Index:
        return self.banks[speaker]


def test_retrieval_follows_the_mix(tmp_path: Path) -> None:
    """With one vector each, and a ratio of 1, what is sung is the mean of the vectors."""
    path = timeline(tmp_path / "mix.json", (0.2, {"alice": 1}), (1.0, {"bob": 1}))
    plain = listed({"alice": 0, "bob": 2})
    vectors = {name: torch.randn(1, ENCODER.spec.channels) for name in plain.speakers}
    voice = Banked(plain, {name: Index(vector) for name, vector in vectors.items()})
    wave = song(1.4)
    more: dict[str, Any] = {"retrieval": "unread", "retrieval_ratio": 1.0, "mix": path}
    made = convert(cast(Any, voice), wave, RATE, ConvertOptions(**more))
    near(made, convert(cast(Any, voice), wave, RATE, ConvertOptions(**more, max_piece_seconds=1.0)))
    frames = -(-len(wave) // HOP)
    mix = mix_of(ConvertOptions(mix=path), plain.row)
    shares = mix.frames(3, 0, frames, RATE / HOP)
    padded = torch.nn.functional.pad(wave, (0, frames * HOP - len(wave)))
    wanted = NETWORK.infer(
        (shares[0, 0] * vectors["alice"].t() + shares[0, 2] * vectors["bob"].t())[None],
        torch.full((1, frames), 220.0),
        torch.ones(1, frames),
        shares,
        volume=frame_rms(padded, HOP)[None],
        noise=NoiseSource(0),
    )[0]
    near(made, wanted[: len(wave)])
