"""Centres of each speaker's content, by k-means (Lloyd 1982; in batches, Sculley 2010)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sovits.errors import OutputError
from sovits.index_file import SUFFIX, Bank, Description, Held, write_index
from sovits.train.frames import Frames, find_content

PASSES = 100
"""Passes over the frames after which centres are taken as they are."""
RESTARTS = 10
"""Passes after which centres that are nearest to nothing stay where they are."""
SETTLED = 1e-3
"""Share by which a pass must lessen the distance for another one to follow."""


@dataclass(frozen=True)
class ClusterOptions:
    """How centres are found."""

    n_clusters: int = 2000
    """Centres of each speaker; no more than there are frames."""
    minibatch: bool = True
    """Move centres after each batch, instead of after each pass."""
    batch_size: int = 4096
    """Frames per batch."""
    from_disk: bool = False
    """Read the files anew in each pass, instead of keeping them in memory."""
    seed: int = 1234
    """Where the centres begin."""
    device: str = "cpu"
    """Where distances are computed."""
    passes: int = PASSES
    """Most passes over the frames."""


def train_clusters(
    dataset: Path, out: Path, options: ClusterOptions, on_log: Callable[[str], None]
) -> None:
    """Write the centres of each speaker in `dataset/SPEAKER/*.features.safetensors` to `out`.

    Args:
        dataset: Features, in one folder per speaker.
        out: File to write, as `sovits.index_file` has it; replaced at once, or not at all.
        options: How centres are found.
        on_log: Told one line per speaker.

    Raises:
        DatasetError: There are no features, they are damaged, or of different content encoders.
        OutputError: `out` cannot be written.
    """
    if out.suffix != SUFFIX:
        raise OutputError.unknown_suffix(out, [SUFFIX])
    heard = find_content(dataset)
    banks, held = {}, {}
    for speaker, clips in heard.speakers.items():
        frames = Frames([clip.path for clip in clips], in_memory=not options.from_disk)
        centres, distance = k_means(frames, options)
        count, total = len(centres), len(frames)
        banks[speaker] = Bank(centres)
        held[speaker] = Held(vectors=count, frames=total, clips=len(clips))
        capped = f" ({options.n_clusters} were asked for)" if count < options.n_clusters else ""
        of = f"{total} frames{heard.minutes(total)}"
        on_log(f"{speaker}: {count} centres of {of}{capped}, distance {distance:.4g}")
    told = Description(heard.content, heard.channels, heard.frame_rate, "centres", held)
    write_index(out, told, banks)


def k_means(frames: Frames, options: ClusterOptions) -> tuple[Tensor, float]:
    """Return centres, `[n, channels]`, and the mean distance of the frames from the nearest."""
    generator = torch.Generator().manual_seed(options.seed)
    n_clusters = min(options.n_clusters, len(frames))
    centres = frames.pick(n_clusters, generator)
    counts, before, total = torch.zeros(n_clusters), float("inf"), 0.0
    for turn in range(options.passes):
        sums, found = torch.zeros_like(centres), torch.zeros(n_clusters)
        total = 0.0
        for batch in frames.batches(options.batch_size, generator):
            distance, nearest = nearest_centres(batch, centres, options.device)
            total += float(distance.sum())
            number = torch.bincount(nearest, minlength=n_clusters).float()
            # Not on a GPU, which adds in another order each time.
            added = torch.zeros_like(centres).index_add_(0, nearest, batch)
            if options.minibatch:
                # Each centre is the mean of all frames that were ever nearest to it.
                counts += number
                centres += (added - number[:, None] * centres) / counts.clamp(min=1)[:, None]
            sums, found = sums + added, found + number
        if not options.minibatch:
            centres = torch.where(found[:, None] > 0, sums / found.clamp(min=1)[:, None], centres)
        distance_now = total / len(frames)
        # Centres that no frame is nearest to begin again elsewhere.
        lost = found == 0
        if turn < RESTARTS and lost.any():
            centres[lost] = frames.pick(int(lost.sum()), generator)
            counts[lost] = 0
        elif distance_now >= before * (1 - SETTLED):
            break
        before = min(before, distance_now)
    return centres, total / len(frames)


def nearest_centres(frames: Tensor, centres: Tensor, device: str) -> tuple[Tensor, Tensor]:
    """Return how far each of `[n, channels]` is from its nearest centre, and which that is."""
    distance, nearest = torch.cdist(frames.to(device), centres.to(device)).min(dim=1)
    return distance.cpu(), nearest.cpu()
