"""Voices at work on sound that comes bit by bit: as a stream, or in windows that overlap."""

from __future__ import annotations

import math
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from sovits.audio.loudness import LEVELS_PER_SECOND, frame_rms, recording_level
from sovits.audio.split import crossfade, frame_levels
from sovits.config import ConvertOptions
from sovits.ends import Listener, WaveSound
from sovits.features.content.student import StudentContent
from sovits.features.pitch import PitchExtractor, load_pitch_extractor
from sovits.models.native import NativeSynthesizer
from sovits.realtime.pitch import load_live_pitch
from sovits.realtime.settings import LiveSettings
from sovits.stages import FLOOR, Singer, Streams, Windows
from sovits.types import Pitch, Wave

LEVEL_SECONDS = 10.0  # whose loudest tell how loud the voice is
QUIETEST = -50.0  # level below which a microphone is not raised for pitch methods (dBFS)
STREAM_STEP = 2  # frames of content come in pairs
DRIFT_COST = 0.02  # of correlation that one search width of displacement has to gain


class Core(Protocol):
    """A voice at work at its own rate."""

    latency: int
    """Samples from hearing a sound to giving it out, at most."""
    lead: int
    """Samples that are heard beyond what is given out, at least."""

    def push(self, wave: Wave) -> Wave:
        """Hear `[samples]`; return what is ready, in order from the first sample."""

    def change(self, options: ConvertOptions) -> None:
        """Go on with other options."""


class Heard:
    """The last of a sound, by samples of the whole."""

    def __init__(self) -> None:
        self.begin, self._wave = 0, torch.zeros(0)

    @property
    def end(self) -> int:
        """Samples of the whole that were heard."""
        return self.begin + len(self._wave)

    def push(self, wave: Wave) -> None:
        """Hear `[samples]`."""
        self._wave = torch.cat([self._wave, wave])

    def between(self, begin: int, end: int) -> Wave:
        """Return `[end - begin]`; before the sound there is silence."""
        found = self._wave[max(begin - self.begin, 0) : end - self.begin]
        return torch.nn.functional.pad(found, (end - begin - len(found), 0))

    def forget(self, begin: int) -> None:
        """Drop what lies before a sample."""
        if begin > self.begin:
            self._wave, self.begin = self._wave[begin - self.begin :].clone(), begin


class RunningLevel:
    """How loud a voice is, by what was heard of it so far."""

    def __init__(self, rate: int) -> None:
        self.hop, self.most = rate // LEVELS_PER_SECOND, round(LEVEL_SECONDS * LEVELS_PER_SECOND)
        self._rest = torch.zeros(0)
        self._levels: NDArray[np.float32] = np.zeros(0, np.float32)

    def push(self, wave: Wave) -> float:
        """Hear `[samples]`; return the level of the last seconds (dBFS)."""
        wave = torch.cat([self._rest, wave])
        whole = len(wave) // self.hop * self.hop
        self._rest = wave[whole:].clone()
        self._levels = np.append(self._levels, frame_levels(wave[:whole], self.hop))[-self.most :]
        return max(recording_level(self._levels), QUIETEST) if len(self._levels) else QUIETEST


class LightCore:
    """A light voice as one stream: what comes out is what the networks make of the whole.

    Pitch is measured for a chunk at a time, with as much of the future as the encoder hears
    anyway, so it does not depend on how sound is cut either.
    """

    def __init__(
        self,
        voice: Singer,
        options: ConvertOptions,
        chunk: int,
        networks: tuple[StudentContent, NativeSynthesizer],
    ) -> None:
        self.rate, self.hop = voice.config.audio.sample_rate, voice.config.audio.hop_length
        self.chunk = chunk
        self.pitch, seconds = load_live_pitch(options.f0_method, voice.device)
        silent = Listener(WaveSound(torch.zeros(1, 0), self.rate), self.rate, 0, lambda x: x, 1)
        self.stage = Streams(voice, options, partial(find, self.pitch, 0.0), silent, networks)
        self.stream = self.stage.begun(0)
        spec, ahead = networks[0].spec, networks[1].config.look_ahead
        self.after = self.stream.latency - (1 + ahead) * self.hop
        if spec.sample_rate == self.rate and spec.hop_length == self.hop:
            self.after -= self.hop  # of a pair, the frame that waits is not the last one
        self.latency = (chunk + ahead) * self.hop + self.after
        self.lead = self.latency - chunk * self.hop
        self.before = math.ceil(seconds * self.rate / self.hop)
        self.heard, self.level = Heard(), RunningLevel(self.rate)
        self.done = self.fed = 0  # frames whose pitch is known, samples that the stream has heard
        self.change(options)

    def change(self, options: ConvertOptions) -> None:
        """Go on with other options."""
        self.stage.change(options)
        self.stage.adjust(self.stream)
        self.shift = 2 ** (options.semitones / 12)

    def push(self, wave: Wave) -> Wave:
        """Hear `[samples]`; return what is ready, in order from the first sample."""
        self.heard.push(wave)
        parts = [wave[:0]]
        while self.heard.end >= (end := (self.done + self.chunk) * self.hop + self.after):
            parts.append(self._chunk(end))
        return torch.cat(parts)

    def _chunk(self, end: int) -> Wave:
        """Sing the next chunk, of which is known all up to sample `end`."""
        hop, done = self.hop, self.done + self.chunk
        new = self.heard.between(self.fed, end)
        first = max(0, self.done - self.before)
        window = self.heard.between(first * hop, end)
        level = self.level.push(new)
        pitch = find(self.pitch, level, window, self.rate, hop)
        now = slice(self.done - first, done - first)
        # What lies before the sound is mirrored, as in a file.
        begin = max(0, self.done - 1)
        volume = frame_rms(self.heard.between(begin * hop, done * hop), hop)
        self.fed, self.done = end, done
        self.heard.forget((done - self.before) * hop)
        return self.stream.push(
            new, pitch.f0[now] * self.shift, pitch.voiced[now], volume[-self.chunk :]
        )


