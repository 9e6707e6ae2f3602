"""A light voice at work on a sound that comes bit by bit."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sovits.audio.resample import StreamResampler
from sovits.features.content.student import CHUNK as ENCODED_AT_ONCE
from sovits.features.content.student import StudentContent, StudentPast
from sovits.mixing import Mix
from sovits.models.native import CHUNK as SUNG_AT_ONCE
from sovits.models.native import NativePast, NativeSynthesizer
from sovits.models.noise import NoiseSource
from sovits.types import F0, Content, Shares, Speaker, Voiced, Volume, Wave

RESAMPLING_SECONDS = 0.05  # more than a stream of another rate is late by (soxr, HQ)


class VoiceStream:
    """Content encoder and synthesizer of a light voice, each going on from its own past.

    However a sound is cut, what comes out joins to the same sound, and nothing is computed twice.
    Pitch and loudness are told with the sound, as where they come from is another choice. One
    object is one stream; `finish` ends it.

    Args:
        encoder: What the voice hears with.
        synthesizer: Its network, folded.
        speaker: Row of the speaker table, or shares of several.
        first: Frame of the whole sound at which this stream begins.
        blend: Changes content before it is sung, as retrieval does; told of the number of the
            first of these frames in the whole sound, as the encoder counts them.
        seed: Of the noise.
        noise_scale: Amount of variation, of voices that have a latent.
        formants: Factor on the frequency of formants.
        bf16: Compute in bfloat16 what is not sensitive to it.
    """

    def __init__(
        self,
        encoder: StudentContent,
        synthesizer: NativeSynthesizer,
        speaker: int | Mix = 0,
        *,
        first: int = 0,
        blend: Callable[[Content, int], Content] = lambda content, _first: content,
        seed: int = 0,
        noise_scale: float = 0.4,
        formants: float = 1.0,
        bf16: bool = False,
    ) -> None:
        self.encoder = StudentContent(encoder.spec, encoder.network, encoder.device, bf16=bf16)
        self.synthesizer, self.blend, self.bf16 = synthesizer, blend, bf16
        self.seed, self.noise_scale, self.formants = seed, noise_scale, formants
        self.device = synthesizer.emb_g.weight.device
        self.speaker = speaker
        self.rate = synthesizer.audio.sample_rate
        self.hop = synthesizer.audio.hop_length
        spec = encoder.spec
        begin = round(first * self.hop * spec.sample_rate / self.rate)
        # The encoder's frames lie where they would lie if it heard the whole sound.
        self.skipped = -begin % spec.hop_length
        self.at = (begin + self.skipped) // spec.hop_length  # of the first frame in `content`
        self.frame = first  # of the whole sound: the next one to be sung
        ahead = synthesizer.config.look_ahead
        self.late = ahead * self.hop  # samples before the first frame, still to be left out
        self.resampler = StreamResampler(self.rate, spec.sample_rate, 1)
        self.content = torch.zeros(spec.channels, 0, device=self.device)
        self.told = torch.zeros(3, 0, device=self.device)  # pitch, voicing and loudness
        self.last = (self.content, self.told)  # of the frames that were sung
        self.keeps = False  # what is known of frames that were sung, for `sung`
        self.known: list[tuple[int, Content, Tensor]] = []
        self.heard: StudentPast | None = None
        self.past: NativePast | None = None

    @property
    def latency(self) -> int:
        """Samples from hearing a sound to giving it out, at most.

        The first of a frame waits longest: the frame has to be whole, and both networks look
        ahead. An encoder of another rate has other frames, and resampling takes time.
        """
        spec, frames = self.encoder.spec, 1 + self.synthesizer.config.look_ahead
        ahead = spec.look_ahead or 0
        if spec.sample_rate != self.rate:
            ahead += spec.hop_length + round(RESAMPLING_SECONDS * spec.sample_rate)
        return frames * self.hop + -(-ahead * self.rate // spec.sample_rate)

    @torch.inference_mode()
    def push(self, wave: Wave, f0: F0, voiced: Voiced, volume: Volume) -> Wave:
        """Hear more; return the sound that is ready, which may be none.

        Args:
            wave: `[samples]` at the voice's rate, any number of them.
            f0: Hz, of the next frames, as many as are known, `[frames]`.
            voiced: Of the same frames.
            volume: Root mean square of the same frames.

        Returns:
            `[samples]`, float32 on the CPU.
        """
        told = torch.stack([f0.float(), voiced.float(), volume.float()]).to(self.device)
        self.told = torch.cat([self.told, told], dim=1)
        self._hear(self.resampler.push(wave[None])[0])
        return self._sing()

    @torch.inference_mode()
    def finish(self) -> Wave:
        """Return the sound of the frames that are left, as if silence followed."""
        spec, left = self.encoder.spec, self.told.shape[1]
        self._hear(self.resampler.push(torch.zeros(1, 0), last=True)[0])
        if left:
            missing = int(self._places(left)[-1]) + 2 - self.content.shape[1]
            self._hear(torch.zeros((spec.look_ahead or 0) + max(missing, 0) * spec.hop_length))
        parts = [self._sing()]
        if self.last[1].shape[1]:
            content, told = (x.expand(-1, self.synthesizer.config.look_ahead) for x in self.last)
            parts.append(self._sung(content, told, self.frame))
        return torch.cat(parts)

    def _hear(self, wave: Wave) -> None:
        """Encode `[samples]` at the encoder's rate."""
        wave, self.skipped = wave[self.skipped :], max(0, self.skipped - wave.shape[0])
        for part in wave.split(ENCODED_AT_ONCE):
            content, self.heard = self.encoder.push(part, self.heard)
            content = self.blend(content.to(self.device), self.at + self.content.shape[1])
            self.content = torch.cat([self.content, content], dim=1)

    def _places(self, frames: int) -> Tensor:
        """Return where in `content` each of the next frames begins; each takes what is there."""
        spec = self.encoder.spec
        frame = torch.arange(self.frame, self.frame + frames, device=self.device)
        place = frame * (self.hop * spec.sample_rate) // (self.rate * spec.hop_length)
        return (place - self.at).clamp(min=0)

    def _sing(self) -> Wave:
        """Return the sound of all frames of which everything is known."""
        places = self._places(self.told.shape[1])
        count = int((places < self.content.shape[1]).sum())
        if not count:
            return torch.zeros(0)
        said, told = self.content[:, places[:count]], self.told[:, :count]
        self.told = self.told[:, count:].clone()
        self.frame += count
        used = int(self._places(1)[0])
        self.content, self.at = self.content[:, used:].clone(), self.at + used
        if self.keeps:
            self.known.append((self.frame - count, said, told))
        return self._sung(said, told, self.frame - count)

    def sung(self) -> tuple[int, Content, Tensor]:
        """Return what is known of the frames sung since this was asked last, if it `keeps` that.

        Their sound comes `look_ahead` frames later, as that of all frames.

        Returns:
            The number of the first of them in the whole sound, their content, and `[3, frames]`
            with pitch (Hz), voicing and loudness.
        """
        first = self.known[0][0] if self.known else self.frame
        said = torch.cat([self.content[:, :0], *(said for _, said, _ in self.known)], dim=1)
        told = torch.cat([self.told[:, :0], *(told for _, _, told in self.known)], dim=1)
        self.known = []
        return first, said, told

    def _who(self, begin: int, frames: int) -> Speaker | Shares:
        """Return who sings the frames that come out when `frames` from `begin` on go in."""
        if isinstance(self.speaker, int):
            return torch.tensor([self.speaker], device=self.device)
        rows, ahead = self.synthesizer.config.n_speakers, self.synthesizer.config.look_ahead
        shares = self.speaker.frames(rows, begin - ahead, frames, self.rate / self.hop)
        return shares.to(self.device)

    def _sung(self, said: Content, told: Tensor, begin: int) -> Wave:
        """Return the sound of as many frames, less what comes before the first of the stream."""
        parts = []
        chunks = zip(said.split(SUNG_AT_ONCE, 1), told.split(SUNG_AT_ONCE, 1), strict=True)
        for content, (f0, voiced, volume) in chunks:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                wave, self.past = self.synthesizer.stream(
                    content[None],
                    f0[None],
                    voiced[None],
                    self._who(begin, f0.shape[0]),
                    volume=volume[None],
                    past=self.past,
                    noise_scale=self.noise_scale,
                    noise=NoiseSource(self.seed, begin),
                    formants=self.formants,
                )
            begin += f0.shape[0]
            parts.append(wave[0, self.late :].float().cpu())
            self.late = max(0, self.late - wave.shape[1])
        self.last = (said[:, -1:], told[:, -1:])
        return torch.cat(parts)
