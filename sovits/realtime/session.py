"""A microphone, a voice and loudspeakers at work together, whatever happens to them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from sovits.audio.io import AudioWriter
from sovits.errors import LiveError
from sovits.realtime.device import (
    MOST_CHANNELS,
    Device,
    Kind,
    SoundCard,
    Stream,
    choose_device,
    share_clock,
)
from sovits.realtime.ring import InputRing, OutputRing, Samples
from sovits.realtime.sinc import LiveResampler, Varispeed
from sovits.realtime.stream import LOUDEST, LiveConverter

RING_SECONDS = 2.0
BACKLOG = 3.0  # blocks that may wait before the oldest are left out
MARGIN = 0.7  # of a block that work may take longer than the first took
SILENT_SECONDS = 1.0  # without a block, after which a device is gone
RETRY_SECONDS = 1.0
DRIFT_SECONDS = 10.0  # in which most of what a clock ran ahead is made good
SETTLED_SECONDS = 2.0  # of which the mean tells how full a ring is
LARGEST_DRIFT = 0.005  # by which the two clocks may differ
TIMES = 500  # blocks whose time is remembered


@dataclass(frozen=True)
class Devices:
    """Which devices, by number, name or part of one; the system's choice if not given."""

    input: str | None = None
    output: str | None = None
    monitor: str | None = None
    """Where the result is played too; nowhere if not given."""


class Status(NamedTuple):
    """How a session is at a moment."""

    waiting: str
    """What it waits for; nothing if empty."""
    input_peak: float
    output_peak: float
    """Highest sample since this was asked last."""
    p50: float
    p99: float
    """Seconds that blocks took."""
    block: float
    """Seconds that a block lasts."""
    misses: int
    """Blocks that came too late, or that there was no time for, so far."""
    losses: int
    """How often a device went away, so far."""
    faults: int
    """Samples that were no numbers, so far."""
    algorithm: float
    """How late the voice is by design (s)."""
    buffers: float
    """How late blocks and their margin make it (s)."""
    devices: float
    """How late the devices say that they are (s)."""

    @property
    def latency(self) -> float:
        """From speaking to hearing (s)."""
        return self.algorithm + self.buffers + self.devices


class Player:
    """One loudspeaker: a ring, and what takes sound to its rate and its clock."""

    def __init__(self, rate: int, device: Device, *, own_clock: bool) -> None:
        self.device, self.rate = device, device.rate
        self.ring = OutputRing(round(RING_SECONDS * self.rate))
        self.resampler = LiveResampler(rate, self.rate)
        self.varispeed = Varispeed() if own_clock else None
        self.speed = 1.0
        self.stream: Stream | None = None
        self._fill = self._target = 0.0
        self._settled = 0.0

    def begin(self, lead_seconds: float) -> None:
        """Start the clock."""
        self.ring.begin(round(lead_seconds * self.rate) + self.ring.largest)

    def put(self, wave: torch.Tensor) -> int:
        """Play `[samples]` at the rate of the voice's output; return how many came too late."""
        wave = self.resampler.push(wave)
        if self.varispeed is not None:
            self._follow(len(wave))
            wave = self.varispeed.push(wave, self.speed)
        return self.ring.put(wave.numpy())

    def _follow(self, samples: int) -> None:
        """Play as fast as the device does: the ring stays as full as it was at first."""
        fill, seconds = self.ring.written - self.ring.read, samples / self.rate
        share = min(1.0, seconds / max(SETTLED_SECONDS, 1e-9))
        if self._settled < SETTLED_SECONDS:
            self._settled += seconds
            share = min(1.0, seconds / self._settled)
            self._fill += share * (fill - self._fill)
            self._target = self._fill
            return
        self._fill += share * (fill - self._fill)
        drift = (self._fill - self._target) / (self.rate * DRIFT_SECONDS)
        self.speed = 1 + min(max(drift, -LARGEST_DRIFT), LARGEST_DRIFT)


