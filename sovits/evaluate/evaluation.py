"""Convert recordings with a voice, and measure what came out of it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from sovits.audio.io import AudioReader, AudioWriter
from sovits.config import ConvertOptions
from sovits.convert import convert_file
from sovits.errors import EvaluationError
from sovits.evaluate.clips import SHORTEST, Recording, cut
from sovits.evaluate.intelligibility import measure_intelligibility
from sovits.evaluate.metrics import METRICS, checked
from sovits.evaluate.pitch import choose_judge, measure_pitch
from sovits.evaluate.quality import Listener, measure_quality
from sovits.evaluate.recognisers import PhonemeRecogniser, Recogniser, WordRecogniser
from sovits.evaluate.reconstruction import MOST_SECONDS, measure_reconstruction
from sovits.evaluate.results import Evaluation
from sovits.evaluate.similarity import measure_similarity, similarity_between_halves
from sovits.evaluate.speed import Timing, clocked, measure_speed
from sovits.evaluate.target import NEEDED_SECONDS, Target, find_target, load_target
from sovits.features.pitch import load_pitch_extractor
from sovits.features.speaker import load_speaker_encoder
from sovits.mixing import mix_of
from sovits.voice import Voice

Progress = Callable[[float], None]

TEXT = ".txt"
"""How the name of a text beside a recording ends."""
MOST_TEXT = 100_000
"""Characters of the longest text that a recording may have: two hours of fast speech."""
FEW_CLIPS = 10
"""With fewer clips than this, intervals are too narrow."""
WARM_UP_HZ = 220.0
"""What the voice hums first (Hz)."""
BLOCK_SECONDS = 30.0
PACKAGES = ("faster-whisper", "hama", "speechmos", "onnxruntime", "torch")
"""Packages whose versions are told."""


def evaluate(
    voice: Voice,
    sources: Sequence[Path],
    folder: Path,
    *,
    options: ConvertOptions | None = None,
    target: Path | None = None,
    metrics: Sequence[str] = tuple(METRICS),
    judge: str | None = None,
    language: str | None = None,
    on_progress: Progress | None = None,
) -> Evaluation:
    """Convert `sources` and measure the results.

    Args:
        voice: The voice to judge.
        sources: Recordings to convert. If there is a text of the same name beside one of them
            (`speech.txt` beside `speech.wav`), it is what should be understood.
        folder: Where results are put, and kept; what is listened to later lies there.
        options: How to convert.
        target: Recordings of whom the voice is to sound like, a folder or a file; what is bundled
            with the voice if not given.
        metrics: Names in `METRICS`.
        judge: Pitch method to measure by; another than sang if not given.
        language: Of the sources, as ISO 639-1 has it; told from the sound if not given.
        on_progress: Told the share that is done, 0 to 1.

    Raises:
        EvaluationError: A source is silent, there are no recordings of the target, or a package
            that a metric needs is not installed.
        SovitsError: A recording cannot be read or converted.
    """
    options = options or ConvertOptions()
    if not sources:
        raise EvaluationError.no_sources()
    metrics = checked(metrics)
    evaluation = Evaluation(
        voice=_described(voice, options),
        options=options,
        machine=_machine(voice),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        metrics=metrics,
        recordings=[],
        clips=[],
    )
    stage = _Stages(on_progress or (lambda _: None), len(metrics) + 2)
    job = _Job(voice, folder, evaluation, stage)
    job.prepare(target, judge)
    job.warm_up()
    evaluation.recordings, timings = job.convert(sources, options, "result")
    evaluation.clips = cut(evaluation.recordings)
    for name in metrics:
        job.measure(name, options, timings, language)
    job.remark(metrics, options)
    stage.finish()
    return evaluation


class _Stages:
    """Spreads progress over works that follow one another."""

    def __init__(self, on_progress: Progress, count: int) -> None:
        self.on_progress, self.count, self.done = on_progress, count, 0

    def begin(self) -> Progress:
        """Return what the next work is to tell its progress."""
        first, self.done = self.done, self.done + 1
        return lambda share: self.on_progress(min(first + share, self.done) / self.count)

    def finish(self) -> None:
        """Say that all is done."""
        self.on_progress(1.0)


class _Job:
    """One evaluation under way."""

    def __init__(self, voice: Voice, folder: Path, evaluation: Evaluation, stage: _Stages) -> None:
        self.voice, self.folder, self.evaluation, self.stage = voice, folder, evaluation, stage
        self.target: Target | None = None
        self.judge = ""

    def prepare(self, target: Path | None, judge: str | None) -> None:
        """Find what is needed before any work is done."""
        evaluation = self.evaluation
        if "pitch" in evaluation.metrics:
            self.judge = choose_judge(evaluation.options.f0_method, judge)
            load_pitch_extractor(self.judge)
        if any(METRICS[name].needs_target for name in evaluation.metrics):
            paths = find_target(self.voice, target)
            self.target = load_target(paths)
            evaluation.target_sample = self.target.paths[0]
            evaluation.target = {
                "recordings": [_printable(path.name) for path in self.target.paths],
                "seconds": round(self.target.seconds, 3),
            }

    def convert(
        self, sources: Sequence[Path], options: ConvertOptions, kind: str
    ) -> tuple[list[Recording], list[Timing]]:
        """Return recordings with their results, and how long each took."""
        progress = self.stage.begin()
        recordings, lengths, timings = [], [], []
        for number, path in enumerate(sources):
            name = f"{number + 1:03}-{_printable(path.stem)[:80]}"
            plain = self.folder / f"{name}.source.wav"
            result = self.folder / f"{name}.{kind}.wav"
            recordings.append(Recording(path, plain, result, _text_beside(path)))
            lengths.append(_decode(path, plain))
        for number, (record, seconds) in enumerate(zip(recordings, lengths, strict=True)):

            def move(share: float, number: int = number) -> None:
                progress((number + share) / len(sources))

            with clocked(record.name, seconds) as timing:
                convert_file(self.voice, record.path, record.result, options, on_progress=move)
            timings.append(timing)
        return recordings, timings

    def warm_up(self) -> None:
        """Load what is loaded when first used, so that it is not counted as converting."""
        rate = self.voice.sample_rate
        hum = 0.3 * torch.sin(torch.arange(rate) * (2 * torch.pi * WARM_UP_HZ / rate))
        self.voice.convert(hum, rate, self.evaluation.options)

    def measure(
        self, name: str, options: ConvertOptions, timings: list[Timing], language: str | None
    ) -> None:
        """Add what one metric finds."""
        evaluation, clips = self.evaluation, self.evaluation.clips
        if name == "similarity" and self.target and evaluation.target is not None:
            encoder = load_speaker_encoder(self.voice.device)
            found = measure_similarity(clips, self.target, encoder, self.stage.begin())
            halves = similarity_between_halves(self.target, encoder)
            evaluation.target["similarity_between_halves"] = halves
        elif name == "intelligibility":
            recognisers: list[Recogniser] = [WordRecogniser(), PhonemeRecogniser()]
            heard = measure_intelligibility(clips, recognisers, language, self.stage.begin())
            found = heard.measures
            evaluation.transcripts += heard.transcripts
            evaluation.methods["references"] = heard.references
            evaluation.methods["languages"] = heard.languages
        elif name == "pitch":
            found = measure_pitch(clips, self.judge, options.semitones, self.stage.begin())
            evaluation.methods["pitch"] = self.judge
        elif name == "quality":
            found = measure_quality(clips, Listener(), self.stage.begin())
        elif name == "reconstruction" and self.target:
            found = self._reconstruct(self.target, options)
        elif name == "speed":
            self.stage.begin()
            found = measure_speed(timings)
        else:
            raise EvaluationError.unknown_metric(name, METRICS)
        evaluation.measures += found

    def _reconstruct(self, target: Target, options: ConvertOptions) -> Any:
        """Return what the voice makes of its own target, at the target's own pitch."""
        paths, seconds = [], 0.0
        for path in target.paths:
            with AudioReader(path) as reader:
                seconds += reader.frames / reader.sample_rate
            paths.append(path)
            if seconds >= MOST_SECONDS:
                break
        own = replace(options, semitones=0.0, formants=0.0, auto_f0=False, output_rate=None)
        recordings, _ = self.convert(paths, own, "reconstruction")
        return measure_reconstruction(cut(recordings), self.stage.begin())

    def remark(self, metrics: Sequence[str], options: ConvertOptions) -> None:
        """Say what is to be kept in mind."""
        evaluation = self.evaluation
        clips, notes = evaluation.clips, evaluation.notes
        shortest = min(clip.seconds for clip in clips)
        if len(clips) == 1:
            notes.append("There is one clip only, so nothing is known of how results vary.")
        elif len(clips) < FEW_CLIPS:
            notes.append(f"With {len(clips)} clips only, the intervals are too narrow.")
        if "similarity" in metrics and shortest < SHORTEST:
            notes.append(
                f"The shortest clip holds {shortest:.1f} s, and speakers are not told reliably by "
                f"less than {SHORTEST:g} s."
            )
        if self.target is not None and self.target.seconds < NEEDED_SECONDS:
            notes.append(
                f"There are {self.target.seconds:.1f} s of the target only, too few to know it by."
            )
        if "pitch" in metrics and self.judge == options.f0_method:
            notes.append(f"{self.judge} measures the pitch that it sang by, and shares its errors.")
        if "pitch" in metrics and options.auto_f0:
            notes.append("The voice chose its own melody, and was not asked to follow the source.")
        without = sum(record.text is None for record in evaluation.recordings)
        if "intelligibility" in metrics and without:
            some = without < len(evaluation.recordings)
            of = f"{without} of {len(evaluation.recordings)}" if some else "the"
            notes.append(
                f"No text was given for {of} recordings: there, errors are counted from what a "
                "recogniser understood of the source, which has none by definition."
            )


