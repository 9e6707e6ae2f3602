"""Sing or say a sound in another voice: a whole file is a stream of pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from sovits.audio.io import AudioReader, AudioWriter
from sovits.audio.loudness import frame_rms
from sovits.audio.resample import StreamResampler, resample
from sovits.audio.split import Joiner, Piece, find_pieces, frame_levels
from sovits.config import ConvertOptions, VoiceConfig
from sovits.device import has_bf16
from sovits.errors import AudioError, VoiceError
from sovits.features.content import ContentEncoder
from sovits.features.pitch import PitchExtractor, load_pitch_extractor
from sovits.models.decoders.source import frame_phases
from sovits.models.noise import NoiseSource
from sovits.models.synthesizer import Synthesizer, usual_length
from sovits.retrieval import Index
from sovits.types import F0, Content, Speaker, Voiced, Volume, Wave

LEVELS_PER_SECOND = 50
FLOOR_DB = -90.0  # level below which even a quiet sound is silence (dBFS)
FLOOR = 10 ** (FLOOR_DB / 20)
FADE_SECONDS = 0.05  # what neighbouring pieces share at a cut
EDGE_SECONDS = 0.01  # fade from and to silence
BLOCK_SECONDS = 10.0  # read at once


class Sings(Protocol):
    """What conversion needs of a network."""

    def infer(
        self,
        content: Content,
        f0: F0,
        voiced: Voiced,
        speaker: Speaker,
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

    def content_encoder(self) -> ContentEncoder:
        """Return the encoder that the voice was trained with."""

    def index(self, path: Path, speaker: str | None) -> Index:
        """Read a retrieval file."""


@dataclass
class WaveSound:
    """A sound in memory."""

    wave: Wave
    sample_rate: int
    channels: int = field(init=False)
    frames: int = field(init=False)

    def __post_init__(self) -> None:
        if not bool(self.wave.isfinite().all()):
            raise AudioError.wave_not_finite(int((~self.wave.isfinite()).sum()))
        self.channels, self.frames = self.wave.shape

    def read(self, start: int, count: int) -> Wave:
        """Return `[channels, count]` from sample `start`."""
        return self.wave[:, start : start + count]


Sound: TypeAlias = AudioReader | WaveSound
"""A sound that can be read in stretches."""


def convert(
    voice: Singer, wave: Wave, sample_rate: int, options: ConvertOptions | None = None
) -> Wave:
    """Return `wave` in another voice.

    Args:
        voice: Who sings.
        wave: `[samples]` or `[channels, samples]`.
        sample_rate: Its rate (Hz).
        options: What is asked for.

    Returns:
        As many samples as `wave` has, at the same rate unless `options.output_rate` says
        otherwise; `[samples]` if `wave` is so, else `[1 or channels, samples]`.
    """
    options = options or ConvertOptions()
    if wave.dim() not in (1, 2) or not all(wave.shape[:-1]):
        raise AudioError.not_a_wave(tuple(wave.shape))
    channels = wave.detach().float().cpu()
    sound = WaveSound(channels if wave.dim() == 2 else channels[None], sample_rate)
    conversion = Conversion(voice, sound, options)
    parts: list[Wave] = [torch.zeros(conversion.output_channels, 0)]
    conversion.run(parts.append)
    joined = torch.cat(parts, dim=-1)
    return joined[0] if wave.dim() == 1 else joined


def convert_file(
    voice: Singer,
    source: Path,
    out: Path,
    options: ConvertOptions | None = None,
    *,
    on_progress: Callable[[float], None] | None = None,
) -> None:
    """Convert a file to a file, piece by piece, in bounded memory.

    Args:
        voice: Who sings.
        source: Sound to convert.
        out: Where to write; replaced only when all is done.
        options: What is asked for.
        on_progress: Told the share that is done, 0 to 1.
    """
    options = options or ConvertOptions()
    with AudioReader(source) as reader:
        conversion = Conversion(voice, reader, options)
        with AudioWriter(out, conversion.output_rate, conversion.output_channels) as writer:
            conversion.run(writer.write, on_progress)


class Conversion:
    """One sound on its way into another voice.

    Pieces between silences are converted with `pad_seconds` of what lies around them. Noise
    depends on where a frame lies in the sound, and the phase of the harmonic source goes on from
    piece to piece, so cutting elsewhere changes next to nothing.
    """

    def __init__(self, voice: Singer, sound: Sound, options: ConvertOptions) -> None:
        self.voice, self.sound, self.options = voice, sound, options
        self.rate, self.hop = voice.config.audio.sample_rate, voice.config.audio.hop_length
        self.output_rate = options.output_rate or sound.sample_rate
        if options.auto_f0 and not voice.config.synthesizer.predicts_f0:
            raise VoiceError.no_f0_decoder()
        if options.formants and not voice.config.synthesizer.moves_formants:
            raise VoiceError.no_formants()
        self.row = voice.row(options.speaker)
        both = options.stereo == "both"
        self.streams = sound.channels if both else 1
        self.keeps_side = options.stereo == "side" and sound.channels == 2
        if options.stereo == "side" and sound.channels > 2:
            raise AudioError.not_stereo(sound.channels)
        self.output_channels = 2 if self.keeps_side else self.streams

    def run(
        self, write: Callable[[Wave], None], on_progress: Callable[[float], None] | None = None
    ) -> None:
        """Convert from beginning to end, handing out `[output_channels, n]` as it is ready."""
        progress = on_progress or (lambda _: None)
        sound = self.sound
        total = round(sound.frames * self.rate / sound.sample_rate)
        wanted = round(sound.frames * self.output_rate / sound.sample_rate)
        out = _Output(self, wanted, write)
        joiner = Joiner(total, round(EDGE_SECONDS * self.rate), out.push, channels=self.streams)
        pieces = self._pieces(total)
        if pieces:
            stage = _Stage(self)
            for number, piece in enumerate(pieces):
                begin, wave = stage.convert(piece, pieces, number, total)
                joiner.add(begin, wave)
                progress(piece.stop / total)
        joiner.finish()
        out.finish()
        progress(1.0)

    def mix(self, wave: Wave) -> Wave:
        """Return what is converted of `[channels, samples]`: all of it, or the middle."""
        return wave if self.streams > 1 else wave.mean(0, keepdim=True)

    def _pieces(self, total: int) -> list[Piece]:
        """Return where there is sound, in samples at the voice's rate."""
        sound, options = self.sound, self.options
        hop = max(1, sound.sample_rate // LEVELS_PER_SECOND)
        block = hop * round(LEVELS_PER_SECOND * BLOCK_SECONDS)
        levels = np.zeros(0, np.float32)
        for start in range(0, sound.frames, block):
            wave = self.mix(sound.read(start, block))
            levels = np.append(levels, frame_levels(wave, min(hop, wave.shape[-1])))
        if not len(levels):
            return []
        loudest = 0.0 if options.absolute_silence else float(levels.max())
        pieces = find_pieces(
            levels,
            hop=hop,
            total=sound.frames,
            silence_db=max(loudest + options.silence_db, FLOOR_DB),
            silence_seconds=options.silence_seconds,
            max_seconds=options.max_piece_seconds,
            sample_rate=sound.sample_rate,
        )
        scale = self.rate / sound.sample_rate
        scaled = [Piece(round(p.start * scale), min(round(p.stop * scale), total)) for p in pieces]
        return [piece for piece in scaled if piece.stop > piece.start]


class _Stage:
    """The networks at work on one sound, and what they remember from piece to piece."""

    def __init__(self, conversion: Conversion) -> None:
        voice, options = conversion.voice, conversion.options
        self.conversion, self.options, self.voice = conversion, options, voice
        self.rate, self.hop = conversion.rate, conversion.hop
        self.content: ContentEncoder = voice.content_encoder()
        self.pitch: PitchExtractor = load_pitch_extractor(options.f0_method, device=voice.device)
        self.index = (
            voice.index(Path(options.retrieval), options.speaker)
            if options.retrieval and options.retrieval_ratio
            else None
        )
        self.listener = _Listener(conversion)
        self.pad = round(options.pad_seconds * self.rate / self.hop)
        self.phases: list[tuple[int, Tensor]] = [(0, torch.zeros(0))] * conversion.streams
        self.hears_volume = voice.config.synthesizer.volume
        auto = options.precision == "auto" and has_bf16(voice.device)
        self.bf16 = auto or options.precision == "bf16"

    def convert(
        self, piece: Piece, pieces: list[Piece], number: int, total: int
    ) -> tuple[int, Wave]:
        """Return where the converted piece begins, and its sound `[streams, samples]`."""
        half = round(FADE_SECONDS * self.rate / 2)
        joined = number > 0 and pieces[number - 1].stop == piece.start
        goes_on = number + 1 < len(pieces) and pieces[number + 1].start == piece.stop
        begin = piece.start - half if joined else piece.start
        end = piece.stop + half if goes_on else piece.stop
        # Frames that cover the piece, and `pad` more on each side, which may reach beyond the
        # sound: there the networks hear silence.
        first = begin // self.hop - self.pad
        stop = -(-end // self.hop)
        last = first + usual_length(stop + self.pad - first)
        heard = self.listener.hear(first * self.hop, last * self.hop, total)
        skipped = begin - first * self.hop
        kept, at = slice(self.pad, stop - first), slice(skipped, skipped + end - begin)
        meeting = piece.start // self.hop
        sung = [
            self._sing(stream, wave, first, meeting, kept)
            # One channel may be silent while the other is not.
            if float(wave[at].abs().max()) > FLOOR
            else torch.zeros((kept.stop - kept.start) * self.hop)
            for stream, wave in enumerate(heard)
        ]
        offset = begin % self.hop
        return begin, torch.stack(sung)[:, offset : offset + end - begin]

    def _sing(self, stream: int, wave: Wave, first: int, meeting: int, kept: slice) -> Wave:
        """Return frames `kept` of one converted channel, which starts at frame `first`."""
        options, voice = self.options, self.voice
        content = self._content(wave, first).to(voice.device)[None]
        pitch = self.pitch(wave, self.rate, self.hop)
        f0, voiced = pitch.f0.to(voice.device)[None], pitch.voiced.to(voice.device)[None]
        speaker = torch.tensor([self.conversion.row], device=voice.device)
        volume = frame_rms(wave, self.hop).to(voice.device)[None] if self.hears_volume else None
        with torch.autocast(voice.device.type, torch.bfloat16, enabled=self.bf16):
            if options.auto_f0:
                f0 = self._melody(content, f0, voiced, speaker, volume)
            f0 = f0 * 2 ** (options.semitones / 12)
            sung = voice.synthesizer.infer(
                content,
                f0,
                voiced,
                speaker,
                volume=volume,
                noise_scale=options.noise_scale,
                noise=NoiseSource(options.seed, first),
                phase=self._phase(stream, f0.cpu(), first, meeting).to(voice.device),
                kept=kept,
                formants=2 ** (options.formants / 12),
            )
        return sung[0].float().cpu()

    def _melody(
        self, content: Content, f0: F0, voiced: Voiced, speaker: Speaker, volume: Volume | None
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
        if self.index is not None:
            content = self.index.blend(content, self.options.retrieval_ratio)
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


class _Listener:
    """Reads the sound once, from front to back, at the voice's rate."""

    def __init__(self, conversion: Conversion) -> None:
        self.conversion, self.sound = conversion, conversion.sound
        self.resampler = StreamResampler(
            self.sound.sample_rate, conversion.rate, conversion.streams
        )
        self.block = max(1, round(BLOCK_SECONDS * self.sound.sample_rate))
        self.position = 0  # in the sound
        self.start = 0  # of the buffer, in samples at the voice's rate
        self.buffer = torch.zeros(conversion.streams, 0)

    def hear(self, begin: int, end: int, total: int) -> Wave:
        """Return `[streams, end - begin]`; beyond the sound there is silence."""
        needed, kept = min(end, total), max(begin, 0)
        while self.start + self.buffer.shape[-1] < needed and self.position < self.sound.frames:
            wave = self.sound.read(self.position, self.block)
            self.position += wave.shape[-1]
            last = self.position >= self.sound.frames
            ready = self.resampler.push(self.conversion.mix(wave), last=last)
            self.buffer = torch.cat([self.buffer, ready], dim=-1)
            self._forget(kept)
        found = self.buffer[:, kept - self.start : needed - self.start]
        after = end - begin - (kept - begin) - found.shape[-1]
        return torch.nn.functional.pad(found, (kept - begin, after))

    def _forget(self, position: int) -> None:
        """Drop what lies before `position`."""
        count = min(max(position - self.start, 0), self.buffer.shape[-1])
        if count:
            self.buffer = self.buffer[:, count:].clone()
            self.start += count


class _Output:
    """Takes sound at the voice's rate to the output's, to the sample, and restores the side."""

    def __init__(self, conversion: Conversion, total: int, write: Callable[[Wave], None]) -> None:
        self.total, self.write, self.done = total, write, 0
        self.resampler = StreamResampler(
            conversion.rate, conversion.output_rate, conversion.streams
        )
        self.streams = conversion.streams
        self.side = _Side(conversion) if conversion.keeps_side else None

    def push(self, wave: Wave) -> None:
        """Take `[streams, samples]`."""
        self._pass_on(self.resampler.push(wave))

    def finish(self) -> None:
        """Hand out what is left; the total is exact."""
        self._pass_on(self.resampler.push(torch.zeros(self.streams, 0), last=True))
        if self.done < self.total:
            self._pass_on(torch.zeros(self.streams, self.total - self.done))

    def _pass_on(self, wave: Wave) -> None:
        wave = wave[:, : self.total - self.done]
        if not wave.shape[-1]:
            return
        self.done += wave.shape[-1]
        if self.side is not None:
            side = self.side.take(wave.shape[-1])
            wave = torch.cat([wave + side, wave - side])
        self.write(wave)


class _Side:
    """Half the difference of left and right, at the output's rate."""

    def __init__(self, conversion: Conversion) -> None:
        self.sound, self.position = conversion.sound, 0
        self.resampler = StreamResampler(self.sound.sample_rate, conversion.output_rate, 1)
        self.block = max(1, round(BLOCK_SECONDS * self.sound.sample_rate))
        self.buffer = torch.zeros(1, 0)

    def take(self, samples: int) -> Wave:
        """Return the next `[1, samples]`."""
        while self.buffer.shape[-1] < samples and self.position < self.sound.frames:
            wave = self.sound.read(self.position, self.block)
            self.position += wave.shape[-1]
            side = (wave[:1] - wave[1:]) / 2
            last = self.position >= self.sound.frames
            self.buffer = torch.cat([self.buffer, self.resampler.push(side, last=last)], dim=-1)
        taken, self.buffer = self.buffer[:, :samples], self.buffer[:, samples:].clone()
        return torch.nn.functional.pad(taken, (0, samples - taken.shape[-1]))
