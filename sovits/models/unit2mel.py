"""The refiner of so-vits-svc 4.1: shallow diffusion with a WaveNet for denoiser.

Names of parts are those of published models, `model_*.pt`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sovits.audio.mel import VOCODER_MEL
from sovits.config import AudioConfig, Sampler
from sovits.errors import RefinerError
from sovits.models.diffusion import Diffusion, ddim, dpm_solver, linear_betas
from sovits.models.noise import NoiseSource
from sovits.types import F0, Content, Mel, Shares, Speaker, Volume

USUAL_K, USUAL_SPEEDUP = 100, 10
LOWEST, HIGHEST = -12.0, 2.0
"""Logarithms that become -1 and 1."""


@dataclass(frozen=True)
class Unit2MelConfig:
    """Shape of the network; the defaults are so-vits-svc 4.1."""

    content_channels: int = 768
    """Channels of the content encoder's output."""
    n_layers: int = 20
    """Layers of the denoiser."""
    channels: int = 512
    """Width of the denoiser."""
    hidden_channels: int = 256
    """Width of what it is conditioned on."""
    n_speakers: int = 1
    """Rows of the speaker table; there is none for 1."""
    pitch_shifted: bool = True
    """Whether it was told by how much recordings were shifted in training."""
    timesteps: int = 1000
    """Steps from sound to noise."""
    k_max: int = 1000
    """Steps that it was trained for."""


