"""Speakers, opinions and distances of sounds of which they are known."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recordings import RATE, clips_of, recorded, vowel

from sovits.audio.io import read, write
from sovits.config import AudioConfig, VoiceConfig
from sovits.errors import EvaluationError
from sovits.evaluate.clips import cut
from sovits.evaluate.quality import Listener, calibrated, measure_quality
from sovits.evaluate.reconstruction import measure_reconstruction, mel_distance
from sovits.evaluate.similarity import measure_similarity, similarity_between_halves
from sovits.evaluate.speed import Timing, clocked, measure_speed
from sovits.evaluate.target import Target, find_target, load_target
from sovits.features.speaker import load_speaker_encoder
from sovits.library import VOICES

ENCODER = load_speaker_encoder()
LOW, HIGH = vowel(15, 110, seed=1), vowel(15, 260, seed=2)


def quiet(_share: float) -> None:
    """Show no progress."""


def test_whoever_is_the_target_is_found_to_be_it(tmp_path: Path) -> None:
    clips = clips_of(tmp_path, (LOW, HIGH), (HIGH, HIGH))
    to_target, to_source = measure_similarity(
        clips, Target((tmp_path,), HIGH), ENCODER, lambda _: None
    )
    assert to_target.source is not None
    assert to_target.change is not None
    assert to_target.result.values == pytest.approx([1, 1], abs=1e-5)
    assert to_target.source.values[1] == pytest.approx(1, abs=1e-5)
    apart = to_target.source.values[0]
    assert apart < 0.9
    assert to_source.result.values == pytest.approx([apart, 1], abs=1e-5)
    assert to_target.change.estimate.value == pytest.approx((1 - apart) / 2, abs=1e-5)


def test_silence_resembles_nobody(tmp_path: Path) -> None:
    clips = clips_of(tmp_path, (LOW, torch.zeros(len(LOW))))
    for measure in measure_similarity(clips, Target((tmp_path,), LOW), ENCODER, quiet):
        assert measure.result.estimate.value == 0


def test_a_target_is_like_itself() -> None:
    assert similarity_between_halves(Target((), torch.cat([LOW, LOW])), ENCODER) == pytest.approx(
        1, abs=1e-5
    )
    assert similarity_between_halves(Target((), torch.cat([LOW, 0 * LOW])), ENCODER) is None


def test_targets_are_found_in_folders_and_beside_bundled_voices(tmp_path: Path) -> None:
    from made_voices import synthesizer_config, voice

    made = voice(VoiceConfig(AudioConfig(), synthesizer_config()))
    made.path = VOICES / "heart.safetensors"
    assert find_target(made, None) == [VOICES / "heart.sample.ogg"]
    made.path = tmp_path / "mine.safetensors"
    with pytest.raises(EvaluationError, match=r"mine\.safetensors comes without a recording"):
        find_target(made, None)
    with pytest.raises(EvaluationError, match="holds no sound file"):
        find_target(made, tmp_path)
    for name in ("b.wav", "sub/a.flac", ".hidden.wav", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix == ".txt":
            path.touch()
        else:
            write(path, 0.5 * LOW[:RATE], RATE)
    found = find_target(made, tmp_path)
    assert found == [tmp_path / "b.wav", tmp_path / "sub/a.flac"]
    assert find_target(made, found[0]) == found[:1]
    assert load_target(found).seconds == pytest.approx(2)
    write(tmp_path / "b.wav", torch.zeros(RATE), RATE)
    with pytest.raises(EvaluationError, match=r"b\.wav is silent"):
        load_target(found[:1])


def test_the_distance_of_a_sound_from_itself_is_none(tmp_path: Path) -> None:
    clips = clips_of(tmp_path, (LOW, LOW), (LOW, 0.5 * LOW))
    (measure,) = measure_reconstruction(clips, quiet)
    assert measure.result.values[0] == 0
    # Half the magnitude is ln 2 less, in all cells but the few at the floor.
    assert measure.result.values[1] == pytest.approx(math.log(2), abs=0.02)


def test_the_distance_does_not_depend_on_the_rate_of_the_file() -> None:
    high = vowel(5, 200, rate=48_000)
    low = vowel(5, 200, rate=16_000)
    total, cells = mel_distance(high, 48_000, high[::1], 48_000)
    assert total == 0
    total, cells = mel_distance(low, 16_000, low, 16_000)
    assert (total, cells % 80) == (0, 0)
    noisy = low + 0.05 * torch.randn(len(low))
    total, cells = mel_distance(low, 16_000, noisy, 16_000)
    assert total / cells > 0.1


def test_seconds_are_counted_for_each_second() -> None:
    with clocked("a", 2.0) as timing:
        sum(i * i for i in range(100_000))
    assert timing.processor > 0
    assert timing.wall > 0
    timings = [Timing("a", 10, 1.0, 2.0), Timing("b", 30, 1.0, 1.0)]
    processor, wall = measure_speed(timings)
    assert processor.result.estimate.value == pytest.approx(2 / 40)
    assert wall.result.values == pytest.approx([0.2, 1 / 30])


def test_opinions_are_calibrated_as_published() -> None:
    found = calibrated(torch.tensor([[0.0, 0.0, 0.0], [3.0, 3.0, 3.0]]).numpy())
    assert found[0] == pytest.approx([0.0052439, -0.39604546, 0.04602535])
    assert found[1] == pytest.approx([2.9120, 3.2464, 2.7835], abs=1e-3)


def test_the_network_hears_what_it_expects() -> None:
    heard: list[torch.Tensor] = []

    class Session:
        def run(self, _names: None, given: dict[str, Any]) -> list[Any]:
            heard.append(torch.from_numpy(given["input_1"]))
            return [np.array([[3.0, 3.0, 3.0]])]

    listener = object.__new__(Listener)
    listener.session = Session()
    loud = 3 * torch.sin(torch.arange(4 * RATE) * 0.3)
    assert listener.opinions(loud, RATE) == pytest.approx([2.9120, 3.2464, 2.7835], abs=1e-3)
    assert [tuple(window.shape) for window in heard] == [(1, int(9.01 * RATE))]
    assert float(heard[0].abs().max()) == 1
    torch.testing.assert_close(heard[0][0, : 4 * RATE], heard[0][0, 4 * RATE : 8 * RATE])
    heard.clear()
    listener.opinions(torch.cat([loud] * 3), RATE)
    assert len(heard) == 3  # from 0, 1 and 2 s on


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("speechmos", "onnxruntime")),
    reason="speechmos is not installed",
)
def test_noise_is_heard_to_be_worse_than_speech(tmp_path: Path) -> None:
    speech, rate = read(VOICES / "heart.sample.ogg", mono=True)
    clean = speech[0, : 14 * rate]
    noisy = clean + 0.05 * torch.randn(len(clean))
    listener = Listener()
    recording = recorded(tmp_path, "talk", clean, noisy, rate=rate)
    sig, bak, ovrl = measure_quality(cut([recording]), listener, quiet)
    assert ovrl.source is not None
    assert ovrl.source.estimate.value > 2.9
    assert ovrl.result.estimate.value < ovrl.source.estimate.value - 0.3
    assert bak.change is not None
    assert bak.change.estimate.value < -1
    assert sig.result.estimate.value > bak.result.estimate.value
    short, repeated = clean[: 3 * rate], torch.cat([clean[: 3 * rate]] * 4)
    assert listener.opinions(short, rate) == pytest.approx(
        listener.opinions(repeated[: round(9.01 * rate)], rate), abs=0.05
    )
