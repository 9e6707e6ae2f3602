"""A vocoder sounds as its mel spectrogram says, at the pitch it is given, however it is cut."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from sovits.audio.io import read
from sovits.audio.mel import VOCODER_MEL, linear_spectrogram
from sovits.config import AudioConfig, VocoderConfig
from sovits.errors import ConfigError, RefinerError
from sovits.features.pitch import load_pitch_extractor
from sovits.models import vocoder as module
from sovits.models.noise import NoiseSource
from sovits.models.synthesizer import TrainBatch
from sovits.models.vocoder import VOCODER_FILE, Vocoder, held, read_vocoder, write_vocoder
from sovits.network_file import KEY, read_network

SMALL = VocoderConfig(width=8, blocks=2, harmonic_bands=16, noise_bands=8)
AUDIO = AudioConfig(sample_rate=16_000, hop_length=160, n_fft=640, n_mels=40, mel_min=40.0)


def tiny(audio: AudioConfig = AUDIO) -> Vocoder:
    torch.manual_seed(3)
    return Vocoder(SMALL, audio).fold()


def untaught(audio: AudioConfig = VOCODER_MEL) -> Vocoder:
    """Return one that says no more than what bands tell."""
    made = Vocoder(VocoderConfig(width=8, blocks=1), audio)
    torch.nn.init.zeros_(made.shaper.head.weight)
    return made.fold()


def sung(hertz: float, seconds: float) -> torch.Tensor:
    """Return partials that fall by 6 dB an octave, `[1, samples]`."""
    times = torch.arange(int(seconds * 44_100)).double() / 44_100
    partials = range(1, int(20_000 / hertz))
    wave = sum(torch.cos(2 * math.pi * k * hertz * times + k * k) / k for k in partials)
    return (0.1 * wave).float()[None]


@pytest.mark.parametrize("hertz", [110.0, 440.0, 1000.0])
def test_what_bands_tell_is_known_before_anything_is_learnt(hertz: float) -> None:
    made, wave = untaught(), sung(hertz, 0.6)
    mel = made.log_mel(wave)
    again = made.log_mel(made.synthesize(mel, torch.full((1, mel.shape[2]), hertz)))
    loud = mel[0, :, 10:-10] > -2  # between partials there is next to nothing
    far = (again - mel)[0, :, 10:-10][loud]
    assert far.abs().mean() < 0.4
    assert far.median().abs() < 0.4


def test_noise_is_as_loud_as_its_bands_tell() -> None:
    made = untaught()
    mel = made.log_mel(0.1 * torch.randn(1, 44_100, generator=torch.Generator().manual_seed(1)))
    f0 = torch.full((1, mel.shape[2]), 150.0)
    loud = made.synthesize(mel, f0, noise=NoiseSource()) - made.synthesize(mel, f0)
    told = (made.log_mel(loud) - mel)[..., 20:, 10:-10].mean()
    assert float(told) == pytest.approx(module.BREATH, abs=0.15)


@pytest.mark.parametrize("hertz", [60.0, 220.0, 997.0, 2000.0])
def test_pitch_is_the_one_asked_for(hertz: float) -> None:
    made, wave = untaught(), sung(hertz, 1.0)
    mel = made.log_mel(wave)
    out = made.synthesize(mel, torch.full((1, mel.shape[2]), hertz), noise=NoiseSource())[0]
    spectrum = torch.fft.rfft(out * torch.hann_window(len(out)), 1 << 18).abs()
    around = torch.arange(len(spectrum)) * 44_100 / (1 << 18)
    near = (around > 0.9 * hertz) & (around < 1.1 * hertz)
    found = float(around[near][spectrum[near].argmax()])
    assert abs(1200 * math.log2(found / hertz)) < 6


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_a_stream_is_the_whole(chunks: list[int]) -> None:
    made, total = tiny(), sum(chunks)
    generator = torch.Generator().manual_seed(total)
    mel = torch.randn(2, 40, total, generator=generator) - 4
    f0 = 100 + 300 * torch.rand(2, total, generator=generator)
    whole, _ = made.stream(mel, f0, noise=NoiseSource(5, 7))
    parts, past, begin = [], None, 0
    for size in chunks:
        now = slice(begin, begin + size)
        noise = NoiseSource(5, 7 + begin)
        wave, past = made.stream(mel[..., now], f0[:, now], past, noise=noise)
        parts.append(wave)
        begin += size
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-4)


def test_long_sounds_are_streams_of_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    made = tiny()
    mel, f0 = torch.randn(1, 40, 50) - 4, torch.full((1, 50), 130.0)
    phase = torch.tensor([0.3], dtype=torch.float64)
    whole = made.synthesize(mel, f0, phase=phase, noise=NoiseSource(2))
    monkeypatch.setattr(module, "CHUNK", 7)
    parts = made.synthesize(mel, f0, phase=phase, noise=NoiseSource(2))
    assert whole.shape == (1, 50 * 160)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-4)
    assert made.synthesize(mel[..., :0], f0[:, :0]).shape == (1, 0)


def test_what_is_further_away_than_reach_is_not_heard() -> None:
    made = tiny()
    mel, f0 = torch.randn(1, 40, 90) - 4, torch.full((1, 90), 130.0)
    other = mel.clone()
    other[..., 60] += 3
    a, b = (made.synthesize(x, f0, noise=NoiseSource()) for x in (mel, other))
    changed = ((a - b).abs() > 1e-7)[0].nonzero()[:, 0]
    assert int(changed.min()) >= (60 - made.reach) * 160
    assert int(changed.max()) < (61 + made.reach) * 160
    assert int(changed.min()) >= (60 - made.config.look_ahead) * 160


def test_noise_goes_by_its_seed() -> None:
    made, f0 = tiny(), torch.full((1, 20), 200.0)
    mel = torch.zeros(1, 40, 20)
    first, again, other = (made.synthesize(mel, f0, noise=NoiseSource(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    silent = [made.synthesize(mel, f0) for _ in range(2)]
    assert torch.equal(*silent)


def test_frames_without_a_pitch_hold_the_one_before() -> None:
    f0 = torch.tensor([[0.0, 0.0, 120.0, 0.0, 150.0, 0.0], [0.0] * 6])
    expected = torch.tensor([[120.0, 120.0, 120.0, 120.0, 150.0, 150.0], [100.0] * 6])
    assert torch.equal(held(f0), expected)


def a_batch(made: Vocoder, wave: torch.Tensor, f0: torch.Tensor, start: int) -> TrainBatch:
    frames = f0.shape[1]
    ones = torch.ones(len(f0), frames)
    return TrainBatch(
        content=torch.zeros(len(f0), 1, frames),
        f0=f0,
        voiced=ones,
        volume=ones,
        spectrogram=linear_spectrogram(wave, made.audio),
        speaker=torch.zeros(len(f0), dtype=torch.int64),
        mask=ones[:, None],
        start=torch.full((len(f0),), start),
        formants=torch.ones(len(f0)),
    )


def test_training_hears_the_mel_that_vocoders_hear() -> None:
    made = untaught()
    wave = 0.001 * sung(300.0, 0.5)  # quiet, where the two floors differ most
    frames = wave.shape[1] // 512
    f0 = torch.full((1, frames), 300.0)
    out = made(a_batch(made, wave, f0, 10), 16)
    assert out.wave.shape == (1, 1, 16 * 512)
    spoken = made.synthesize(made.log_mel(wave), f0, noise=NoiseSource())[:, 10 * 512 : 26 * 512]
    a, b = made.log_mel(out.wave[:, 0]), made.log_mel(spoken)
    assert (a - b)[..., 2:-2].abs().mean() < 0.5  # another draw of noise, another phase


def test_it_learns() -> None:
    torch.manual_seed(0)
    made = Vocoder(SMALL, AUDIO)
    wave = sung(150.0, 0.1)[:, : 160 * 24].expand(2, -1)
    batch = a_batch(made, wave, torch.full((2, 24), 150.0 * 16 / 44.1), 4)
    target = made.log_mel(wave[:, 4 * 160 : 20 * 160])
    optimizer = torch.optim.Adam(made.parameters(), 1e-2)
    history = []
    for _ in range(25):
        loss = (made.log_mel(made(batch, 16).wave[:, 0]) - target).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert sum(history[-5:]) < 0.8 * sum(history[:5])
    assert all(p.grad is not None for p in made.parameters())


def test_one_is_kept_in_a_file(tmp_path: Path) -> None:
    made, path = tiny(), tmp_path / "mine.safetensors"
    write_vocoder(path, made, {"licence": "MIT"})
    again = read_vocoder(path)
    assert again.config == made.config
    assert again.audio == made.audio
    mel, f0 = torch.randn(1, 40, 30) - 3, torch.full((1, 30), 150.0)
    torch.testing.assert_close(
        again.synthesize(mel, f0), made.synthesize(mel, f0), atol=0.02, rtol=0.02
    )


def changed(
    path: Path, settings: dict[str, object], tensors: dict[str, object] | None = None
) -> Path:
    """Write a vocoder's file with other settings, or without some tensors; return where."""
    made = tiny()
    write_vocoder(path, made, {})
    header = {
        "format": "sovits-vocoder-1",
        "config": asdict(made.config),
        "audio": asdict(made.audio),
        **settings,
    }
    state = {k: v for k, v in (load_file(path) | (tensors or {})).items() if v is not None}
    save_file(state, path, {KEY: json.dumps(header)})  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(
    ("settings", "tensors", "told"),
    [
        ({"format": "sovits-voice-1"}, None, "not of the format sovits-vocoder-1"),
        ({"config": {"blcks": 2}}, None, "Did you mean blocks"),
        ({"config": {"width": 10**9}}, None, "at most 4096"),
        ({"config": {"width": math.nan}}, None, "cannot be read as a vocoder|at most 4096"),
        ({"config": []}, None, "an object"),
        ({"audio": {"n_fft": 700}}, None, "cannot be read as a vocoder: .*hop"),
        ({"config": {"width": 9}}, None, r"where the settings ask for"),
        ({}, {"mel.bias": None}, "mel.bias is missing"),
        ({}, {"mel.bias": torch.full((8,), math.nan)}, "mel.bias is not finite"),
    ],
)
def test_what_is_no_vocoder_is_refused(
    tmp_path: Path, settings: dict[str, object], tensors: dict[str, object] | None, told: str
) -> None:
    path = changed(tmp_path / "bad.safetensors", settings, tensors)
    with pytest.raises(RefinerError, match=told) as caught:
        read_vocoder(path)
    assert "\n" not in str(caught.value)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RefinerError, match="is no file"):
        read_vocoder(tmp_path / "none.safetensors")
    path = tmp_path / "cut.safetensors"
    write_vocoder(path, tiny(), {})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RefinerError, match="cannot be read as a vocoder"):
        read_vocoder(path)


def test_windows_are_four_hops() -> None:
    with pytest.raises(ConfigError, match="hop"):
        Vocoder(SMALL, AudioConfig(n_fft=1024))


@pytest.mark.parametrize("settings", [{"look_ahead": 3}, {"blocks": 0}, {"look_ahead": 60}])
def test_shapes_that_cannot_be_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"look_ahead|blocks"):
        VocoderConfig(**settings)  # type: ignore[arg-type]


def test_the_bundled_one_says_what_it_is_given_and_who_made_it() -> None:
    bundled, card = read_vocoder(), read_network(VOCODER_FILE, "vocoder").settings["card"]
    wave = read(Path(__file__).parents[2] / "examples/speech.flac", sample_rate=44_100)[0]
    wave = wave[:1, : 512 * 172]
    f0 = load_pitch_extractor("swift")(wave[0], 44_100, 512).f0[None]
    mel = bundled.log_mel(wave)
    copy = bundled.synthesize(mel, f0, noise=NoiseSource())
    assert (bundled.log_mel(copy) - mel).abs().mean() < 0.45
    assert card["licence"] == "CC-BY-SA-4.0"
    assert VOCODER_FILE.stat().st_size < 15e6
