"""Sing or say a sound in another voice: a whole file is a stream of pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sovits.audio.io import AudioReader, AudioWriter
from sovits.audio.loudness import LEVELS_PER_SECOND, recording_level
from sovits.audio.split import Joiner, Piece, find_pieces, frame_levels
from sovits.config import ConvertOptions
from sovits.ends import BLOCK_SECONDS, Listener, Output, Side, Sound, WaveSound
from sovits.errors import AudioError, VoiceError
from sovits.features.pitch import load_pitch_extractor
from sovits.mixing import mix_of
from sovits.refinement import Refinement
from sovits.stages import FLOOR_DB, Singer, check_options, make_stage
from sovits.types import Wave
from sovits.vocal_range import RangeFit, fit, heard_pitches

EDGE_SECONDS = 0.01  # fade from and to silence


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


def range_fit(voice: Singer, sound: Sound, options: ConvertOptions) -> RangeFit | None:
    """Return how a sound lies to the range of a voice; None if that is not known.

    Of several speakers who sing, the range is what lies within that of any.

    Raises:
        VoiceError: There is no such speaker.
        ConfigError: It is not understood who shall sing.
    """
    names = mix_of(options, voice.row).names
    ranges = [found for name in names if (found := voice.f0_range(name)) is not None]
    if options.auto_f0 or not ranges:
        return None
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    extractor = load_pitch_extractor("swift", device=voice.device)
    return fit(heard_pitches(sound, extractor), low, high, options.semitones)


def into_range(voice: Singer, sound: Sound, options: ConvertOptions) -> ConvertOptions:
    """Return options that move a sound to where a voice was trained, if it lies elsewhere.

    Raises:
        VoiceError: The voice does not tell its range.
    """
    found = range_fit(voice, sound, options)
    if found is None:
        raise VoiceError.no_range()
    semitones = options.semitones if found.fits else min(max(found.better, -60.0), 60.0)
    return replace(options, semitones=semitones, auto_transpose=False)


class Conversion:
    """One sound on its way into another voice.

    Pieces between silences are converted with `pad_seconds` of what lies around them. Noise
    depends on where a frame lies in the sound, and the phase of the harmonic source goes on from
    piece to piece, so cutting elsewhere changes next to nothing.
    """

    def __init__(self, voice: Singer, sound: Sound, options: ConvertOptions) -> None:
        if options.auto_transpose:
            options = into_range(voice, sound, options)
        self.voice, self.sound, self.options = voice, sound, options
        self.rate, self.hop = voice.config.audio.sample_rate, voice.config.audio.hop_length
        self.output_rate = options.output_rate or sound.sample_rate
        check_options(voice, options)
        asked = options.refine or options.only_refiner
        self.refining = voice.refining(options) if asked else None
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
        side = Side(sound, self.output_rate) if self.keeps_side else None
        out = Output((self.rate, self.output_rate), self.streams, wanted, write, side)

        def push(wave: Wave) -> None:
            out.push(wave)
            # Refining comes last, and takes longest.
            progress(min(1.0, out.done / max(1, wanted)))

        refinement = self._refinement(push)
        joined = out.push if refinement is None else refinement.push
        joiner = Joiner(total, round(EDGE_SECONDS * self.rate), joined, channels=self.streams)
        levels = self._levels()
        pieces = self._pieces(levels, total)
        if pieces:
            extractor = load_pitch_extractor(self.options.f0_method, device=self.voice.device)
            pitch = partial(extractor, level=recording_level(levels))
            listener = Listener(sound, self.rate, total, self.mix, self.streams)
            stage = make_stage(self.voice, self.options, pitch, listener)
            stage.tell = None if refinement is None else refinement.tell
            for piece, (begin, wave) in zip(pieces, stage.converted(pieces), strict=True):
                joiner.add(begin, wave)
                if refinement is None:
                    progress(piece.stop / total)
        joiner.finish()
        if refinement is not None:
            refinement.finish()
        out.finish()
        progress(1.0)

    def _refinement(self, write: Callable[[Wave], None]) -> Refinement | None:
        """Return what refines the sound of the voice, if that is asked for."""
        if self.refining is None:
            return None
        own_volume = not (self.voice.config.synthesizer.volume or self.options.only_refiner)
        return Refinement(self.refining, self.options, self.streams, write, own_volume=own_volume)

    def mix(self, wave: Wave) -> Wave:
        """Return what is converted of `[channels, samples]`: all of it, or the middle."""
        return wave if self.streams > 1 else wave.mean(0, keepdim=True)

    @property
    def _level_hop(self) -> int:
        """Samples of the sound from one of its levels to the next."""
        return max(1, self.sound.sample_rate // LEVELS_PER_SECOND)

    def _levels(self) -> NDArray[np.float32]:
        """Return the level of each `_level_hop` of the sound (dBFS)."""
        sound, hop = self.sound, self._level_hop
        block = hop * round(LEVELS_PER_SECOND * BLOCK_SECONDS)
        levels = np.zeros(0, np.float32)
        for start in range(0, sound.frames, block):
            wave = self.mix(sound.read(start, block))
            levels = np.append(levels, frame_levels(wave, hop))
        return levels

    def _pieces(self, levels: NDArray[np.float32], total: int) -> list[Piece]:
        """Return where there is sound, in samples at the voice's rate."""
        sound, options = self.sound, self.options
        if not len(levels):
            return []
        loudest = 0.0 if options.absolute_silence else float(levels.max())
        pieces = find_pieces(
            levels,
            hop=self._level_hop,
            total=sound.frames,
            silence_db=max(loudest + options.silence_db, FLOOR_DB),
            silence_seconds=options.silence_seconds,
            max_seconds=options.max_piece_seconds,
            sample_rate=sound.sample_rate,
        )
        scale = self.rate / sound.sample_rate
        scaled = [Piece(round(p.start * scale), min(round(p.stop * scale), total)) for p in pieces]
        return [piece for piece in scaled if piece.stop > piece.start]
