"""A converted sound has the right length, pitch, silences and sides, wherever it was cut."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_voices import synthesizer, synthesizer_config
from stand_ins import AUDIO, CHANNELS, Singer, steady, tone, whistler

from sovits.audio.loudness import frame_rms
from sovits.audio.resample import resample
from sovits.config import AudioConfig, ConvertOptions, VoiceConfig
from sovits.convert import convert
from sovits.errors import AudioError, ConfigError, VoiceError
from sovits.models.decoders.source import HarmonicSource, frame_phases
from sovits.models.noise import NoiseSource
from sovits.retrieval import Index
from sovits.types import Wave

RATE, HOP = AUDIO.sample_rate, AUDIO.hop_length
PIECES = ConvertOptions(max_piece_seconds=1.0)


@pytest.fixture(autouse=True)
def _steady_pitch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sovits.convert.load_pitch_extractor", steady())


def pitch_of(wave: Wave, rate: int, near: float) -> float:
    """Return the frequency (Hz) of the partial nearest to `near`.

    By how far its phase turns from one half of the sound to the other, as each half has it at
    its middle. The window is even and real, so it adds no phase.
    """
    half = len(wave) // 2
    window = torch.hann_window(half, dtype=torch.float64)
    time = torch.arange(half, dtype=torch.float64) / rate
    guess = near
    for _ in range(3):
        carrier = torch.polar(window, -2 * math.pi * guess * time)
        first, second = ((wave[i * half : (i + 1) * half].double() * carrier).sum() for i in (0, 1))
        turn = torch.angle(second / first).item() / (2 * math.pi) - guess * half / rate
        guess += (turn - round(turn)) * rate / half
        time_shift = guess * half / rate
        assert abs(guess - near) < 20, (guess, time_shift)
    return guess


def cents(a: float, b: float) -> float:
    """Return how far `a` is above `b`."""
    return 1200 * math.log2(a / b)


# Length and shape


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_the_result_is_as_long_as_the_source(rate: int, channels: int) -> None:
    for samples in (1, 2, 37, round(0.05 * rate), round(0.31 * rate) | 1):
        wave = 0.1 * torch.randn(channels, samples)
        for stereo, made in (("mono", 1), ("both", channels)):
            options = ConvertOptions(stereo=stereo)  # type: ignore[arg-type]
            result = convert(whistler(), wave, rate, options)
            assert (result.shape, result.dtype) == ((made, samples), torch.float32)
    assert convert(whistler(), wave[0], rate).shape == (samples,)


@given(
    samples=st.integers(0, 9000), rate=st.integers(4000, 50_000), wanted=st.integers(4000, 50_000)
)
def test_another_rate_lasts_as_long(samples: int, rate: int, wanted: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sovits.convert.load_pitch_extractor", steady())
        options = ConvertOptions(output_rate=wanted)
        result = convert(whistler(), torch.rand(samples) - 0.5, rate, options)
    assert result.shape == (round(samples * wanted / rate),)


def test_another_rate_is_the_same_sound() -> None:
    wave = tone(1.0, RATE)
    for wanted in (16_000, 44_100):
        made = convert(whistler(), wave, RATE, ConvertOptions(output_rate=wanted))
        assert abs(cents(pitch_of(made[wanted // 10 : -wanted // 10], wanted, 220), 220)) < 0.01


@pytest.mark.parametrize("shape", [(), (2, 3, 400), (0, 400)])
def test_what_is_no_sound_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(AudioError, match=r"A wave of shape .* is no sound"):
        convert(whistler(), torch.zeros(shape), RATE)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(value: float) -> None:
    wave = tone(0.5, RATE)
    wave[[3, 700]] = value
    with pytest.raises(AudioError, match="has 2 samples that are NaN or infinite"):
        convert(whistler(), wave, RATE)


def test_a_speaker_or_melody_that_is_not_there_is_refused() -> None:
    voice = whistler(predicts_f0=False)
    with pytest.raises(VoiceError, match="it has no F0 decoder"):
        convert(voice, tone(0.5, RATE), RATE, ConvertOptions(auto_f0=True))
    with pytest.raises(ConfigError, match="stereo is 'sides', but must be one of mono, side, both"):
        ConvertOptions(stereo="sides")  # type: ignore[arg-type]


# Silence


@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_silence_stays_silent(rate: int) -> None:
    voice = whistler()
    for wave in (torch.zeros(2, 3 * rate), 2e-5 * (torch.rand(2, 3 * rate) - 0.5)):
        for options in (ConvertOptions(), ConvertOptions(stereo="both")):
            assert not convert(voice, wave, rate, options).any()
    assert not voice.synthesizer.asked


def test_silence_between_phrases_stays_silent_and_the_edges_do_not_click() -> None:
    gap = torch.zeros(RATE)
    wave = torch.cat([gap, tone(0.5, RATE), gap, tone(0.7, RATE), gap])
    made = convert(whistler(), wave, RATE)
    margin = round(0.25 * RATE)  # what is kept around sound, and the frame that it is measured by
    for start in (0.0, 1.5, 3.2):
        silent = slice(round(start * RATE), round((start + 1) * RATE))
        inner = made[silent][margin if start else 0 : -margin if start < 3 else None]
        assert not inner.any()
    loud = made[round(1.1 * RATE) : round(1.4 * RATE)]
    assert float(loud.square().mean().sqrt()) == pytest.approx(0.5 / math.sqrt(2), rel=0.01)
    steepest = 0.5 * 2 * math.pi * 220 / RATE  # of the sine itself
    assert float(made.diff().abs().max()) < 1.1 * steepest


def test_what_cancels_in_the_middle_is_silence() -> None:
    left = tone(1.0, RATE)
    assert not convert(whistler(), torch.stack([left, -left]), RATE).any()
    both = ConvertOptions(stereo="both")
    assert convert(whistler(), torch.stack([left, -left]), RATE, both).any()


def test_a_silent_channel_stays_silent_beside_one_that_is_not() -> None:
    wave = torch.stack([tone(3.0, RATE), torch.zeros(3 * RATE)])
    made = convert(whistler(), wave, RATE, ConvertOptions(stereo="both", max_piece_seconds=1.0))
    assert made[0].std() > 0.3
    assert not made[1].any()


# Pieces


def test_a_long_note_goes_on_in_phase_where_it_is_cut() -> None:
    voice, wave = whistler(), tone(9.0, RATE)
    made = convert(voice, wave, RATE, PIECES)
    assert len(voice.synthesizer.asked) > 9
    # The whistle begins with its pad, at phase zero.
    begin = -voice.synthesizer.asked[0].first * HOP / RATE
    ideal = 0.5 * torch.sin(
        2 * math.pi * 220 * (torch.arange(1, len(wave) + 1, dtype=torch.float64) / RATE + begin)
    )
    assert float((made - ideal).abs().max()) < 1e-4
    whole = convert(whistler(), wave, RATE)
    assert float((made - whole).abs().max()) < 1e-4


def test_pieces_meet_in_phase_even_if_their_beginnings_were_misheard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exact = steady()("", "cpu")

    def late(wave: Wave, sample_rate: int, hop_length: int, *, level: float) -> object:
        pitch = exact(wave, sample_rate, hop_length)
        pitch.f0[:20] = 143.0  # which leaves the phase 0.43 cycles behind
        return pitch

    monkeypatch.setattr("sovits.convert.load_pitch_extractor", lambda name, device: late)
    made = convert(whistler(), tone(6.0, RATE), RATE, PIECES)
    level = made.unfold(0, RATE // 50, RATE // 50).square().mean(-1).sqrt()
    assert float(level[2:-2].min()) > 0.98 * 0.5 / math.sqrt(2)
    assert float(made.diff().abs().max()) < 1.02 * 0.5 * 2 * math.pi * 220 / RATE


def test_pitch_is_found_at_the_level_of_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    exact, levels = steady()("", "cpu"), []

    def method(wave: Wave, sample_rate: int, hop_length: int, *, level: float) -> object:
        levels.append(level)
        return exact(wave, sample_rate, hop_length)

    monkeypatch.setattr("sovits.convert.load_pitch_extractor", lambda name, device: method)
    wave = torch.cat([tone(2.0, RATE), torch.zeros(RATE), 0.01 * tone(2.0, RATE)])
    convert(whistler(), wave, RATE, PIECES)
    assert len(levels) > 3
    assert set(levels) == {levels[0]}
    assert abs(levels[0] - 20 * math.log10(float(tone(2.0, RATE).abs().max()) / 2**0.5)) < 0.2


@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_content_of_pieces_is_that_of_the_whole(rate: int) -> None:
    """With an encoder that hears 20 ms, cutting moves no frame; what is left is resampling."""
    time = torch.arange(7 * rate) / rate
    swell = 0.5 - 0.5 * torch.cos(2 * math.pi * 1.7 * time)
    wave = tone(7.0, rate, 500) * swell + tone(7.0, rate, 730) * (1 - swell) * 0.5
    made = {}
    for longest in (1.0, 30.0):
        voice = whistler()
        voice.synthesizer.loudness = lambda content: content.mean(0)
        options = ConvertOptions(max_piece_seconds=longest)
        made[longest] = convert(voice, wave, rate, options)
        assert (len(voice.synthesizer.asked) > 6) == (longest == 1.0)
    error = (made[1.0] - made[30.0]).square().mean() / made[30.0].square().mean()
    assert 10 * math.log10(error) < -50


@pytest.mark.parametrize("decoder", ["hifi-gan", "ms-istft"])
def test_pieces_are_nearly_what_the_whole_would_be(decoder: str) -> None:
    """A network with attention hears the whole piece, so here only little is promised: -20 dB."""
    audio = AudioConfig()
    config = synthesizer_config(decoder, content_channels=CHANNELS)  # type: ignore[arg-type]
    voice = Singer(synthesizer(config, audio).fold(), VoiceConfig(audio, config, "nearby sound"))
    wave = tone(5.0, 44_100, 300) * torch.linspace(0.2, 1, 5 * 44_100)
    whole, cut = (convert(voice, wave, 44_100, ConvertOptions(max_piece_seconds=s)) for s in (9, 1))
    error = (whole - cut).square().mean() / whole.square().mean()
    assert 10 * math.log10(error) < -20


def test_a_conversion_is_what_the_synthesizer_makes_of_its_features() -> None:
    """Two routes: the whole conversion, and its parts called one by one."""
    audio = AudioConfig(sample_rate=RATE, hop_length=512)
    config = synthesizer_config(content_channels=CHANNELS, volume=True)
    network = synthesizer(config, audio).fold()
    voice = Singer(network, VoiceConfig(audio, config, "nearby sound"))
    wave = tone(40 * 512 / RATE, RATE, 300) * torch.linspace(0.2, 1, 40 * 512)
    pad = round(0.5 * RATE / 512)
    frames = 128  # 40, and the pad on both sides, and what makes it a whole number of 64
    heard = torch.nn.functional.pad(wave, (pad * 512, (frames - pad - 40) * 512))
    at_16k = resample(heard, RATE, 16_000)
    skipped = round(pad * 512 * 16_000 / RATE) % 320
    content = voice.encoder.encode(at_16k[skipped:])
    seconds = torch.arange(-pad, frames - pad, dtype=torch.float64) * 512 / RATE
    at = (seconds * 50 + 1e-9).floor().long()
    at = at - math.ceil(-pad * 512 / RATE * 50 - 1e-9)
    content = content[:, at.clamp(0, content.shape[-1] - 1)]
    for auto in (False, True):
        options = ConvertOptions(speaker="3", seed=7, auto_f0=auto)
        made = convert(voice, wave, RATE, options)
        wanted = network.infer(
            content[None],
            torch.full((1, frames), 220.0),
            torch.ones(1, frames, dtype=torch.bool),
            torch.tensor([3]),
            volume=frame_rms(heard, 512)[None],
            predict_f0=auto,
            noise=NoiseSource(7, -pad),
        )[0, pad * 512 : (pad + 40) * 512]
        torch.testing.assert_close(made, wanted, atol=1e-5, rtol=0)


# Seeds and precision


def test_the_same_seed_gives_the_same_bytes() -> None:
    audio = AudioConfig()
    config = synthesizer_config(content_channels=CHANNELS)
    voice = Singer(synthesizer(config, audio).fold(), VoiceConfig(audio, config, "nearby sound"))
    wave = tone(0.6, 44_100)
    made = [convert(voice, wave, 44_100, ConvertOptions(seed=seed)) for seed in (1, 1, 2)]
    assert torch.equal(made[0], made[1])
    assert not torch.allclose(made[0], made[2])
    assert made[0].std() > 1e-3


def test_bfloat16_sounds_nearly_the_same() -> None:
    audio = AudioConfig()
    config = synthesizer_config("ms-istft", content_channels=CHANNELS)
    voice = Singer(synthesizer(config, audio).fold(), VoiceConfig(audio, config, "nearby sound"))
    wave = tone(0.5, 44_100)
    full, half, auto = (
        convert(voice, wave, 44_100, ConvertOptions(precision=kind, noise_scale=0))  # type: ignore[arg-type]
        for kind in ("fp32", "bf16", "auto")
    )
    assert not torch.equal(full, half)
    assert float((full - half).std() / full.std()) < 0.1
    assert torch.equal(auto, half) or torch.equal(auto, full)


# Stereo


def test_the_side_is_kept() -> None:
    wave = torch.stack([tone(3.0, 44_100), tone(3.0, 44_100, 330, 0.2)])
    made = convert(whistler(), wave, 44_100, ConvertOptions(stereo="side"))
    torch.testing.assert_close(made[0] - made[1], wave[0] - wave[1], atol=1e-6, rtol=0)
    mono = convert(whistler(), wave, 44_100)
    torch.testing.assert_close((made[0] + made[1]) / 2, mono[0], atol=1e-6, rtol=0)
    assert not torch.allclose(made[0] + made[1], wave[0] + wave[1], atol=0.1)


def test_the_side_is_kept_at_another_rate_and_through_silence() -> None:
    wave = torch.cat(
        [torch.zeros(2, 22_050), torch.stack([tone(2.0, 44_100), torch.zeros(88_200)])], 1
    )
    options = ConvertOptions(stereo="side", output_rate=22_050)
    made = convert(whistler(), wave, 44_100, options)
    assert made.shape == (2, 55_125)
    side = (made[0] - made[1])[22_050:-1000]
    assert float(side.square().mean().sqrt()) == pytest.approx(0.3 / math.sqrt(2), rel=0.01)
    assert not (made[0] - made[1])[:10_000].any()


def test_a_side_needs_two_channels() -> None:
    options = ConvertOptions(stereo="side")
    with pytest.raises(AudioError, match="this sound has 6"):
        convert(whistler(), torch.zeros(6, 100), RATE, options)
    assert convert(whistler(), tone(0.3, RATE)[None], RATE, options).shape == (1, round(0.3 * RATE))


def test_both_channels_are_converted_each_on_its_own() -> None:
    left, right = tone(2.5, RATE), tone(2.5, RATE, 500, 0.1)
    voice = whistler()
    voice.synthesizer.loudness = lambda content: content.mean(0)
    made = convert(voice, torch.stack([left, right]), RATE, ConvertOptions(stereo="both"))
    for channel, wave in zip(made, (left, right), strict=True):
        torch.testing.assert_close(channel, convert(voice, wave, RATE), atol=1e-6, rtol=0)


# Pitch


SOURCES = [(44_100, 512), (48_000, 480), (32_000, 320), (24_000, 256)]


@pytest.mark.parametrize(("rate", "hop"), SOURCES)
def test_an_octave_up_doubles_the_pitch_of_the_source(rate: int, hop: int) -> None:
    """Measured: within 0.001 cents at each rate, for the fundamental and an overtone."""
    source = HarmonicSource(rate, hop)
    frames = 2 * rate // hop
    f0 = torch.full((1, frames), 233.0)
    with torch.no_grad():
        source.l_linear.weight.fill_(0.2)
        low, high = (source(f0 * factor, None, None)[0, 0] for factor in (1, 2))
    for k in (1, 5):
        found = pitch_of(high, rate, 466 * k) / pitch_of(low, rate, 233 * k)
        assert abs(cents(found, 2)) < 0.01
        assert abs(cents(pitch_of(low, rate, 233 * k), 233 * k)) < 0.01


@pytest.mark.parametrize(("rate", "hop"), SOURCES)
def test_an_octave_up_doubles_the_pitch_of_a_conversion(rate: int, hop: int) -> None:
    audio = AudioConfig(sample_rate=rate, hop_length=hop)
    wave = tone(1.5, rate)
    for semitones in (0, 12, -12):
        made = convert(whistler(audio), wave, rate, ConvertOptions(semitones=semitones))
        wanted = 220 * 2 ** (semitones / 12)
        assert abs(cents(pitch_of(made[rate // 5 : -rate // 5], rate, wanted), wanted)) < 0.01


def test_an_octave_up_doubles_the_pitch_of_a_hifi_gan() -> None:
    """Through the trained kind of decoder, with random weights: pitch comes from the source."""
    audio = AudioConfig()
    config = synthesizer_config(content_channels=CHANNELS)
    network = synthesizer(config, audio).fold()
    assert isinstance(network.dec.m_source, HarmonicSource)
    network.dec.m_source.l_linear.weight.fill_(3.0)
    voice = Singer(network, VoiceConfig(audio, config, "nearby sound"))
    for semitones in (0, 12):
        options = ConvertOptions(semitones=semitones, noise_scale=0)
        made = convert(voice, tone(2.0, 44_100), 44_100, options)[4410:-4410]
        wanted = 220 * 2 ** (semitones / 12)
        assert abs(cents(pitch_of(made, 44_100, wanted), wanted)) < 1


@pytest.mark.parametrize("f0", [440.1, 82.41])
def test_a_long_note_is_in_tune_at_its_end(f0: float) -> None:
    frames = 10 * 60 * 44_100 // 512
    pitch = torch.full((1, frames), f0)
    phases = frame_phases(pitch, 44_100, 512)[0]
    exact = np.arange(frames + 1) * (np.float64(np.float32(f0)) * 512 / 44_100) % 1.0
    off = (phases.numpy() - exact + 0.5) % 1.0 - 0.5
    assert np.abs(off).max() < 1e-7  # of a cycle, after ten minutes
    assert (phases >= 0).all()
    assert (phases < 1).all()


def test_phases_go_on_from_where_they_were() -> None:
    f0 = 100 + 400 * torch.rand(2, 50)
    whole = frame_phases(f0, RATE, HOP)
    rest = frame_phases(f0[:, 20:], RATE, HOP, whole[:, 20])
    torch.testing.assert_close(rest, whole[:, 20:], atol=1e-12, rtol=0)


# Retrieval


def test_retrieval_is_used_only_if_it_is_asked_for(tmp_path: Path) -> None:
    voice = whistler()
    voice.bank = Index(torch.full((1, CHANNELS), 7.0))
    path = str(tmp_path / "index")
    for ratio, expected in ((1.0, 7.0), (0.5, 3.5)):
        options = ConvertOptions(retrieval=path, retrieval_ratio=ratio)
        convert(voice, tone(0.5, RATE), RATE, options)
        content = voice.synthesizer.asked[-1].content
        plain = whistler()
        convert(plain, tone(0.5, RATE), RATE)
        mixed = expected + (1 - ratio) * plain.synthesizer.asked[-1].content
        torch.testing.assert_close(content, mixed)
    voice.bank = None
    convert(voice, tone(0.5, RATE), RATE, ConvertOptions(retrieval=path))