class StepEmbedding(nn.Module):
    """Sines and cosines of a step at frequencies from 1 down to 1 in 10000."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pairs = channels // 2

    def forward(self, step: Tensor) -> Tensor:
        """Map steps `[batch]` to `[batch, channels]`."""
        falling = torch.arange(self.pairs, device=step.device, dtype=torch.float32)
        angles = step.float()[:, None] * torch.exp(-math.log(10_000) / (self.pairs - 1) * falling)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class ResidualLayer(nn.Module):
    """A gated convolution over three frames, told the step and the conditions."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.dilated_conv = nn.Conv1d(channels, 2 * channels, 3, padding=1)
        self.diffusion_projection = nn.Linear(channels, channels)
        self.conditioner_projection = nn.Conv1d(hidden, 2 * channels, 1)
        self.output_projection = nn.Conv1d(channels, 2 * channels, 1)

    def forward(self, x: Tensor, step: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return `x` for the next layer, and what is added to the output."""
        y = self.dilated_conv(x + self.diffusion_projection(step).unsqueeze(-1))
        gate, filtered = (y + self.conditioner_projection(condition)).chunk(2, dim=1)
        y = self.output_projection(torch.sigmoid(gate) * torch.tanh(filtered))
        residual, skipped = y.chunk(2, dim=1)
        return (x + residual) / math.sqrt(2), skipped


class Denoiser(nn.Module):
    """Tells what is noise in a mel spectrogram."""

    def __init__(self, config: Unit2MelConfig, bands: int) -> None:
        super().__init__()
        width = config.channels
        self.input_projection = nn.Conv1d(bands, width, 1)
        self.diffusion_embedding = StepEmbedding(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.Mish(), nn.Linear(4 * width, width)
        )
        self.residual_layers = nn.ModuleList(
            ResidualLayer(width, config.hidden_channels) for _ in range(config.n_layers)
        )
        self.skip_projection = nn.Conv1d(width, width, 1)
        self.output_projection = nn.Conv1d(width, bands, 1)
        nn.init.zeros_(self.output_projection.weight)

    def forward(self, x: Tensor, t: Tensor | float, condition: Tensor) -> Tensor:
        """Return the noise in `x`.

        Args:
            x: Normalised mel with noise, `[batch, bands, frames]`.
            t: Step, counted from 0; need not be whole. One number, or `[batch]`.
            condition: `[batch, hidden_channels, frames]`.
        """
        steps = torch.as_tensor(t, device=x.device, dtype=torch.float32).reshape(-1)
        step = self.mlp(self.diffusion_embedding(steps).to(x.dtype))
        x = F.relu(self.input_projection(x))
        total = torch.zeros_like(x)
        for layer in self.residual_layers:
            x, skipped = layer(x, step, condition)
            total += skipped
        y = F.relu(self.skip_projection(total / math.sqrt(len(self.residual_layers))))
        noise: Tensor = self.output_projection(y)
        return noise


class Decoder(nn.Module):
    """The denoiser, and the tables of the process that published models hold."""

    betas: Tensor
    spec_min: Tensor
    spec_max: Tensor

    def __init__(self, config: Unit2MelConfig, bands: int) -> None:
        super().__init__()
        self.denoise_fn = Denoiser(config, bands)
        for name, table in tables(linear_betas(config.timesteps)).items():
            self.register_buffer(name, table.float())
        self.register_buffer("spec_min", torch.full((1, 1, 1), LOWEST))
        self.register_buffer("spec_max", torch.full((1, 1, 1), HIGHEST))


def tables(betas: Tensor) -> dict[str, Tensor]:
    """Return what published models hold of a process, float64 `[timesteps]` each, by name."""
    now = (1 - betas).cumprod(0)
    before = torch.cat([torch.ones_like(now[:1]), now[:-1]])
    variance = betas * (1 - before) / (1 - now)
    return {
        "betas": betas,
        "alphas_cumprod": now,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": now.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - now).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - now).log(),
        "sqrt_recip_alphas_cumprod": now.rsqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / now - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - now),
        "posterior_mean_coef2": (1 - before) * (1 - betas).sqrt() / (1 - now),
    }


@dataclass
class Trained:
    """What a refiner was trained with, as its settings tell."""

    audio: AudioConfig = VOCODER_MEL
    """Rates, bands and range of the mels."""
    content: str | None = None
    """Name of the content encoder."""
    speakers: dict[str, int] = field(default_factory=dict)
    """Row in the speaker table for each name."""
    vocoder: str | None = None
    """File of the vocoder."""


class Unit2Mel(nn.Module):
    """Adds noise to a mel spectrogram and takes it out again, told what is said and by whom."""

    def __init__(self, config: Unit2MelConfig, trained: Trained | None = None) -> None:
        super().__init__()
        self.config = config
        self.trained = trained or Trained()
        hidden = config.hidden_channels
        self.unit_embed = nn.Linear(config.content_channels, hidden)
        self.f0_embed = nn.Linear(1, hidden)
        self.volume_embed = nn.Linear(1, hidden)
        self.aug_shift_embed = nn.Linear(1, hidden, bias=False) if config.pitch_shifted else None
        self.spk_embed = None
        if config.n_speakers > 1:
            # On the CPU also where all else is drawn on the meta device, where drawing normal
            # numbers begins with ten seconds of imports.
            table = torch.randn(config.n_speakers, hidden, device="cpu")
            self.spk_embed = nn.Embedding.from_pretrained(table, freeze=False)
        self.decoder = Decoder(config, self.audio.n_mels)
        self.remarks: list[str] = []

    @property
    def audio(self) -> AudioConfig:
        """Rates, bands and range of its mels."""
        return self.trained.audio

    @property
    def content(self) -> str | None:
        """Name of the content encoder that it was trained with, if that is known."""
        return self.trained.content

    @property
    def content_channels(self) -> int:
        """Channels of that content."""
        return self.config.content_channels

    @property
    def speakers(self) -> dict[str, int]:
        """Row for each name."""
        return self.trained.speakers

    @property
    def n_speakers(self) -> int:
        """Rows of the speaker table; 1 if there is none."""
        return self.config.n_speakers

    @property
    def strength(self) -> float:
        """What to refine with if nobody says."""
        return self.strength_of(min(USUAL_K, self.config.k_max))

    @property
    def diffusion(self) -> Diffusion:
        """How noise is added."""
        return Diffusion(self.decoder.betas)

    @property
    def denoiser(self) -> Denoiser:
        """The network alone."""
        return self.decoder.denoise_fn

    def strength_of(self, k: int) -> float:
        """Return the share of noise, 0 to 1, that the first `k` steps add.

        Raises:
            RefinerError: It was not trained for so many steps.
        """
        self._check_k(k)
        ratio = self.diffusion.ratio(k)
        return 1.0 if k == self.config.timesteps else ratio / (1 + ratio)

    def k_of(self, strength: float) -> int:
        """Return how many steps add noise to the share of `strength`, above 0."""
        diffusion = self.diffusion
        return diffusion.nearest(strength / (1 - strength) if strength < 1 else math.inf)

    def reach(self, steps: int | None) -> int:
        """Return how many frames on each side a frame depends on, with so many evaluations."""
        return self.config.n_layers * (steps or USUAL_K // USUAL_SPEEDUP)

    def condition(
        self, content: Content, f0: F0, volume: Volume, speaker: Speaker | Shares
    ) -> Tensor:
        """Return what the denoiser is told, `[1, hidden_channels, frames]`.

        Args:
            content: `[1, channels, frames]`.
            f0: Hz, `[1, frames]`.
            volume: `[1, frames]`.
            speaker: Row, int64 `[1]`; or shares of all rows, `[1, n_speakers, 1 or frames]`.
        """
        x = self.unit_embed(content.transpose(1, 2))
        x = x + self.f0_embed((1 + f0 / 700).log().unsqueeze(-1))
        x = x + self.volume_embed(volume.unsqueeze(-1))
        if self.spk_embed is not None:
            if speaker.dim() == 1:
                x = x + self.spk_embed(speaker).unsqueeze(1)
            else:
                shares = speaker / speaker.sum(1, keepdim=True)
                x = x + shares.to(x).transpose(1, 2) @ self.spk_embed.weight
        told: Tensor = x.transpose(1, 2)
        return told

    @torch.inference_mode()
    def refine(
        self,
        mel: Mel,
        content: Content,
        f0: F0,
        volume: Volume,
        speaker: Speaker | Shares,
        *,
        k: int = USUAL_K,
        speedup: int = USUAL_SPEEDUP,
        strength: float | None = None,
        steps: int | None = None,
        sampler: Sampler = "ddim",
        noise: NoiseSource | None = None,
        deterministic: bool = False,
    ) -> Mel:
        """Return the refined mel, `[1, bands, frames]`, natural log.

        Args:
            mel: `[1, bands, frames]`, natural log.
            content: `[1, channels, frames]`.
            f0: Hz, `[1, frames]`.
            volume: `[1, frames]`.
            speaker: Row, int64 `[1]`; or shares of all rows, `[1, n_speakers, 1 or frames]`.
            k: Steps of noise to add and to take out again.
            speedup: Steps that are taken out at once; ddpm takes out one at a time.
            strength: Instead of `k`, the share of noise; 0 returns `mel`, and 1 draws all from
                noise.
            steps: Instead of `speedup`, the evaluations of the network.
            sampler: ddim, dpm++ or ddpm; auto is dpm++.
            noise: Where noise comes from; seed 0 if not given.
            deterministic: Every noise is zero.

        Raises:
            RefinerError: It was not trained for so many steps, or has no such sampler.
            ValueError: Content has another number of channels, or the mel of bands.
        """
        if strength is not None:
            if strength <= 0:
                return mel
            k = self.k_of(strength)
        self._check_k(k)
        if sampler == "euler":
            raise RefinerError.no_sampler(sampler, ("ddim", "dpm++", "ddpm"))
        self._check_shapes(mel, content)
        if steps is None:
            steps = k if sampler == "ddpm" else max(1, k // speedup)
        steps = min(steps, k)
        source = None if deterministic else noise or NoiseSource()

        def draw(number: int) -> Tensor:
            if source is None:
                return torch.zeros_like(mel)
            return source.diffusion(number, *mel.shape[1:]).to(mel)

        low, high = self.decoder.spec_min, self.decoder.spec_max
        diffusion, condition = self.diffusion, self.condition(content, f0, volume, speaker)

        def predict(x: Tensor, t: float) -> Tensor:
            predicted: Tensor = self.denoiser(x, t, condition)
            return predicted

        x = draw(0)
        if strength is None or strength < 1:
            x = diffusion.noisy(2 * (mel - low) / (high - low) - 1, x, k)
        if sampler in ("auto", "dpm++") and k > 1:
            x = dpm_solver(diffusion, predict, x, k, steps)
        else:
            fresh = (lambda number: draw(number + 1)) if sampler == "ddpm" else None
            x = ddim(diffusion, predict, x, k, steps, fresh)
        refined: Mel = (x + 1) / 2 * (high - low) + low
        return refined

    def check_from_noise(self) -> None:
        """Refuse to draw all from noise, if that was not learnt.

        Raises:
            RefinerError: It was trained for fewer steps than there are.
        """
        if self.config.k_max < self.config.timesteps:
            raise RefinerError.not_from_noise(self.config.k_max, self.config.timesteps)

    def _check_k(self, k: int) -> None:
        if not 1 <= k <= self.config.k_max:
            raise RefinerError.too_many_steps(k, self.config.k_max)

    def _check_shapes(self, mel: Mel, content: Content) -> None:
        for what, tensor, width in (
            ("mel", mel, self.audio.n_mels),
            ("content", content, self.content_channels),
        ):
            if tensor.dim() != 3 or tensor.shape[1] != width:
                raise ValueError(f"{what} is {tuple(tensor.shape)}, but has to be [1, {width}, n].")
