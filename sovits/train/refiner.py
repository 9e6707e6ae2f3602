"""Train a refiner for a voice: on what the voice makes of the clips that it has learnt from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
from torch import Tensor

from sovits.config import RefinerConfig, TrainConfig
from sovits.device import choose_device
from sovits.errors import TrainingError
from sovits.legacy.settings import read_config
from sovits.models.refiner import (
    MOST_STEPS,
    Conditions,
    NativeRefiner,
    Velocity,
    flow_loss,
    write_refiner,
)
from sovits.refiners import BESIDE
from sovits.train.dataset import list_recordings
from sovits.train.extra import Nobody, Verdict, fit_extra
from sovits.train.guard import Guard
from sovits.train.log import OnProgress
from sovits.train.loop import Outcome
from sovits.train.own_mels import PairBatch, Pairs, make_pairs, mel_of
from sovits.train.step import Trainee
from sovits.voice import Voice, load_voice

FOLDER = "refiner"
"""Name of the folder of checkpoints, beside those of the voice."""
FRAMES = 128  # of a crop
BATCH = 16  # crops a step
RATE = 5e-4
DECAY = 0.999  # of the average of the weights
MOST_GRADIENT = 1.0
LITTLE = 0.2  # strength from which a clip counts less
JUDGED = 12  # crops that an evaluation hears
STRENGTHS = (0.05, 0.1, 0.2, 0.35)
"""What an evaluation tries; the best is what the refiner refines with if nobody says."""


class RefinerTraining:
    """A refiner that learns.

    Args:
        voice: Whose sound it refines.
        config: Shape of the network.
        train: How often it is judged, and the like.
        heard: Clips that it learns from.
        held_out: Clips that it never does.
        out: Where the best of it is kept.
        device: Where it computes.
    """

    def __init__(
        self,
        voice: Voice,
        config: RefinerConfig,
        train: TrainConfig,
        heard: Pairs,
        held_out: Pairs,
        out: Path,
        device: torch.device,
    ) -> None:
        torch.manual_seed(train.seed)
        self.voice, self.config, self.out, self.device = voice, config, out, device
        self.heard, self.held_out = heard, held_out
        self.train = replace(train, learning_rate=RATE, average=DECAY)
        self.audio = mel_of(voice.config.audio)
        network, nobody = Velocity(config, self.audio.n_mels).to(device), Nobody().to(device)
        self.trainee = Trainee(
            network,
            nobody,
            torch.optim.AdamW(network.parameters(), RATE, betas=(0.9, 0.99), fused=True),
            torch.optim.AdamW(nobody.parameters(), RATE, fused=True),
            average={},
        )
        self.trainee.begin_average()
        self.network = network
        self.arithmetic = torch.autocast(
            device.type, torch.bfloat16, enabled=train.precision != "fp32"
        )
        self.guard = Guard()

    def step(self) -> dict[str, Tensor]:
        """Take the next step; return the terms of its loss."""
        number, optimizer = self.trainee.step, self.trainee.generator_optimizer
        batch = self._on_device(self.heard.batch(number, BATCH))
        drawn = torch.Generator().manual_seed(self.train.seed * 1_000_003 + number)
        size = len(batch.made)
        strength, time = (torch.rand(size, generator=drawn).to(self.device) for _ in range(2))
        # What is used most is little noise, where velocities are small and count for little.
        strength = strength.square()
        noise = torch.randn(batch.made.shape, generator=drawn).to(self.device)
        with self.arithmetic:
            loss = flow_loss(
                self.network,
                batch.made,
                batch.real,
                Conditions(batch.content, batch.f0, batch.volume, batch.speaker),
                batch.mask,
                strength=strength,
                time=time,
                noise=noise,
                weight=1 / (LITTLE + strength),
            )
        terms = {"flow": loss}
        self.guard.check(number, terms)
        loss.backward()
        length = torch.nn.utils.clip_grad_norm_(self.network.parameters(), MOST_GRADIENT)
        self.guard.check(number, {"gradient of the refiner": length})
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self.trainee.move_average(self.train.average, number)
        return {"flow": loss.detach()}

    def judge(self) -> Verdict:
        """Refine held-out clips at several strengths, and compare with what they are."""
        batch = self._on_device(self.held_out.batch(0, JUDGED, plain=True))
        told = Conditions(batch.content, batch.f0, batch.volume, batch.speaker)
        before = _distance(batch.made, batch)
        found = {
            strength: _distance(self._refiner(strength).refine(batch.made, *told), batch)
            for strength in STRENGTHS
        }
        self.strength = min(found, key=lambda strength: found[strength])
        after = found[self.strength]
        values = {f"refined_{strength:g}": value for strength, value in found.items()}
        word = "helps" if after < before else "does not help"
        return Verdict(
            after,
            {"unrefined": before, **values},
            f"log-mel distance of held-out clips {after:.3f} refined at {self.strength:g}, "
            f"{before:.3f} as the voice makes them: it {word}.",
        )

    def keep(self, verdict: Verdict) -> None:
        """Write the weights that the network has."""
        refiner = self._refiner(self.strength)
        refiner.card = {
            "voice": self.voice.card.get("name") or (self.voice.path or Path()).name,
            "date": date.today().isoformat(),
            "step": self.trainee.step,
            "held_out": {name: round(value, 4) for name, value in verdict.values.items()},
        }
        write_refiner(self.out, refiner)

    def _refiner(self, strength: float) -> NativeRefiner:
        voice = self.voice.config
        return NativeRefiner(
            self.config, self.network, voice.content, voice.speakers, self.audio, strength
        )

    def _on_device(self, batch: PairBatch) -> PairBatch:
        return PairBatch(*(part.to(self.device) for part in batch))


def _distance(mel: Tensor, batch: PairBatch) -> float:
    """Return the mean distance of bands from those of the recording, where there is one."""
    far = (mel - batch.real).abs().mean(1, keepdim=True)
    return float((far * batch.mask).sum() / batch.mask.sum())


def fit_refiner(
    config_path: Path,
    model_dir: Path,
    *,
    max_steps: int,
    max_seconds: float | None = None,
    network: RefinerConfig | None = None,
    device: str = "auto",
    on_log: Callable[[str], None],
    on_progress: OnProgress | None = None,
) -> Outcome:
    """Train the refiner of the voice in `model_dir`, from where it left off.

    First the voice sings all clips; what it made of them is kept beside their features, and made
    again when the voice has changed. The best refiner is `model_dir/refiner.safetensors`, where
    conversion finds it.

    Args:
        config_path: `config.json`, whose lists name the clips.
        model_dir: Holds the voice; checkpoints are in its folder `refiner`.
        max_steps: Steps in all.
        max_seconds: Stop, and save, after this much time.
        network: Shape of the network; content and speakers are those of the voice anyway.
        device: Such as `cpu` or `cuda:0`; `auto` is CUDA if there is any.
        on_log: Told one line at a time.
        on_progress: Told how far it is, instead of a line now and then.

    Raises:
        ConfigError, DatasetError: Settings or features are wrong.
        VoiceError: There is no voice in `model_dir`.
        TrainingError: See `fit_extra`.
        Interrupted: Someone asked the training to end. It is saved.
    """
    config, _ = read_config(config_path)
    place = torch.device(choose_device(device))
    voice = load_voice(model_dir, config_path, device=place)
    for remark in voice.remarks:
        on_log(remark)
    if voice.config.content != config.voice.content:
        raise TrainingError.other_network(
            voice.path or model_dir,
            f"it was trained with {voice.config.content}, not {config.voice.content}",
        )
    lists = (Path(config.train.training_files), Path(config.train.validation_files))
    heard, held_out = (list_recordings(path, config) for path in lists)
    on_log(f"The voice sings {len(heard) + len(held_out)} clips, where that is not done yet.")
    pairs = make_pairs([*heard, *held_out], voice)
    train, synthesizer = config.train, voice.config.synthesizer
    shape = replace(
        network or RefinerConfig(),
        content_channels=synthesizer.content_channels,
        n_speakers=synthesizer.n_speakers,
    )
    training = RefinerTraining(
        voice,
        shape,
        train,
        Pairs(pairs[: len(heard)], FRAMES, train.seed),
        Pairs(pairs[len(heard) :], 2 * FRAMES, train.seed),
        model_dir / BESIDE,
        place,
    )
    parameters = sum(tensor.numel() for tensor in training.network.parameters())
    on_log(
        f"A refiner of {parameters / 1e6:.1f} M parameters learns from {len(heard)} clips; "
        f"1 to {MOST_STEPS} evaluations, {shape.steps} if nobody says."
    )
    return fit_extra(
        training,
        model_dir / FOLDER,
        max_steps=max_steps,
        max_seconds=max_seconds,
        on_log=on_log,
        on_progress=on_progress,
    )
