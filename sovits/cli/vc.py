"""svc vc."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, arg

from sovits.cli.live_view import Controls, keys, shown
from sovits.cli.models import choose
from sovits.cli.options import option_flags
from sovits.cli.progress import note
from sovits.config import ConvertOptions
from sovits.errors import ConfigError
from sovits.realtime.settings import LiveSettings

if TYPE_CHECKING:
    from sovits.audio.io import AudioWriter
    from sovits.realtime.device import SoundCard
    from sovits.realtime.session import Devices
    from sovits.realtime.stream import LiveConverter
    from sovits.voice import Voice

LIVE = (
    "speaker",
    "mix",
    "semitones",
    "f0_method",
    "formants",
    "auto_f0",
    "noise_scale",
    "retrieval",
    "retrieval_ratio",
    "silence_db",
    "seed",
    "precision",
)
"""Options of a conversion that make sense live."""
PULSE = "pulse"
"""What PortAudio calls PulseAudio and PipeWire."""


@dataclass(frozen=True, kw_only=True)
class Vc:
    """Speak, and hear another voice."""

    model_path: Annotated[str | None, arg(aliases=("-m",), metavar="MODEL")] = None
    """Voice file, folder, name (see svc voices) or hub:OWNER/REPO; else logs/44k, else bundled."""
    config_path: Annotated[Path | None, arg(aliases=("-c",), metavar="PATH")] = None
    """Settings of a G_*.pth; config.json beside it if not given."""
    input_device: Annotated[str | None, arg(aliases=("-i",), metavar="DEVICE")] = None
    """Microphone, by number or part of its name; the system's choice if not given."""
    output_device: Annotated[str | None, arg(aliases=("-o",), metavar="DEVICE")] = None
    """Where the voice is played; the system's choice if not given."""
    monitor: Annotated[str | None, arg(metavar="DEVICE")] = None
    """Second device where the voice is played, to hear oneself."""
    virtual_mic: bool = False
    """Make a microphone for other programs, and play to it (PulseAudio, PipeWire)."""
    record: Annotated[Path | None, arg(metavar="PATH")] = None
    """Sound file to write the voice to as well."""
    block_seconds: Annotated[float | None, arg(aliases=("-b",), metavar="FLOAT")] = None
    """Sound converted at once (s); the shortest that this machine holds if not given."""
    crossfade_seconds: Annotated[float, arg(aliases=("-cr",))] = LiveSettings.crossfade_seconds
    """Over how much sound blocks go over into each other (s; not light voices)."""
    additional_infer_before_seconds: Annotated[float, arg(aliases=("-ab",))] = (
        LiveSettings.before_seconds
    )
    """Sound before a block that is heard too (s; not light voices)."""
    additional_infer_after_seconds: Annotated[float, arg(aliases=("-aa",))] = (
        LiveSettings.after_seconds
    )
    """Sound after a block that is waited for (s; not light voices)."""
    passthrough_original: Annotated[bool, arg(aliases=("-po",))] = False
    """Play what is heard, as late as the voice would be. -npo: do not."""
    input_gain: Annotated[float, arg(metavar="DB")] = 0.0
    """How much louder the microphone is made (dB)."""
    output_gain: Annotated[float, arg(metavar="DB")] = 0.0
    """How much louder the voice is made (dB)."""
    list_devices: bool = False
    """Show microphones and loudspeakers, and end."""
    measure: bool = False
    """Play chirps, hear how late they come back, show all latencies, and end."""
    device: Annotated[str, arg(aliases=("-d",))] = "auto"
    """Where networks compute: auto, cpu, cuda, cuda:1, mps."""
    conversion: Annotated[ConvertOptions, OmitArgPrefixes, arg(constructor=option_flags(LIVE))]

    def run(self) -> int:
        """Convert until it is ended, and tell how it goes."""
        if self.list_devices:
            return _list(sound_card())
        settings = self._settings()
        choice = choose(self.model_path, self.config_path)
        retrieval = self.conversion.retrieval
        if retrieval is not None and not Path(retrieval).is_file():
            raise ConfigError.no_retrieval(Path(retrieval))
        if choice.because:
            note(choice.because)
        card = sound_card()
        # From here on with torch, so only when all else is right.
        from sovits.device import choose_device
        from sovits.voice import load_voice

        voice = load_voice(choice.model, choice.config, device=choose_device(self.device))
        for remark in voice.remarks:
            note(remark)
        with contextlib.ExitStack() as stack:
            if self.virtual_mic:
                from sovits.realtime.virtual_mic import virtual_microphone

                source = stack.enter_context(virtual_microphone())
                note(f"Other programs can choose the microphone sovits-microphone ({source}).")
            if self.measure:
                return self._measure(voice, card, settings)
            return self._live(voice, card, settings)

    def _settings(self) -> LiveSettings:
        for name in ("input_gain", "output_gain"):
            if not -60 <= getattr(self, name) <= 60:
                flag = f"--{name.replace('_', '-')}"
                raise ConfigError.wrong_value(flag, getattr(self, name), "between -60 and 60")
        return LiveSettings(
            self.block_seconds,
            before_seconds=self.additional_infer_before_seconds,
            after_seconds=self.additional_infer_after_seconds,
            crossfade_seconds=self.crossfade_seconds,
        )

    def _devices(self) -> Devices:
        from sovits.realtime.session import Devices

        output = self.output_device
        if self.virtual_mic and output is None:
            output = PULSE
        return Devices(self.input_device, output, self.monitor)

    def _block(self, voice: Voice, rate: int, settings: LiveSettings) -> float:
        """Return how long blocks are to be (s)."""
        from sovits.realtime.measure import choose_block

        if settings.block_seconds is not None:
            return settings.block_seconds
        speed = choose_block(voice, rate, self.conversion, settings)
        note(
            f"Blocks of {1000 * speed.block:.0f} ms: they take {1000 * speed.p50:.1f} ms, and "
            f"{1000 * speed.p99:.1f} ms at most."
        )
        return speed.block

    def _make(
        self, voice: Voice, settings: LiveSettings, block: float
    ) -> Callable[[int], LiveConverter]:
        from sovits.realtime.stream import LiveConverter

        def make(rate: int) -> LiveConverter:
            chosen = replace(settings, block_seconds=block)
            live = LiveConverter(voice, rate, self.conversion, chosen)
            live.input_gain.set(10 ** (self.input_gain / 20))
            live.output_gain.set(10 ** (self.output_gain / 20))
            live.mix.set(0.0 if self.passthrough_original else 1.0)
            return live

        return make

    def _live(self, voice: Voice, card: SoundCard, settings: LiveSettings) -> int:
        from sovits.audio.io import AudioWriter
        from sovits.realtime.device import choose_device
        from sovits.realtime.session import LiveSession, recorder

        devices = self._devices()
        microphone = choose_device(card, "input", devices.input)
        choose_device(card, "output", devices.output)
        block = self._block(voice, microphone.rate, settings)
        make = self._make(voice, settings, block)
        with contextlib.ExitStack() as stack:
            writer: AudioWriter | None = None
            if self.record is not None:
                writer = stack.enter_context(AudioWriter(self.record, microphone.rate, 1))
            session = LiveSession(
                make, card, devices, block, record=recorder(writer) if writer else None
            )
            pressed = stack.enter_context(keys())
            tell = stack.enter_context(shown(str(self.model_path or "")))
            controls = Controls(self.conversion.semitones, original=self.passthrough_original)

            def tick() -> bool:
                nonlocal controls
                while key := pressed():
                    changed = controls.pressed(key)
                    if changed != controls:
                        session.ask(self._apply(changed))
                    controls = changed
                tell(session.status(), controls, time.monotonic())
                return not controls.ended

            # Ctrl-C is how such a thing is ended.
            with contextlib.suppress(KeyboardInterrupt):
                session.run(tick)
        if self.record is not None:
            print(self.record, flush=True)
        return 0

    def _apply(self, controls: Controls) -> Callable[[LiveConverter], None]:
        gain = 0.0 if controls.muted else 10 ** (self.output_gain / 20)

        def change(live: LiveConverter) -> None:
            live.output_gain.set(gain)
            live.mix.set(0.0 if controls.original else 1.0)
            live.change(replace(live.options, semitones=controls.semitones))

        return change

    def _measure(self, voice: Voice, card: SoundCard, settings: LiveSettings) -> int:
        from sovits.realtime.device import choose_device
        from sovits.realtime.measure import MEASURED_SECONDS, block_speed, loop_delay

        devices = self._devices()
        microphone = choose_device(card, "input", devices.input)
        speaker = choose_device(card, "output", devices.output)
        block = self._block(voice, microphone.rate, settings)
        live = self._make(voice, settings, block)(microphone.rate)
        note("Playing chirps. Let the microphone hear the loudspeaker.")
        late = loop_delay(card, microphone, speaker)
        speed = block_speed(live, block, MEASURED_SECONDS, time.perf_counter)
        algorithm = live.latency / live.sample_rate
        print(f"devices    {1000 * late:7.1f} ms  from a loudspeaker to a microphone, and back")
        print(f"algorithm  {1000 * algorithm:7.1f} ms  {live.latency} samples")
        print(f"block      {1000 * block:7.1f} ms  heard before it is converted")
        print(f"compute    {1000 * speed.p99:7.1f} ms  p99; p50 {1000 * speed.p50:.1f} ms")
        total = late + algorithm + block + speed.p99
        print(f"total      {1000 * total:7.1f} ms  from speaking to hearing")
        return 0


def sound_card() -> SoundCard:
    """Return the devices of this machine."""
    from sovits.realtime.device import PortAudio

    return PortAudio()


def _list(card: SoundCard) -> int:
    """Print all devices; those that are taken if none is named have a star."""
    defaults = {kind: card.default(kind) for kind in ("input", "output")}
    devices = card.devices()
    for device in devices:
        marks = "".join(
            letter if device.number == defaults[kind] else " "
            for letter, kind in (("<", "input"), (">", "output"))
        )
        print(
            f"{marks} {device.number:3}  {device.name}  ({device.api}, {device.inputs} in, "
            f"{device.outputs} out, {device.rate} Hz)"
        )
    if not devices:
        print("There are no sound devices.", file=sys.stderr)
    return 0 if devices else 1
