"""An index of each speaker's content, frame by frame, to retrieve from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sovits.config import VoiceConfig
from sovits.errors import DatasetError, OutputError
from sovits.index_file import SUFFIX, Bank, Description, Held, write_index
from sovits.retrieval import Lists
from sovits.train.clusters import ClusterOptions, k_means, nearest_centres
from sovits.train.frames import Frames, Sample, find_content

FEWEST = 50
"""Frames of a speaker below which there is nothing to choose from: about a second."""
COMPARED = 30_000
"""Frames that are compared one by one in each conversion; more of them are put into lists."""
SAMPLED = 50
"""Frames by which the centre of a list is found."""
PASSES = 10
"""Most passes over these."""


@dataclass(frozen=True)
class IndexOptions:
    """How an index is made."""

    compared: int = COMPARED
    """Most frames of a speaker that are compared one by one; more are put into lists."""
    seed: int = 1234
    """Where the centres of the lists begin."""
    device: str = "cpu"
    """Where distances are computed."""


def train_index(
    dataset: Path,
    out: Path,
    voice: VoiceConfig,
    options: IndexOptions,
    on_log: Callable[[str], None],
) -> None:
    """Write the content of each speaker in `dataset/SPEAKER/*.features.safetensors` to `out`.

    Args:
        dataset: Features, in one folder per speaker.
        out: File to write, as `sovits.index_file` has it; replaced at once, or not at all.
        voice: Whose index it is; only its speakers are in it.
        options: How it is made.
        on_log: Told one line per speaker.

    Raises:
        DatasetError: There are no features, they are damaged, too few, or of another content
            encoder than the voice's.
        OutputError: `out` cannot be written.
    """
    if out.suffix != SUFFIX:
        raise OutputError.unknown_suffix(out, [SUFFIX])
    heard = find_content(dataset)
    first = next(iter(heard.speakers.values()))[0].path
    channels = voice.synthesizer.content_channels
    if heard.content != voice.content:
        raise DatasetError.other_features(first, "content", heard.content, voice.content)
    if heard.channels != channels:
        raise DatasetError.other_features(first, "channels", heard.channels, str(channels))
    banks, held = {}, {}
    for speaker, clips in heard.speakers.items():
        if speaker not in voice.speakers:
            on_log(f"{speaker}: left out, as the configuration has no such speaker")
            continue
        if (total := sum(clip.frames for clip in clips)) < FEWEST:
            raise DatasetError.too_few_frames(speaker, total, FEWEST)
        frames = Frames([clip.path for clip in clips], in_memory=True)
        banks[speaker] = bank = _bank(frames, options)
        lists = len(bank.lists.ends) if bank.lists else 0
        held[speaker] = Held(vectors=total, frames=total, clips=len(clips), lists=lists)
        kept = f", in {lists} lists" if lists else ""
        clips_in_all = f"{len(clips)} clip{'s' * (len(clips) > 1)}"
        on_log(f"{speaker}: {total} frames{heard.minutes(total)} of {clips_in_all}{kept}")
    for speaker in sorted(voice.speakers.keys() - heard.speakers.keys()):
        on_log(f"{speaker}: not in the index, as there are no features of this speaker")
    if not banks:
        raise DatasetError.clip_of_nobody(first, voice.speakers)
    told = Description(heard.content, heard.channels, heard.frame_rate, "frames", held)
    write_index(out, told, banks)


def _bank(frames: Frames, options: IndexOptions) -> Bank:
    """Return the frames, list after list if there are many."""
    whole = frames.join().half()
    if len(whole) <= options.compared:
        return Bank(whole)
    count = math.isqrt(len(whole))
    generator = torch.Generator().manual_seed(options.seed)
    sample = Sample(frames.pick(min(SAMPLED * count, len(whole)), generator))
    how = ClusterOptions(count, seed=options.seed, device=options.device, passes=PASSES)
    centres, _ = k_means(sample, how)
    return in_lists(whole, centres, options.device)


def in_lists(vectors: Tensor, centres: Tensor, device: str = "cpu") -> Bank:
    """Return vectors in the order of the centres that they are nearest to."""
    blocks = vectors.split(ClusterOptions.batch_size)
    chosen = torch.cat([nearest_centres(block.float(), centres, device)[1] for block in blocks])
    sizes = torch.bincount(chosen, minlength=len(centres))
    ends = sizes[sizes > 0].cumsum(0)
    return Bank(
        vectors[chosen.argsort(stable=True)], Lists(centres[sizes > 0], tuple(ends.tolist()))
    )
