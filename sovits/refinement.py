"""What a synthesizer has sung is drawn again by a refiner and sung by a vocoder, bit by bit.

The sound becomes a mel spectrogram, a refiner adds noise to it and takes it out again, and a
vocoder makes it audible.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sovits.audio.loudness import frame_rms
from sovits.audio.mel import FLOOR, VOCODER_POWER_FLOOR, LogMel
from sovits.config import ConvertOptions
from sovits.models.decoders.source import frame_phases
from sovits.models.noise import NoiseSource
from sovits.models.synthesizer import usual_length
from sovits.refine import Refining
from sovits.types import F0, Content, Mel, Volume, Wave

CHUNK = 1024  # frames that are drawn at once
CONTEXT = 128  # frames on each side that are heard with them, at most
FADE = 16  # frames in which one chunk goes over into the next
EDGES = 2  # frames on each side that the mel of a frame depends on
SILENCE = math.log(FLOOR)


class Conditions(NamedTuple):
    """What is known of frames of all channels, beside their sound."""

    content: Content
    """`[streams, channels, frames]`."""
    f0: F0
    """`[streams, frames]`."""
    volume: Volume
    """Of the source, `[streams, frames]`."""

    def cut(self, begin: int, end: int | None = None) -> Conditions:
        """Return frames `begin` to `end`."""
        return Conditions(*(part[..., begin:end] for part in self))

    def joined(self, after: Conditions) -> Conditions:
        """Return these frames and those after them."""
        pairs = zip(self, after, strict=True)
        return Conditions(*(torch.cat(pair, dim=-1) for pair in pairs))


class _Run:
    """Frames that follow one another, and what was drawn of them."""

    def __init__(self, first: int, told: Conditions) -> None:
        self.first = first
        self.told, self.at = told, first  # conditions, and frame of the first of them
        streams = told.f0.shape[0]
        self.drawn = self.sung = first  # frames up to which all is drawn, or sung
        self.mel: Mel | None = None  # what is drawn, from `mel_at` on
        self.mel_at = first
        self.tail: Mel | None = None  # what the last chunk drew of the next
        self.phase = torch.zeros(streams, dtype=torch.float64)  # before frame `at`

    @property
    def stop(self) -> int:
        """Frame after the last one that is told."""
        return self.at + self.told.f0.shape[-1]


class Refinement:
    """Refines a sound that comes bit by bit, in bounded memory, and without seams.

    A chunk is drawn with what lies around it, and chunks go over into each other where they are
    still mel spectrograms; noise depends on the place. The vocoder then sings them with as much
    around them as its sound depends on, and its harmonics go on in phase. What is silent stays so.

    First `tell` of frames, then `push` their sound. One object is one sound; `finish` ends it.

    Args:
        refining: What refines.
        options: What is asked for.
        streams: Channels of the sound.
        write: Given the refined sound, `[streams, samples]`, as it is ready.
        own_volume: Whether the refiner is told the loudness of the sound itself, and not of what
            the sound was made of.
        chunk: Frames that are drawn at once.
        context: Frames on each side that are heard with them, at most.
    """

    def __init__(
        self,
        refining: Refining,
        options: ConvertOptions,
        streams: int,
        write: Callable[[Wave], None],
        *,
        own_volume: bool = False,
        chunk: int = CHUNK,
        context: int = CONTEXT,
    ) -> None:
        self.refining, self.options, self.write = refining, options, write
        self.streams, self.own_volume = streams, own_volume
        self.hop = refining.refiner.audio.hop_length
        self.rate = refining.refiner.audio.sample_rate
        self.chunk = chunk
        self.context = min(refining.refiner.reach(options.refine_steps), context)
        self.strength = 1.0 if options.only_refiner else options.refine
        self.log_mel = LogMel(refining.refiner.audio, VOCODER_POWER_FLOOR)
        self.runs: list[_Run] = []
        self.wave, self.start = torch.zeros(streams, 0), 0  # what is still heard, and from where
        self.written = 0  # samples

    @property
    def latency(self) -> int:
        """Samples from hearing a sound to giving it out, at most."""
        ahead = self.chunk + self.context + FADE + self.refining.vocoder.reach + EDGES
        return ahead * self.hop

    def tell(self, first: int, conditions: Conditions) -> None:
        """Say what is known of frames from `first` on, before their sound comes.

        Frames that were told before are left as they were.
        """
        if self.runs and first <= self.runs[-1].stop:
            run = self.runs[-1]
            run.told = run.told.joined(conditions.cut(run.stop - first))
        else:
            self.runs.append(_Run(first, conditions))

    def push(self, wave: Wave) -> None:
        """Hear the next `[streams, samples]`, at the rate of the voice."""
        self.wave = torch.cat([self.wave, wave], dim=-1)
        self._advance(ended=False)

    def finish(self) -> None:
        """Hand out what is left."""
        self._advance(ended=True)

    @property
    def _position(self) -> int:
        """Sample up to which the sound is heard."""
        return self.start + self.wave.shape[-1]

    def _advance(self, *, ended: bool) -> None:
        """Refine and hand out all that can be."""
        while self.runs:
            run = self.runs[0]
            self._silence(min(run.first * self.hop, self._position))
            beyond = self._position >= (run.stop + EDGES) * self.hop
            if not self._go_on(run, closed=ended or beyond):
                break
            self.runs.pop(0)
        if not self.runs:
            self._silence(self._position)
        self._forget()

    def _go_on(self, run: _Run, *, closed: bool) -> bool:
        """Refine what is heard of a run; return whether it is over."""
        heard = run.stop if closed else self._position // self.hop - EDGES
        while run.drawn < run.stop:
            left = run.stop - run.drawn
            # Rather a somewhat longer last chunk than one of a few frames.
            frames = left if closed and left <= self.chunk + self.context else self.chunk
            end = run.drawn + frames
            if not closed and end + max(self.context, FADE) > min(heard, run.stop):
                break
            self._draw(run, min(end, run.stop))
            self._sing(run, closed=closed)
        if closed and run.sung < run.stop:
            self._sing(run, closed=True)
        return closed

    def _draw(self, run: _Run, end: int) -> None:
        """Draw the mel of frames up to `end`, and go over into it from the chunk before."""
        low = max(run.first, run.drawn - self.context)
        high = min(run.stop, end + max(self.context, FADE))
        kept = slice(run.drawn - low, end - low)
        mels = self._mel(low, high)
        told = run.told.cut(low - run.at, high - run.at)
        if self.own_volume:
            told = told._replace(volume=self._volume(low, high))
        drawn = torch.stack(
            [
                self._refined(mels[stream], Conditions(*(part[stream] for part in told)), low)
                if bool(self._active(run.drawn, end)[stream].any())
                else torch.full_like(mels[stream], SILENCE)
                for stream in range(self.streams)
            ]
        )
        new = drawn[..., kept]
        if run.tail is not None:
            frames = min(run.tail.shape[-1], new.shape[-1])
            share = (torch.arange(frames) + 0.5) / frames
            tail = run.tail[..., :frames]
            new = torch.cat([torch.lerp(tail, new[..., :frames], share), new[..., frames:]], dim=-1)
        run.tail = drawn[..., end - low : end - low + FADE]
        run.mel = new if run.mel is None else torch.cat([run.mel, new], dim=-1)
        run.drawn = end

    def _refined(self, mel: Mel, told: Conditions, first: int) -> Mel:
        """Return the mel of one channel, `[bands, frames]`, which begins at frame `first`."""
        refining, options = self.refining, self.options
        frames = mel.shape[-1]
        more = usual_length(frames) - frames
        device = refining.device
        refined = refining.refiner.refine(
            F.pad(mel, (0, more), value=SILENCE)[None].to(device),
            _held(told.content, more)[None].to(device),
            _held(told.f0, more)[None].to(device),
            F.pad(told.volume, (0, more))[None].to(device),
            refining.who(first, frames + more),
            strength=self.strength,
            steps=options.refine_steps,
            sampler=options.sampler,
            noise=NoiseSource(options.seed, first),
        )
        return refined[0, :, :frames].float().cpu()

    def _sing(self, run: _Run, *, closed: bool) -> None:
        """Sing what is drawn, as far as nothing to come can change it."""
        reach, over = self.refining.vocoder.reach, closed and run.drawn == run.stop
        end = run.stop if over else run.drawn - reach
        if end <= run.sung or run.mel is None:
            return
        low, high = max(run.first, run.sung - reach), min(run.drawn, end + reach)
        mel = run.mel[..., low - run.mel_at : high - run.mel_at]
        f0 = run.told.f0[:, low - run.at : high - run.at]
        # Phase goes on from what was forgotten.
        before = run.told.f0[:, : low - run.at]
        phase = frame_phases(before, self.rate, self.hop, run.phase)[:, -1]
        active = self._active(run.sung, end)
        waves = [
            self._sung(mel[stream], f0[stream], phase[stream], low)
            if bool(active[stream].any())
            else torch.zeros((high - low) * self.hop)
            for stream in range(self.streams)
        ]
        begin = (run.sung - low) * self.hop
        wave = torch.stack(waves)[:, begin : begin + (end - run.sung) * self.hop]
        self._pass_on(wave * self._gate(active))
        run.sung = end
        # Frames before these are heard no more.
        kept = max(run.first, min(run.drawn - self.context, run.sung - reach))
        skipped = run.told.f0[:, : kept - run.at]
        run.phase = frame_phases(skipped, self.rate, self.hop, run.phase)[:, -1]
        run.told, run.at = run.told.cut(kept - run.at), kept
        run.mel, run.mel_at = run.mel[..., kept - run.mel_at :].clone(), kept

    def _sung(self, mel: Mel, f0: F0, phase: Tensor, first: int) -> Wave:
        """Return the sound of one channel, `[samples]`, which begins at frame `first`."""
        refining, frames = self.refining, mel.shape[-1]
        more = usual_length(frames) - frames
        device = refining.device
        wave = refining.vocoder.synthesize(
            F.pad(mel, (0, more), value=SILENCE)[None].to(device),
            _held(f0, more)[None].to(device),
            phase=phase[None].to(device),
            noise=NoiseSource(self.options.seed, first),
        )
        return wave[0, : frames * self.hop].float().cpu()

    def _heard(self, begin: int, end: int) -> Wave:
        """Return samples `begin` to `end` of the sound; there is silence around it."""
        found = self.wave[:, max(0, begin - self.start) : max(0, end - self.start)]
        before = max(0, min(end, self.start) - begin)
        return F.pad(found, (before, end - begin - before - found.shape[-1]))

    def _mel(self, low: int, high: int) -> Mel:
        """Return the mel of frames `low` to `high`, `[streams, bands, frames]`."""
        wave = self._heard((low - EDGES) * self.hop, (high + EDGES) * self.hop)
        mel: Mel = self.log_mel(wave)[..., EDGES:-EDGES]
        return mel

    def _volume(self, low: int, high: int) -> Volume:
        """Return the loudness of frames `low` to `high`, `[streams, frames]`."""
        wave = self._heard((low - 1) * self.hop, high * self.hop)
        return frame_rms(wave, self.hop)[:, 1:]

    def _active(self, low: int, high: int) -> Tensor:
        """Return which of frames `low` to `high`, and of one before and after, have sound.

        Bool, `[streams, high - low + 2]`. Frames next to those that have count too.
        """
        wave = self._heard((low - 2) * self.hop, (high + 2) * self.hop)
        loud = wave.reshape(self.streams, -1, self.hop).abs().amax(-1)
        return F.max_pool1d(loud, 3, stride=1) > 0

    def _gate(self, active: Tensor) -> Tensor:
        """Return a factor for each sample, `[streams, samples]`, that is 0 where all is silent."""
        levels = F.interpolate(active.float()[:, None], scale_factor=float(self.hop), mode="linear")
        return levels[:, 0, self.hop : -self.hop]

    def _silence(self, until: int) -> None:
        """Hand out zeros up to a sample."""
        if until > self.written:
            self._pass_on(torch.zeros(self.streams, until - self.written))

    def _pass_on(self, wave: Wave) -> None:
        self.write(wave)
        self.written += wave.shape[-1]

    def _forget(self) -> None:
        """Drop the sound that nothing to come depends on."""
        frame = self.written // self.hop
        if self.runs:
            frame = min(frame, self.runs[0].drawn - self.context)
        count = min((frame - EDGES - 1) * self.hop - self.start, self.wave.shape[-1])
        if count > 0:
            self.wave, self.start = self.wave[:, count:].clone(), self.start + count


def _held(x: Tensor, more: int) -> Tensor:
    """Return `[..., frames]`, and the last of them `more` times again."""
    return torch.cat([x, x[..., -1:].expand(*x.shape[:-1], more)], dim=-1)