class LiveSession:
    """Runs a voice between devices: callbacks copy, one worker computes, nothing queues up.

    A block that is late is left out, so the latency never grows. A device that goes away is
    waited for. `run` does it all; tests call `work` and `tend` themselves.

    Args:
        make: Makes the converter, given the rate of the microphone (Hz).
        card: The devices there are.
        devices: Which of them.
        block_seconds: Sound converted at once.
        record: Given what is played, `[samples]`, and its rate, by `tend`.
        clock: Seconds that go by.
    """

    def __init__(
        self,
        make: Callable[[int], LiveConverter],
        card: SoundCard,
        devices: Devices,
        block_seconds: float,
        *,
        record: Callable[[Samples, int], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.make, self.card, self.devices = make, card, devices
        self.block_seconds, self.record, self.clock = block_seconds, record, clock
        self.converter: LiveConverter | None = None
        self.players: list[Player] = []
        self.misses = self.losses = self.faults = 0
        self.waiting = ""
        self._streams: list[Stream] = []
        self._asked: deque[Callable[[LiveConverter], None]] = deque()
        self._recorded: deque[Samples] = deque()
        self._times: deque[float] = deque(maxlen=TIMES)
        self._peaks = [0.0, 0.0]
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._tried = self._beat = 0.0
        self._heard_before = -1
        self._failed: BaseException | None = None

    # What somebody else's thread may call

    def ask(self, change: Callable[[LiveConverter], None]) -> None:
        """Have the worker change the converter before its next block."""
        self._asked.append(change)

    def status(self) -> Status:
        """Return how it goes."""
        times = sorted(self._times) or [0.0]
        peaks, self._peaks = self._peaks, [0.0, 0.0]
        converter, buffers = self.converter, self.block_seconds
        algorithm = devices = 0.0
        if converter is not None and self.players:
            algorithm = converter.latency / converter.sample_rate
            player = self.players[0]
            buffers = self.block_seconds + self.lead_seconds + player.ring.largest / player.rate
            devices = sum(stream.latency for stream in self._streams[:2])
        return Status(
            self.waiting,
            peaks[0],
            peaks[1],
            times[len(times) // 2],
            times[min(len(times) - 1, int(0.99 * len(times)))],
            self.block_seconds,
            self.misses,
            self.losses,
            self.faults + (0 if converter is None else converter.faults),
            algorithm,
            buffers,
            devices,
        )

    @property
    def lead_seconds(self) -> float:
        """How long before it is played a block is ready, usually."""
        return MARGIN * self.block_seconds

    # Devices

    def open(self) -> None:
        """Open all devices, and begin anew.

        Raises:
            LiveError: One cannot be opened.
        """
        kinds: tuple[tuple[Kind, str | None], ...] = (
            ("input", self.devices.input),
            ("output", self.devices.output),
        )
        microphone, *speakers = (choose_device(self.card, kind, name) for kind, name in kinds)
        if self.devices.monitor is not None:
            speakers.append(choose_device(self.card, "output", self.devices.monitor))
        rate = microphone.rate
        if self.converter is None or self.converter.sample_rate != rate:
            self.faults += 0 if self.converter is None else self.converter.faults
            self.converter = self.make(rate)
        else:
            self.converter.skip(0)  # what was heard before the device went away is not gone on with
        self.block = max(1, round(self.block_seconds * rate))
        channels = min(microphone.inputs, MOST_CHANNELS)
        self.ring = InputRing(round(RING_SECONDS * rate), channels)
        self.players = [
            Player(rate, device, own_clock=not share_clock(microphone, device))
            for device in speakers
        ]
        try:
            for player in self.players:
                outputs = min(player.device.outputs, MOST_CHANNELS)
                self._streams.append(
                    self.card.open("output", player.device, player.rate, outputs, player.ring.play)
                )
            self._streams.insert(0, self.card.open("input", microphone, rate, channels, self._hear))
        except LiveError:
            self.close()
            raise
        self._beat, self.waiting = self.clock(), ""

    def close(self) -> None:
        """Close all devices."""
        streams, self._streams = self._streams, []
        for stream in streams:
            stream.close()

    def _hear(self, block: Samples) -> None:
        self.ring.write(block)
        self._wake.set()

    def tend(self) -> None:
        """Look after devices and recordings; to be called a few times a second."""
        self._hand_out()
        now = self.clock()
        if self._streams:
            if self.ring.written != self._heard_before:
                self._heard_before, self._beat = self.ring.written, now
            gone = now - self._beat > SILENT_SECONDS
            if gone or not all(stream.active for stream in self._streams):
                with self._lock:
                    self.losses += 1
                    self.close()
                    self._tried = now
                    self.waiting = "a device that went away"
        elif now - self._tried >= RETRY_SECONDS:
            self._tried = now
            with self._lock, contextlib.suppress(LiveError):
                self.card.refresh()
                self.open()

    # Work

    def work(self) -> bool:
        """Convert a block, if there is one."""
        with self._lock:
            if not self._streams or self.converter is None or self.ring.available < self.block:
                return False
            while self._asked:
                self._asked.popleft()(self.converter)
            waiting = self.ring.available
            if waiting > BACKLOG * self.block + self.ring.largest:
                left_out = waiting // self.block * self.block - self.block
                self.ring.drop(left_out)
                self.misses += left_out // self.block
                self._play(self.converter.skip(left_out))
            begun = self.clock()
            heard = self.ring.take(self.block)
            made = self.converter.push(torch.from_numpy(heard))
            if not self.players[0].ring.running:
                for player in self.players:
                    player.begin(self.lead_seconds)
            self._play(made)
            self._times.append(self.clock() - begun)
            peak = float(np.abs(heard).max())
            if peak <= LOUDEST:  # and a number
                self._peaks[0] = max(self._peaks[0], peak)
            return True

    def _play(self, wave: torch.Tensor) -> None:
        if not len(wave):
            return
        late = [player.put(wave) for player in self.players]
        self.misses += bool(late[0])
        self._peaks[1] = max(self._peaks[1], float(wave.abs().max()))
        if self.record is not None:
            self._recorded.append(wave.numpy())

    def run(self, tick: Callable[[], bool], every: float = 0.1) -> None:
        """Work until `tick`, which is called `every` so many seconds, says no.

        Raises:
            LiveError: A device cannot be opened at the beginning.
        """
        self.open()
        ended = threading.Event()

        def worker() -> None:
            try:
                while not ended.is_set():
                    if not self.work():
                        self._wake.wait(0.05)
                        self._wake.clear()
            except BaseException as error:  # told by the thread that is waited for
                self._failed = error

        thread = threading.Thread(target=worker, name="sovits-live", daemon=True)
        thread.start()
        try:
            while self._failed is None and tick():
                self.tend()
                time.sleep(every)
        finally:
            ended.set()
            self._wake.set()
            thread.join(timeout=10)
            self.close()
            self._hand_out()
        if self._failed is not None:
            raise self._failed

    def _hand_out(self) -> None:
        """Hand out what is to be recorded."""
        while self._recorded:
            wave = self._recorded.popleft()
            if self.record is not None and self.converter is not None:
                self.record(wave, self.converter.sample_rate)


def recorder(writer: AudioWriter) -> Callable[[Samples, int], None]:
    """Return what a session records with: it writes `[samples]` to a file."""
    return lambda wave, _rate: writer.write(torch.from_numpy(wave)[None])
