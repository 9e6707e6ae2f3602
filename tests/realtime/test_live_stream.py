"""Live is the file, as late as it says, whatever the blocks are and whatever happens."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from made_voices import synthesizer, synthesizer_config
from stand_ins import AUDIO, Singer, steady, tone, whistler

from sovits.audio.loudness import frame_rms
from sovits.audio.mel import LogMel
from sovits.config import AudioConfig, ConvertOptions, NativeConfig, VoiceConfig
from sovits.convert import convert
from sovits.errors import AudioError, LiveError, VoiceError
from sovits.features.content import CONTENT
from sovits.features.content.student import StudentContent, StudentEncoder
from sovits.models.native import NativeSynthesizer
from sovits.realtime.settings import LiveSettings
from sovits.realtime.stream import LiveConverter
from sovits.retrieval import Index
from sovits.types import Pitch, Wave

RATE, HOP = 44_100, 512
SPEC = CONTENT["sovits-content"]
OPEN = LiveSettings(gate_db=-200.0)


def light(rate: int = RATE) -> Singer:
    """Return a narrow light voice in which everything is heard, and which is not loud."""
    torch.manual_seed(1)
    encoder = StudentEncoder(12).requires_grad_(False).eval()
    torch.manual_seed(2)
    config = NativeConfig(
        content_channels=SPEC.channels,
        width=8,
        prior_blocks=2,
        decoder_blocks=2,
        n_speakers=3,
        harmonic_bands=12,
        noise_bands=10,
    )
    made = NativeSynthesizer(config, AudioConfig(sample_rate=rate))
    for network in (encoder, made):
        for name, parameter in network.named_parameters():
            if "norm" not in name and not name.startswith("shaper.head.bias"):
                torch.nn.init.normal_(parameter, 0, 0.3)
    made.shaper.head.bias.data -= 0.8
    voice = VoiceConfig(made.audio, config, "sovits-content")
    bank = Index(torch.randn(4, SPEC.channels))
    heard = StudentContent(SPEC, encoder, torch.device("cpu"))
    return Singer(made.fold(), voice, bank, heard)


def song(seconds: float, rate: int = RATE) -> Wave:
    """Return a sound that changes all the time and is never silent."""
    time = torch.arange(round(seconds * rate)) / rate
    swell = 0.6 - 0.4 * torch.cos(2 * math.pi * 1.7 * time)
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(3))
    return tone(seconds, rate, 300) * swell + 0.03 * noise


def rising(name: str, device: object = None) -> Any:
    """Return a pitch method that finds a pitch, and voicing, by how loud the frame is."""

    def method(wave: Wave, rate: int, hop: int, *, level: float | None = None) -> Pitch:
        loud = frame_rms(wave, hop)
        return Pitch(150 + 200 * loud, loud > 0.05)

    return method


@pytest.fixture(autouse=True)
def _known_pitch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sovits.convert.load_pitch_extractor", steady())
    monkeypatch.setattr("sovits.realtime.cores.load_pitch_extractor", steady())
    monkeypatch.setattr("sovits.realtime.pitch.load_pitch_extractor", steady())


def lived(live: LiveConverter, wave: Wave, sizes: list[int]) -> Wave:
    """Return what comes out, aligned by the declared latency; the last size goes on."""
    parts, begin, turn = [], 0, 0
    while begin < len(wave):
        size = sizes[min(turn, len(sizes) - 1)]
        block = wave[begin : begin + size]
        parts.append(live.push(block))
        assert parts[-1].shape == block.shape
        begin, turn = begin + size, turn + 1
    late = torch.cat([*parts, live.flush()])
    assert not late[: live.latency].any()
    return late[live.latency :]


def near(one: Wave, other: Wave, bound: float = 1e-4) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=bound)


LIGHT, WAVE = light(), song(0.6)


@lru_cache
def whole() -> Wave:
    """Return what the file would be."""
    made = convert(LIGHT, WAVE, RATE)
    assert float(made.square().mean().sqrt()) > 0.02
    assert float(made.abs().max()) < 0.94  # or the limiter would be heard
    return made


@settings(max_examples=4, phases=[Phase.generate])
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=6).filter(lambda x: x[-1] > 200))
def test_live_is_the_file_for_all_blocks(sizes: list[int]) -> None:
    made = lived(LiveConverter(LIGHT, RATE, settings=OPEN), WAVE, sizes)
    body = slice(HOP * 12, len(WAVE) - 10 * HOP)  # the file's ends are faded
    near(made[body], whole()[body])


@pytest.mark.parametrize("seconds", [0.01, 0.05, 0.1])
def test_live_is_the_file_for_all_chunks(seconds: float) -> None:
    live = LiveConverter(LIGHT, RATE, settings=LiveSettings(seconds, gate_db=-200.0))
    frames = max(1, round(seconds * RATE / 1024)) * 2
    assert live.latency == (frames + 4) * HOP + 2304 - HOP + 66
    body = slice(HOP * 12, len(WAVE) - 10 * HOP)
    near(lived(live, WAVE, [700])[body], whole()[body])


def spectrum(wave: Wave, size: int = 512) -> torch.Tensor:
    """Return magnitudes `[bins, frames]`."""
    window = torch.hann_window(size)
    return torch.stft(wave, size, size // 4, window=window, return_complex=True).abs()


@pytest.mark.parametrize("rate", [16_000, 48_000, 96_000])
def test_a_device_of_another_rate_hears_the_same(rate: int) -> None:
    wave = song(0.6, rate)
    live = LiveConverter(LIGHT, rate, settings=OPEN)
    made = lived(live, wave, [480])
    near(made, lived(LiveConverter(LIGHT, rate, settings=OPEN), wave, [77, 3001, 130]), 1e-5)
    assert live.latency / rate < 0.12
    if rate > RATE:
        # The filters are shorter than a file's, which only the highest tenth of the band shows.
        ours, wanted = spectrum(made), spectrum(convert(LIGHT, wave, rate))
        body = slice(15_000 * 512 // rate), slice(rate // 1280, -rate // 1280)
        assert float((ours - wanted)[body].norm()) < 0.1 * float(wanted[body].norm())


@pytest.mark.parametrize("rate", [RATE, 48_000])
def test_the_original_passes_as_late_as_the_voice(rate: int) -> None:
    live = LiveConverter(LIGHT, rate, settings=OPEN)
    live.mix.value = live.mix.target = 0.0
    wave = torch.zeros(rate // 2)
    wave[9000] = 0.5
    heard = lived(live, wave, [441])
    assert int(heard.abs().argmax()) == 9000
    if rate == RATE:
        near(heard, wave, 1e-6)


def test_pitch_is_that_of_the_chunks_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sovits.realtime.cores.load_pitch_extractor", rising)
    monkeypatch.setattr("sovits.realtime.pitch.load_pitch_extractor", rising)
    made = [
        lived(LiveConverter(LIGHT, RATE, settings=OPEN), WAVE, sizes)
        for sizes in ([100_000], [1], [480, 77, 2000])
        if sizes != [1]
    ]
    near(made[0], made[1], 1e-6)


@settings(max_examples=4, phases=[Phase.generate])
@given(st.data())
def test_changes_do_not_click(data: st.DataObject) -> None:
    """A jump in the wave is far above what the sound itself does from one sample to the next."""
    live = LiveConverter(whistler(), 24_000, settings=OPEN)
    wave, parts = tone(1.2, 24_000), []
    for number, block in enumerate(wave.split(1000)):
        if number % 3 == 2:
            choice = data.draw(st.integers(0, 4))
            if choice == 0:
                live.change(ConvertOptions(semitones=data.draw(st.integers(-12, 12))))
            elif choice == 1:
                live.change(ConvertOptions(speaker=str(data.draw(st.integers(0, 4)))))
            elif choice == 2:
                live.output_gain.set(data.draw(st.floats(0, 1)))
            elif choice == 3:
                live.mix.set(data.draw(st.floats(0, 1)))
            else:
                live.change(ConvertOptions(noise_scale=data.draw(st.floats(0, 1))))
        parts.append(live.push(block))
    made = torch.cat([*parts, live.flush()])[6000:]
    # A sine of 0.5 at 440 Hz moves by 0.058 a sample; two of them at most by twice that.
    assert float(made.diff().abs().max()) < 0.13


def test_changes_are_heard() -> None:
    plain = lived(LiveConverter(LIGHT, RATE, settings=OPEN), WAVE, [2048])
    for options in (
        ConvertOptions(semitones=12, speaker="2"),
        ConvertOptions(formants=3.0),
        ConvertOptions(seed=1),
        ConvertOptions(retrieval="unread", retrieval_ratio=0.7),
    ):
        live = LiveConverter(LIGHT, RATE, settings=OPEN)
        half = [live.push(block) for block in WAVE[:12288].split(512)]
        live.change(options)
        assert live.options is options
        made = torch.cat([*half, live.push(WAVE[12288:]), live.flush()])[live.latency :]
        near(made[: 12288 - live.latency], plain[: 12288 - live.latency], 1e-6)
        late = made[16000:] - plain[16000:]
        assert float(late.square().mean()) > 1e-6


def test_another_pitch_method_begins_anew_and_no_later() -> None:
    plain = lived(LiveConverter(LIGHT, RATE, settings=OPEN), WAVE, [2048])
    live = LiveConverter(LIGHT, RATE, settings=OPEN)
    parts = [live.push(WAVE[:8192])]
    live.change(ConvertOptions(f0_method="crepe"))
    made = torch.cat([*parts, live.push(WAVE[8192:]), live.flush()])[live.latency :]
    near(made[: 8192 - live.latency], plain[: 8192 - live.latency], 1e-6)
    assert not made[8192 - live.latency + 300 : 8192].any()
    assert made.shape == plain.shape
    assert float(made[14_000:].square().mean()) > 0.5 * float(plain[14_000:].square().mean())


def test_what_a_voice_cannot_do_is_refused() -> None:
    live = LiveConverter(LIGHT, RATE)
    with pytest.raises(VoiceError, match="F0 decoder"):
        live.change(ConvertOptions(auto_f0=True))
    with pytest.raises(VoiceError, match="formants"):
        LiveConverter(whistler(), 24_000, ConvertOptions(formants=1.0))
    with pytest.raises(AudioError, match="one channel"):
        live.push(torch.zeros(2, 100))
    with pytest.raises(LiveError, match="block_seconds is 0, but must be between"):
        LiveSettings(block_seconds=0.0)


# Voices of others


def test_the_source_of_a_voice_of_others_has_no_seam() -> None:
    """A sine is the same multiple of its neighbours' sum everywhere, or it was cut."""
    voice, rate = whistler(), AUDIO.sample_rate
    live = LiveConverter(voice, rate, settings=LiveSettings(0.1, gate_db=-200.0))
    made = lived(live, song(1.5, rate), [777])[rate // 4 : -rate // 4]
    multiple = 2 * math.cos(2 * math.pi * 220 / rate)
    assert float((made[2:] + made[:-2] - multiple * made[1:-1]).abs().max()) < 1e-5
    # 9 frames of 256 in a chunk, 4 of cross-fade and search, 6 of the future; the limiter.
    assert live.latency == (9 + 4 + 6) * 256 + 36


def test_a_voice_of_others_sounds_as_in_a_file() -> None:
    """Near it, and at seams as near as elsewhere."""
    config = synthesizer_config(
        content_channels=4, upsample_rates=(8, 8, 2, 2), upsample_kernel_sizes=(16, 16, 4, 4)
    )
    network = synthesizer(config, AUDIO).fold()
    voice, wave = Singer(network, VoiceConfig(AUDIO, config, "nearby")), song(1.6, 24_000)
    live = LiveConverter(voice, 24_000, settings=LiveSettings(0.1, gate_db=-200.0))
    mel = LogMel(AUDIO)
    made, wanted = mel(lived(live, wave, [512])), mel(convert(voice, wave, 24_000))
    apart = (made - wanted).abs().mean(0)[20:-20]
    assert float(apart.mean()) < 0.05
    begin = torch.arange(len(apart)) + 20
    at_seam = begin % 9 < 2
    assert float(apart[at_seam].mean()) < 1.5 * float(apart[~at_seam].mean())


def test_chunks_that_do_not_fit_are_moved_until_they_do() -> None:
    from sovits.realtime.cores import best_offset

    wave = tone(0.2, 24_000, 300)
    for offset in (-30, 0, 17):
        around = wave[1000 + offset - 40 : 1000 + offset + 340]
        assert best_offset(wave[1000:1300], around, 40) == -offset
    assert best_offset(torch.zeros(300), wave[:380], 40) == 0


# Silence, noise and faults


def test_the_gate_is_silent_in_a_pause_and_clips_no_onset() -> None:
    rate = AUDIO.sample_rate
    hum, phrase = 1e-4 * torch.randn(rate), tone(0.6, rate)
    breath = 3e-3 * torch.randn(rate // 4)
    wave = torch.cat([hum, phrase, breath, phrase, hum, hum, phrase, hum])
    settings = LiveSettings(0.05, gate_db=-45.0)
    made = lived(LiveConverter(whistler(), rate, settings=settings), wave, [480])
    level = made.abs().unfold(0, 240, 240).amax(-1)

    def between(begin: float, end: float) -> Wave:
        return level[int(begin * 100) : int(end * 100)]

    assert float(between(0.0, 0.9).max()) < 1e-3
    assert float(between(1.01, 2.44).min()) > 0.3  # onset, breath and all
    assert float(between(3.2, 4.4).max()) < 1e-3
    assert float(between(4.46, 5.0).min()) > 0.3


def test_what_is_no_number_is_silence() -> None:
    live, wave = LiveConverter(LIGHT, RATE, settings=OPEN), WAVE.clone()
    wave[10_000:10_100] = math.nan
    wave[11_000], wave[11_001] = math.inf, 1e9
    made = lived(live, wave, [512])
    assert live.faults == 102
    assert bool(made.isfinite().all())
    assert float(made.abs().max()) <= 0.951


def test_a_network_that_fails_begins_anew() -> None:
    voice = whistler()
    live = LiveConverter(voice, 24_000, settings=LiveSettings(0.05, gate_db=-200.0))
    sing, wave, parts = voice.synthesizer.infer, tone(2.0, 24_000), []
    for number, block in enumerate(wave.split(480)):
        broken = number == 40
        if broken:
            voice.synthesizer.infer = lambda *a, **k: sing(*a, **k) * math.nan
        parts.append(live.push(block))
        voice.synthesizer.infer = sing if number == 45 else voice.synthesizer.infer
    made = torch.cat([*parts, live.flush()])[live.latency :]
    assert live.faults
    assert bool(made.isfinite().all())
    assert float(made.diff().abs().max()) < 0.07
    assert float(made[-10_000:-2000].abs().max()) > 0.4


def test_input_that_is_left_out_does_not_make_it_later() -> None:
    live, wave = LiveConverter(LIGHT, RATE, settings=OPEN), torch.zeros(60_000)
    live.mix.value = live.mix.target = 0.0
    wave[[9_000, 30_000, 50_000]] = 0.5
    parts = [live.push(wave[:20_000]), live.skip(7_000), live.push(wave[27_000:]), live.flush()]
    made = torch.cat(parts)[live.latency :]
    assert made.shape == wave.shape
    assert made.abs().topk(3).indices.sort().values.tolist() == [9_000, 30_000, 50_000]


@pytest.mark.parametrize("gain", [1.0, 3.0, 40.0])
def test_the_output_is_limited(gain: float) -> None:
    live = LiveConverter(whistler(), 24_000, settings=OPEN)
    live.output_gain.set(gain)
    made = lived(live, tone(1.0, 24_000), [960])
    assert 0.4 < float(made.abs().max()) <= 0.95
    settled = made[8000:20_000]
    if gain > 1:  # a sine is still one: it is lowered, and not cut off
        spectra = torch.fft.rfft(settled * torch.hann_window(len(settled))).abs()
        peak = int(spectra.argmax())
        assert float(spectra[3 * peak - 3 : 3 * peak + 4].max()) < 0.05 * float(spectra.max())


def test_a_refiner_is_refused() -> None:
    with pytest.raises(LiveError, match="refiner is too slow"):
        LiveConverter(LIGHT, RATE, ConvertOptions(refine=0.5))
