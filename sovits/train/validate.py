"""Judge a voice in training: let it sing, measure, keep what was sung, and say which is best."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

from sovits.config import Config
from sovits.errors import OutputError
from sovits.library import trained_pitches
from sovits.models.build import AnySynthesizer
from sovits.train.dataset import Recording
from sovits.train.ears import Ears, Values
from sovits.train.facts import Table, dataset_facts
from sovits.train.gallery import Gallery, shown
from sovits.train.log import Heard, Log
from sovits.train.page import Standing, page
from sovits.train.probe import FULL_SCALE, Probe, conversions, copies, f0_method_of, sing
from sovits.train.verdict import (
    GAIN,
    Best,
    Evaluation,
    choose,
    read_state,
    told,
    without_gain,
    write_state,
    write_text,
)
from sovits.types import Wave

REPORT = "report.html"
SHARE = 0.1
"""Share of the time of steps that evaluations may take; if it is too little, they come rarer."""
TARGET_SECONDS = 60.0
"""Recordings of each speaker that likeness is measured by (s)."""
MOST_HEARD = 4
"""Sounds of each evaluation that TensorBoard gets."""
MOST_INTERVALS = 1000


class Validation:
    """Evaluates one training, in the process that leads it.

    Nothing that training computes depends on it: it leaves weights and random numbers as they are.

    Args:
        folder: Where checkpoints are.
        config: Settings of the training.
        training: Clips that are trained on.
        held_out: Clips that are not.
        device: Where networks compute.
        on_log: Told one line at a time.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        training: Sequence[Recording],
        held_out: Sequence[Recording],
        device: torch.device,
        on_log: Callable[[str], None],
    ) -> None:
        self.folder, self.config, self.device = folder, config, device
        self.training, self.held_out, self.on_log = training, held_out, on_log
        self.state = read_state(folder, on_log)
        self.gallery = Gallery(folder)
        self.best: Best | None = None
        self.remarks: list[str] = []
        self.facts: Table = {}
        self._probes: list[Probe] = []
        self._ears: Ears | None = None
        self._begun = time.monotonic()
        self._busy = 0.0  # seconds of this run that evaluations took
        self._begun_at = 0
        self._shown: int | None = None
        self._begun_seconds = 0.0

    def begin(self, step: int, checkpoint: str | None) -> None:
        """Go on at a step, with the weights of a checkpoint; what lies after it is forgotten."""
        self.state.forget_after(step)
        self._begun_at, self._begun = step, time.monotonic()
        if checkpoint is not None:
            self.state.saved_as(checkpoint, step, self.state.seconds)
        self._begun_seconds = self.state.seconds
        self._choose(())

    @property
    def seconds(self) -> float:
        """How long the training has taken, in all its runs."""
        return self._begun_seconds + time.monotonic() - self._begun

    @property
    def interval(self) -> int:
        """Steps between two evaluations."""
        return self.config.train.eval_interval * max(1, self.state.every)

    def is_due(self, step: int) -> bool:
        """Return whether it is time for an evaluation."""
        before = [e.step for e in self.state.evaluations if e.regular]
        return not before or step // self.interval > before[-1] // self.interval

    @property
    def stopped(self) -> str | None:
        """Why training should end, and how to go on all the same; None if it should not."""
        patience = self.config.train.patience
        count = without_gain(
            self.state.evaluations, adversarial_from=self.config.train.adversarial_from
        )
        if not patience or count < patience or self.best is None:
            return None
        name = Path(self.best.evaluation.checkpoint or "").stem
        return (
            f"The last {count} evaluations gained nothing (none has {GAIN:g} points more than "
            f"those before), so training stops. The best checkpoint is {name}. To go on all the "
            f"same, set train.patience ({patience}) higher, or to 0 for no end, and train again."
        )

    def is_best(self, number: int, step: int) -> bool:
        """Return whether a checkpoint of that number is the best, and of another step."""
        best = self.best
        return (
            best is not None
            and best.evaluation.checkpoint == f"G_{number}.pth"
            and best.evaluation.step != step
        )

    @property
    def kept(self) -> frozenset[int]:
        """Numbers of checkpoints that must not be deleted."""
        name = self.best.evaluation.checkpoint if self.best else None
        found = re.fullmatch(r"G_(\d+)\.pth", name or "")
        return frozenset([int(found[1])] if found else [])

    def saved(self, path: Path, step: int) -> None:
        """Take note that a checkpoint of `step` was written."""
        self.state.saved_as(path.name, step, self.seconds)
        self._choose(())
        if self._shown == step:
            self._keep(self._write_page)  # now that it is known what is there
        self._keep(self._write_state)

    @torch.inference_mode()
    def evaluate(
        self,
        synthesizer: nn.Module,
        step: int,
        checkpoint: str | None,
        log: Log,
        abandon: Callable[[], bool] = lambda: False,
    ) -> None:
        """Let the network sing, and take note of how well it does.

        Args:
            synthesizer: The network, with the weights that would convert.
            step: When.
            checkpoint: File that its weights are in, or will be written to next.
            log: What is told.
            abandon: Whether there is no time left.
        """
        if not isinstance(synthesizer, AnySynthesizer):
            raise TypeError(f"{type(synthesizer).__name__} cannot convert.")
        if any(evaluation.step == step for evaluation in self.state.evaluations):
            return
        begun = time.monotonic()
        try:
            ears = self._prepared()
            ready = time.monotonic()
            sung: list[Wave] = []
            for probe in self._probes:
                if abandon():
                    return
                sung.append(sing(synthesizer, probe).nan_to_num(0, 0, 0).clamp(-1, 1))
            found = ears.hear(sung)
            evaluation = Evaluation(
                step=step,
                seconds=round(self.seconds, 1),
                cost=round(time.monotonic() - ready, 2),
                values=_rounded(found.values),
                checkpoint=checkpoint,
                regular=self.is_due(step),
                each={key: _rounded(values) for key, values in found.each.items()},
            )
            self.state.evaluations.append(evaluation)
            self._choose((checkpoint,) if checkpoint else ())
            self._keep(lambda: self._add(step, sung))
            self._keep(self._write_page)
            self._shown = step
            self._tell(evaluation, sung, log)
            cost = time.monotonic() - ready
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            self.on_log(
                f"step {step}  not evaluated, as there is too little memory left beside the "
                "training. Lower train.batch_size to have it."
            )
            return
        finally:
            self._busy += time.monotonic() - begun
        if evaluation.regular:
            self._spread(cost, step)
        self._keep(self._write_state)

    def _prepared(self) -> Ears:
        """Load what listens, and all that there is to sing, once."""
        if self._ears is None:
            voice = self.config.voice
            self.facts = dataset_facts(self.training, self.held_out, voice)
            if self.facts["shared_recordings"]:
                self._remark(
                    "As far as names tell, held-out clips come from recordings that are trained on "
                    "too, which flatters the voice. svc pre-config holds out whole recordings "
                    "where there are enough."
                )
            f0_method = f0_method_of(self.held_out[0])
            pitches = {
                speaker["row"]: speaker["median_f0_hz"]
                for speaker in self.facts["speakers"]
                if speaker["median_f0_hz"] is not None
            }
            self._probes = copies(self.held_out, voice)
            self._probes += conversions(voice, pitches, f0_method, self.device, self._remark)
            targets = self._targets({probe.row for probe in self._probes})
            self._ears = Ears(
                self._probes, voice.audio, targets, f0_method, self.device, self._remark
            )
        return self._ears

    def _targets(self, rows: set[int]) -> dict[int, Wave]:
        """Return recordings of each speaker that is sung, taken over all that are trained on."""
        audio, targets = self.config.voice.audio, {}
        for row in rows:
            own = [recording for recording in self.training if recording.speaker == row]
            wanted, parts = int(TARGET_SECONDS * audio.frame_rate), []
            each = max(1, -(-wanted // max(1, len(own))))
            for recording in own:
                frames = min(recording.frames, max(each, int(3 * audio.frame_rate)), wanted)
                if not frames:
                    break
                wanted -= frames
                with safe_open(recording.path, framework="pt") as features:
                    wave = features.get_slice("wave")[: frames * audio.hop_length]
                parts.append(wave.float() / FULL_SCALE)
            if parts:
                targets[row] = torch.cat(parts)
        return targets

    def _choose(self, coming: Sequence[str]) -> None:
        """Find the best among what is on the disk, and what will be."""
        there = {path.name for path in self.folder.glob("G_*.pth")} | set(coming)
        self.best = choose(
            self.state.evaluations,
            lambda name: name in there,
            adversarial_from=self.config.train.adversarial_from,
        )

    def _tell(self, evaluation: Evaluation, sung: Sequence[Wave], log: Log) -> None:
        """Tell what was found."""
        line = told(evaluation.values)
        if self.best is not None and self.best.evaluation.step == evaluation.step:
            line += "  (best so far)"
        heard = []
        rate = self.config.voice.audio.sample_rate
        if log.shows_sounds:
            order = sorted(range(len(sung)), key=lambda i: not self._probes[i].foreign)
            for i in order[:MOST_HEARD]:
                pixels = self.gallery.pixels(self._probes[i], sung[i], rate)
                heard.append(Heard(self._probes[i].key, sung[i], rate, pixels))
        log.evaluated(evaluation.step, evaluation.values, line, heard)

    def _spread(self, cost: float, step: int) -> None:
        """Let evaluations come rarer if they take too much of the time, and oftener if little."""
        steps = step - self._begun_at
        if steps <= 0:
            return
        train = self.config.train
        working = max(time.monotonic() - self._begun - self._busy, 1e-9)
        interval = working / steps * train.eval_interval
        every = min(max(1, math.ceil(cost / (SHARE * interval))), MOST_INTERVALS)
        if every > self.state.every or 2 * every <= self.state.every:
            self.state.every = every
            self.on_log(
                f"An evaluation takes {cost:.1f} s, and {train.eval_interval} steps take "
                f"{interval:.3g} s: from now on there is one every {self.interval} steps."
            )

    def _add(self, step: int, sung: Sequence[Wave]) -> None:
        """Keep what was sung, and no more than can be shown."""
        self.gallery.add(step, self._probes, sung, self.config.voice.audio.sample_rate)
        self.gallery.prune(self._steps_shown())

    def _steps_shown(self) -> list[int]:
        best = self.best.evaluation.step if self.best else None
        return shown([evaluation.step for evaluation in self.state.evaluations], best)

    def _write_page(self) -> None:
        steps, last = self._steps_shown(), self.state.evaluations[-1]
        there = {path.name for path in self.folder.glob("G_*.pth")}
        names = [name for name, _ in sorted(self.config.voice.speakers.items(), key=lambda x: x[1])]
        standing = Standing(
            name=", ".join(names[:4]) + (" ..." if len(names) > 4 else "") or "a voice",
            step=last.step,
            seconds=self.seconds,
            evaluations=self.state.evaluations,
            best=self.best,
            there=frozenset(there | ({last.checkpoint} if last.checkpoint else set())),
            shown=[made for made in self.gallery.steps() if made in steps],
            probes=self._probes,
            references=self._ears.references if self._ears else {},
            facts=self.facts,
            remarks=self.remarks,
            stopped=self.stopped,
            settings={
                "Pitch is measured by": self._ears.judge if self._ears else "",
                "Evaluations": f"every {self.interval} steps; the last took {last.cost:.1f} s",
                "Ends after": f"{self.config.train.patience} evaluations without a gain"
                if self.config.train.patience
                else "no number of evaluations (train.patience is 0)",
            },
        )
        write_text(self.folder / REPORT, page(standing, self.gallery, self.folder / "train.jsonl"))

    def _write_state(self) -> None:
        best = None
        if self.best is not None:
            best = {
                "checkpoint": self.best.evaluation.checkpoint,
                "step": self.best.evaluation.step,
                "because": self.best.because,
            }
        pitches = trained_pitches(self.folder)
        for speaker in self.facts.get("speakers", ()):
            if speaker["f0_range_hz"] is not None:
                told = ("median_f0_hz", "f0_range_hz")
                pitches[speaker["name"]] = {key: speaker[key] for key in told}
        more = {"best": best, "stopped": self.stopped, "pitches": pitches}
        write_state(self.folder, self.state, more)

    def _keep(self, write: Callable[[], None]) -> None:
        """Write something without which training goes on, as it is made again next time."""
        try:
            write()
        except OutputError as error:
            self.on_log(f"Training goes on, but {error}")

    def _remark(self, line: str) -> None:
        """Tell something now, and on the page."""
        self.remarks.append(line)
        self.on_log(line)


def _rounded(values: Values) -> Values:
    """Return measurements as they are kept; those that are no numbers are not."""
    return {key: round(value, 6) for key, value in values.items() if math.isfinite(value)}
