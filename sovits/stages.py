"""The networks at work on one sound, piece by piece: as streams, or in windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from sovits.audio.loudness import frame_rms
from sovits.audio.resample import resample
from sovits.audio.split import Piece
from sovits.config import ConvertOptions, NativeConfig, VoiceConfig
from sovits.device import choose_arithmetic
from sovits.ends import Listener
from sovits.errors import AudioError, VoiceError
from sovits.features.content import ContentEncoder
from sovits.features.content.student import StudentContent
from sovits.features.pitch import FindsPitch
from sovits.mixing import Mix, mix_of
from sovits.models.decoders.source import frame_phases
from sovits.models.native import NativeSynthesizer
from sovits.models.noise import NoiseSource
from sovits.models.synthesizer import Synthesizer, usual_length
from sovits.refine import Refining
from sovits.refinement import Conditions
from sovits.retrieval import Index, Mixture
from sovits.stream import VoiceStream
from sovits.types import F0, Content, Shares, Speaker, Voiced, Volume, Wave

FLOOR_DB = -90.0  # level below which even a quiet sound is silence (dBFS)
FLOOR = 10 ** (FLOOR_DB / 20)
FADE_SECONDS = 0.05  # what neighbouring pieces share at a cut


class Sings(Protocol):
    """What conversion needs of a network."""

    def infer(
        self,
        content: Content,
        f0: F0,
        voiced: Voiced,
        speaker: Speaker | Shares,
        *,
        volume: Volume | None,
        noise_scale: float,
        noise: NoiseSource | None,
        phase: Tensor | None,
        kept: slice | None,
        formants: float,
    ) -> Wave:
        """Return sound, `[1, frames * hop_length]`."""


class Singer(Protocol):
    """What conversion needs of a voice."""

    config: VoiceConfig

    @property
    def synthesizer(self) -> Sings:
        """The network."""

    @property
    def device(self) -> torch.device:
        """Where the network computes."""

    def row(self, speaker: str | None) -> int:
        """Return the row of a speaker in the speaker table."""

    def f0_range(self, speaker: str | None) -> tuple[float, float] | None:
        """Return both ends of the pitches that a speaker was trained on (Hz), if they are told."""

    def content_encoder(self) -> ContentEncoder:
        """Return the encoder that the voice was trained with."""

    def index(self, path: Path | None, speaker: str | None) -> Index:
        """Return what a retrieval file, or the one beside the voice, holds of a speaker."""

    def refining(self, options: ConvertOptions) -> Refining:
        """Return the refiner and the vocoder that are asked for."""


def check_options(voice: Singer, options: ConvertOptions) -> None:
    """Refuse what a voice cannot do, however silent the sound.

    Raises:
        VoiceError: There is no such speaker, no F0 decoder, or formants cannot be moved.
        ConfigError: It is not understood who shall sing.
    """
    if options.auto_f0 and not voice.config.synthesizer.predicts_f0:
        raise VoiceError.no_f0_decoder()
    if options.formants and not voice.config.synthesizer.moves_formants:
        raise VoiceError.no_formants()
    mix_of(options, voice.row)


def make_stage(
    voice: Singer, options: ConvertOptions, pitch: FindsPitch, listener: Listener
) -> Stage:
    """Return the networks at work on what `listener` hears: as streams if they can be."""
    encoder, network = voice.content_encoder(), voice.synthesizer
    if (
        isinstance(encoder, StudentContent)
        and isinstance(network, NativeSynthesizer)
        and not options.only_refiner
    ):
        return Streams(voice, options, pitch, listener, (encoder, network))
    return Windows(voice, options, pitch, listener)


class Stage:
    """The networks at work on one sound, and what they remember from piece to piece."""

    tell: Callable[[int, Conditions], None] | None = None
    """Told what is known of frames from a number on, before their sound is handed out."""

    def __init__(
        self, voice: Singer, options: ConvertOptions, pitch: FindsPitch, listener: Listener
    ) -> None:
        self.voice, self.pitch, self.listener = voice, pitch, listener
        self.rate, self.hop = voice.config.audio.sample_rate, voice.config.audio.hop_length
        self.content: ContentEncoder = voice.content_encoder()
        self.change(options)
        self.pad = round(options.pad_seconds * self.rate / self.hop)
        light = isinstance(voice.config.synthesizer, NativeConfig)
        self.bf16 = choose_arithmetic(options.precision, voice.device, light=light).bf16

    def change(self, options: ConvertOptions) -> None:
        """Go on with other options."""
        file = None if options.retrieval is None else Path(options.retrieval)
        self.mix = mix_of(options, self.voice.row)
        names = self.mix.names if options.retrieval_ratio else ()
        self.indices = [self.voice.index(file, name) for name in names]
        self.options = options

    @property
    def singers(self) -> int | Mix:
        """Who sings: a row of the speaker table, or shares of several."""
        return self.mix if self.mix.alone is None else self.mix.alone

    def converted(self, pieces: Sequence[Piece]) -> Iterator[tuple[int, Wave]]:
        """Yield where each converted piece begins, and its sound `[streams, samples]`."""
        raise NotImplementedError

    def _blend(self, content: Content, first: int) -> Content:
        """Return content moved towards the target's, if that is asked for.

        Args:
            content: `[channels, frames]`.
            first: Number of its first frame in the whole sound, as the encoder counts them.
        """
        if not self.indices:
            return content
        ratio = self.options.retrieval_ratio
        if self.mix.alone is not None:
            return self.indices[0].blend(content, ratio)
        spec = self.content.spec
        middles = torch.arange(first, first + content.shape[1]) + 0.5
        shares = self.mix.at(middles * spec.hop_length / spec.sample_rate)
        return Mixture(tuple(self.indices), shares).blend(content, ratio)


class Streams(Stage):
    """Networks that go on from piece to piece, so that nothing is computed twice or faded.

    A stream begins anew only after a silence longer than the `pad_seconds` that it is warmed up
    with.
    """

    def __init__(
        self,
        voice: Singer,
        options: ConvertOptions,
        pitch: FindsPitch,
        listener: Listener,
        networks: tuple[StudentContent, NativeSynthesizer],
    ) -> None:
        super().__init__(voice, options, pitch, listener)
        self.networks = networks
        self.streams: list[VoiceStream] = []
        self.fed = 0  # frames of the sound that the streams have heard
        self.begin = 0  # of what is ready, in samples
        self.ready = torch.zeros(listener.streams, 0)

    def converted(self, pieces: Sequence[Piece]) -> Iterator[tuple[int, Wave]]:
        """Yield where each converted piece begins, and its sound `[streams, samples]`."""
        for piece in pieces:
            yield piece.start, self._converted(piece)

    def _converted(self, piece: Piece) -> Wave:
        """Return the sound of the next piece, `[streams, samples]`."""
        hop, frames = self.hop, -(-self.listener.total // self.hop)
        begin = max(0, piece.start // hop - self.pad)
        if not self.streams or begin > self.fed:
            self.streams = [self.begun(begin) for _ in range(self.listener.streams)]
            for stream in self.streams:
                stream.keeps = self.tell is not None
            self.ready, self.begin, self.fed = self.ready[:, :0], begin * hop, begin
        stop = min(frames, -(-(piece.stop + self.streams[0].latency) // hop))
        # The pitch of a frame is judged by what is around it.
        first = min(piece.start // hop, max(0, self.fed - self.pad))
        last = min(frames, stop + self.pad)
        heard = self.listener.hear(first * hop, last * hop)
        if stop > self.fed:
            new = slice(self.fed - first, stop - first)
            parts = [
                self._fed(stream, wave, new, ends=stop == frames)
                for stream, wave in zip(self.streams, heard, strict=True)
            ]
            self.ready, self.fed = torch.cat([self.ready, torch.stack(parts)], dim=1), stop
            self._tell()
        sung = self.ready[:, piece.start - self.begin : piece.stop - self.begin]
        self.ready, self.begin = self.ready[:, piece.stop - self.begin :].clone(), piece.stop
        # One channel may be silent while the other is not.
        own = heard[:, piece.start - first * hop : piece.stop - first * hop]
        return sung * (own.abs().amax(1, keepdim=True) > FLOOR)

    def begun(self, first: int) -> VoiceStream:
        """Return a stream that begins at a frame of the sound."""
        options = self.options
        return VoiceStream(
            *self.networks,
            self.singers,
            first=first,
            blend=self._blend,
            seed=options.seed,
            noise_scale=options.noise_scale,
            formants=2 ** (options.formants / 12),
            bf16=self.bf16,
        )

    def _tell(self) -> None:
        """Tell what is known of the frames that were sung since it was told last."""
        if self.tell is None:
            return
        told = [stream.sung() for stream in self.streams]
        if told[0][1].shape[1]:
            content, known = (
                torch.stack(parts).cpu() for parts in list(zip(*told, strict=True))[1:]
            )
            self.tell(told[0][0], Conditions(content, known[:, 0], known[:, 2]))

    def adjust(self, stream: VoiceStream) -> None:
        """Let a stream go on with the options of now."""
        stream.speaker = self.singers
        stream.noise_scale, stream.seed = self.options.noise_scale, self.options.seed
        stream.formants = 2 ** (self.options.formants / 12)

    def _fed(self, stream: VoiceStream, wave: Wave, new: slice, *, ends: bool) -> Wave:
        """Feed frames `new` of one channel to its stream, and return what is ready."""
        pitch = self.pitch(wave, self.rate, self.hop)
        f0 = pitch.f0 * 2 ** (self.options.semitones / 12)
        volume = frame_rms(wave, self.hop)
        samples = wave[new.start * self.hop : new.stop * self.hop]
        sung = stream.push(samples, f0[new], pitch.voiced[new], volume[new])
        return torch.cat([sung, stream.finish()]) if ends else sung


class Windows(Stage):
    """Networks that hear a piece at once, and `pad_seconds` of what lies around it."""

    def __init__(
        self, voice: Singer, options: ConvertOptions, pitch: FindsPitch, listener: Listener
    ) -> None:
        super().__init__(voice, options, pitch, listener)
        self.phases: list[tuple[int, Tensor]] = [(0, torch.zeros(0))] * listener.streams
        self.known: dict[int, Conditions] = {}  # of the channels of a piece that are not silent

    def converted(self, pieces: Sequence[Piece]) -> Iterator[tuple[int, Wave]]:
        """Yield where each converted piece begins, and its sound `[streams, samples]`."""
        for number, piece in enumerate(pieces):
            joined = number > 0 and pieces[number - 1].stop == piece.start
            goes_on = number + 1 < len(pieces) and pieces[number + 1].start == piece.stop
            yield self._converted(piece, joined=joined, goes_on=goes_on)

    def _converted(self, piece: Piece, *, joined: bool, goes_on: bool) -> tuple[int, Wave]:
        """Return where a piece begins with what it shares with its neighbours, and its sound."""
        half = round(FADE_SECONDS * self.rate / 2)
        begin = piece.start - half if joined else piece.start
        end = piece.stop + half if goes_on else piece.stop
        # Frames that cover the piece, and `pad` more on each side, which may reach beyond the
        # sound: there the networks hear silence.
        first = begin // self.hop - self.pad
        stop = -(-end // self.hop)
        last = first + usual_length(stop + self.pad - first)
        heard = self.listener.hear(first * self.hop, last * self.hop)
        skipped = begin - first * self.hop
        kept, at = slice(self.pad, stop - first), slice(skipped, skipped + end - begin)
        meeting = piece.start // self.hop
        sung = [
            self.sing(stream, wave, first, meeting, kept)
            # One channel may be silent while the other is not.
            if float(wave[at].abs().max()) > FLOOR
            else torch.zeros((kept.stop - kept.start) * self.hop)
            for stream, wave in enumerate(heard)
        ]
        self._tell(first + kept.start)
        offset = begin % self.hop
        return begin, torch.stack(sung)[:, offset : offset + end - begin]

    def sing(self, stream: int, wave: Wave, first: int, meeting: int, kept: slice) -> Wave:
        """Return frames `kept` of one converted channel, which starts at frame `first`."""
        options, voice = self.options, self.voice
        content = self._content(wave, first).to(voice.device)[None]
        pitch = self.pitch(wave, self.rate, self.hop)
        f0, voiced = pitch.f0.to(voice.device)[None], pitch.voiced.to(voice.device)[None]
        volume = frame_rms(wave, self.hop)
        speaker = self._who(first, wave.shape[-1] // self.hop).to(voice.device)
        told = volume.to(voice.device)[None] if voice.config.synthesizer.volume else None
        with torch.autocast(voice.device.type, torch.bfloat16, enabled=self.bf16):
            if options.auto_f0:
                f0 = self._melody(content, f0, voiced, speaker, told)
            f0 = f0 * 2 ** (options.semitones / 12)
            known = (content[0], f0[0].float(), volume)
            self.known[stream] = Conditions(*(part[..., kept].cpu() for part in known))
            if options.only_refiner:
                return wave[kept.start * self.hop : kept.stop * self.hop]
            sung = voice.synthesizer.infer(
                content,
                f0,
                voiced,
                speaker,
                volume=told,
                noise_scale=options.noise_scale,
                noise=NoiseSource(options.seed, first),
                phase=self._phase(stream, f0.cpu(), first, meeting).to(voice.device),
                kept=kept,
                formants=2 ** (options.formants / 12),
            )
        return sung[0].float().cpu()

    def _tell(self, first: int) -> None:
        """Tell what is known of the frames of a piece, which begins at frame `first`."""
        known, self.known = self.known, {}
        if self.tell is None or not known:
            return
        # Of a silent channel nothing is known, and nothing is made.
        silent = Conditions(*(torch.ones_like(part) for part in next(iter(known.values()))))
        parts = [known.get(stream, silent) for stream in range(self.listener.streams)]
        self.tell(first, Conditions(*map(torch.stack, zip(*parts, strict=True))))

    def _who(self, first: int, frames: int) -> Speaker | Shares:
        """Return who sings some frames: a row of the speaker table, or shares of all rows."""
        if self.mix.alone is not None:
            return torch.tensor([self.mix.alone])
        rows = self.voice.config.synthesizer.n_speakers
        return self.mix.frames(rows, first, frames, self.rate / self.hop)

    def _melody(
        self,
        content: Content,
        f0: F0,
        voiced: Voiced,
        speaker: Speaker | Shares,
        volume: Volume | None,
    ) -> F0:
        """Return the pitch that the voice would choose."""
        network = self.voice.synthesizer
        if not isinstance(network, Synthesizer):
            raise VoiceError.no_f0_decoder()
        return network.melody(content, f0, voiced, speaker, volume=volume)

    def _content(self, wave: Wave, first: int) -> Content:
        """Return the content of each frame of `wave`, which starts at frame `first`.

        The encoder's frames lie where they would lie if it heard the whole sound, wherever that
        was cut; each of ours takes the one that it begins in, as `stretch` has it.
        """
        spec = self.content.spec
        begin = round(first * self.hop * spec.sample_rate / self.rate)
        skipped = -begin % spec.hop_length
        content = self.content.encode(resample(wave, self.rate, spec.sample_rate)[skipped:])
        if not content.shape[-1]:
            raise AudioError.too_short_for_content()
        content = self._blend(content, (begin + skipped) // spec.hop_length)
        frames = torch.arange(first, first + wave.shape[-1] // self.hop)
        heard = frames * (self.hop * spec.sample_rate) // (self.rate * spec.hop_length)
        at = heard - (begin + skipped) // spec.hop_length
        return content[:, at.clamp(0, content.shape[-1] - 1)]

    def _phase(self, stream: int, f0: Tensor, first: int, meeting: int) -> Tensor:
        """Return the start phase `[1]` that makes the phase at frame `meeting` what it was.

        There the piece before goes over into this one. On the way to it the two may have heard
        different pitches, as what one of them heard began shortly before.
        """
        before, known = self.phases[stream]
        phases = frame_phases(f0, self.rate, self.hop)[0]
        start = torch.zeros(1, dtype=torch.float64)
        if 0 <= meeting - before < len(known):
            start = (known[meeting - before] - phases[meeting - first])[None] % 1.0
        self.phases[stream] = (first, (phases + start) % 1.0)
        return start
