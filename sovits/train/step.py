"""One step of adversarial training: generator, then discriminators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from sovits.audio.mel import LogMel
from sovits.config import Config, NativeConfig
from sovits.errors import ConfigError, TrainingError
from sovits.models import losses
from sovits.models.decoders.filterbank import Pqmf
from sovits.models.encoders import Gaussian
from sovits.models.synthesizer import TrainOutput
from sovits.train.dataset import Crops

RISE = 20  # updates after which an average changes by half of what a new one would


@dataclass
class Trainee:
    """Networks, what moves them, and how far they have come."""

    generator: nn.Module
    discriminator: nn.Module
    generator_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer
    step: int = 0
    epoch: int = 0
    position: int = 0
    """Batches of this epoch that are done."""
    average: dict[str, Tensor] | None = None
    """Averaged state of the generator, if there is to be one."""

    def begin_average(self) -> None:
        """Let the average, if there is to be one, begin at the generator's weights."""
        if self.average is not None:
            state = self.generator.state_dict()
            self.average = {name: tensor.detach().clone() for name, tensor in state.items()}

    @torch.no_grad()
    def move_average(self, decay: float, updates: int) -> None:
        """Take the generator's weights into the average.

        Args:
            decay: Share of the average that stays, once there have been many updates.
            updates: How many there were before; while they are few, less stays.
        """
        if self.average is not None:
            share = 1 - min(decay, updates / (updates + RISE))
            for name, tensor in self.generator.state_dict().items():
                self.average[name].lerp_(tensor, share)


@contextmanager
def averaged(network: nn.Module, average: dict[str, Tensor] | None) -> Iterator[None]:
    """Let a network have its averaged weights for a while; its own come back exactly."""
    if average is None:
        yield
        return
    own = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(average)
    try:
        yield
    finally:
        network.load_state_dict(own)


class Objective:
    """The terms that generator and discriminators minimise.

    Raises:
        ConfigError: Segments are too short for a term.
    """

    def __init__(self, config: Config, device: torch.device) -> None:
        self.config = config
        self.log_mel = LogMel(config.voice.audio).to(device)
        synthesizer = config.voice.synthesizer
        self.has_prior = not isinstance(synthesizer, NativeConfig) or synthesizer.latent > 0
        self.pqmf = None
        if not isinstance(synthesizer, NativeConfig) and synthesizer.decoder == "mb-istft":
            self.pqmf = Pqmf(synthesizer.subbands).to(device)
        # Half a window is mirrored at each end of a segment, which must be longer than that.
        train, needed = config.train, 0
        if train.stft_weight:
            needed = max(n_fft for n_fft, _, _ in losses.FULL_BAND) // 2
        if self.pqmf is not None:
            needed = max(needed, max(train.stft_fft_sizes) // 2 * self.pqmf.bands)
        samples = train.segment_frames * config.voice.audio.hop_length
        if samples <= needed:
            raise ConfigError.wrong_value(
                "train.segment_size", samples, f"more than {needed} samples, for the STFT loss"
            )

    def reconstruction(self, crops: Crops, out: TrainOutput) -> dict[str, Tensor]:
        """Return the terms that need no discriminator, weighted."""
        train = self.config.train
        wave = out.wave.float()
        distance = (self.log_mel(wave) - self.log_mel(crops.wave)).abs().mean()
        terms = {"mel": train.mel_weight * distance}
        if self.has_prior:
            terms["kl"] = train.kl_weight * losses.divergence(
                out.z_prior.float(),
                Gaussian(*(x.float() for x in out.posterior)),
                Gaussian(*(x.float() for x in out.prior)),
                crops.batch.mask,
            )
        if out.predicted_log_f0 is not None:
            error = (out.predicted_log_f0.float() - out.log_f0) * crops.batch.mask
            terms["f0"] = error.square().sum() / crops.batch.mask.sum()
        if train.stft_weight:
            terms["stft"] = train.stft_weight * losses.stft_distance(
                crops.wave, wave, losses.FULL_BAND
            )
        if self.pqmf is not None and out.bands is not None:
            resolutions = list(
                zip(
                    train.stft_fft_sizes,
                    train.stft_hop_lengths,
                    train.stft_window_lengths,
                    strict=True,
                )
            )
            terms["bands"] = losses.stft_distance(
                self.pqmf.split(crops.wave), out.bands.float(), resolutions
            )
        return terms


def train_step(
    fabric: Fabric,
    trainee: Trainee,
    objective: Objective,
    crops: Crops,
    arithmetic: torch.autocast,
    *,
    update: bool = True,
) -> dict[str, Tensor]:
    """Take one step with `crops`; returns each term, detached.

    Args:
        fabric: Devices.
        trainee: Networks and optimizers; their parameters change.
        objective: The terms.
        crops: What to learn from.
        arithmetic: Precision of the networks; losses stay in fp32.
        update: Whether to move the weights, or only to add to their gradients.

    Raises:
        TrainingError: A term is not finite. The step is not taken, so the weights are still sound.
    """
    train = objective.config.train
    generator, judge = trainee.generator, trainee.discriminator
    adversarial = trainee.step >= train.adversarial_from
    with arithmetic:
        out = generator(crops.batch, train.segment_frames)
    terms = objective.reconstruction(crops, out)
    real = []
    if adversarial:
        # Real sound is judged once: its layers are the target of one network, and its scores
        # the loss of the other.
        with arithmetic:
            real = judge(crops.wave)
            judge.requires_grad_(False)
            fake = judge(out.wave)
            judge.requires_grad_(True)
        terms["features"] = train.feature_weight * losses.feature_distance(real, fake)
        terms["adversarial"] = losses.generator_adversarial(fake)
    _check(trainee.step, terms)
    fabric.backward(torch.stack(list(terms.values())).sum() / train.accumulate)
    judged = {}
    if adversarial:
        with arithmetic:
            fake = judge(out.wave.detach())
        judged["discriminator"] = losses.discriminator_adversarial(real, fake)
        _check(trainee.step, judged)
        fabric.backward(judged["discriminator"] / train.accumulate)
    if update:
        trainee.generator_optimizer.step()
        trainee.generator_optimizer.zero_grad(set_to_none=True)
        trainee.move_average(train.average, trainee.step // train.accumulate)
        if adversarial:
            trainee.discriminator_optimizer.step()
            trainee.discriminator_optimizer.zero_grad(set_to_none=True)
    return {name: term.detach() for name, term in (terms | judged).items()}


def _check(step: int, terms: dict[str, Tensor]) -> None:
    if not torch.isfinite(torch.stack([term.detach() for term in terms.values()])).all():
        raise TrainingError.diverged(step, {name: term.item() for name, term in terms.items()})
