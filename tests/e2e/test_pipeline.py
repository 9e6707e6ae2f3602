"""Two sung voices from recordings to a conversion, by the commands that people type."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

RATE = 32_000
PEOPLE = {"low": (110.0, (500, 1200, 2400)), "high": (220.0, (750, 1600, 3000))}
"""Pitch (Hz) and formants (Hz) of two made people."""


def sung(hz: NDArray[np.float64], formants: tuple[int, ...]) -> NDArray[np.float64]:
    """Return a vowel of the pitch `hz`, one value per sample."""
    turns = np.cumsum(hz) / RATE
    wave = np.zeros_like(hz)
    for k in range(1, 30):
        shape = sum(1 / (1 + ((k * hz - f) / 120) ** 2) for f in formants)
        wave += np.where(k * hz < RATE / 2, shape, 0) * np.sin(2 * math.pi * k * turns)
    fade = np.minimum(1, np.minimum(np.arange(len(hz)), np.arange(len(hz))[::-1]) / 800)
    return np.asarray(0.3 * fade * wave / np.abs(wave).max())


def melody(hz: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """Return a glide with vibrato around `hz`."""
    t = np.arange(round(seconds * RATE)) / RATE
    path = 0.4 * np.sin(2 * math.pi * (0.3 * t + seed / 7)) + 0.03 * np.sin(2 * math.pi * 5.5 * t)
    return np.asarray(hz * 2**path)


def svc(folder: Path, *words: str) -> str:
    """Run a command as its own process, and return what it said."""
    done = subprocess.run(
        [sys.executable, "-c", "from sovits.cli import entry; entry()", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def shrink(config: Path) -> None:
    """Make the network one that trains within seconds."""
    table = json.loads(config.read_text())
    assert table["model"]["type_"] == "sovits-native"
    table["train"] |= {"batch_size": 2, "eval_interval": 100, "adversarial_from": 2}
    table["model"] |= {
        "width": 16,
        "prior_blocks": 1,
        "decoder_blocks": 1,
        "gin_channels": 16,
        "harmonic_bands": 32,
        "noise_bands": 16,
        "discriminator_width": 0.125,
        "discriminator_spectra": [256],
    }
    config.write_text(json.dumps(table))


@pytest.mark.slow
def test_recordings_become_a_voice_that_sings_the_source(tmp_path: Path) -> None:
    for name, (hz, formants) in PEOPLE.items():
        folder = tmp_path / "dataset_raw" / name
        folder.mkdir(parents=True)
        for i in range(5):
            soundfile.write(folder / f"{i}.wav", sung(melody(hz, 1.2, i), formants), RATE)
    (tmp_path / "dataset_raw/notes.txt").touch()

    said = svc(tmp_path, "pre-resample", "-n", "1")
    assert "10 clips made, 1 files left out." in said
    said = svc(tmp_path, "pre-config")
    assert "2 speakers, 8 clips to train on, 2 to validate on." in said
    shrink(tmp_path / "configs/44k/config.json")
    said = svc(tmp_path, "pre-hubert", "-n", "1")
    assert "10 features files made, 0 files left out." in said
    said = svc(tmp_path, "train", "--max-steps", "3")
    assert "Starting from random weights" in said
    assert "Step 3 is saved in logs/44k/G_3.pth." in said
    said = svc(tmp_path, "train", "--max-steps", "6")
    assert "Going on from G_3.pth: step 3." in said
    assert (tmp_path / "logs/44k/config.json").is_file()

    f0 = melody(300.0, 2.0, 3)
    source, result = tmp_path / "song.flac", tmp_path / "song.out.wav"
    soundfile.write(source, np.stack([sung(f0, (600, 1500, 2600))] * 2, axis=1), RATE)
    said = svc(tmp_path, "infer", "song.flac", "-s", "low", "-t", "-3")
    assert re.search(r"Using G_\d+\.pth, the best checkpoint in logs/44k\.", said)
    found, rate = soundfile.read(result)
    assert rate == RATE
    assert len(found) == len(f0)
    assert np.isfinite(found).all()
    assert 0.001 < np.abs(found).max() <= 1
    follows(found, f0 / 2**0.25)


def follows(wave: NDArray[np.float64], f0: NDArray[np.float64]) -> None:
    """Assert that a sound has the pitch `f0` (Hz, per sample).

    What has six steps of training is no voice yet, but its pulses sing already: the sound is
    periodic with the period of `f0`, more than with periods beside it.
    """
    hits = 0
    starts = range(8000, len(wave) - 8000, 2000)
    for start in starts:
        period = RATE / f0[start + 1000]
        stretch = wave[start : start + 2000]
        scores = {}
        for factor in np.linspace(0.75, 1.35, 61):
            lag = round(period * factor)
            moved = wave[start + lag : start + lag + 2000]
            scores[factor] = float(np.corrcoef(stretch, moved)[0, 1])
        best = max(scores, key=lambda factor: scores[factor])
        hits += abs(12 * math.log2(best)) < 0.5
    assert hits >= 0.8 * len(starts), f"{hits} of {len(starts)} stretches have the source's pitch"
