"""What a synthesizer makes of the clips that it knows, beside what they are."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sovits.audio.mel import FLOOR, VOCODER_MEL, VOCODER_POWER_FLOOR, LogMel
from sovits.config import AudioConfig
from sovits.errors import OutputError
from sovits.models.noise import NoiseSource
from sovits.train.dataset import FEATURES_SUFFIX, OF_OTHERS, Recording
from sovits.types import F0, Content, Mel, Speaker, Volume
from sovits.voice import Voice

FORMAT = "sovits-pair-1"
SUFFIX = ".pair.safetensors"
"""What is appended to a clip's name for these."""
LOUDER, QUIETER = 0.3, -0.7  # of the gains of crops (natural log of 10)
SHARE_SMOOTHED, SHARE_TILTED, SHARE_NOISY = 0.4, 0.5, 0.3  # of crops that are made worse
TILT, ROUGHNESS = 0.4, 0.3  # how far their bands are moved, and how much noise is on them (natural)
WIDTHS = (3, 5, 9)  # bands, or frames, over which they are smoothed


class Pair(NamedTuple):
    """A clip: where its features are, and its mels."""

    features: Path
    mels: Path
    speaker: int
    frames: int


class PairBatch(NamedTuple):
    """What one step of a refiner learns from."""

    made: Mel
    real: Mel
    content: Content
    f0: F0
    volume: Volume
    speaker: Speaker
    mask: Tensor
    """`[batch, 1, frames]`."""


def mel_of(audio: AudioConfig) -> AudioConfig:
    """Return the mel that vocoders hear, at the rates of a voice."""
    top = min(VOCODER_MEL.mel_max or audio.sample_rate, audio.sample_rate / 2)
    return replace(audio, n_mels=VOCODER_MEL.n_mels, mel_min=VOCODER_MEL.mel_min, mel_max=top)


