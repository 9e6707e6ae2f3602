"""One step of adversarial training: generator, then discriminators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor, nn

from sovits.audio.mel import LogMel
from sovits.config import Config, NativeConfig
from sovits.errors import ConfigError
from sovits.models import losses
from sovits.models.decoders.filterbank import Pqmf
from sovits.models.encoders import Gaussian
from sovits.models.synthesizer import TrainOutput
from sovits.train.dataset import Crops
from sovits.train.guard import Guard

NETWORKS = "generator", "discriminator"
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
            state = self.generator.state_dict()
            # In few launches: a GPU would spend longer on being told than on working.
            torch._foreach_lerp_([self.average[name] for name in state], [*state.values()], share)


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

    Args:
        config: Their weights.
        device: Where they are computed.
        total: Adds up sums of several processes.

    Raises:
        ConfigError: Segments are too short for a term.
    """

    def __init__(
        self, config: Config, device: torch.device, total: losses.Total = losses.alone
    ) -> None:
        self.config, self.total = config, total
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
                self.total,
            )
        if out.predicted_log_f0 is not None:
            error = out.predicted_log_f0.float() - out.log_f0
            terms["f0"] = losses.per_frame(error.square(), crops.batch.mask, self.total)
        if train.stft_weight:
            terms["stft"] = train.stft_weight * losses.stft_distance(
                crops.wave, wave, losses.FULL_BAND, self.total
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
                self.pqmf.split(crops.wave), out.bands.float(), resolutions, self.total
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
    guard: Guard | None = None,
) -> dict[str, Tensor]:
    """Take one step with `crops`; returns each term, detached.

    Args:
        fabric: Devices.
        trainee: Networks and optimizers; their parameters change.
        objective: The terms.
        crops: What to learn from.
        arithmetic: Precision of the networks; losses stay in fp32.
        update: Whether to move the weights, or only to add to their gradients.
        guard: What keeps a step that is not finite from the weights; one that raises at once if
            not given.

    Raises:
        TrainingError: A term is not finite. The step is not taken, so the weights are still sound.
    """
    train = objective.config.train
    generator, judge = trainee.generator, trainee.discriminator
    guard = guard or Guard()
    with _unshared(fabric, update, generator, judge):
        with arithmetic:
            out = generator(crops.batch, train.segment_frames)
        terms = objective.reconstruction(crops, out)
        total = torch.stack(list(terms.values())).sum()
        adversarial = trainee.step >= train.adversarial_from
        if not adversarial:
            guard.check(trainee.step, terms)
            fabric.backward(total / train.accumulate)
        else:
            # Real and made sound are judged once each: layers and scores are what one network
            # learns from, and scores the other. What pulls at the made sound is found first,
            # without a gradient of the judges, and then handed down to who made it.
            made = out.wave.detach().requires_grad_()
            with arithmetic:
                real, fake = judge(crops.wave, made)
            terms["features"] = train.feature_weight * losses.feature_distance(real, fake)
            terms["adversarial"] = losses.generator_adversarial(fake)
            judged = losses.discriminator_adversarial(real, fake)
            guard.check(trainee.step, terms)
            guard.check(trainee.step, {"discriminator": judged})
            (pull,) = torch.autograd.grad(
                terms["features"] + terms["adversarial"], made, retain_graph=True
            )
            fabric.backward((total + (out.wave * pull).sum()) / train.accumulate)
            fabric.backward(judged / train.accumulate)
            terms["discriminator"] = judged
    if update:
        moved = [(generator, trainee.generator_optimizer)]
        if adversarial:
            moved.append((judge, trainee.discriminator_optimizer))
        if train.max_gradient:
            for name, (network, optimizer) in zip(NETWORKS, moved, strict=False):
                length = fabric.clip_gradients(
                    network, optimizer, max_norm=train.max_gradient, error_if_nonfinite=False
                )
                assert length is not None
                guard.check(trainee.step, {f"gradient of the {name}": length})
        guard.before_update(fabric)
        for _, optimizer in moved:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        trainee.move_average(train.average, trainee.step // train.accumulate)
    return {name: term.detach() for name, term in terms.items()}


@contextmanager
def _unshared(fabric: Fabric, update: bool, *networks: nn.Module) -> Iterator[None]:
    """Let processes keep their gradients to themselves until they move the weights."""
    with ExitStack() as stack:
        if fabric.world_size > 1 and not update:
            for network in networks:
                assert isinstance(network, _FabricModule)
                stack.enter_context(fabric.no_backward_sync(network))
        yield