def _decode(source: Path, plain: Path) -> float:
    """Write the mean of a recording's channels to a wav file; return how long it is (s).

    Raises:
        AudioError: It cannot be read.
        EvaluationError: It is silent.
    """
    sounds = False
    with AudioReader(source) as reader:
        rate, block = reader.sample_rate, round(BLOCK_SECONDS * reader.sample_rate)
        with AudioWriter(plain, rate, 1, subtype="FLOAT") as writer:
            for start in range(0, reader.frames, block):
                wave = reader.read(start, block).mean(0, keepdim=True)
                sounds = sounds or bool(wave.any())
                writer.write(wave)
        if not sounds:
            raise EvaluationError.silent(source)
        return reader.frames / rate


def _text_beside(path: Path) -> str | None:
    """Return the text that is known of a recording.

    Raises:
        EvaluationError: There is one that cannot be read, or is empty.
    """
    beside = path.with_suffix(TEXT)
    if not beside.is_file():
        return None
    try:
        with beside.open(encoding="utf-8-sig") as file:
            text = " ".join(file.read(MOST_TEXT + 1).split())
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError.bad_text(beside, error) from error
    if len(text) > MOST_TEXT:
        raise EvaluationError.bad_text(beside, f"it is longer than {MOST_TEXT} characters")
    if not any(letter.isalnum() for letter in text):
        raise EvaluationError.bad_text(beside, "it holds no letters")
    return text


def _described(voice: Voice, options: ConvertOptions) -> dict[str, Any]:
    """Return what the report says of the voice."""
    row = mix_of(options, voice.row).alone
    names = [name for name, index in voice.speakers.items() if index == row]
    mixed = options.speaker or options.mix
    return {
        "name": _printable(voice.path.stem) if voice.path else None,
        "path": _printable(str(voice.path)) if voice.path else None,
        "speaker": _printable(str(mixed)) if row is None else next(iter(names), None),
        "sample_rate": voice.sample_rate,
        "content": voice.config.content,
    }


def _machine(voice: Voice) -> dict[str, Any]:
    """Return where it was measured."""
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "device": str(voice.device),
        "threads": torch.get_num_threads(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _printable(name: str) -> str:
    """Return a name as text that can be written in UTF-8."""
    return name.encode("utf-8", "replace").decode("utf-8")
