"""How fast this machine is, and how late its devices are."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from sovits.config import ConvertOptions, NativeConfig
from sovits.errors import LiveError
from sovits.realtime.device import MOST_CHANNELS, Device, SoundCard, Stream
from sovits.realtime.ring import Samples
from sovits.realtime.settings import LiveSettings
from sovits.realtime.stream import LiveConverter
from sovits.stages import Singer

BUDGET = 0.7
"""Share of a block that converting it may take, in the slowest of a hundred."""
LIGHT_BLOCKS = (0.0233, 0.0465, 0.0697, 0.0929, 0.1394, 0.1858, 0.2787)
OTHER_BLOCKS = (0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 0.75, 1.0, 1.5)
MEASURED_SECONDS = 2.0
MOST_BLOCKS, FEWEST_BLOCKS = 60, 4
LONGEST_BLOCK = 3.0

CHIRP_SECONDS, CHIRP_FROM, CHIRP_TO, CHIRP_LEVEL = 0.25, 400.0, 9000.0, 0.4
CHIRPS, CHIRP_PERIOD = 4, 1.0
CLEAR = 8.0  # times above all else that a correlation stands out where a chirp was heard


class Speed(NamedTuple):
    """What was measured of one block."""

    block: float
    """Sound converted at once (s)."""
    p50: float
    p99: float
    """Seconds that it takes."""

    @property
    def holds(self) -> bool:
        """Whether there is time enough."""
        return self.p99 <= BUDGET * self.block


def block_speed(
    live: LiveConverter, block: float, seconds: float, clock: Callable[[], float]
) -> Speed:
    """Return how long blocks of noise take, measuring for about so many seconds."""
    size = max(1, round(block * live.sample_rate))
    noise = 0.1 * torch.randn(size, generator=torch.Generator().manual_seed(0))
    for _ in range(1 + math.ceil(live.latency / size)):  # until it has to sing
        live.push(noise)
    times: list[float] = []
    begun = clock()
    while len(times) < FEWEST_BLOCKS or (len(times) < MOST_BLOCKS and clock() - begun < seconds):
        before = clock()
        live.push(noise)
        times.append(clock() - before)
    times.sort()
    return Speed(block, times[len(times) // 2], times[math.ceil(0.99 * len(times)) - 1])


def choose_block(
    voice: Singer,
    sample_rate: int,
    options: ConvertOptions,
    settings: LiveSettings,
    *,
    blocks: Sequence[float] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Speed:
    """Return the shortest block for which this machine is fast enough.

    Raises:
        LiveError: There is none; which might hold, or what else to do, is said.
    """
    light = isinstance(voice.config.synthesizer, NativeConfig)
    measured: list[Speed] = []
    tried = blocks or (LIGHT_BLOCKS if light else OTHER_BLOCKS)
    with torch.inference_mode():
        for block in tried:
            live = LiveConverter(
                voice, sample_rate, options, replace(settings, block_seconds=block)
            )
            measured.append(block_speed(live, block, MEASURED_SECONDS / len(tried), clock))
            if measured[-1].holds:
                return measured[-1]
    first, last = measured[0], measured[-1]
    slope = (last.p99 - first.p99) / (last.block - first.block) if len(measured) > 1 else 1.0
    rest = last.p99 - slope * last.block
    # A block takes `rest`, however short it is, and `slope` for each second of it.
    would = rest / (BUDGET - slope) if slope < BUDGET else math.inf
    raise LiveError.too_slow(
        last.block, last.p99, would if last.block < would <= LONGEST_BLOCK else None
    )


def chirp(rate: int) -> Samples:
    """Return a sweep that correlates with itself in one place only, `[samples]`."""
    t = np.arange(round(CHIRP_SECONDS * rate)) / rate
    ratio = math.log(CHIRP_TO / CHIRP_FROM)
    turns = CHIRP_FROM * CHIRP_SECONDS / ratio * (np.exp(t / CHIRP_SECONDS * ratio) - 1)
    wave = CHIRP_LEVEL * np.sin(2 * np.pi * turns) * np.hanning(len(t))
    return wave.astype(np.float32)


def find_chirp(heard: Samples, rate: int) -> int | None:
    """Return the sample at which a chirp begins in `[samples]`; None if there is none."""
    template = chirp(rate)
    size = 1 << (len(heard) + len(template)).bit_length()
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(template, size))
    found = np.abs(np.fft.irfft(spectrum, size)[: len(heard)])
    place = int(found.argmax())
    rms = float(np.sqrt((found**2).mean()))
    return place if rms > 0 and float(found[place]) > CLEAR * rms else None


class Loop:
    """Plays chirps, and hears how much later they come back."""

    def __init__(self, microphone: Device, speaker: Device) -> None:
        self.rates = (microphone.rate, speaker.rate)
        self.heard: list[Samples] = []
        self.count = self.played = 0
        self.begun: list[int] = []  # samples that were heard when a chirp began
        self._chirp, self._period = chirp(speaker.rate), round(CHIRP_PERIOD * speaker.rate)

    def hear(self, block: Samples) -> None:
        """Keep `[samples, channels]`."""
        self.heard.append(block.mean(1))
        self.count += len(block)

    def play(self, out: Samples) -> None:
        """Fill `[samples, channels]`."""
        place = (self.played + np.arange(len(out))) % self._period
        first = np.flatnonzero(place == 0)
        if len(first):
            ahead = round(first[0] * self.rates[0] / self.rates[1])
            self.begun.append(self.count + ahead)
        inside = place < len(self._chirp)
        out[:] = np.where(inside, self._chirp[place * inside], 0)[:, None]
        self.played += len(out)

    def delay(self) -> float:
        """Return how much later chirps came back, in the middle of all (s).

        Raises:
            LiveError: Too few were heard.
        """
        wave, rate = np.concatenate([np.zeros(0, np.float32), *self.heard]), self.rates[0]
        length = round(CHIRP_PERIOD * rate)
        found = [find_chirp(wave[begin : begin + length], rate) for begin in self.begun]
        heard = [place for place in found if place is not None]
        if 2 * len(heard) <= len(found):
            raise LiveError.no_chirp()
        return sorted(heard)[len(heard) // 2] / rate


def loop_delay(
    card: SoundCard,
    microphone: Device,
    speaker: Device,
    wait: Callable[[float], None] = time.sleep,
) -> float:
    """Return how long sound takes from a callback, through both devices and air, to the other (s).

    Raises:
        LiveError: A device cannot be opened, or the microphone does not hear the loudspeaker.
    """
    loop, streams = Loop(microphone, speaker), list[Stream]()
    try:
        channels = min(microphone.inputs, MOST_CHANNELS)
        streams.append(card.open("input", microphone, microphone.rate, channels, loop.hear))
        channels = min(speaker.outputs, MOST_CHANNELS)
        streams.append(card.open("output", speaker, speaker.rate, channels, loop.play))
        wait(CHIRPS * CHIRP_PERIOD + 0.5)
    finally:
        for stream in streams:
            stream.close()
    return loop.delay()
