"""Compute what training needs to know of each clip, once, into one file beside it."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sovits.audio.io import read
from sovits.audio.loudness import frame_rms
from sovits.audio.resample import resample
from sovits.config import ConvertOptions, VoiceConfig
from sovits.errors import AudioError, DatasetError, OutputError, PitchError, WeightsError
from sovits.features.content import CONTENT, ContentEncoder, load_content_encoder
from sovits.features.content.student import StudentContent
from sovits.features.pitch import PITCH_METHODS, PitchExtractor, load_pitch_extractor
from sovits.partial import partial
from sovits.prepare.recordings import find_clips
from sovits.prepare.report import Report, Skipped
from sovits.workers.crew import Crew, Failure, OnProgress, run

FORMAT = "sovits-features-1"
SUFFIX = ".features.safetensors"
"""What is appended to a clip's name for its features."""
FULL_SCALE = 32768
"""What `wave` is divided by, so that 16-bit clips are kept exactly."""

MOVED = (0.08, 0.38)
"""How far another speaker's frequencies lie from the clip's (octaves, down and up)."""

BYTES_EACH = 2 << 30
"""Memory that one worker needs."""


class _Job(NamedTuple):
    clip: Path
    voice: VoiceConfig
    f0_method: str
    device: str

    @property
    def out(self) -> Path:
        """Where the features are."""
        return self.clip.with_name(self.clip.name + SUFFIX)


def make_features(
    dataset: Path,
    voice: VoiceConfig,
    f0_method: str,
    *,
    device: str = "cpu",
    rebuild: bool = False,
    crew: Crew | None = None,
    on_progress: OnProgress | None = None,
) -> Report:
    """Write `NAME.wav.features.safetensors` beside each clip `dataset/SPEAKER/NAME.wav`.

    The file holds `wave` (int16 `[frames * hop_length]`), `content` (float16 `[channels, n]` at
    the encoder's own rate), `f0` (float32 `[frames]`, Hz), `voiced` (bool `[frames]`) and `volume`
    (float32 `[frames]`). With an encoder that can hear a clip as if others said it, there is also
    `content_of_others` (float16 `[2, channels, n]`). One that was made of the same clip with the
    same settings is kept.

    Args:
        dataset: Clips.
        voice: Rates and content encoder.
        f0_method: How pitch is found.
        device: Where networks compute.
        rebuild: Make files again that are still right.
        crew: Workers; this process if not given.
        on_progress: Told how far it is.

    Raises:
        DatasetError: There are no clips.
        WeightsError, PitchError: The content encoder or the pitch method cannot be loaded.
    """
    found = find_clips(dataset)
    jobs = [_Job(clip.path, voice, f0_method, device) for clip in found.recordings]
    kept = () if rebuild else tuple(job.out for job in jobs if _is_current(job))
    known = set(kept)
    left = [job for job in jobs if job.out not in known]
    if left:
        _check_tools(voice.content, f0_method)
    made, damaged = _sorted(left, run(_make, left, crew, on_progress=on_progress))
    return Report(made, kept, (*found.skipped, *damaged), damaged)


def remake_features(
    clips: Sequence[Path],
    voice: VoiceConfig,
    *,
    device: str = "cpu",
    on_progress: OnProgress | None = None,
) -> Report:
    """Make the features of some clips again, with the pitch method of those beside them.

    Args:
        clips: Sound files, of which what is there already is damaged.
        voice: Rates and content encoder.
        device: Where networks compute.
        on_progress: Told how far it is.
    """
    jobs = [_Job(clip, voice, _method_beside(clip), device) for clip in clips]
    for method in {job.f0_method for job in jobs}:
        _check_tools(voice.content, method)
    made, damaged = _sorted(jobs, run(_make, jobs, on_progress=on_progress))
    return Report(made, (), damaged, damaged)


def _sorted(
    jobs: Sequence[_Job], results: Sequence[Path | Skipped | Failure]
) -> tuple[tuple[Path, ...], tuple[Skipped, ...]]:
    """Return what was made, and what was not."""
    made: list[Path] = []
    damaged: list[Skipped] = []
    for job, result in zip(jobs, results, strict=True):
        if isinstance(result, Path):
            made.append(result)
        else:
            damaged.append(Skipped(job.clip, result.reason))
    return tuple(made), tuple(damaged)


