"""A sound card that is not there, with a clock that goes as fast as it is driven."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from sovits.errors import LiveError
from sovits.realtime.device import Callback, Device, Kind
from sovits.realtime.ring import Samples
from sovits.realtime.session import LiveSession

TEND_SECONDS = 0.2


@dataclass
class VirtualDevice:
    """One device: what it hears, what it played, and how wrong its clock is."""

    name: str
    rate: int = 48_000
    block: int = 256
    """Samples of each of its blocks."""
    inputs: int = 0
    outputs: int = 0
    drift: float = 0.0
    """By how much its clock is too fast, as a share."""
    sound: Callable[[int, int], Samples] = lambda _first, count: np.zeros(count, np.float32)
    """What it hears: `[count]` samples from one on."""
    played: list[Samples] = field(default_factory=list)
    keeps: bool = True
    """Whether `played` is filled."""
    busy: bool = False
    plugged: bool = True

    def all_played(self) -> Samples:
        """Return `[samples]` of the first channel."""
        return np.concatenate([np.zeros(0, np.float32), *self.played])


class VirtualStream:
    """Blocks to or from a virtual device."""

    latency = 0.0

    def __init__(
        self, card: VirtualCard, kind: Kind, device: VirtualDevice, channels: int, call: Callback
    ) -> None:
        self.card, self.kind, self.device, self.call = card, kind, device, call
        self.seconds = device.block / (device.rate * (1 + device.drift))
        self.due = card.time + self.seconds
        self.done = 0
        self.block = np.zeros((device.block, channels), np.float32)

    @property
    def active(self) -> bool:
        """Whether blocks may still come."""
        return self.device.plugged and self in self.card.streams

    def close(self) -> None:
        """End it."""
        if self in self.card.streams:
            self.card.streams.remove(self)

    def step(self) -> None:
        """Hear or play one block."""
        self.due += self.seconds
        if not self.device.plugged:
            return
        if self.kind == "input":
            self.block[:] = self.device.sound(self.done, len(self.block))[:, None]
        self.call(self.block)
        self.done += len(self.block)
        if self.kind == "output" and self.device.keeps:
            self.device.played.append(self.block[:, 0].copy())


class VirtualCard:
    """Devices whose time goes by when `advance` or `drive` says so."""

    def __init__(self, *devices: VirtualDevice) -> None:
        self.all = devices
        self.time = 0.0
        self.streams: list[VirtualStream] = []

    def clock(self) -> float:
        """Return the time (s)."""
        return self.time

    def devices(self) -> Sequence[Device]:
        """Return what is plugged in."""
        return [
            Device(number, one.name, "virtual", one.inputs, one.outputs, one.rate)
            for number, one in enumerate(self.all)
            if one.plugged
        ]

    def default(self, kind: Kind) -> int | None:
        """Return the first that there is."""
        there = (device.number for device in self.devices() if device.channels(kind))
        return next(there, None)

    def refresh(self) -> None:
        """Look again for what there is, which is always known."""

    def open(
        self, kind: Kind, device: Device, rate: int, channels: int, callback: Callback
    ) -> VirtualStream:
        """Return a stream that runs; see `SoundCard.open`."""
        found = self.all[device.number]
        if found.busy or not found.plugged:
            raise LiveError.cannot_open(found.name, rate, "Device unavailable")
        stream = VirtualStream(self, kind, found, channels, callback)
        self.streams.append(stream)
        return stream

    def advance(self, seconds: float) -> None:
        """Let time go by, and devices call back."""
        end = self.time + seconds
        while self.streams and (stream := min(self.streams, key=lambda s: s.due)).due <= end:
            self.time = max(self.time, stream.due)
            stream.step()
        self.time = end

    def drive(self, session: LiveSession, seconds: float) -> None:
        """Let a session work for so long."""
        end, tended = self.time + seconds, self.time
        while self.time < end:
            due = min((stream.due for stream in self.streams), default=end)
            self.advance(min(max(due - self.time, 0.0), TEND_SECONDS, end - self.time))
            while self.time < end and session.work():
                pass
            if self.time - tended >= TEND_SECONDS:
                tended = self.time
                session.tend()