class WindowedCore:
    """Any voice, a chunk at a time with what lies around it.

    The harmonic source goes on from chunk to chunk, so that chunks fit; what still differs is
    moved until it correlates best, and cross-faded at constant power. The decoder computes no
    more than the chunk and what its sound depends on.
    """

    def __init__(
        self, voice: Singer, options: ConvertOptions, chunk: int, settings: LiveSettings
    ) -> None:
        self.rate, self.hop = voice.config.audio.sample_rate, voice.config.audio.hop_length
        rate, hop, self.chunk = self.rate, self.hop, chunk
        self.fade = min(round(settings.crossfade_seconds * rate), chunk * hop)
        self.search = round(settings.search_seconds * rate)
        # Frames before and after a chunk whose sound is needed, and that are heard.
        self.early = -(-self.search // hop)
        self.late = -(-(self.fade + self.search) // hop)
        self.before = self.early + round(settings.before_seconds * rate / hop)
        self.after = self.late + round(settings.after_seconds * rate / hop)
        self.latency = (chunk + self.after) * hop
        self.lead = self.after * hop
        self.pitch = load_pitch_extractor(options.f0_method, device=voice.device)
        silent = Listener(WaveSound(torch.zeros(1, 0), rate), rate, 0, lambda x: x, 1)
        self.stage = Windows(voice, options, self._find, silent)
        self.heard, self.level = Heard(), RunningLevel(rate)
        self.loudness = QUIETEST
        self.done = self.fed = 0
        self.tail = torch.zeros(self.fade)

    def _find(self, wave: Wave, sample_rate: int, hop_length: int) -> Pitch:
        return find(self.pitch, self.loudness, wave, sample_rate, hop_length)

    def change(self, options: ConvertOptions) -> None:
        """Go on with other options."""
        self.stage.change(options)

    def push(self, wave: Wave) -> Wave:
        """Hear `[samples]`; return what is ready, in order from the first sample."""
        self.heard.push(wave)
        parts = [wave[:0]]
        while self.heard.end >= (end := (self.done + self.chunk + self.after) * self.hop):
            parts.append(self._chunk(end))
        return torch.cat(parts)

    def _chunk(self, end: int) -> Wave:
        """Convert the next chunk, of which is known all up to sample `end`."""
        hop, first = self.hop, self.done - self.before
        heard = self.heard.between(first * hop, end)
        self.loudness = self.level.push(self.heard.between(self.fed, end))
        self.fed = end
        kept = slice(self.before - self.early, self.before + self.chunk + self.late)
        if float(heard.abs().max()) > FLOOR:
            sung = self.stage.sing(0, heard, first, self.done, kept)
        else:
            sung = torch.zeros((kept.stop - kept.start) * hop)
        self.done += self.chunk
        self.heard.forget((self.done - self.before) * hop)
        return self._joined(sung)

    def _joined(self, sung: Wave) -> Wave:
        """Return a chunk of what is sung, joined to the one before."""
        begin, fade, length = self.early * self.hop, self.fade, self.chunk * self.hop
        at = begin + best_offset(
            self.tail, sung[begin - self.search : begin + self.search + fade], self.search
        )
        mixed = crossfade(self.tail[None], sung[None, at : at + fade])[0]
        self.tail = sung[at + length : at + length + fade].clone()
        return torch.cat([mixed, sung[at + fade : at + length]])


def best_offset(tail: Wave, around: Wave, search: int) -> int:
    """Return by how many samples a chunk is moved so that it goes on from the one before.

    Args:
        tail: How the one before goes on, `[samples]`.
        around: Where the chunk begins, and `search` samples more on each side.
        search: Most samples to move it by.
    """
    length = len(tail)
    if not search or not tail.any() or not around.any():
        return 0
    products = torch.nn.functional.conv1d(around[None, None], tail[None, None])[0, 0]
    power = around.double().square().cumsum(0)
    power = torch.nn.functional.pad(power, (1, 0))
    powers = (power[length:] - power[:-length]).clamp(min=1e-12).float()
    offsets = torch.arange(-search, search + 1)
    likeness = products / (powers * tail.square().sum()).sqrt()
    return int(offsets[(likeness - DRIFT_COST * offsets.abs() / search).argmax()])


def find(
    extractor: PitchExtractor, level: float, wave: Wave, sample_rate: int, hop_length: int
) -> Pitch:
    """Return the pitch of each frame of a part of a sound whose level is known (dBFS)."""
    return extractor(wave, sample_rate, hop_length, level=level)


def make_core(voice: Singer, options: ConvertOptions, settings: LiveSettings) -> Core:
    """Return a voice at work: as a stream if it can be one."""
    encoder, network = voice.content_encoder(), voice.synthesizer
    frame = voice.config.audio.hop_length / voice.config.audio.sample_rate
    seconds = settings.block_seconds
    if isinstance(encoder, StudentContent) and isinstance(network, NativeSynthesizer):
        pairs = 1 if seconds is None else max(1, round(seconds / (STREAM_STEP * frame)))
        return LightCore(voice, options, pairs * STREAM_STEP, (encoder, network))
    chunk = max(1, round((0.25 if seconds is None else seconds) / frame))
    return WindowedCore(voice, options, chunk, settings)
