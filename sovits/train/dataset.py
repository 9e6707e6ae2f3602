"""Crops of recordings, in an order that depends only on a seed and the epoch."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.utils.data import Dataset

from sovits.audio.mel import linear_spectrogram
from sovits.audio.resample import resample
from sovits.config import Config, NativeConfig
from sovits.errors import DatasetError
from sovits.models.synthesizer import TrainBatch
from sovits.train.store import Held, Slice, Store, Stored, check
from sovits.types import Spectrogram, Wave

FEATURES_SUFFIX = ".features.safetensors"
OF_OTHERS = "content_of_others"
STORED = ("wave", "content", "f0", "voiced", "volume")
SLOWEST, FASTEST = 2**-0.42, 2**0.75
"""Playback of moved clips: what is said at 100 Hz is then at 75 to 168."""
GUARD = 64  # samples that the resampler hears on each side of what is kept
LONG_EVERY = 10  # every so many batches holds few long crops instead of many short ones
LONG_FACTOR = 4  # how many times longer, so that attention also meets the lengths of conversion


class Recording(NamedTuple):
    """One clip on disk."""

    path: Path
    speaker: int
    frames: int


class Crops(NamedTuple):
    """What one step trains on."""

    batch: TrainBatch
    wave: Wave
    """The segments that are decoded, `[batch, 1, segment_frames * hop_length]`."""


def list_clips(filelist: Path) -> list[Path]:
    """Return the clips that a file list names.

    Raises:
        DatasetError: There is no such list, or it names none.
    """
    if not filelist.is_file():
        raise DatasetError.no_filelist(filelist)
    try:
        lines = filelist.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DatasetError.not_a_filelist(filelist, "it is not UTF-8 text") from error
    clips = [Path(line.strip()) for line in lines if line.strip()]
    if not clips:
        raise DatasetError.empty_filelist(filelist)
    return clips


def list_recordings(filelist: Path, config: Config) -> list[Recording]:
    """Return the clips that a file list names, with their speakers.

    Raises:
        DatasetError: The list or a features file is missing, or was made with other settings.
    """
    recordings = []
    for clip in list_clips(filelist):
        speaker = config.voice.speakers.get(clip.parent.name)
        if speaker is None:
            raise DatasetError.clip_of_nobody(clip, config.voice.speakers)
        path = features_of(clip)
        recordings.append(Recording(path, speaker, _checked_frames(path, config)))
    return recordings


def features_of(clip: Path) -> Path:
    """Return where the features of a clip are."""
    return clip.with_name(clip.name + FEATURES_SUFFIX)


def read_header(path: Path) -> tuple[dict[str, str], dict[str, list[int]]]:
    """Return with which settings features were made, and their shapes by name.

    Raises:
        DatasetError: There are none, or they are damaged.
    """
    if not path.is_file():
        raise DatasetError.no_features(path)
    try:
        with safe_open(path, framework="pt") as features:
            names = {*features.keys(), *STORED}
            shapes = {name: features.get_slice(name).get_shape() for name in names}
            return features.metadata() or {}, shapes
    except (OSError, SafetensorError) as error:
        raise DatasetError.damaged_features(path, str(error)) from error


def _checked_frames(path: Path, config: Config) -> int:
    """Return how many frames `path` holds, once its settings are known to be the voice's."""
    audio = config.voice.audio
    found, shapes = read_header(path)
    expected = {
        "content": config.voice.content,
        "sample_rate": str(audio.sample_rate),
        "hop_length": str(audio.hop_length),
    }
    for key, value in expected.items():
        if found.get(key) != value:
            raise DatasetError.other_features(path, key, found.get(key), value)
    if config.train.others and OF_OTHERS not in shapes:
        raise DatasetError.other_features(path, OF_OTHERS, "missing", "train.others above 0")
    channels, frames = config.voice.synthesizer.content_channels, int(shapes["f0"][-1])
    if shapes["content"][0] != channels:
        raise DatasetError.other_features(path, "channels", shapes["content"][0], str(channels))
    return frames


