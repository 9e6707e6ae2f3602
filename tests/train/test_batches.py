"""What a step is given: the right frames of the right speaker, in an order that comes again."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import DataLoader
from toy_training import AUDIO, make_features, set_toy, toy, toy_config

from sovits.audio.mel import linear_spectrogram
from sovits.errors import DatasetError
from sovits.features.content import stretch
from sovits.train import fit
from sovits.train.dataset import Batches, Crops, Recording, list_recordings


def recordings(folder: Path) -> list[Recording]:
    config = toy_config(folder)
    return list_recordings(Path(config.train.training_files), config)


def make_batches(folder: Path, epoch: int = 0, **train: object) -> Batches:
    batches = Batches(recordings(folder), toy_config(folder, **train))
    batches.epoch = epoch
    return batches


def flat(crops: Crops) -> list[Tensor]:
    return [*crops.batch, crops.wave]


def equal(a: Crops, b: Crops) -> bool:
    return all(map(torch.equal, flat(a), flat(b)))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on one core
def test_crops_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    toy(tmp_path)
    alone, shared = (
        list(DataLoader(make_batches(tmp_path, epoch=3), batch_size=None, num_workers=n))
        for n in (0, 2)
    )
    assert len(alone) == len(shared) == 3
    assert all(map(equal, alone, shared))


def test_crops_change_every_epoch_and_come_again_with_the_seed(tmp_path: Path) -> None:
    toy(tmp_path)
    first = [make_batches(tmp_path, epoch)[0] for epoch in range(4)]
    again = [make_batches(tmp_path, epoch)[0] for epoch in range(4)]
    assert all(map(equal, first, again))
    assert not any(equal(first[i], first[j]) for i in range(4) for j in range(i))
    assert not equal(first[0], make_batches(tmp_path, seed=1)[0])


def identify(
    crops: Crops, clips: dict[Recording, dict[str, Tensor]]
) -> list[tuple[Recording, int]]:
    """Return which clip each crop is of, and from which frame on; pitch glides, so it tells."""
    found = []
    for f0 in crops.batch.f0:
        for recording, features in clips.items():
            at = (features["f0"] == f0[0]).nonzero()
            if len(at):
                found.append((recording, int(at[0])))
    assert len(found) == len(crops.batch.f0)
    return found


def test_every_crop_is_the_same_stretch_of_everything(tmp_path: Path) -> None:
    toy(tmp_path)
    clips = {r: load_file(r.path) for r in recordings(tmp_path)}
    hop, seen = AUDIO.hop_length, set()
    for epoch in range(6):
        batches = make_batches(tmp_path, epoch)
        for crops in [batches[i] for i in range(len(batches))]:
            for i, (recording, first) in enumerate(identify(crops, clips)):
                features, total = clips[recording], recording.frames
                frames = crops.batch.f0.shape[-1]
                count = min(frames, total - first)
                here = slice(first, first + count)
                wave = features["wave"][: total * hop].float() / 32768
                for found, wanted in (
                    (crops.batch.content, stretch(features["content"].float(), total)[:, here]),
                    (crops.batch.f0, features["f0"][here]),
                    (crops.batch.voiced, features["voiced"][here]),
                    (crops.batch.volume, features["volume"][here]),
                    (crops.batch.spectrogram, linear_spectrogram(wave, AUDIO)[:, here]),
                    (crops.batch.mask[:, 0], torch.ones(count)),
                ):
                    torch.testing.assert_close(found[i, ..., :count], wanted, rtol=1e-4, atol=1e-4)
                    assert not found[i, ..., count:].any()  # padding
                start = (first + int(crops.batch.start[i])) * hop
                assert int(crops.batch.start[i]) + 8 <= count
                assert torch.equal(crops.wave[i, 0], wave[start : start + 8 * hop])
                # The folder of a clip says who it is, and who that is the configuration.
                speaker = {"alice": 0, "bob": 1}[recording.path.parent.name]
                assert crops.batch.speaker[i] == speaker == recording.speaker
                seen.add((recording, frames, count < frames))
    assert {recording for recording, *_ in seen} == set(clips)
    assert {padded for *_, padded in seen} == {True, False}


def test_each_clip_is_heard_once_an_epoch(tmp_path: Path) -> None:
    toy(tmp_path)
    clips = {r: load_file(r.path) for r in recordings(tmp_path)}
    batches = make_batches(tmp_path)
    heard = [r for i in range(len(batches)) for r, _ in identify(batches[i], clips)]
    assert sorted(heard) == sorted(clips)


def test_the_last_batch_is_as_large_as_the_others(tmp_path: Path) -> None:
    toy(tmp_path)
    batches = make_batches(tmp_path, batch_size=4)
    assert [len(batches[i].wave) for i in range(len(batches))] == [4, 4]
    assert len(make_batches(tmp_path, batch_size=40)[0].wave) == 40


def test_small_data_sets_have_long_crops_too(tmp_path: Path) -> None:
    toy(tmp_path)
    lengths = [
        make_batches(tmp_path, epoch)[i].batch.f0.shape for epoch in range(7) for i in range(3)
    ]
    assert [i for i, shape in enumerate(lengths) if shape == (1, 64)] == [9, 19]
    assert set(lengths) == {(2, 16), (1, 64)}


def test_there_is_no_batch_beyond_the_last(tmp_path: Path) -> None:
    toy(tmp_path)
    with pytest.raises(IndexError):
        make_batches(tmp_path)[3]


def other_content(folder: Path) -> None:
    make_features(folder / "alice/2.wav", 20, 200, content="hubert-soft")


def other_rate(folder: Path) -> None:
    make_features(folder / "bob/0.wav", 20, 200, sample_rate="44100")


def other_hop(folder: Path) -> None:
    make_features(folder / "bob/1.wav", 20, 200, hop_length="512")


def no_file(folder: Path) -> None:
    (folder / "bob/1.wav.features.safetensors").unlink()


def half_a_file(folder: Path) -> None:
    path = folder / "bob/1.wav.features.safetensors"
    path.write_bytes(path.read_bytes()[:-7])


def stranger(folder: Path) -> None:
    with (folder / "train.txt").open("a") as file:
        file.write(f"{folder}/carol/1.wav\n")


def no_lines(folder: Path) -> None:
    (folder / "val.txt").write_text("\n\n")


def no_list(folder: Path) -> None:
    (folder / "train.txt").unlink()


def no_text(folder: Path) -> None:
    (folder / "train.txt").write_bytes(b"\xff\xfe\x00")


def short_clips(folder: Path) -> None:
    make_features(folder / "alice/1.wav", 4, 200)
    (folder / "train.txt").write_text(f"{folder}/alice/1.wav\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_content, "2.wav.features.safetensors was made with content hubert-soft, but"),
        (other_rate, "made with sample_rate 44100, but the configuration has 8000"),
        (other_hop, "made with hop_length 512, but the configuration has 64"),
        (no_file, "There is no features file"),
        (half_a_file, "1.wav.features.safetensors is damaged ("),
        (stranger, "carol, which is no speaker of the configuration"),
        (no_lines, "val.txt names no clips"),
        (no_list, "There is no list of clips"),
        (no_text, "train.txt is no list of clips (it is not UTF-8 text)"),
        (short_clips, "The longest clip lasts 0.03 s, but training needs 0.06 s"),
    ],
)
def test_what_cannot_be_trained_on_is_named(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    config = toy(tmp_path)
    spoil(tmp_path)
    with pytest.raises(DatasetError, match=re.escape(message)):
        fit(config, tmp_path / "model", device="cpu", on_log=print)
    assert not (tmp_path / "model").exists()


def test_content_of_another_width_is_refused(tmp_path: Path) -> None:
    toy(tmp_path)
    config = set_toy(tmp_path)
    config.write_text(config.read_text().replace('"ssl_dim": 6', '"ssl_dim": 7'))
    with pytest.raises(DatasetError, match="made with channels 6, but the configuration has 7"):
        fit(config, tmp_path / "model", device="cpu", on_log=print)


def test_lists_may_come_from_an_editor_of_windows(tmp_path: Path) -> None:
    toy(tmp_path)
    path = tmp_path / "train.txt"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(recordings(tmp_path)) == 6
