"""What every method has to do, whatever it is made of."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import pytest
import torch
from _pytest.mark import ParameterSet
from sung import cents, vowel

from sovits.cli.pre_hubert import PreHubert
from sovits.config import ConvertOptions
from sovits.errors import PitchError, WeightsError
from sovits.features.pitch import PITCH_METHODS, load_pitch_extractor

RATE = 16_000
WITHIN = {"crepe-tiny": 35.0, "crepe": 15.0, "swift": 35.0}
"""Greatest error inside a steady vowel (cents); 10 where nothing is said."""
PACKAGES = {
    "crepe": "torchcrepe",
    "fcpe": "torchfcpe",
    "harvest": "pyworld",
    "dio": "pyworld",
    "pm": "parselmouth",
}


def runnable(name: str) -> ParameterSet:
    """Leave out a method whose weights or package are not installed."""
    absent = name == "rmvpe" or (name in PACKAGES and find_spec(PACKAGES[name]) is None)
    skip = pytest.mark.skipif(absent, reason="its weights or its package are not installed")
    return pytest.param(name, marks=[skip, pytest.mark.slow] if name == "crepe" else [skip])


METHODS = [runnable(name) for name in PITCH_METHODS]
every_method = pytest.mark.parametrize("name", METHODS)

load = cache(load_pitch_extractor)


def seconds(name: str) -> float:
    """How long to sing: the largest network takes its time."""
    return 0.3 if name == "crepe" else 0.4


def measured(name: str, f0: float, sample_rate: int = RATE) -> torch.Tensor:
    """The pitch inside a vowel; its edges are another test's."""
    pitch = load(name)(vowel(f0, sample_rate, seconds(name)), sample_rate, sample_rate // 100)
    inside = slice(8, -8)
    assert pitch.voiced[inside].all(), (name, f0, sample_rate)
    return pitch.f0[inside]


def test_the_methods_are_those_promised() -> None:
    promised = {"crepe", "crepe-tiny", "fcpe", "swift", "harvest", "dio", "rmvpe", "pm"}
    assert set(PITCH_METHODS) == promised


@every_method
@pytest.mark.parametrize("f0", [60.0, 75.0, 110.0, 233.1, 440.0, 698.5, 987.8])
def test_a_steady_vowel_has_its_pitch(name: str, f0: float) -> None:
    if f0 < PITCH_METHODS[name].lowest:
        pytest.skip("below its range")
    error = cents(measured(name, f0), f0).abs()
    assert error.max() < WITHIN.get(name, 10.0), error.max()


@every_method
@pytest.mark.parametrize("sample_rate", [32_000, 44_100, 48_000])
def test_the_sample_rate_does_not_change_the_pitch(name: str, sample_rate: int) -> None:
    if name == "crepe":
        pytest.skip("slow, and resampled as crepe-tiny is")
    for f0 in (98.0, 587.3):
        error = cents(measured(name, f0, sample_rate), f0).abs()
        assert error.max() < WITHIN.get(name, 10.0), (f0, error.max())


@every_method
def test_twelve_semitones_double_the_pitch_within_ten_cents(name: str) -> None:
    for f0 in (110.0, 220.0, 440.0):
        low, high = measured(name, f0).median(), measured(name, 2 * f0).median()
        assert cents(high, 2 * low.item()).abs() < 10, f0


@every_method
def test_frames_are_neither_early_nor_late(name: str) -> None:
    # An error of time makes a rising pitch too low and a falling one too high, or the other way.
    octaves, length = 1.0, 1.0
    errors = []
    for sign in (1, -1):

        def glide(time: torch.Tensor, sign: int = sign) -> torch.Tensor:
            return 220 * 2 ** (sign * octaves * (time.double() - length / 2))

        samples = torch.arange(round(length * RATE))
        wave = vowel(glide(samples / RATE), RATE, length)
        found = load(name)(wave, RATE, 256).f0
        centres = (torch.arange(len(found)) + 0.5) * 256 / RATE
        errors.append(cents(found, glide(centres))[12:-12].mean())
    late = (errors[1] - errors[0]) / (2 * 1200 * octaves)
    assert late.abs() < 0.002  # seconds


@every_method
def test_silence_is_unvoiced(name: str) -> None:
    f0, voiced = load(name)(torch.zeros(8000), RATE, 160)
    assert not voiced.any()
    assert (f0 == 100).all()


NOISE_VOICED = {"harvest": 0.08, "dio": 0.08, "pm": 0.08, "crepe-tiny": 0.02}


@every_method
def test_white_noise_is_unvoiced(name: str) -> None:
    wave = 0.1 * torch.randn(RATE if name in ("crepe", "harvest") else 3 * RATE)
    voiced = load(name)(wave, RATE, 160).voiced
    assert voiced.float().mean() <= NOISE_VOICED.get(name, 0.0)


@every_method
def test_a_voice_between_silences_is_voiced_where_it_sounds(name: str) -> None:
    quiet = torch.zeros(round(0.3 * RATE))
    wave = torch.cat([quiet, vowel(180.0, RATE, 0.4), quiet])
    f0, voiced = load(name)(wave, RATE, 160)
    assert voiced[34:66].all()
    assert not voiced[:26].any()
    assert not voiced[74:].any()
    if name != "harvest":  # which finds an octave below for some frames around a hard onset
        assert cents(f0, 180.0).abs().max() < 120


@every_method
@pytest.mark.parametrize("samples", [1, 100, 161, 1023, 5000])
def test_short_sounds_have_frames_too(name: str, samples: int) -> None:
    wave = vowel(220.0, 48_000, samples / 48_000)
    f0, voiced = load(name)(wave, 48_000, 100)
    assert f0.shape == voiced.shape == (samples // 100,)
    assert f0.isfinite().all()
    assert (f0 > 0).all()


@every_method
def test_louder_is_not_higher(name: str) -> None:
    wave = vowel(196.0, RATE, seconds(name), level=0.9)
    loud, soft = (load(name)(gain * wave, RATE, 160).f0[8:-8] for gain in (1.0, 0.05))
    assert cents(loud, soft.double()).abs().max() < 20


LEVELLED = [runnable(name) for name in PITCH_METHODS if PITCH_METHODS[name].levelled]


def phrase() -> torch.Tensor:
    """Four vowels that glide, swell and fade, with pauses, in the noise of a quiet room."""
    notes = []
    for f0, level in ((120.0, 0.3), (180.0, 0.1), (260.0, 0.4), (400.0, 0.2)):
        time = torch.arange(round(0.4 * RATE)) / RATE
        glide = f0 * 2 ** (0.2 * time.double() + 0.02 * torch.sin(35 * time.double()))
        swell = torch.sin(torch.pi * time / 0.4).clamp(min=0).sqrt()
        notes += [swell * vowel(glide, RATE, 0.4, level), torch.zeros(round(0.15 * RATE))]
    wave = torch.cat(notes)
    return wave + 2e-4 * torch.randn(len(wave), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", LEVELLED)
@pytest.mark.parametrize("db", [-20, -40])
def test_a_quiet_recording_has_the_pitch_and_the_voicing_of_a_loud_one(name: str, db: int) -> None:
    wave = phrase()
    loud = load(name)(wave, RATE, 186)
    assert 0.5 < loud.voiced.float().mean() < 0.85
    quiet = 10 ** (db / 20) * wave
    for heard in (quiet, (quiet * 32768).round() / 32768):  # and in 16 bits
        soft = load(name)(heard, RATE, 186)
        assert (soft.voiced == loud.voiced).float().mean() > 0.97
        both = soft.voiced & loud.voiced
        error = cents(soft.f0[both], loud.f0[both].double()).abs()
        assert error.median() < 2
        assert error.quantile(0.95) < 8


@pytest.mark.parametrize("name", LEVELLED)
def test_the_noise_of_an_empty_room_is_unvoiced_however_far_it_is_raised(name: str) -> None:
    white = torch.randn(RATE)
    slope = torch.fft.rfftfreq(len(white)).clamp(min=1e-3) ** -0.5
    pink = torch.fft.irfft(torch.fft.rfft(white) * slope, len(white))
    for noise in (white, pink / pink.std()):
        for db in (-40, -65, -90):
            wave = (10 ** (db / 20) * noise * 32768).round() / 32768
            voiced = load(name)(wave, RATE, 160).voiced.float().mean()
            assert voiced <= NOISE_VOICED.get(name, 0.0), db
    assert not load(name)(torch.zeros(RATE), RATE, 160).voiced.any()


@pytest.mark.parametrize("name", LEVELLED)
def test_the_hum_in_a_pause_is_as_quiet_as_the_recording_says(name: str) -> None:
    hum = 2e-4 * vowel(150.0, RATE, 0.6, level=1.0)
    assert load(name)(hum, RATE, 160).voiced[5:-5].all()  # might be someone far away
    assert not load(name)(hum, RATE, 160, level=-20.0).voiced.any()


def test_methods_that_voices_of_others_were_trained_with_hear_what_they_always_heard() -> None:
    untouched = {"crepe", "harvest", "dio", "pm", "rmvpe"}
    assert {name for name in PITCH_METHODS if not PITCH_METHODS[name].levelled} == untouched


def test_voices_are_made_and_sung_by_the_method_that_native_voices_need() -> None:
    """It is in the package, and hears nearly all of the 40 to 2000 Hz that they sing."""
    spec = PITCH_METHODS[ConvertOptions().f0_method]
    assert spec.name == PreHubert().f0_method == "swift"
    assert not spec.needs
    assert spec.lowest < 50
    assert spec.highest > 2000


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(PitchError, match=r"no pitch method crepe_tiny.*Did you mean crepe-tiny\?"):
        load_pitch_extractor("crepe_tiny")


@pytest.mark.parametrize("name", ["harvest", "dio", "pm"])
def test_weights_for_a_method_without_any_are_refused(name: str, tmp_path: object) -> None:
    with pytest.raises(PitchError, match=f"{name} has no weights"):
        load_pitch_extractor(name, path=tmp_path / "weights.pt")  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "install"),
    [("harvest", "sovits[world]"), ("dio", "sovits[world]"), ("pm", "praat-parselmouth")],
)
def test_a_missing_package_is_named(
    name: str, install: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(package: str) -> None:
        raise ModuleNotFoundError(package)

    for module in ("world", "praat"):
        monkeypatch.setattr(f"sovits.features.pitch.{module}.import_module", absent)
    with pytest.raises(PitchError) as raised:
        load_pitch_extractor(name)
    assert f"pip install '{install}'" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["crepe", "fcpe", "rmvpe"])
def test_missing_weights_are_named_in_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("SOVITS_CACHE", str(tmp_path))
    monkeypatch.delenv("SOVITS_WEIGHTS", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("sovits.weights._inside_package", lambda entry: None)
    with pytest.raises(WeightsError) as raised:
        load_pitch_extractor(name)
    assert "\n" not in str(raised.value)
    assert str(tmp_path) in str(raised.value)