def long_enough(recordings: Sequence[Recording], config: Config) -> list[Recording]:
    """Return the clips that hold a segment.

    Raises:
        DatasetError: There are none.
    """
    kept = [r for r in recordings if r.frames >= config.train.segment_frames]
    if not kept:
        rate = config.voice.audio.frame_rate
        longest = max(r.frames for r in recordings) / rate
        raise DatasetError.clips_too_short(longest, config.train.segment_frames / rate)
    return kept


class Batches(Dataset[Crops]):
    """All batches of one epoch, or the part of each that is for one of several processes.

    What is heard depends only on `(seed, epoch, index)`, whatever loads it. Several processes hear
    together what one would hear with a batch as large as all of theirs. Only the frames that are
    needed are read from disk.

    Args:
        recordings: The clips.
        config: How they are cut and heard.
        store: Where features are read; from their files if not given.
        rank: Which of the processes this is.
        ranks: How many there are.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        config: Config,
        *,
        store: Store | None = None,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        train = config.train
        self.audio, self.train = config.voice.audio, train
        self.store = store or Store([])
        network = config.voice.synthesizer
        self.shows_spectra = not isinstance(network, NativeConfig) or network.latent > 0
        self.rank, self.ranks = rank, ranks
        self.recordings = long_enough(recordings, config)
        self.epoch = 0
        self._order: tuple[int, list[int]] | None = None

    @property
    def clips_per_step(self) -> int:
        """Clips that all processes hear in one step."""
        return self.train.batch_size * self.ranks

    def __len__(self) -> int:
        return math.ceil(len(self.recordings) / self.clips_per_step)

    def __getitem__(self, index: int) -> Crops:
        if not 0 <= index < len(self):
            raise IndexError(index)
        seed, order = f"{self.train.seed}/{self.epoch}", self.order()
        size, frames = self.train.batch_size, self.train.context_frames
        # Counted over epochs, so that the few batches of a small data set get there too.
        if (self.epoch * len(self) + index) % LONG_EVERY == LONG_EVERY - 1:
            frames *= LONG_FACTOR
            size = max(1, size // LONG_FACTOR)
        first = index * self.clips_per_step + self.rank * size
        crops = []
        for place in range(first, first + size):
            # The last batch is filled up from the front, so that every batch is as large.
            recording = self.recordings[order[place % len(order)]]
            crops.append(self._crop(recording, frames, random.Random(f"{seed}/{place}")))  # noqa: S311
        batch = TrainBatch(*map(torch.cat, zip(*(crop.batch for crop in crops), strict=True)))
        return Crops(batch, torch.cat([crop.wave for crop in crops]))

    def order(self) -> list[int]:
        """Return the numbers of the recordings in the order in which this epoch hears them.

        Speakers with few clips are heard more often than they have clips, as `balance` says; each
        of their clips as often as any other, counted over epochs.
        """
        if self._order is not None and self._order[0] == self.epoch:
            return self._order[1]
        seed, order = f"{self.train.seed}/{self.epoch}", list(range(len(self.recordings)))
        clips: dict[int, list[int]] = {}
        for number, recording in enumerate(self.recordings):
            clips.setdefault(recording.speaker, []).append(number)
        counts = {speaker: len(own) for speaker, own in clips.items()}
        shares = quotas(counts, self.train.balance)
        if shares != counts:
            order = []
            for speaker, own in clips.items():
                first = self.epoch * shares[speaker]
                for place in range(first, first + shares[speaker]):
                    turn, at = divmod(place, len(own))
                    if at == 0 or place == first:
                        mixed = list(own)
                        random.Random(f"{self.train.seed}/{speaker}/{turn}").shuffle(mixed)  # noqa: S311
                    order.append(mixed[at])
        random.Random(seed).shuffle(order)  # noqa: S311  # not for secrets
        self._order = (self.epoch, order)
        return order

    def _crop(self, recording: Recording, frames: int, rng: random.Random) -> Crops:
        """Read one stretch of a clip; what the clip is too short for is masked padding."""
        total = recording.frames
        if self.train.moved and rng.random() < self.train.moved:
            speed = 2 ** rng.uniform(math.log2(SLOWEST), math.log2(FASTEST))
            # Of whole Hz, as the resampler has it.
            speed = round(speed * self.audio.sample_rate) / self.audio.sample_rate
            if int(total / speed) >= self.train.segment_frames:
                return self._moved(recording, frames, rng, speed)
        first = rng.randint(0, max(0, total - frames))
        count = min(frames, total)
        segment = rng.randint(0, count - self.train.segment_frames)
        with self.store.open(recording.path) as features:
            wave, spectrogram = self._sound(features.get_slice("wave"), first, count, total)
            content, row = self._heard(features, rng)
            at_rate = content.get_shape()[-1]
            index = (torch.arange(first, first + count) * at_rate) // total
            low, high = int(index[0]), int(index[-1]) + 1
            stretched = content[*row, :, low:high][:, index - low].float()
            pitch, voiced, volume = (
                features.get_slice(name)[first : first + count]
                for name in ("f0", "voiced", "volume")
            )
        held = {"content": stretched, "f0": pitch, "voiced": voiced, "volume": volume}
        return self._cut(recording, held, wave, spectrogram, frames, segment, 1.0)

    def _heard(self, features: Held, rng: random.Random) -> tuple[Stored, tuple[int, ...]]:
        """Return content, and which row of it, as the speaker says it or as others would."""
        if not self.train.others or rng.random() >= self.train.others:
            plain: Stored = features.get_slice("content")
            return plain, ()
        content: Stored = features.get_slice(OF_OTHERS)
        return content, (rng.randrange(content.get_shape()[0]),)

    def _moved(self, recording: Recording, frames: int, rng: random.Random, speed: float) -> Crops:
        """Read a stretch of a clip as if it was played at another speed.

        Its pitch moves with its formants, and the synthesizer is told of both.
        """
        total = recording.frames
        count = min(frames, int(total / speed))
        first = rng.uniform(0, total - count * speed)
        segment = rng.randint(0, count - self.train.segment_frames)
        # Where the middles of frames lie in the clip, in frames.
        at = first + (torch.arange(count, dtype=torch.float64) + 0.5) * speed
        near = at.long().clamp(max=total - 1)
        with self.store.open(recording.path) as features:
            wave, spectrogram = self._played(features.get_slice("wave"), first, count, total, speed)
            content, row = self._heard(features, rng)
            rate = content.get_shape()[-1] / total
            f0, voiced, volume = (features.get_tensor(n) for n in ("f0", "voiced", "volume"))
            held = {
                "content": _between(content, at * rate - 0.5, row),
                "f0": _between(f0[None], at - 0.5)[0] * speed,
                "voiced": voiced[near],
                "volume": volume[near],
            }
        return self._cut(recording, held, wave, spectrogram, frames, segment, speed)

    def _cut(
        self,
        recording: Recording,
        held: dict[str, Tensor],
        wave: Wave,
        spectrogram: Spectrogram,
        frames: int,
        segment: int,
        speed: float,
    ) -> Crops:
        """Return a crop of `frames`, of features and sound of as many or fewer."""
        if not self.store.resident:  # then they were looked at when they were read
            for name, tensor in held.items():
                check(recording.path, name, tensor)
        hop, count = self.audio.hop_length, spectrogram.shape[-1]
        missing, begin = frames - count, segment * hop

        def padded(x: Tensor) -> Tensor:
            return F.pad(x, (0, missing)).unsqueeze(0)

        return Crops(
            TrainBatch(
                **{name: padded(x) for name, x in held.items()},
                spectrogram=padded(spectrogram),
                speaker=torch.tensor([recording.speaker]),
                mask=padded(torch.ones(1, count)),
                start=torch.tensor([segment]),
                formants=torch.tensor([speed]),
            ),
            wave[None, None, begin : begin + self.train.segment_frames * hop],
        )

    def _sound(
        self, stored: Stored, first: int, count: int, total: int
    ) -> tuple[Wave, Spectrogram]:
        """Return a stretch of sound and its spectrogram, computed with what lies around it."""
        hop = self.audio.hop_length
        margin = -(-self.audio.n_fft // (2 * hop))
        begin, end = max(0, first - margin), min(total, first + count + margin)
        wave = stored[begin * hop : end * hop].float() / 32768
        return self._inner(wave, first - begin, count)

    def _played(
        self, stored: Stored, first: float, count: int, total: int, speed: float
    ) -> tuple[Wave, Spectrogram]:
        """Return the same of `count` frames played from frame `first` on, without aliasing."""
        hop, rate = self.audio.hop_length, self.audio.sample_rate
        margin = -(-self.audio.n_fft // (2 * hop))
        before = min(margin, int(first / speed))
        after = min(margin, int((total - first) / speed) - count)
        begin, samples = (first - before * speed) * hop, (before + count + after) * hop
        low = max(0, int(begin) - GUARD)
        high = min(total * hop, math.ceil(begin + samples * speed) + GUARD)
        heard = stored[low:high].float() / 32768
        played = resample(heard, round(rate * speed), rate)
        skip = round((begin - low) / speed)
        wave = played[skip : skip + samples]
        wave = F.pad(wave, (0, samples - wave.shape[-1]))  # a sample may be rounded away
        return self._inner(wave, before, count)

    def _inner(self, wave: Wave, skip: int, count: int) -> tuple[Wave, Spectrogram]:
        """Return `count` frames of sound and its spectrogram, once `skip` are left out."""
        hop = self.audio.hop_length
        kept = wave[skip * hop : (skip + count) * hop]
        if not self.shows_spectra:
            return kept, kept.new_zeros(0, count)
        return kept, linear_spectrogram(wave, self.audio)[:, skip : skip + count]


def quotas(clips: Mapping[int, int], balance: float) -> dict[int, int]:
    """Return how many clips of each speaker an epoch hears, as many as there are in all.

    Args:
        clips: How many each speaker has, at least one.
        balance: 1 is as many of each, 0 as many as there are.

    >>> quotas({0: 10, 1: 2}, 1.0), quotas({0: 10, 1: 2}, 0.5), quotas({0: 10, 1: 2}, 0.0)
    ({0: 6, 1: 6}, {0: 8, 1: 4}, {0: 10, 1: 2})
    """
    total, weights = sum(clips.values()), {who: n ** (1 - balance) for who, n in clips.items()}
    exact = {who: total * weight / sum(weights.values()) for who, weight in weights.items()}
    found = {who: max(1, int(share)) for who, share in exact.items()}
    while (left := total - sum(found.values())) != 0:
        step = 1 if left > 0 else -1
        free = [who for who in found if found[who] + step >= 1]
        found[max(free, key=lambda who: step * (exact[who] - found[who]))] += step
    return found


def _between(stored: Slice, at: Tensor, row: tuple[int, ...] = ()) -> Tensor:
    """Return columns of `[channels, n]` at fractional indices, linearly between neighbours.

    If `row` is given, of that row of `[rows, channels, n]`.
    """
    first = max(0, int(at[0].floor()))
    near = stored[*row, :, first : max(0, int(at[-1].floor())) + 2].float()
    place = (at - first).clamp(0, near.shape[1] - 1)
    low = place.long()
    high = (low + 1).clamp(max=near.shape[1] - 1)
    return torch.lerp(near[:, low], near[:, high], (place - low).float())