def fingerprint(voice: Voice) -> str:
    """Return what tells the weights of a voice from others."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(voice.synthesizer.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def make_pairs(
    recordings: Sequence[Recording],
    voice: Voice,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Pair]:
    """Write `NAME.wav.pair.safetensors` beside the features of clips; those that are right stay.

    A file holds `real` (float16 `[bands, frames]`), the mel of the clip, and `made` (float16 `[n,
    bands, frames]`), that of what the voice makes of it: of its content, and of what is heard as if
    others said it, if that is stored.

    Args:
        recordings: The clips, whose features are there.
        voice: Who sings them.
        on_progress: Told how many are done, and of how many.

    Raises:
        OutputError: A file cannot be written.
    """
    whose, pairs = fingerprint(voice), []
    log_mel = LogMel(mel_of(voice.config.audio), VOCODER_POWER_FLOOR).to(voice.device)
    for number, recording in enumerate(recordings):
        name = recording.path.name.removesuffix(FEATURES_SUFFIX)
        path = recording.path.with_name(name + SUFFIX)
        status = recording.path.stat()
        told = {
            "format": FORMAT,
            "voice": whose,
            "features": f"{status.st_size} {status.st_mtime_ns}",
        }
        if not _is_current(path, told):
            _write(path, _sung(recording, voice, log_mel), told)
        pairs.append(Pair(recording.path, path, recording.speaker, recording.frames))
        if on_progress is not None:
            on_progress(number + 1, len(recordings))
    return pairs


@torch.inference_mode()
def _sung(recording: Recording, voice: Voice, log_mel: LogMel) -> dict[str, Tensor]:
    """Return the mels of a clip, and of what a voice makes of it."""
    with safe_open(recording.path, framework="pt") as features:
        held = {name: features.get_tensor(name).to(voice.device) for name in features.keys()}  # noqa: SIM118
    frames, hop = recording.frames, voice.config.audio.hop_length
    wave = held["wave"][: frames * hop].float() / 32768
    contents = [held["content"], *held.get(OF_OTHERS, ())]
    volume = held["volume"][None] if voice.config.synthesizer.volume else None
    made = [
        voice.synthesizer.infer(
            stretched(content, 0, frames, frames)[None].float(),
            held["f0"][None],
            held["voiced"][None],
            torch.tensor([recording.speaker], device=voice.device),
            volume=volume,
            noise=NoiseSource(row),
        )
        for row, content in enumerate(contents)
    ]
    mels = log_mel(torch.cat(made))[..., :frames]
    return {"made": mels.half().cpu(), "real": log_mel(wave).half().cpu()}


def stretched(content: Tensor, first: int, count: int, total: int) -> Content:
    """Return content of the encoder's rate at some of a clip's frames, `[channels, count]`."""
    index = (torch.arange(first, first + count) * content.shape[-1]) // total
    return content[:, index.to(content.device)]


def _is_current(path: Path, told: dict[str, str]) -> bool:
    try:
        with safe_open(path, framework="pt") as file:
            return bool(file.metadata() == told)
    except (OSError, SafetensorError):
        return False


def _write(path: Path, tensors: dict[str, Tensor], told: dict[str, str]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(save({name: t.contiguous() for name, t in tensors.items()}, told))
        part.replace(path)
    except OSError as error:
        raise OutputError.cannot_write(path, error.strerror or str(error)) from error
    finally:
        part.unlink(missing_ok=True)


class Pairs:
    """Crops of clips, which depend only on a seed and a number.

    Args:
        pairs: The clips.
        frames: Length of a crop.
        seed: Of all that is random.
    """

    def __init__(self, pairs: Sequence[Pair], frames: int, seed: int) -> None:
        self.pairs, self.frames, self.seed = list(pairs), frames, seed

    def batch(self, number: int, size: int, *, plain: bool = False) -> PairBatch:
        """Return a batch of crops, each of a clip as likely as it is long.

        Args:
            number: Which.
            size: How many crops.
            plain: As the voice makes them, and not worse.
        """
        rng = random.Random(f"{self.seed}/{number}")  # noqa: S311  # not for secrets
        weights = [pair.frames for pair in self.pairs]
        chosen = rng.choices(self.pairs, weights, k=size)
        crops = [self._crop(pair, rng, plain=plain) for pair in chosen]
        return PairBatch(*map(torch.stack, zip(*crops, strict=True)))

    def _crop(self, pair: Pair, rng: random.Random, *, plain: bool) -> PairBatch:
        total = pair.frames
        count = min(self.frames, total)
        first = rng.randint(0, total - count)
        now = slice(first, first + count)
        with (
            safe_open(pair.mels, framework="pt") as mels,
            safe_open(pair.features, framework="pt") as held,
        ):
            rows = mels.get_slice("made")
            row = 0 if plain else rng.randrange(rows.get_shape()[0])
            made, real = rows[row, :, now].float(), mels.get_slice("real")[:, now].float()
            told = held.get_slice("content")[:] if row == 0 else held.get_slice(OF_OTHERS)[row - 1]
            content = stretched(told, first, count, total).float()
            f0, volume = held.get_slice("f0")[now], held.get_slice("volume")[now]
        if not plain:
            made = worse(made, rng)
            gain = 10 ** rng.uniform(QUIETER, LOUDER)
            made, real, volume = (*louder((made, real), gain), volume * gain)
        missing = (0, self.frames - count)
        return PairBatch(
            F.pad(made, missing),
            F.pad(real, missing),
            F.pad(content, missing),
            F.pad(f0, missing, value=100.0),
            F.pad(volume, missing),
            torch.tensor(pair.speaker),
            F.pad(torch.ones(1, count), missing),
        )


def louder(mels: Iterable[Mel], gain: float) -> list[Mel]:
    """Return mels of sound that is so much louder; what is silent stays so."""
    shift = float(torch.tensor(gain).log())
    floor = float(torch.tensor(FLOOR).log())
    return [(mel + shift).clamp(min=floor) for mel in mels]


def worse(mel: Mel, rng: random.Random) -> Mel:
    """Return a mel as of a voice that has learnt less: smoother, coloured, or rough.

    Args:
        mel: `[bands, frames]`.
        rng: What chooses.
    """
    if rng.random() < SHARE_SMOOTHED:
        width = rng.choice(WIDTHS)
        bands = F.pad(mel[None], (0, 0, width // 2, width // 2), mode="replicate")[0]
        mel = bands.unfold(0, width, 1).mean(-1)
    if rng.random() < SHARE_SMOOTHED:
        width = rng.choice(WIDTHS[:2])
        mel = F.pad(mel, (width // 2, width // 2), mode="replicate").unfold(1, width, 1).mean(-1)
    if rng.random() < SHARE_TILTED:
        points = torch.tensor([rng.gauss(0, TILT) for _ in range(8)])
        curve = F.interpolate(points[None, None], mel.shape[0], mode="linear")[0, 0]
        mel = mel + curve[:, None]
    if rng.random() < SHARE_NOISY:
        generator = torch.Generator().manual_seed(rng.getrandbits(40))
        mel = mel + ROUGHNESS * rng.random() * torch.randn(mel.shape, generator=generator)
    return mel
