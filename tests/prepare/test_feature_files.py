"""Features are complete, aligned, computed once, and made again when they are no longer right."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch
from made_sounds import save, tone
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from sovits.config import AudioConfig, SynthesizerConfig, VoiceConfig
from sovits.errors import OutputError, PitchError, WeightsError
from sovits.prepare import features
from sovits.prepare.features import make_features
from sovits.types import Pitch

RATE, HOP = 16_000, 160
VOICE = VoiceConfig(
    AudioConfig(RATE, HOP, 640, 20),
    SynthesizerConfig(upsample_rates=(10, 16), upsample_kernel_sizes=(20, 32)),
    "whisper-base",
)


class Encoder:
    """Stand in for a content encoder: the mean of each 20 ms, four times."""

    class spec:
        sample_rate = RATE

    def encode(self, wave: Tensor) -> Tensor:
        frames = wave.shape[0] // 320
        return wave[: frames * 320].reshape(frames, 320).mean(-1).expand(4, frames)


class Extractor:
    """Stand in for a pitch method."""

    f0 = 200.0

    def __call__(self, wave: Tensor, sample_rate: int, hop_length: int) -> Pitch:
        assert sample_rate == RATE
        frames = wave.shape[0] // hop_length
        return Pitch(torch.full((frames,), self.f0), torch.ones(frames, dtype=torch.bool))


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    features._tools.cache_clear()
    monkeypatch.setattr(features, "load_content_encoder", lambda *_, **__: Encoder())
    monkeypatch.setattr(features, "load_pitch_extractor", lambda *_, **__: Extractor())
    yield
    features._tools.cache_clear()


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    save(tmp_path / "a" / "x.wav", tone(1.005, 200, RATE), sample_rate=RATE)
    save(tmp_path / "b" / "y.wav", tone(0.5, 200, RATE), sample_rate=RATE)
    return tmp_path


@pytest.mark.usefixtures("tools")
def test_a_file_holds_every_feature_of_the_same_frames(clips: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = make_features(clips, VOICE, "swift", on_progress=lambda *at: seen.append(at))
    assert [path.name for path in report.made] == [
        "x.wav.features.safetensors",
        "y.wav.features.safetensors",
    ]
    assert seen == [(1, 2), (2, 2)]
    tensors = load_file(report.made[0])
    assert {name: (tuple(t.shape), t.dtype) for name, t in tensors.items()} == {
        "wave": ((16_000,), torch.int16),
        "content": ((4, 50), torch.float16),
        "f0": ((100,), torch.float32),
        "voiced": ((100,), torch.bool),
        "volume": ((100,), torch.float32),
    }
    stored = soundfile.read(clips / "a" / "x.wav", dtype="int16")[0][:16_000]
    assert tensors["wave"].tolist() == stored.tolist()
    assert tensors["volume"][50] == pytest.approx(0.3 / 2**0.5, rel=0.02)
    with safe_open(report.made[0], framework="pt") as file:
        metadata = file.metadata()
    status = (clips / "a" / "x.wav").stat()
    assert metadata == {
        "format": "sovits-features-1",
        "content": "whisper-base",
        "f0_method": "swift",
        "sample_rate": "16000",
        "hop_length": "160",
        "source": f"{status.st_size} {status.st_mtime_ns}",
    }


@pytest.mark.usefixtures("tools")
def test_clips_at_another_rate_are_resampled(tmp_path: Path) -> None:
    save(tmp_path / "a" / "x.wav", tone(1.0, 200, 44_100), sample_rate=44_100)
    (made,) = make_features(tmp_path, VOICE, "swift").made
    assert load_file(made)["wave"].shape == (16_000,)


@pytest.mark.usefixtures("tools")
def test_what_is_right_is_kept_and_what_is_not_is_made_again(clips: Path) -> None:
    first = make_features(clips, VOICE, "swift")
    again = make_features(clips, VOICE, "swift")
    assert (again.made, set(again.kept)) == ((), set(first.made))
    changed = clips / "a" / "x.wav"
    os.utime(changed, ns=(0, 12345))
    first.made[1].write_bytes(first.made[1].read_bytes()[:-100])  # as a full disk leaves it
    assert len(make_features(clips, VOICE, "swift").made) == 2
    assert len(make_features(clips, VOICE, "harvest").made) == 2
    other = replace(VOICE, content="hubert-soft")
    assert len(make_features(clips, other, "harvest").made) == 2
    assert len(make_features(clips, other, "harvest").kept) == 2
    assert len(make_features(clips, other, "harvest", rebuild=True).made) == 2


@pytest.mark.usefixtures("tools")
def test_an_interrupted_run_goes_on_where_it_was(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(done: int, _total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_features(clips, VOICE, "swift", on_progress=interrupt)
    report = make_features(clips, VOICE, "swift")
    assert (len(report.made), len(report.kept)) == (1, 1)


@pytest.mark.usefixtures("tools")
def test_a_bad_clip_is_named_and_the_rest_goes_on(clips: Path) -> None:
    (clips / "a" / "bad.wav").write_text("no sound")
    save(clips / "a" / "tiny.wav", tone(0.01, 200, RATE), sample_rate=RATE)
    report = make_features(clips, VOICE, "swift")
    assert len(report.made) == 2
    reasons = {skipped.path.name: skipped.reason for skipped in report.skipped}
    assert "not a sound file" in reasons["bad.wav"]
    assert "too short to hold any content" in reasons["tiny.wav"]
    assert not list(clips.rglob(".*"))


@pytest.mark.usefixtures("tools")
def test_features_that_are_not_numbers_are_not_written(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Extractor, "f0", float("nan"))
    report = make_features(clips, VOICE, "swift")
    assert report.made == ()
    assert "The f0 of " in report.skipped[0].reason
    assert not list(clips.rglob("*.safetensors"))


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize(
    ("number", "message"),
    [(28, "cannot be written: its disk is full"), (30, r"cannot be written \(.*Read-only")],
)
def test_a_file_that_cannot_be_written_stops_the_run(
    clips: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(features, "save", refuse)
    with pytest.raises(OutputError, match=rf"x\.wav\.features\.safetensors {message}"):
        make_features(clips, VOICE, "swift")
    assert not list(clips.rglob(".*"))


def test_unknown_tools_are_noticed_before_any_clip(clips: Path) -> None:
    with pytest.raises(PitchError, match="There is no pitch method swft"):
        make_features(clips, VOICE, "swft")
    with pytest.raises(WeightsError, match="There is no content encoder whisper-bass"):
        make_features(clips, replace(VOICE, content="whisper-bass"), "swift")


@pytest.mark.parametrize(
    ("content", "channels", "frames"),
    [("sovits-content", 192, 86), ("whisper-base-still", 512, 50)],
)
def test_real_encoders_and_the_bundled_pitch_method_hear_a_tone(
    tmp_path: Path, content: str, channels: int, frames: int
) -> None:
    save(tmp_path / "a" / "x.wav", tone(1.0, 220, 44_100), sample_rate=44_100)
    voice = VoiceConfig(content=content)
    try:
        (made,) = make_features(tmp_path, voice, "swift").made
    finally:
        features._tools.cache_clear()
    tensors = load_file(made)
    assert tensors["content"].shape == (channels, frames)
    assert tensors["f0"].shape == (44_100 // 512,)
    assert tensors["f0"][tensors["voiced"]].median() == pytest.approx(220, rel=0.01)
