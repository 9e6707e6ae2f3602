"""What a voice in training is asked to sing at every evaluation; always the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log2
from typing import Literal, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from sovits.audio.io import read
from sovits.audio.loudness import frame_rms
from sovits.audio.resample import resample
from sovits.config import ConvertOptions, VoiceConfig
from sovits.errors import PitchError, WeightsError
from sovits.features.content import CONTENT, load_content_encoder, stretch
from sovits.features.pitch import load_pitch_extractor
from sovits.models.build import AnySynthesizer
from sovits.models.noise import NoiseSource
from sovits.train.dataset import FEATURES_SUFFIX, Recording
from sovits.types import F0, Content, Voiced, Volume, Wave
from sovits.weights import ASSETS, at_hand

FOLDER = ASSETS / "probe"
"""Recordings of other people that ship with this package."""
MOST_COPIES = 6
"""Held-out clips that are copied; of more, so many at even distances."""
COPY_SECONDS = 5.0
"""How much of each is copied (s)."""
MOST_SPEAKERS = 2
"""Speakers into whom the recordings of others are converted; of more, the first and the last."""
NOISE = ConvertOptions().noise_scale
FULL_SCALE = 32768

Kind = Literal["copy", "speech", "song"]


class Foreign(NamedTuple):
    """A recording of somebody else."""

    kind: Kind
    file: str
    title: str
    text: str | None
    """What is said in it, if that may be expected of a recogniser."""
    language: str | None


FOREIGN = (
    Foreign(
        "speech",
        "speech.ogg",
        "English speech",
        "Congratulations! You have successfully installed and executed the Asterisk open source "
        "PBX.",
        "en",
    ),
    Foreign("song", "song.ogg", "Song", None, "en"),
)


@dataclass(frozen=True)
class Probe:
    """One thing to sing, and what it should sound like."""

    key: str
    """Its name in files."""
    title: str
    """Its name for people."""
    kind: Kind
    """A copy of a clip that was held out, or speech or song of somebody else."""
    speaker: str
    """Whose voice it should become."""
    row: int
    """That speaker's row in the speaker table."""
    content: Content
    """`[channels, frames]`."""
    f0: F0
    """As it is to be sung, `[frames]`."""
    voiced: Voiced
    volume: Volume
    source: Wave
    """What it is made of, `[samples]`."""
    source_rate: int
    """Its rate (Hz)."""
    semitones: float = 0.0
    """How far its pitch was moved into the range of the speaker."""
    text: str | None = None
    language: str | None = None

    @property
    def foreign(self) -> bool:
        """Whether somebody else is heard in the source."""
        return self.kind != "copy"


def sing(synthesizer: AnySynthesizer, probe: Probe) -> Wave:
    """Return what a network makes of a probe, `[samples]`, on the CPU.

    Copies are made at the mean of the prior, so that they can be compared with what they copy.
    """
    device = next(synthesizer.parameters()).device
    frames = len(probe.f0)

    def batch(x: Tensor) -> Tensor:
        return x[None].to(device)

    wave = synthesizer.infer(
        batch(probe.content),
        batch(probe.f0),
        batch(probe.voiced),
        torch.tensor([probe.row], device=device),
        volume=batch(probe.volume),
        noise_scale=NOISE if probe.foreign else 0.0,
        noise=NoiseSource(0),
    )
    hop = synthesizer.audio.hop_length
    return wave[0, : frames * hop].float().cpu()


def copies(held_out: Sequence[Recording], voice: VoiceConfig) -> list[Probe]:
    """Return clips to copy, spread over the list so that no speaker is left out early."""
    names = {row: name for name, row in voice.speakers.items()}
    count = min(MOST_COPIES, len(held_out))
    made = []
    for number in range(count):
        recording = held_out[number * len(held_out) // count]
        features = load_file(recording.path)
        frames = min(recording.frames, int(COPY_SECONDS * voice.audio.frame_rate))
        wave = features["wave"][: frames * voice.audio.hop_length].float() / FULL_SCALE
        clip = recording.path.name.removesuffix(FEATURES_SUFFIX)
        speaker = names.get(recording.speaker, str(recording.speaker))
        made.append(
            Probe(
                key=f"copy-{number + 1}",
                title=clip,
                kind="copy",
                speaker=speaker,
                row=recording.speaker,
                content=stretch(features["content"].float(), recording.frames)[:, :frames],
                f0=features["f0"][:frames].float(),
                voiced=features["voiced"][:frames],
                volume=features["volume"][:frames].float(),
                source=wave,
                source_rate=voice.audio.sample_rate,
            )
        )
    return made


def conversions(
    voice: VoiceConfig,
    pitches: Mapping[int, float],
    f0_method: str,
    device: torch.device,
    on_log: Callable[[str], None],
) -> list[Probe]:
    """Return recordings of other people to convert, moved to where each speaker sings.

    They are left out, and that is said, if what hears their content or pitch is not on this
    machine: a training does not begin by fetching something.

    Args:
        voice: What is in training.
        pitches: Median pitch of each row that has some (Hz).
        f0_method: How the pitch of the clips was found.
        device: Where networks compute.
        on_log: Told one line at a time.
    """
    spec = CONTENT.get(voice.content)
    if spec is None or not at_hand(spec.weights):
        on_log(
            f"Evaluations convert no recordings of others: {voice.content}, which hears what is "
            "said in them, is not on this machine."
        )
        return []
    try:
        encoder = load_content_encoder(voice.content, device=device)
        extractor = load_pitch_extractor(f0_method, device=device)
    except (WeightsError, PitchError) as error:
        on_log(f"Evaluations convert no recordings of others: {error}")
        return []
    audio, made = voice.audio, []
    for foreign in FOREIGN:
        source, rate = read(FOLDER / foreign.file, mono=True)
        wave = resample(source[0], rate, audio.sample_rate)
        frames = len(wave) // audio.hop_length
        wave = wave[: frames * audio.hop_length]
        heard = resample(source[0], rate, encoder.spec.sample_rate)
        content = stretch(encoder.encode(heard).float().cpu(), frames)
        pitch = extractor(wave, audio.sample_rate, audio.hop_length)
        own = float(pitch.f0[pitch.voiced].median()) if bool(pitch.voiced.any()) else 0.0
        for row in _chosen(list(pitches)):
            moved = round(12 * log2(pitches[row] / own)) if own else 0
            name = next((n for n, r in voice.speakers.items() if r == row), str(row))
            made.append(
                Probe(
                    key=f"{foreign.kind}-{row}",
                    title=foreign.title,
                    kind=foreign.kind,
                    speaker=name,
                    row=row,
                    content=content,
                    f0=pitch.f0.cpu() * 2 ** (moved / 12),
                    voiced=pitch.voiced.cpu(),
                    volume=frame_rms(wave, audio.hop_length),
                    source=source[0],
                    source_rate=rate,
                    semitones=moved,
                    text=foreign.text,
                    language=foreign.language,
                )
            )
    return made


def f0_method_of(recording: Recording) -> str:
    """Return how the pitch of a clip was found, as its features tell; the usual way if not."""
    with safe_open(recording.path, framework="pt") as features:
        return str((features.metadata() or {}).get("f0_method", ConvertOptions().f0_method))


def _chosen(rows: list[int]) -> list[int]:
    """Return a few rows, the first and the last among them."""
    rows = sorted(rows)
    if len(rows) <= MOST_SPEAKERS:
        return rows
    return [
        rows[number * (len(rows) - 1) // (MOST_SPEAKERS - 1)] for number in range(MOST_SPEAKERS)
    ]