def _method_beside(clip: Path) -> str:
    """Return the pitch method of other features in the folder of a clip, or else the default."""
    for path in sorted(clip.parent.glob(f"*{SUFFIX}")):
        try:
            with safe_open(path, framework="pt") as features:
                return str(features.metadata()["f0_method"])
        except (OSError, SafetensorError, KeyError, TypeError):
            continue
    return ConvertOptions.f0_method


def _check_tools(content: str, f0_method: str) -> None:
    """Fail here, once, and not in every process."""
    if f0_method not in PITCH_METHODS:
        raise PitchError.unknown_method(f0_method, PITCH_METHODS)
    if content not in CONTENT:
        raise WeightsError.unknown_encoder(content, CONTENT)
    _tools(content, f0_method, "cpu")


@lru_cache(maxsize=1)
def _tools(content: str, f0_method: str, device: str) -> tuple[ContentEncoder, PitchExtractor]:
    """Load the networks, once in each process."""
    return (
        load_content_encoder(content, device=device),
        load_pitch_extractor(f0_method, device=device),
    )


def _make(job: _Job) -> Path | Skipped:
    """Write the features of one clip, or say why not."""
    if os.environ.get("OMP_NUM_THREADS") == "1":
        torch.set_num_threads(1)
    metadata = _metadata(job)  # before the clip is read, so that a later change is noticed
    try:
        tensors = _measure(job)
    except (AudioError, DatasetError) as error:
        return Skipped(job.clip, str(error))
    out, part = job.out, partial(job.out)
    try:
        # Not save_file, whose files nobody but their owner may read.
        part.write_bytes(save(tensors, metadata))
        part.replace(out)
    except (OSError, SafetensorError) as error:
        if getattr(error, "errno", None) == errno.ENOSPC:
            free = shutil.disk_usage(out.parent).free
            raise OutputError.disk_full(out, free) from error
        raise OutputError.cannot_write(out, str(error)) from error
    finally:
        part.unlink(missing_ok=True)
    return out


def _measure(job: _Job) -> dict[str, Tensor]:
    """Return the features of one clip."""
    audio = job.voice.audio
    encoder, extractor = _tools(job.voice.content, job.f0_method, job.device)
    stored, _ = read(job.clip, sample_rate=audio.sample_rate, mono=True)
    frames = stored.shape[-1] // audio.hop_length
    wave = stored[0, : frames * audio.hop_length]
    content = encoder.encode(resample(wave, audio.sample_rate, encoder.spec.sample_rate))
    if not content.shape[-1]:
        raise AudioError.too_short_for_content()
    pitch = extractor(wave, audio.sample_rate, audio.hop_length)
    tensors = {
        "wave": (wave * FULL_SCALE).round().clamp(-FULL_SCALE, FULL_SCALE - 1).to(torch.int16),
        "content": content.to(torch.float16).cpu(),
        "f0": pitch.f0.float().cpu(),
        "voiced": pitch.voiced.cpu(),
        "volume": frame_rms(wave, audio.hop_length),
    }
    if isinstance(encoder, StudentContent):
        drawn = random.Random(job.clip.name)  # noqa: S311  # not for secrets
        heard = [encoder.encode(wave, octaves=s * drawn.uniform(*MOVED)) for s in (-1, 1)]
        tensors["content_of_others"] = torch.stack(heard).to(torch.float16).cpu()
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise DatasetError.not_finite_features(job.clip, name)
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _metadata(job: _Job) -> dict[str, str]:
    """Return what the features of a clip depend on."""
    status = job.clip.stat()
    return {
        "format": FORMAT,
        "content": job.voice.content,
        "f0_method": job.f0_method,
        "sample_rate": str(job.voice.audio.sample_rate),
        "hop_length": str(job.voice.audio.hop_length),
        "source": f"{status.st_size} {status.st_mtime_ns}",
    }


def _is_current(job: _Job) -> bool:
    """Return whether the features of a clip were made of it as it is, with these settings."""
    try:
        with safe_open(job.out, framework="pt") as features:
            return bool(features.metadata() == _metadata(job))
    except (OSError, SafetensorError):
        return False
