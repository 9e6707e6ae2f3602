"""Centres of each speaker's content, by k-means (Lloyd 1982; in batches, Sculley 2010)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sovits.errors import DatasetError, OutputError
from sovits.legacy.clusters import CENTRES
from sovits.train.dataset import FEATURES_SUFFIX

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


def train_clusters(
    dataset: Path, out: Path, options: ClusterOptions, on_log: Callable[[str], None]
) -> None:
    """Write the centres of each speaker in `dataset/SPEAKER/*.features.safetensors` to `out`.

    Args:
        dataset: Features, in one folder per speaker.
        out: File to write, `{speaker: [n, channels]}`; replaced at once, or not at all.
        options: How centres are found.
        on_log: Told one line per speaker.

    Raises:
        DatasetError: There are no features, they are damaged, or of different content encoders.
        OutputError: `out` cannot be written.
    """
    if out.suffix != ".safetensors":
        raise OutputError.unknown_suffix(out, [".safetensors"])
    paths = sorted(dataset.glob(f"*/*{FEATURES_SUFFIX}"))
    if not paths:
        raise DatasetError.no_features(dataset / "SPEAKER" / f"NAME.wav{FEATURES_SUFFIX}")
    content = _content(paths)
    centres = {}
    for speaker in sorted({path.parent.name for path in paths}):
        own = [path for path in paths if path.parent.name == speaker]
        frames = Frames(own, in_memory=not options.from_disk)
        centres[speaker], distance = k_means(frames, options)
        count, total = len(centres[speaker]), len(frames)
        capped = f" ({options.n_clusters} were asked for)" if count < options.n_clusters else ""
        on_log(f"{speaker}: {count} centres of {total} frames{capped}, distance {distance:.4g}")
    _write(out, centres, content)


class Frames:
    """Content frames of one speaker, `[n, channels]` in all, in memory or on disk."""

    def __init__(self, paths: Sequence[Path], *, in_memory: bool) -> None:
        self.paths = paths
        self._whole = torch.cat([_read(path) for path in paths]) if in_memory else None
        self._length = sum(_length(path) for path in paths)

    def __len__(self) -> int:
        return self._length

    def batches(self, size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield every frame once, in an order drawn anew; from disk, file after file."""
        if self._whole is not None:
            for index in torch.randperm(len(self), generator=generator).split(size):
                yield self._whole[index].float()
            return
        rest: list[Tensor] = []
        for index in torch.randperm(len(self.paths), generator=generator).tolist():
            rest.append(_read(self.paths[index]))
            if sum(map(len, rest)) >= size:
                *whole, last = torch.cat(rest).split(size)
                yield from (batch.float() for batch in whole)
                rest = [last]
        yield torch.cat(rest).float()

    def pick(self, count: int, generator: torch.Generator) -> Tensor:
        """Return `count` different frames."""
        chosen = torch.randperm(len(self), generator=generator)[:count].sort().values
        if self._whole is not None:
            return self._whole[chosen].float()
        picked, first = [], 0
        for path in self.paths:
            frames = _read(path)
            here = chosen[(chosen >= first) & (chosen < first + len(frames))] - first
            picked.append(frames[here].float())
            first += len(frames)
        return torch.cat(picked)


def k_means(frames: Frames, options: ClusterOptions) -> tuple[Tensor, float]:
    """Return centres, `[n, channels]`, and the mean distance of the frames from the nearest."""
    generator = torch.Generator().manual_seed(options.seed)
    n_clusters = min(options.n_clusters, len(frames))
    centres = frames.pick(n_clusters, generator)
    counts, before = torch.zeros(n_clusters), float("inf")
    for turn in range(PASSES):
        sums, found = torch.zeros_like(centres), torch.zeros(n_clusters)
        total = 0.0
        for batch in frames.batches(options.batch_size, generator):
            distance, nearest = torch.cdist(batch, centres).min(dim=1)
            total += float(distance.sum())
            number = torch.bincount(nearest, minlength=n_clusters).float()
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


def _content(paths: Sequence[Path]) -> str:
    """Return the content encoder that all of `paths` were made with."""
    first = None
    for path in paths:
        try:
            with safe_open(path, framework="pt") as features:
                found = (features.metadata() or {}).get("content")
        except (OSError, SafetensorError) as error:
            raise DatasetError.damaged_features(path, str(error)) from error
        if found is None or found != (first := first or found):
            raise DatasetError.mixed_features(path, found, first)
    return str(first)


def _read(path: Path) -> Tensor:
    """Return the content of one clip, `[n, channels]`."""
    with safe_open(path, framework="pt") as features:
        content: Tensor = features.get_tensor("content")
    return content.t()


def _length(path: Path) -> int:
    with safe_open(path, framework="pt") as features:
        return int(features.get_slice("content").get_shape()[-1])


def _write(out: Path, centres: dict[str, Tensor], content: str) -> None:
    part = out.with_name(f".{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        banks = {speaker: bank.contiguous() for speaker, bank in centres.items()}
        # Not save_file, whose files nobody but their owner may read.
        part.write_bytes(save(banks, {"format": CENTRES, "content": content}))
        part.replace(out)
    except (OSError, SafetensorError) as error:
        raise OutputError.cannot_write(out, str(error)) from error
    finally:
        if part.exists():
            part.unlink()
