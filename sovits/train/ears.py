"""How good what a voice in training sings is, in numbers; each with as little work as it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import NamedTuple

import torch

from sovits.audio.mel import LogMel
from sovits.audio.resample import resample
from sovits.config import AudioConfig
from sovits.errors import EvaluationError, WeightsError
from sovits.evaluate.metrics import EXTRA, METRICS
from sovits.evaluate.pitch import PitchAgreement, choose_judge, compare_pitch, melody
from sovits.evaluate.quality import Listener
from sovits.evaluate.recognisers import Heard, Recogniser, WordRecogniser
from sovits.evaluate.text import edit_distance
from sovits.features.pitch import load_pitch_extractor
from sovits.features.speaker import load_speaker_encoder, similarity
from sovits.train.probe import Probe
from sovits.types import Pitch, Wave

Values = dict[str, float]
"""Measurements by the names in `MEASURES`; what could not be measured is not in it."""

JOINT_SECONDS = 0.3
"""Silence between sounds that are heard as one (s)."""
LONGEST = 28.0
"""What a recogniser hears at once (s)."""
SPEAKER_RATE = 16_000
WORST_CENTS = 600.0
"""Error in cents of a melody that cannot be heard at all."""


class Measure(NamedTuple):
    """One number of an evaluation."""

    key: str
    """Its name in files."""
    title: str
    """Its name for people."""
    unit: str
    point: float
    """By how much it has to change to be worth a point; below 0: lower is better."""
    digits: int
    explanation: str


MEASURES: dict[str, Measure] = {
    measure.key: measure
    for measure in (
        Measure(
            "held_out_mel",
            "Held-out log-mel distance",
            "nepers",
            -0.02,
            4,
            "How far copies of held-out clips are from the clips: mean difference of natural-log "
            "mel magnitudes.",
        ),
        Measure(
            "similarity",
            "Similarity to target",
            "",
            0.01,
            3,
            "Cosine of the speaker vectors of conversions and of the recordings trained on.",
        ),
        Measure(
            "cer_rise",
            "CER rise",
            "",
            -0.01,
            3,
            "How many more characters in 1 Whisper-base gets wrong in what is sung than in what it "
            "was made of.",
        ),
        Measure(
            "pitch_cents",
            "Pitch error",
            "cents",
            -5.0,
            1,
            "Root mean square over the frames voiced in both and in the right octave.",
        ),
        Measure(
            "octave_errors",
            "Octave errors",
            "",
            -0.01,
            4,
            "Share of the frames voiced in both that are half an octave off or more.",
        ),
        Measure(
            "voicing_f1",
            "Voicing F1",
            "",
            0.02,
            3,
            "1 if the same frames are voiced as were asked for.",
        ),
        Measure(
            "dnsmos",
            "DNSMOS overall",
            "",
            0.1,
            2,
            "How good converted speech sounds, 1 to 5, as a network trained on ratings has it.",
        ),
    )
}
"""What an evaluation may measure, in the order in which it is told."""

WORDS = tuple(package for package in METRICS["intelligibility"].packages if package[0] != "hama")
"""What counting errors in words needs."""


class Found(NamedTuple):
    """What an evaluation found."""

    values: Values
    each: dict[str, Values]
    """The same of single probes, by their keys, where it can be told."""


class Ears:
    """Measures what is made of probes; keeps what it knows of their sources.

    Args:
        probes: What is sung at each evaluation.
        audio: Rates of the voice.
        targets: Recordings of the speaker of each row, `[samples]` at the voice's rate.
        f0_method: How the pitch of the probes was found; another method judges.
        device: Where networks compute.
        on_log: Told one line if something cannot be measured.
    """

    def __init__(
        self,
        probes: Sequence[Probe],
        audio: AudioConfig,
        targets: Mapping[int, Wave],
        f0_method: str,
        device: torch.device,
        on_log: Callable[[str], None],
    ) -> None:
        self.probes, self.audio = probes, audio
        self.log_mel = LogMel(audio)
        self.judge = choose_judge(f0_method)
        self._pitch = load_pitch_extractor(self.judge, device=device)
        self._speakers = load_speaker_encoder(device)
        self._targets = {
            row: self._speakers.embed(wave, audio.sample_rate)
            for row, wave in targets.items()
            if bool(wave.any())
        }
        self._melodies = [melody(self._pitch, probe.source, probe.source_rate) for probe in probes]
        self._words, self._listener = _assistants(on_log)
        self._said = self._understood_of([(p.source, p.source_rate) for p in probes])
        self.references = self._references()
        """What the same measures give for real recordings, to compare with."""

    def hear(self, sung: Sequence[Wave]) -> Found:
        """Measure what was made of each probe, `[samples]` at the voice's rate."""
        sounds = [(wave, self.audio.sample_rate) for wave in sung]
        each: dict[str, Values] = {probe.key: {} for probe in self.probes}
        values: Values = {}
        distances = []
        for probe, wave in zip(self.probes, sung, strict=True):
            if not probe.foreign:
                distances.append(self._distance(probe, wave))
                each[probe.key]["held_out_mel"] = distances[-1]
        if distances:
            values["held_out_mel"] = sum(distances) / len(distances)
        values |= self._likeness(sung, each)
        values |= self._melody(sounds, each)
        values |= self._rise(sounds)
        if self._listener is not None:
            values["dnsmos"] = self._opinion(self._listener, sounds)
        return Found(values, each)

    def _distance(self, probe: Probe, wave: Wave) -> float:
        """Return the mean difference of log-mel magnitudes of a copy and its original."""
        real = probe.source[: len(wave)]
        return float((self.log_mel(wave) - self.log_mel(real)).abs().mean())

    def _likeness(self, sung: Sequence[Wave], each: dict[str, Values]) -> Values:
        """Return how much conversions are like their speakers; copies, if there is nothing else."""
        foreign = any(probe.foreign for probe in self.probes)
        by_row: dict[int, list[Wave]] = {}
        for probe, wave in zip(self.probes, sung, strict=True):
            if probe.row not in self._targets:
                continue
            found = self._cosine(probe.row, wave)
            each[probe.key]["similarity"] = found
            if probe.foreign == foreign:
                by_row.setdefault(probe.row, []).append(wave)
        if not by_row:
            return {}
        # Speakers are not told reliably by a few seconds, so what one sings is heard as one.
        cosines = [
            self._cosine(row, joined([(wave, self.audio.sample_rate) for wave in waves])[0])
            for row, waves in by_row.items()
        ]
        return {"similarity": sum(cosines) / len(cosines)}

    def _cosine(self, row: int, wave: Wave) -> float:
        """Return how much a sound is like a speaker; silence is like nobody."""
        if not bool(wave.any()):
            return 0.0
        return similarity(self._speakers.embed(wave, self.audio.sample_rate), self._targets[row])

    def _melody(self, sounds: Sequence[tuple[Wave, int]], each: dict[str, Values]) -> Values:
        """Return how well melodies are followed."""
        asked: list[Pitch] = []
        found: list[Pitch] = []
        for probe, source, sound in zip(self.probes, self._melodies, sounds, strict=True):
            heard = melody(self._pitch, *sound)
            frames = min(len(source.f0), len(heard.f0))
            moved = source.f0[:frames] * 2 ** (probe.semitones / 12)
            asked.append(Pitch(moved, source.voiced[:frames]))
            found.append(Pitch(heard.f0[:frames], heard.voiced[:frames]))
            each[probe.key] |= _pitch_values(compare_pitch(asked[-1], found[-1]))
        return _pitch_values(compare_pitch(_joined_pitch(asked), _joined_pitch(found)))

    def _understood_of(self, sounds: Sequence[tuple[Wave, int]]) -> list[Heard]:
        """Return what a recogniser writes down of each group of probes."""
        if self._words is None:
            return []
        return [
            self._words.hear(*joined([sounds[i] for i in group]), self.probes[group[0]].language)
            for group in self._groups()
        ]

    def _groups(self) -> Iterable[list[int]]:
        """Yield which probes are heard at once: a text that is known alone, copies together."""
        for number, probe in enumerate(self.probes):
            if probe.text is not None:
                yield [number]
        for speaker in dict.fromkeys(probe.row for probe in self.probes):
            group = [n for n, p in enumerate(self.probes) if not p.foreign and p.row == speaker]
            seconds = 0.0
            kept = []
            for number in group:
                probe = self.probes[number]
                seconds += len(probe.source) / probe.source_rate + JOINT_SECONDS
                if seconds <= LONGEST:
                    kept.append(number)
            if kept:
                yield kept

    def _rise(self, sounds: Sequence[tuple[Wave, int]]) -> Values:
        """Return the rate of errors in what is sung, less that in what it was made of."""
        if self._words is None:
            return {}
        symbols, more = 0, 0
        for group, (said, language) in zip(self._groups(), self._said, strict=True):
            wanted = self._words.symbols(self.probes[group[0]].text or said)
            heard = self._words.hear(*joined([sounds[i] for i in group]), language).text
            symbols += len(wanted)
            more += edit_distance(wanted, self._words.symbols(heard))
            more -= edit_distance(wanted, self._words.symbols(said))
        return {"cer_rise": more / symbols} if symbols else {}

    def _opinion(self, listener: Listener, sounds: Sequence[tuple[Wave, int]]) -> float:
        """Return how good speech sounds; copies, if nothing else is spoken."""
        spoken = [s for p, s in zip(self.probes, sounds, strict=True) if p.kind == "speech"]
        return listener.opinions(*joined(spoken or list(sounds)))[2]

    def _references(self) -> Values:
        """Return what sources and held-out recordings themselves would be given."""
        found: Values = {}
        own = [p for p in self.probes if not p.foreign and p.row in self._targets]
        if own:
            rows = dict.fromkeys(probe.row for probe in own)
            cosines = [
                self._cosine(
                    row, joined([(p.source, p.source_rate) for p in own if p.row == row])[0]
                )
                for row in rows
            ]
            found["similarity"] = sum(cosines) / len(cosines)
        if self._listener is not None:
            sources = [(probe.source, probe.source_rate) for probe in self.probes]
            found["dnsmos"] = self._opinion(self._listener, sources)
        return found


