"""The benchmark of pitch: its truth is true, and it counts right."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from sovits.features.pitch.contract import PitchExtractor, Track
from sovits.features.pitch.swift import SPEC

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import known_pitch  # noqa: E402
import pitch  # noqa: E402
import pitch_scores  # noqa: E402
import run  # noqa: E402
from known_pitch import HOP, RATE, STEP, Known, Samples, Speech, Truth  # noqa: E402

needs_world = pytest.mark.skipif(find_spec("pyworld") is None, reason="pyworld is not installed")


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def vowels(seconds: float = 1.0, pause: slice = slice(90, 130)) -> Speech:
    """Speech of one open vowel and a whisper."""
    number = round(seconds / known_pitch.ANALYSIS_STEP)
    hz = np.arange(known_pitch.N_FFT // 2 + 1) * RATE / known_pitch.N_FFT
    peaks = sum(1 / (1 + ((hz - f) / 120) ** 2) for f in (700, 1200, 2600)) + 0.01
    voiced = np.ones(number, dtype=bool)
    voiced[pause] = False
    return Speech(np.tile(peaks, (number, 1)), voiced, np.zeros(number))


def sing(contour: Samples, speech: Speech | None = None) -> Known:
    from sovits.features.pitch.world import load_harvest

    speech = speech or vowels(len(contour) * STEP)
    made = known_pitch.put_together(load_harvest().world, speech, contour, rng())
    return Known("one", "test", *made)


def autocorrelation(wave: Samples, centre: float, period: float) -> tuple[float, float]:
    """Return the period near `period` at which a wave repeats itself best, and how well."""
    half = int(1.5 * period) + 16
    middle, reach = round(centre), int(1.3 * period) + 2
    lags = np.arange(max(2, int(0.75 * period)), reach)

    def similarity(lag: int) -> float:
        # Both windows lie about the centre, so that a glide does not bias the period.
        first = middle - half - lag // 2
        a, b = wave[first : first + 2 * half], wave[first + lag : first + lag + 2 * half]
        return float(a @ b / np.sqrt((a @ a) * (b @ b) + 1e-12))

    curve = np.array([similarity(lag) for lag in lags])
    k = int(np.clip(curve.argmax(), 1, len(curve) - 2))
    left, peak, right = curve[k - 1 : k + 2]
    bend = left - 2 * peak + right
    return lags[k] + 0.5 * (left - right) / bend if bend else lags[k], float(curve.max())


def check_by_autocorrelation(known: Known, within: float = 10.0, alike: float = 0.85) -> None:
    """Where voiced the sound repeats itself at the asked period, and where not it does not."""
    truth, errors, strengths, noise = known.truth, [], [], []
    for frame in np.flatnonzero(truth.judged):
        centre, period = (frame + 0.5) * HOP, RATE / truth.f0[frame]
        margin = 4 * period + 60
        if not margin < centre < len(known.wave) - margin:
            continue
        found, strength = autocorrelation(known.wave, centre, period)
        (strengths if truth.voiced[frame] else noise).append(strength)
        if truth.voiced[frame]:
            errors.append(1200 * np.log2(period / found))
    assert len(errors) > 20
    assert np.abs(np.median(errors)) < 3
    assert np.median(np.abs(errors)) < within
    assert np.median(strengths) > alike
    assert not noise or np.median(noise) < np.median(strengths) - 0.15


@needs_world
@pytest.mark.parametrize("f0", [60.0, 131.0, 440.0, 1000.0])
def test_a_steady_voice_has_the_pitch_asked_for(f0: float) -> None:
    check_by_autocorrelation(sing(np.full(1000, f0)))


@needs_world
@pytest.mark.parametrize("seed", range(4))
def test_melodies_have_the_pitch_asked_for(seed: int) -> None:
    contour = known_pitch.melody(1.0, np.random.default_rng(seed))
    assert contour.min() >= 60
    assert contour.max() <= 1000
    check_by_autocorrelation(sing(contour))


@needs_world
def test_the_truth_is_neither_early_nor_late() -> None:
    # A late truth makes a rising pitch too low and a falling one too high.
    time, late = np.arange(1000) * STEP, []
    for sign in (1, -1):
        known = sing(220 * 2 ** (sign * (time - 0.5)), vowels(pause=slice(0, 0)))
        truth = known.truth
        for frame in range(12, len(truth.f0) - 12):
            period = RATE / truth.f0[frame]
            found, _ = autocorrelation(known.wave, (frame + 0.5) * HOP, period)
            late.append(sign * 1200 * np.log2(period / found) / 1200)
    assert abs(np.mean(late)) < 0.004  # seconds


@needs_world
def test_recorded_speech_has_the_pitch_asked_for() -> None:
    from sovits.features.pitch.world import load_harvest

    sources = known_pitch.gather([ROOT / "examples/speech.flac"], 2, rng())
    speech = known_pitch.take_apart(sources[1].wave)
    assert speech is not None
    assert 0.3 < speech.voiced.mean() < 0.95
    for contour in (known_pitch.spoken(speech, 85.0), known_pitch.spoken(speech, 500.0)):
        known = Known(
            "", "", *known_pitch.put_together(load_harvest().world, speech, contour, rng())
        )
        # A mouth moves within a long period, so that neighbouring ones are less alike.
        check_by_autocorrelation(known, 25.0, alike=0.5)


def test_frames_near_a_change_of_voicing_are_not_judged() -> None:
    contour = np.where(np.arange(1000) < 500, 200.0, 0.0)
    truth = Known("", "", np.zeros(RATE), contour).truth
    centres = (np.arange(len(truth.f0)) + 0.5) * HOP / RATE
    np.testing.assert_array_equal(truth.voiced, centres < 0.4995)
    np.testing.assert_array_equal(truth.judged, np.abs(centres - 0.4995) > 0.0105)
    np.testing.assert_allclose(truth.f0[truth.voiced], 200)


def truth_of(f0: list[float]) -> Truth:
    values = np.array(f0)
    filled = np.where(values > 0, values, 100.0)
    return Truth(filled, values > 0, np.ones(len(values), dtype=bool))


def value(score: pitch_scores.Score, sums: Samples) -> float:
    return float(score.statistic(sums))


SCORES = {score.name: score for score in pitch_scores.SCORES}


def test_errors_are_counted_as_what_they_are() -> None:
    truth = truth_of([200, 200, 200, 200, 200, 200, 0, 0, 200, 200])
    #        right, 2 c off, octave up, octave down, fifth, missed, false, right, 60 c, not judged
    f0 = np.array([200, 200 * 2 ** (2 / 1200), 400, 100, 300, 200, 90, 100, 207.06, 800])
    voiced = np.array([1, 1, 1, 1, 1, 0, 1, 0, 1, 1], dtype=bool)
    truth.judged[-1] = False
    sums = pitch_scores.count(truth, f0, voiced)
    assert value(SCORES["overall"], sums) == pytest.approx(100 * 3 / 9)
    assert np.flatnonzero(pitch_scores.right(truth, f0, voiced)).tolist() == [0, 1, 7]
    assert value(SCORES["within 50 c"], sums) == pytest.approx(100 * 2 / 6)
    assert value(SCORES["octave"], sums) == pytest.approx(100 * 2 / 6)
    assert value(SCORES["gross"], sums) == pytest.approx(100 * 3 / 6)
    assert value(SCORES["precision"], sums) == pytest.approx(100 * 6 / 7)
    assert value(SCORES["recall"], sums) == pytest.approx(100 * 6 / 7)
    assert value(SCORES["F1"], sums) == pytest.approx(100 * 6 / 7)
    assert value(SCORES["RMS, c"], sums) == pytest.approx(np.sqrt((0 + 4 + 60**2) / 3), rel=1e-3)


def test_the_median_is_that_of_all_errors_together() -> None:
    generator = rng()
    parts, sums = [], []
    for _ in range(5):
        cents = generator.laplace(0, 8, 400)
        truth = truth_of([300.0] * 400)
        found = 300 * 2 ** (cents / 1200)
        sums.append(pitch_scores.count(truth, found, np.ones(400, dtype=bool)))
        parts.append(np.abs(cents))
    both = np.stack([np.sum(sums, 0), sums[0]])
    medians = [np.median(np.concatenate(parts)), np.median(parts[0])]
    np.testing.assert_allclose(pitch_scores.median(both), medians, atol=0.3)


def test_nothing_found_is_no_score_and_no_failure() -> None:
    sums = pitch_scores.count(truth_of([200.0] * 9), np.full(9, 100.0), np.zeros(9, dtype=bool))
    assert value(SCORES["overall"], sums) == value(SCORES["recall"], sums) == 0
    assert all(np.isnan(value(SCORES[name], sums)) for name in ("octave", "median, c", "RMS, c"))


def test_a_method_is_no_better_than_itself() -> None:
    generator = rng()
    sums = np.stack(
        [
            pitch_scores.count(
                truth_of([300.0] * 50),
                np.full(50, 300.0),
                generator.random(50) < generator.random(),
            )
            for _ in range(12)
        ]
    )
    same = pitch_scores.difference(sums, sums, pitch_scores.OVERALL)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    better = sums.copy()
    better[:, pitch_scores.CLOSE] += 5
    found = pitch_scores.difference(better, sums, pitch_scores.OVERALL)
    assert found.value == pytest.approx(found.low) == pytest.approx(10)


@pytest.mark.parametrize("db", [20, 5])
@pytest.mark.parametrize("noise", [known_pitch.white, known_pitch.pink])
def test_noise_is_as_strong_as_it_says(noise: object, db: int) -> None:
    wave = np.sin(np.arange(RATE) * 0.1)
    added = known_pitch.at_ratio(wave, noise(wave, rng()), db) - wave  # type: ignore[operator]
    assert 10 * np.log10((wave**2).mean() / (added**2).mean()) == pytest.approx(db)


def test_noise_has_its_colour() -> None:
    for noise, slope in ((known_pitch.white, 0.0), (known_pitch.pink, -3.0)):
        power = np.abs(np.fft.rfft(noise(np.zeros(16 * RATE), rng()))) ** 2
        hz = np.fft.rfftfreq(16 * RATE, 1 / RATE)
        low, high = (power[(hz >= f) & (hz < 1.2 * f)].mean() for f in (250, 4000))
        assert 10 * np.log10(high / low) / 4 == pytest.approx(slope, abs=0.2)


def test_disturbances_do_not_move_a_sound_in_time() -> None:
    click = np.zeros(RATE)
    click[5000] = 0.5
    sources = [known_pitch.Source("one", rng().standard_normal(RATE))]
    for name, disturb in known_pitch.disturbances(sources).items():
        if name != "telephone":  # whose filter is one of the analogue world
            heard = disturb(click, rng())
            assert heard.shape == click.shape
            if "dB" not in name:
                assert np.abs(heard).argmax() == 5000, name


class Shifted(PitchExtractor):
    """Finds how loud the sound is `ahead` of a frame; the future it has not heard is silent."""

    spec, sample_rate = SPEC, RATE

    def __init__(self, ahead: int) -> None:
        self.ahead = ahead

    def track(self, wave: torch.Tensor, sample_rate: int) -> Track:
        frames = len(wave) // HOP
        level = wave[: frames * HOP].view(frames, HOP).square().mean(1).double() + 0.1
        level = torch.cat([level, torch.full((self.ahead,), 0.05)])[self.ahead :]
        return Track(1000 * level, HOP / sample_rate, 0.5 * HOP / sample_rate)


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_looking_ahead_is_noticed(ahead: int) -> None:
    wave = rng().uniform(-0.9, 0.9, 2 * RATE)
    voice = Known("one", "test", wave, np.full(2000, 200.0))
    extractor = Shifted(ahead)
    seen = pitch.foresee(extractor, [voice], [pitch.hear(extractor, wave)], rng())
    assert seen.reach == pytest.approx(max(0, ahead - 0.5) * HOP / RATE)
    for frames, same in zip(pitch.AHEAD, seen.same, strict=True):
        assert same == (100 if frames >= ahead else 0)


def test_a_folder_in_a_folder_is_a_speaker(tmp_path: Path) -> None:
    for name in ("anna/1.wav", "anna/sub/2.g722", "bert/1.flac", "bert/notes.txt", "c.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = known_pitch.people([tmp_path])
    assert {name: len(files) for name, files in found.items()} == {
        "anna": 2,
        "bert": 1,
        tmp_path.name: 1,
    }


def test_the_page_keeps_what_others_wrote() -> None:
    page = run.page(["| row |"], [])
    once = pitch.put(page, ["first"])
    assert once.startswith(page.rstrip())
    other = once + "\n<!-- quality -->\nkept\n<!-- end -->\n"
    twice = pitch.put(other, ["second"])
    assert "first" not in twice
    assert twice == other.replace("first", "second")
    again = run.page(["| new row |"], []) + run.others(twice)
    assert again == twice.replace("| row |", "| new row |")
    assert run.others(page) == ""


@needs_world
def test_it_all_ends_in_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written = tmp_path / "benchmarks.md"
    written.write_text("# Benchmarks\n", "utf-8")
    monkeypatch.setattr(pitch, "PAGE", written)
    monkeypatch.setattr(pitch, "ROOT", tmp_path)
    monkeypatch.setattr(pitch, "CUTS", 2)
    short = ["pitch.py", "--seconds", "4", "--methods", "swift", "dio", "--write"]
    monkeypatch.setattr(sys, "argv", short)
    assert pitch.main() == 0
    text = written.read_text("utf-8")
    clean = next(line for line in text.splitlines() if line.startswith("| swift"))
    overall = float(clean.split("|")[2].split()[0])
    assert 85 < overall <= 100
    assert sum(line.startswith("| dio") for line in text.splitlines()) == 7
    assert "--" not in "".join(re.findall("`[^`]*`", text)).replace("--write", "")
