"""Sound in, the same sound in another voice out, always as late as it says."""

from __future__ import annotations

import math

import torch

from sovits.config import ConvertOptions
from sovits.errors import AudioError, LiveError
from sovits.realtime.cores import Heard, make_core
from sovits.realtime.gate import Gate, Limiter
from sovits.realtime.settings import LiveSettings
from sovits.realtime.sinc import LiveResampler
from sovits.stages import Singer, check_options
from sovits.types import Wave

RAMP_SECONDS = 0.02  # over which gains and the mix change
DECLICK_SECONDS = 0.005  # over which what broke off falls silent
LOUDEST = 4.0  # what a driver may send; beyond it is an error of its


class LiveConverter:
    """Converts a stream: as many samples come out as go in, exactly `latency` samples late.

    No threads and no devices: push blocks of any size. Light voices come out as a file would,
    whatever the blocks are. Options, mix and gains may change at any time, without a click. What
    is not a number is silence. One object is one stream, for one thread.

    Args:
        voice: Who speaks.
        sample_rate: Rate of what is pushed and of what comes out (Hz).
        options: What is asked for; what cuts files does not apply, and silence_db is the level
            below which there is silence, from full scale.
        settings: How sound is cut.

    Attributes:
        latency: Samples from hearing a sound to giving it out.
        faults: Samples that were no numbers, or impossibly loud, in or out, so far.

    Raises:
        VoiceError: The voice cannot do what the options ask for.
        LiveError: They ask for a refiner.
    """

    def __init__(
        self,
        voice: Singer,
        sample_rate: int,
        options: ConvertOptions | None = None,
        settings: LiveSettings | None = None,
    ) -> None:
        self.voice, self.sample_rate = voice, sample_rate
        self.settings, self._options = settings or LiveSettings(), options or ConvertOptions()
        check_live(voice, self._options)
        self.rate = voice.config.audio.sample_rate
        self.input_gain, self.output_gain = (Ramp(1.0, rate) for rate in (sample_rate, self.rate))
        self.mix = Ramp(1.0, self.rate)
        self.faults = 0
        self._heard = 0  # samples that went in
        self._last = 0.0  # that came out
        self._begin()
        late = self._core.latency + self._limiter.late + self._outward.reach
        self.latency = self._inward.reach + math.ceil(late * sample_rate / self.rate)
        self._due = -self.latency  # of the sound that went in: what comes out next

    @property
    def options(self) -> ConvertOptions:
        """What is asked for."""
        return self._options

    def change(self, options: ConvertOptions) -> None:
        """Go on with other options; another pitch method or precision begins anew, as `skip` does.

        Raises:
            VoiceError: The voice cannot do what they ask for.
        """
        check_live(self.voice, options)
        before, self._options = self._options, options
        if (options.f0_method, options.precision) != (before.f0_method, before.precision):
            self._begin()
            return
        self._core.change(options)
        if self.settings.gate_db is None:
            self._gate.threshold_db = options.silence_db

    @torch.inference_mode()
    def push(self, wave: Wave) -> Wave:
        """Hear `wave` `[samples]`, of any length; return as many samples.

        Raises:
            AudioError: `wave` has channels.
        """
        if wave.dim() != 1:
            raise AudioError.not_one_channel(tuple(wave.shape))
        self._heard += len(wave)
        if len(wave):
            clean = self._cleaned(wave.detach().float().cpu()) * self.input_gain.next(len(wave))
            self._hear(self._inward.push(clean))
        return self._take(len(wave))

    def flush(self) -> Wave:
        """Return the last `latency` samples, as if silence followed."""
        return self.push(torch.zeros(self.latency))

    def skip(self, samples: int) -> Wave:
        """Leave input out, as there was no time for it; return as many samples.

        What follows is as late as before. The voice begins anew, so there is silence for as long
        as it is late.
        """
        self._heard += samples
        self._begin()
        return self._take(samples)

    def _begin(self) -> None:
        """Begin with the next sample that goes in, as if there had been none."""
        options, settings = self._options, self.settings
        self._core = make_core(self.voice, options, settings)
        self._inward = LiveResampler(self.sample_rate, self.rate)
        self._outward = LiveResampler(self.rate, self.sample_rate)
        silence = options.silence_db if settings.gate_db is None else settings.gate_db
        self._gate = Gate(self.rate, silence, self._core.lead)
        self._limiter = Limiter(self.rate)
        self._original, self._given = Heard(), 0
        self._ready, self._start = torch.zeros(0), self._heard
        self._broke_off = self._last

    def _cleaned(self, wave: Wave) -> Wave:
        """Return `wave` with silence for what cannot be sound."""
        wrong = ~(wave.abs() <= LOUDEST)
        count = int(wrong.sum())
        if not count:
            return wave
        self.faults += count
        return wave.masked_fill(wrong, 0.0)

    def _hear(self, wave: Wave) -> None:
        """Convert `[samples]` at the voice's rate, as far as is known."""
        self._gate.hear(wave)
        self._original.push(wave)
        sung = self._core.push(wave)
        if not bool(sung.isfinite().all()):
            self.faults += int((~sung.isfinite()).sum())
            self._begin()  # what is no number once may stay so for ever
            return
        if not len(sung):
            return
        end = self._given + len(sung)
        original, self._given = self._original.between(self._given, end), end
        self._original.forget(end)
        sung = sung * self._gate.gains(len(sung))
        mixed = torch.lerp(original, sung, self.mix.next(len(sung)))
        mixed = mixed * self.output_gain.next(len(sung))
        out = self._outward.push(self._limiter.push(mixed))
        self._ready = torch.cat([self._ready, out])

    def _take(self, samples: int) -> Wave:
        """Return the next samples of the output."""
        late = min(max(0, self._due - self._start), len(self._ready))
        self._ready, self._start = self._ready[late:], self._start + late
        silent = min(max(0, self._start - self._due), samples)
        out = torch.nn.functional.pad(self._ready[: samples - silent], (silent, 0))
        self._ready = self._ready[len(out) - silent :]
        self._start += len(out) - silent
        # Never short, or `latency` would be wrong.
        out = torch.nn.functional.pad(out, (0, samples - len(out)))
        if self._broke_off and samples:
            out = out + self._fading(samples)
        self._due += samples
        if samples:
            self._last = float(out[-1])
        return out

    def _fading(self, samples: int) -> Wave:
        """Return how what broke off falls silent."""
        length = round(DECLICK_SECONDS * self.sample_rate)
        fall = self._broke_off * torch.linspace(1, 0, length + 1)[1:]
        self._broke_off = float(fall[samples]) if samples < length else 0.0
        return torch.nn.functional.pad(fall[:samples], (0, max(0, samples - length)))


def check_live(voice: Singer, options: ConvertOptions) -> None:
    """Refuse what a voice cannot do live.

    Raises:
        VoiceError: It cannot do it at all.
        LiveError: It would take too long.
    """
    check_options(voice, options)
    if options.refine or options.only_refiner:
        raise LiveError.no_refiner()


class Ramp:
    """A number that changes smoothly.

    Args:
        value: What it is.
        rate: Samples per second (Hz).
    """

    def __init__(self, value: float, rate: int) -> None:
        self.value = self.target = value
        self.length = round(RAMP_SECONDS * rate)
        self._left = 0

    def set(self, target: float) -> None:
        """Begin to change it."""
        self.target, self._left = target, self.length

    def next(self, samples: int) -> Wave:
        """Return it at each of the next samples."""
        moving = min(samples, self._left)
        if not moving:
            return torch.full((samples,), self.value)
        step = (self.target - self.value) / self._left
        ramp = self.value + step * torch.arange(1, moving + 1)
        self._left -= moving
        self.value = float(ramp[-1]) if self._left else self.target
        return torch.nn.functional.pad(ramp, (0, samples - moving), value=self.value)
