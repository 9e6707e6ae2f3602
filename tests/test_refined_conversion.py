"""Conversions that are refined: any length, cut anywhere, by networks that fit, or not at all."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import made_refiners
import pytest
import torch
import torch.nn.functional as F
from stand_ins import AUDIO, CHANNELS, Singer, Whistle, steady, tone, whistler
from torch import Tensor

from sovits.audio.io import read, write
from sovits.audio.loudness import frame_rms
from sovits.audio.mel import VOCODER_MEL
from sovits.config import AudioConfig, ConvertOptions, VoiceConfig
from sovits.convert import convert, convert_file
from sovits.errors import RefinerError
from sovits.mixing import Mix, mix_of
from sovits.models.decoders.source import frame_phases
from sovits.models.noise import NoiseSource
from sovits.models.unit2mel import Trained
from sovits.refine import Refining, fit_together
from sovits.types import F0, Mel, Wave
from sovits.voice import load_voice

RATE, HOP = AUDIO.sample_rate, AUDIO.hop_length
MEL = replace(AUDIO, n_mels=128, mel_min=40.0, mel_max=12_000.0)
ON = ConvertOptions(refine=0.25)


@pytest.fixture(autouse=True)
def _steady_pitch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sovits.convert.load_pitch_extractor", steady())


@dataclass
class Kept:
    """A refiner that leaves the mel as it is, and remembers what it was told."""

    audio: AudioConfig = MEL
    content: str | None = None
    content_channels: int = CHANNELS
    speakers: dict[str, int] = field(default_factory=dict)
    n_speakers: int = 5
    strength: float = 0.3
    told: list[tuple[Tensor, ...]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def reach(self, steps: int | None) -> int:
        """Return no frame at all."""
        return 0

    def refine(self, mel: Mel, *told: Tensor, **asked: Any) -> Mel:
        """Return `mel`."""
        self.told.append(told)
        self.asked.append(asked)
        return mel


@dataclass
class Tones:
    """A vocoder that sings a sine at the pitch, as loud as the mel."""

    audio: AudioConfig = MEL
    reach: int = 1

    def synthesize(
        self, mel: Mel, f0: F0, *, phase: Tensor | None = None, noise: NoiseSource | None = None
    ) -> Wave:
        """Return `[1, frames * hop_length]`."""
        level = F.avg_pool1d(F.pad(mel.exp().sum(1), (1, 1)), 3, stride=1)
        rate, hop = self.audio.sample_rate, self.audio.hop_length
        turns = frame_phases(f0, rate, hop, phase)[:, :-1, None]
        steps = torch.arange(1, hop + 1) / rate
        tone = torch.sin(2 * math.pi * (turns + f0[..., None] * steps)).flatten(1)
        return (0.1 * level.repeat_interleave(hop, 1) * tone).float()


@dataclass
class Refined(Singer):
    """A voice made of stand-ins, with a refiner."""

    refiner: Any = field(default_factory=Kept)

    def refining(self, options: ConvertOptions) -> Refining:
        """Return the stand-ins."""
        return fit_together(self.refiner, Tones(), self.config, mix_of(options, self.row))


def singer(**settings: Any) -> Refined:
    """Return a voice that whistles, and that is refined."""
    whistles = whistler(**settings)
    return Refined(whistles.synthesizer, whistles.config)


def test_a_sound_of_any_length_is_cut_without_a_seam() -> None:
    """The vocoder's sine goes on in phase over pieces, chunks and the ends of frames."""
    wave = tone(7.3, RATE)
    whole = convert(singer(), wave, RATE, ON)
    cut = convert(singer(), wave, RATE, replace(ON, max_piece_seconds=1.0))
    assert cut.shape == wave.shape
    middle = slice(RATE // 4, -RATE // 4)
    torch.testing.assert_close(cut[middle], whole[middle], rtol=0, atol=1e-3)
    # A sine is what is two of its samples ahead, turned: any jump of phase would show.
    step = 2 * math.pi * 220 / RATE
    sine, level = cut[middle], float(cut[middle].abs().max())
    ahead = 2 * math.cos(step) * sine[1:-1] - sine[:-2]
    assert float((ahead - sine[2:]).abs().max()) < 0.01 * level


def test_refined_sound_lies_where_the_sound_lies() -> None:
    """Two phrases, and silence around them that stays."""
    wave = torch.zeros(4 * RATE)
    wave[RATE // 2 : 3 * RATE // 2] = tone(1.0, RATE)
    wave[5 * RATE // 2 : 7 * RATE // 2] = tone(1.0, RATE)
    out = convert(singer(), wave, RATE, ON)
    sounding = out.unfold(0, HOP, HOP).abs().amax(-1) > 0.01
    unrefined = convert(whistler(), wave, RATE)
    expected = unrefined.unfold(0, HOP, HOP).abs().amax(-1) > 0.1
    # The vocoder hears the frames beside its own, in windows of four; the rest stays silent.
    near = F.max_pool1d(expected.float()[None], 9, stride=1, padding=4)[0] > 0
    assert 0.4 < float(expected.float().mean()) < 0.8
    assert bool((sounding <= near).all())
    assert bool((sounding >= expected).all())


def test_the_refiner_is_told_what_the_synthesizer_is() -> None:
    voice = singer(volume=True)
    options = replace(ON, semitones=12.0, seed=3, speaker="2", refine_steps=7, sampler="ddim")
    convert(voice, tone(1.0, RATE), RATE, options)
    (content, f0, volume, speaker), asked = voice.refiner.told[0], voice.refiner.asked[0]
    sung = voice.synthesizer.asked[0]
    frames = min(content.shape[2], 60)
    torch.testing.assert_close(float(f0[0, 5]), 440.0)
    assert speaker.tolist() == [2]
    assert asked["noise"].seed == 3
    assert (asked["strength"], asked["steps"], asked["sampler"]) == (0.25, 7, "ddim")
    first = -sung.first  # of the sound, among the frames that the synthesizer heard
    torch.testing.assert_close(content[0, :, :frames], sung.content[0, :, first:][:, :frames])
    torch.testing.assert_close(volume[0, :frames], sung.volume[0, first:][:frames])


def test_a_voice_that_hears_no_loudness_is_refined_by_its_own() -> None:
    """As so-vits-svc does; the whistle is louder than what it is made of."""
    voice = singer()
    convert(voice, 0.1 * tone(1.0, RATE), RATE, ON)
    volume = voice.refiner.told[0][2]
    assert float(volume[0, 20:40].mean()) == pytest.approx(0.5 / math.sqrt(2), rel=0.05)


def test_light_voices_are_refined_as_they_stream() -> None:
    """Frames are told where they lie in the sound, in one run, however that is cut."""
    voice = load_voice("heart")
    refiner = Kept(VOCODER_MEL, content_channels=192, n_speakers=1)

    def refining(options: ConvertOptions) -> Refining:
        return fit_together(refiner, Tones(VOCODER_MEL), voice.config, mix_of(options, voice.row))

    voice.refining = refining  # type: ignore[method-assign]
    hop = VOCODER_MEL.hop_length
    wave = torch.zeros(3 * 44_100)
    wave[44_100 // 2 :] = tone(2.5, 44_100) * torch.linspace(0.1, 1, 5 * 44_100 // 2)
    whole = convert(voice, wave, 44_100, ON)
    assert whole.shape == wave.shape
    (_, _, volume, _), asked = refiner.told[0], refiner.asked[0]
    first = asked["noise"].start
    expected = frame_rms(wave, hop)[first:]
    frames = min(len(expected), volume.shape[1], 200)
    torch.testing.assert_close(volume[0, :frames], expected[:frames], rtol=0, atol=1e-3)
    refiner.told.clear()
    cut = convert(voice, wave, 44_100, replace(ON, max_piece_seconds=1.0))
    assert len(refiner.told) == 1
    torch.testing.assert_close(cut, whole, rtol=0, atol=1e-4)


def test_speakers_may_be_mixed() -> None:
    voice = singer()
    mix = Mix(("1", "3"), (1, 3), (0.0, 1.0), ((1.0, 0.0), (0.0, 1.0)))
    refining = fit_together(voice.refiner, Tones(), voice.config, mix)
    shares = refining.who(0, round(RATE / HOP))
    assert shares.shape[:2] == (1, 5)
    torch.testing.assert_close(shares[0, [1, 3]].sum(0), torch.ones(shares.shape[2]))
    assert float(shares[0, 1, 0]) > 0.95 > 0.05 > float(shares[0, 1, -1])


def test_the_synthesizer_can_be_left_out() -> None:
    voice = singer()
    wave = tone(1.5, RATE)
    out = convert(voice, wave, RATE, ConvertOptions(only_refiner=True))
    assert isinstance(voice.synthesizer, Whistle)
    assert voice.synthesizer.asked == []
    assert voice.refiner.asked[0]["strength"] == 1.0
    assert out.shape == wave.shape
    assert float(out.abs().max()) > 0.01


def test_channels_are_refined_each_by_itself() -> None:
    wave = torch.stack([tone(1.0, RATE), torch.zeros(RATE)])
    out = convert(singer(), wave, RATE, replace(ON, stereo="both"))
    assert out.shape == wave.shape
    assert not bool(out[1].any())
    torch.testing.assert_close(out[0], convert(singer(), wave[0], RATE, ON), rtol=0, atol=1e-4)


def test_a_seed_gives_the_same_file_and_ctrl_c_leaves_none(tmp_path: Path) -> None:
    source, out, again = (tmp_path / name for name in ("in.wav", "out.wav", "again.wav"))
    write(source, tone(2.0, RATE)[None], RATE)
    shares: list[float] = []
    for path in (out, again):
        convert_file(singer(), source, path, ON, on_progress=shares.append)
    assert shares == sorted(shares[: len(shares) // 2]) * 2
    assert shares[-1] == 1.0
    assert out.read_bytes() == again.read_bytes()
    assert read(out)[0].shape == (1, 2 * RATE)

    class Stopped(Kept):
        def refine(self, mel: Mel, *told: Tensor, **asked: Any) -> Mel:
            raise KeyboardInterrupt

    voice = singer()
    voice.refiner = Stopped()
    again.unlink()
    with pytest.raises(KeyboardInterrupt):
        convert_file(voice, source, again, ON)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.wav", "out.wav"]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"audio": replace(MEL, sample_rate=44_100)},
            "a sample rate of 44100, but the voice has 24000",
        ),
        ({"audio": replace(MEL, hop_length=512)}, r"hop \(samples\) of 512, but .* has 256"),
        ({"content_channels": 768}, "content channels: 768, but the voice has 4"),
        ({"content": "hubert-soft"}, "encoder hubert-soft, but the voice has nearby sound"),
        ({"audio": replace(MEL, n_mels=80)}, "n_mels 128, but the refiner draws 80"),
        ({"audio": replace(MEL, mel_max=11_000.0)}, "mel_max 12000.0, but the refiner draws 11000"),
        ({"audio": replace(MEL, mel_min=0.0)}, "mel_min 40.0, but the refiner draws 0.0"),
        ({"n_speakers": 7}, "for 7 speakers, none of whom is 0, but the voice has 5"),
        ({"n_speakers": 1}, "for 1 speaker, none of whom is 0, but the voice has 5"),
    ],
)
def test_networks_that_do_not_go_together_are_refused(changes: dict[str, Any], match: str) -> None:
    voice = singer()
    voice.refiner = Kept(**changes)
    with pytest.raises(RefinerError, match=match):
        convert(voice, tone(1.0, RATE), RATE, ON)


def test_speakers_are_known_by_name() -> None:
    config = VoiceConfig(AUDIO, whistler().config.synthesizer, "", {"alice": 0, "bob": 1})
    refiner = Kept(speakers={"bob": 6, "carol": 0}, n_speakers=7)
    assert fit_together(refiner, Tones(), config, Mix(("bob",), (1,))).mix.alone == 6
    assert fit_together(refiner, Tones(), config, Mix((None,), (1,))).mix.alone == 6
    with pytest.raises(RefinerError, match=r"for 7 speakers, none of whom is alice, but .* has 2"):
        fit_together(refiner, Tones(), config, Mix((None,), (0,)))


def test_what_was_settled_is_told() -> None:
    refiner = made_refiners.refiner(Trained(audio=MEL), content_channels=CHANNELS, n_speakers=5)
    refiner.remarks = ["It is late."]
    made = fit_together(refiner, Tones(), singer().config, Mix((None,), (0,)))
    assert made.remarks == ["It is late."]