def joined(sounds: Sequence[tuple[Wave, int]]) -> tuple[Wave, int]:
    """Return sounds `[samples]` one after the other, with pauses, at the highest of their rates."""
    rate = max(rate for _, rate in sounds)
    parts: list[Wave] = []
    for wave, own in sounds:
        parts += [resample(wave, own, rate), torch.zeros(round(JOINT_SECONDS * rate))]
    return torch.cat(parts[:-1]), rate


def _pitch_values(agreement: PitchAgreement) -> Values:
    """Return an agreement by our names; a melody that cannot be heard is as wrong as can be."""
    if agreement.frames < 2:
        silent = {"pitch_cents": WORST_CENTS, "octave_errors": 1.0}
        return silent | {"voicing_f1": agreement.voicing_f1}
    wrong = agreement.octave_errors == 1.0
    return {
        "pitch_cents": WORST_CENTS if wrong else agreement.fine_error_cents,
        "octave_errors": agreement.octave_errors,
        "voicing_f1": agreement.voicing_f1,
    }


def _joined_pitch(parts: Sequence[Pitch]) -> Pitch:
    return Pitch(torch.cat([part.f0 for part in parts]), torch.cat([p.voiced for p in parts]))


def _assistants(
    on_log: Callable[[str], None],
) -> tuple[Recogniser | None, Listener | None]:
    """Return what counts errors and what judges quality, as far as they are installed."""
    words: Recogniser | None = None
    listener: Listener | None = None
    reasons = []
    if absent := _absent(WORDS):
        reasons.append(f"CER without {absent}")
    else:
        try:
            words = WordRecogniser()
        except (EvaluationError, WeightsError, ImportError, RuntimeError) as error:
            reasons.append(f"CER ({error})")
    if absent := _absent(METRICS["quality"].packages):
        reasons.append(f"DNSMOS without {absent}")
    else:
        try:
            listener = Listener()
        except (WeightsError, ImportError, RuntimeError) as error:
            reasons.append(f"DNSMOS ({error})")
    if reasons:
        on_log(f"Not measured: {'; '.join(reasons)}. pip install '{EXTRA}' brings them.")
    return words, listener


def _absent(packages: Iterable[tuple[str, str]]) -> str:
    """Return the names of packages that are not installed, one after the other."""
    return ", ".join(install for module, install in packages if find_spec(module) is None)
