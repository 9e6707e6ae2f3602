"""The lists and the configuration say the same on every machine and every run."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_sounds import save, tone

from sovits.errors import ConfigError, DatasetError, WeightsError
from sovits.features.content import CONTENT
from sovits.legacy.settings import read_config
from sovits.prepare import filelists
from sovits.prepare.filelists import Lists, write_lists
from sovits.prepare.resample import resample_recordings
from sovits.sources import read_sources
from sovits.weights import at_hand

CLIP = tone(0.4, 300, 8_000)


def dataset(folder: Path, **clips: int) -> Path:
    for speaker, count in clips.items():
        for i in range(count):
            save(folder / speaker / f"{i}.wav", CLIP, sample_rate=8_000)
    return folder


def write(root: Path, encoder: str | None = "whisper-base", preset: str = "sovits-small") -> Lists:
    return write_lists(
        root / "dataset", root / "lists", root / "configs" / "config.json", preset, encoder
    )


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def test_lists_split_every_speaker_and_lose_no_clip(tmp_path: Path) -> None:
    dataset(tmp_path / "dataset", zoe=6, adam=3)
    (tmp_path / "dataset" / ".DS_Store").touch()
    (tmp_path / "dataset" / "notes.txt").touch()
    lists = write(tmp_path)
    train, val = (lines(tmp_path / "lists" / f"{name}.txt") for name in ("train", "val"))
    assert lines(tmp_path / "lists" / "test.txt") == val
    assert train == [path.as_posix() for path in lists.train]
    assert not set(train) & set(val)
    clips = {path.as_posix() for path in (tmp_path / "dataset").rglob("*.wav")}
    assert {*train, *val} == clips
    held_out = [Path(line).parent.name for line in val]
    assert (held_out.count("zoe"), held_out.count("adam")) == (2, 1)
    assert [skipped.path.name for skipped in lists.skipped] == ["notes.txt"]


def test_the_configuration_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    dataset(tmp_path / "dataset", zoe=3, adam=3)
    lists = write(tmp_path)
    config, notes = read_config(tmp_path / "configs" / "config.json")
    assert (config, notes) == (lists.config, [])
    assert config.voice.speakers == {"adam": 0, "zoe": 1}
    assert config.voice.synthesizer.n_speakers == 2
    assert config.train.training_files == (tmp_path / "lists" / "train.txt").as_posix()


def test_speakers_keep_their_rows_when_others_come_and_go(tmp_path: Path) -> None:
    """So that a training goes on, whatever the names of the new ones begin with."""
    dataset(tmp_path / "dataset", zoe=3, bob=3)
    assert write(tmp_path).config.voice.speakers == {"bob": 0, "zoe": 1}
    dataset(tmp_path / "dataset", adam=3, carl=3)
    voice = write(tmp_path).config.voice
    assert voice.speakers == {"bob": 0, "zoe": 1, "adam": 2, "carl": 3}
    assert voice.synthesizer.n_speakers == 4
    (tmp_path / "dataset" / "carl").rename(tmp_path / "carl")
    (tmp_path / "dataset" / "bob").rename(tmp_path / "bob")
    voice = write(tmp_path).config.voice
    assert (voice.speakers, voice.synthesizer.n_speakers) == ({"zoe": 1, "adam": 2}, 4)
    voice = write(tmp_path, preset="quickvc").config.voice
    assert (voice.speakers, voice.synthesizer.n_speakers) == ({"zoe": 1, "adam": 2}, 200)
    (tmp_path / "configs/config.json").write_text("{")
    assert write(tmp_path).config.voice.speakers == {"adam": 0, "zoe": 1}
    for name in ("adam", "zoe"):
        (tmp_path / "dataset" / name).rename(tmp_path / name)
    (tmp_path / "bob").rename(tmp_path / "dataset" / "bob")
    voice = write(tmp_path).config.voice
    assert (voice.speakers, voice.synthesizer.n_speakers) == ({"bob": 0}, 1)


def test_the_forks_presets_keep_its_200_speakers(tmp_path: Path) -> None:
    dataset(tmp_path / "dataset", zoe=3)
    voice = write(tmp_path, preset="so-vits-svc-4.0v1").config.voice
    assert (voice.synthesizer.n_speakers, voice.content) == (200, "whisper-base")
    assert voice.synthesizer.content_channels == 512


def test_a_new_clip_moves_no_other_clip_to_the_other_side(tmp_path: Path) -> None:
    dataset(tmp_path / "dataset", zoe=20)
    before = write(tmp_path)
    save(tmp_path / "dataset" / "zoe" / "new.wav", CLIP, sample_rate=8_000)
    after = write(tmp_path)
    moved = set(before.held_out) - set(after.held_out)
    assert len(moved) <= 1
    assert set(after.held_out) - set(before.held_out) <= {tmp_path / "dataset/zoe/new.wav"}


def named(folder: Path, *names: str) -> None:
    for name in names:
        save(folder / "zoe" / f"{name}.wav", CLIP, sample_rate=8_000)


def test_a_recording_is_never_on_both_sides(tmp_path: Path) -> None:
    clips = [f"{word}_{i}" for word in ("one", "two", "six", "ten", "sun", "red") for i in range(3)]
    named(tmp_path / "dataset", *clips)
    lists = write(tmp_path)
    sides = [{path.name.split("_")[0] for path in side} for side in (lists.train, lists.held_out)]
    assert not sides[0] & sides[1]
    assert (len(lists.held_out), lists.shared) == (3, ())


def test_of_one_long_recording_neighbours_are_held_out(tmp_path: Path) -> None:
    named(tmp_path / "dataset", *(f"talk_{i}" for i in range(60)), "greeting")
    lists = write(tmp_path)
    numbers = sorted(int(path.stem.split("_")[1]) for path in lists.held_out)
    assert len(numbers) == 2
    assert numbers == list(range(numbers[0], numbers[0] + 2))
    assert lists.shared == ("zoe",)
    assert write(tmp_path).held_out == lists.held_out


def test_folders_of_recordings_are_told_apart_though_their_clips_lie_together(
    tmp_path: Path,
) -> None:
    for folder in ("may", "june", "july", "august", "march"):
        for i in range(2):
            save(tmp_path / "raw" / "zoe" / folder / f"{i}.wav", CLIP, sample_rate=8_000)
    resample_recordings(tmp_path / "raw", tmp_path / "dataset")
    lists = write(tmp_path)
    sources = read_sources(tmp_path / "dataset")
    held_out = [sources[f"zoe/{path.name}"].split("/")[1] for path in lists.held_out]
    assert len(held_out) == 2
    assert len(set(held_out)) == 1


def test_of_many_clips_more_are_held_out(tmp_path: Path) -> None:
    named(tmp_path / "dataset", *(chr(0x61 + i // 26) + chr(0x61 + i % 26) for i in range(100)))
    assert len(write(tmp_path).held_out) == 4


def test_unusable_clips_are_named(tmp_path: Path) -> None:
    dataset(tmp_path / "dataset", zoe=3)
    save(tmp_path / "dataset" / "zoe" / "short.wav", CLIP[:800], sample_rate=8_000)
    save(tmp_path / "dataset" / "zoe" / "new\nline.wav", CLIP, sample_rate=8_000)
    (tmp_path / "dataset" / "zoe" / "bad.wav").write_text("no sound")
    lists = write(tmp_path)
    assert {skipped.path.name for skipped in lists.skipped} == {
        "short.wav",
        "new\nline.wav",
        "bad.wav",
    }
    assert len(lists.train) + len(lists.held_out) == 3


def test_a_configuration_that_was_there_is_kept(tmp_path: Path) -> None:
    dataset(tmp_path / "dataset", zoe=3)
    assert write(tmp_path).replaced is None
    config = tmp_path / "configs" / "config.json"
    config.write_text("edited by hand")
    kept = write(tmp_path).replaced
    assert kept is not None
    assert kept.read_text() == "edited by hand"
    read_config(config)


def test_too_few_clips_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    dataset(tmp_path / "dataset", zoe=3, adam=2)
    with pytest.raises(DatasetError, match=r"Speaker adam has 2 usable clips, .* at least 3"):
        write(tmp_path)
    assert not (tmp_path / "lists").exists()
    assert not (tmp_path / "configs").exists()


def test_unknown_presets_and_encoders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean quickvc"):
        write(tmp_path, preset="quikvc")
    with pytest.raises(WeightsError, match="Did you mean whisper-base"):
        write(tmp_path, encoder="whisper-bass")


def test_the_default_encoder_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOVITS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SOVITS_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    assert filelists.default_encoder() == filelists.BUNDLED_ENCODER
    assert filelists.default_encoder("quickvc") == filelists.BUNDLED_ENCODER
    assert filelists.default_encoder("sovits-native") == "sovits-content"
    assert at_hand(CONTENT[filelists.BUNDLED_ENCODER].weights)
    kept = tmp_path / "weights" / CONTENT[filelists.BEST_ENCODER].weights.filename
    kept.parent.mkdir()
    kept.touch()
    assert filelists.default_encoder() == filelists.BEST_ENCODER
    assert (
        filelists.default_encoder("sovits-native") == "sovits-content"
    )  # the others cannot stream
    kept.unlink()
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: "/somewhere")
    assert filelists.default_encoder() == filelists.BEST_ENCODER
