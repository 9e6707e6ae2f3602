"""Sound cards: what there is, and streams of blocks to and from it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from sovits.errors import LiveError
from sovits.realtime.ring import Samples

Kind = Literal["input", "output"]
Callback = Callable[[Samples], None]
"""Given a block `[samples, channels]`: to read, if it was heard, or to fill, if it is played."""

MOST_CHANNELS = 2


class Device(NamedTuple):
    """A sound card, or one side of it."""

    number: int
    name: str
    api: str
    """What the system calls its way to it, such as ALSA, JACK, CoreAudio or WASAPI."""
    inputs: int
    outputs: int
    rate: int
    """The rate it prefers (Hz)."""

    def channels(self, kind: Kind) -> int:
        """Return how many channels one direction has."""
        return self.inputs if kind == "input" else self.outputs


class Stream(Protocol):
    """Blocks that come from, or go to, a device."""

    @property
    def latency(self) -> float:
        """How late the device says that it is (s)."""

    @property
    def active(self) -> bool:
        """Whether blocks may still come."""

    def close(self) -> None:
        """End it."""


class SoundCard(Protocol):
    """All devices of a machine, or what stands in for them."""

    def devices(self) -> Sequence[Device]:
        """Return what there is now."""

    def default(self, kind: Kind) -> int | None:
        """Return the number of the device that the system prefers."""

    def refresh(self) -> None:
        """Look again for what there is; no stream may be open."""

    def open(
        self, kind: Kind, device: Device, rate: int, channels: int, callback: Callback
    ) -> Stream:
        """Return a stream that runs.

        Raises:
            LiveError: The device is busy, gone, or does not know the rate.
        """


def choose_device(card: SoundCard, kind: Kind, wanted: str | None) -> Device:
    """Return the device of a number, a name or a part of one; the system's choice if None.

    Raises:
        LiveError: There is none, or there are several.
    """
    there = [device for device in card.devices() if device.channels(kind)]
    if wanted is None:
        number = card.default(kind)
        chosen = [device for device in there if device.number == number] or there[:1]
    else:
        chosen = (
            [device for device in there if str(device.number) == wanted]
            or [device for device in there if device.name == wanted]
            or [device for device in there if wanted.casefold() in device.name.casefold()]
        )
    if not chosen:
        raise LiveError.no_device(kind, wanted, [device.name for device in there])
    if len({device.name for device in chosen}) > 1:
        raise LiveError.several_devices(kind, str(wanted), [device.name for device in chosen])
    return chosen[0]


def share_clock(one: Device, other: Device) -> bool:
    """Return whether two devices count the same samples, so that neither runs away."""
    return one.name == other.name or one.api == other.api == "JACK Audio Connection Kit"


class PortAudio:
    """The devices that PortAudio knows: JACK, ALSA, PulseAudio, CoreAudio, WASAPI, ASIO.

    Raises:
        LiveError: sounddevice or the PortAudio library is missing.
    """

    def __init__(self) -> None:
        try:
            import sounddevice
        except ImportError as error:
            raise LiveError.no_sounddevice() from error
        except OSError as error:
            raise LiveError.no_portaudio() from error
        self._sound: Any = sounddevice

    def devices(self) -> Sequence[Device]:
        """Return what there is now."""
        try:
            apis = [api["name"] for api in self._sound.query_hostapis()]
            found = self._sound.query_devices()
        except self._sound.PortAudioError:  # it could not begin again: there is nothing
            return []
        return [
            Device(
                number,
                one["name"],
                apis[one["hostapi"]],
                one["max_input_channels"],
                one["max_output_channels"],
                round(one["default_samplerate"]),
            )
            for number, one in enumerate(found)
        ]

    def default(self, kind: Kind) -> int | None:
        """Return the number of the device that the system prefers."""
        number = int(self._sound.default.device[kind])
        return number if number >= 0 else None

    def refresh(self) -> None:
        """Look again for what there is; no stream may be open."""
        # PortAudio lists devices once, when it begins.
        with contextlib.suppress(self._sound.PortAudioError):
            self._sound._terminate()
        with contextlib.suppress(self._sound.PortAudioError):
            self._sound._initialize()

    def open(
        self, kind: Kind, device: Device, rate: int, channels: int, callback: Callback
    ) -> Stream:
        """Return a stream that runs; see `SoundCard.open`."""

        def called(block: Samples, _frames: int, _time: object, _status: object) -> None:
            callback(block)

        make = self._sound.InputStream if kind == "input" else self._sound.OutputStream
        with self._told(device, rate):
            stream = make(
                samplerate=rate,
                device=device.number,
                channels=channels,
                dtype="float32",
                latency="low",
                callback=called,
            )
            stream.start()
        return _PortAudioStream(stream)

    @contextlib.contextmanager
    def _told(self, device: Device, rate: int) -> Iterator[None]:
        """Say in one line what PortAudio says in several."""
        try:
            yield
        except self._sound.PortAudioError as error:
            reason = str(error.args[0] if error.args else error).rstrip(". ")
            raise LiveError.cannot_open(device.name, rate, reason) from error


class _PortAudioStream:
    """A stream of PortAudio, which may be gone when it is asked."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        latency = stream.latency
        self._latency = float(latency)

    @property
    def latency(self) -> float:
        """How late the device says that it is (s)."""
        return self._latency

    @property
    def active(self) -> bool:
        """Whether blocks may still come."""
        # What PortAudio raises depends on how the device went.
        with contextlib.suppress(Exception):
            return bool(self._stream.active)
        return False

    def close(self) -> None:
        """End it; a device that is gone cannot say no."""
        with contextlib.suppress(Exception):
            self._stream.abort(ignore_errors=True)
        with contextlib.suppress(Exception):
            self._stream.close(ignore_errors=True)
