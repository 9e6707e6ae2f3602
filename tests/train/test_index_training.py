"""An index holds what there is of each speaker of a voice, and of nobody else."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_voices import voice
from safetensors.torch import save_file
from toy_training import CHANNELS, toy_config

from sovits.cli import main
from sovits.config import ConvertOptions, VoiceConfig
from sovits.errors import DatasetError, OutputError, SovitsError
from sovits.features.content import CONTENT
from sovits.index_file import open_index
from sovits.legacy.settings import write_config
from sovits.train.index import FEWEST, IndexOptions, train_index

ENCODER = "sovits-content"


def clip(
    path: Path,
    frames: int = 300,
    seed: int = 0,
    encoder: str = ENCODER,
    channels: int = CHANNELS,
) -> torch.Tensor:
    """Write the features of a clip, and return its content, `[frames, channels]`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = torch.randn(channels, frames, generator=torch.Generator().manual_seed(seed)).half()
    name = path.name + ".features.safetensors"
    save_file({"content": content}, path.with_name(name), {"content": encoder})
    return content.t()


def toy_voice(folder: Path, **settings: object) -> VoiceConfig:
    config = replace(toy_config(folder).voice, content=ENCODER)
    return replace(config, **settings)  # type: ignore[arg-type]


def trained(folder: Path, options: IndexOptions | None = None) -> tuple[Path, list[str]]:
    """Make an index of a folder, and return what was said."""
    said: list[str] = []
    out = folder / "logs/44k/index.safetensors"
    train_index(folder, out, toy_voice(folder), options or IndexOptions(), said.append)
    return out, said


def test_an_index_holds_every_frame_of_every_speaker(tmp_path: Path) -> None:
    own = {
        name: torch.cat([clip(tmp_path / name / f"{i}.wav", seed=seed + i) for i in range(3)])
        for name, seed in (("alice", 0), ("bob", 10))
    }
    clip(tmp_path / "alice/.hidden.wav")
    out, said = trained(tmp_path)
    minutes = 900 * 512 / 44_100 / 60
    assert said == [f"{n}: 900 frames ({minutes:.1f} minutes) of 3 clips" for n in own]
    file = open_index(out)
    assert (file.content, file.frame_rate) == (ENCODER, 44_100 / 512)
    for name, frames in own.items():
        assert torch.equal(file.read(name).vectors, frames.float())
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_many_frames_are_put_into_lists_and_the_same_ones_every_time(tmp_path: Path) -> None:
    own = torch.cat([clip(tmp_path / f"alice/{i}.wav", seed=i) for i in range(3)])
    options = IndexOptions(compared=500)
    out, said = trained(tmp_path, options)
    assert said[0].endswith("900 frames (0.2 minutes) of 3 clips, in 30 lists")
    assert said[1] == "bob: not in the index, as there are no features of this speaker"
    first = out.read_bytes()
    assert trained(tmp_path, options)[0].read_bytes() == first
    index = open_index(out).read("alice")
    assert sorted(index.vectors.tolist()) == sorted(own.tolist())
    # Each frame finds itself.
    moved = index.nearest(own.t().float())
    torch.testing.assert_close(moved, own.t().float())


def test_what_is_no_speaker_of_the_voice_is_left_out(tmp_path: Path) -> None:
    for name in ("alice", "carol"):
        clip(tmp_path / name / "0.wav")
    out, said = trained(tmp_path)
    assert open_index(out).speakers == ("alice",)
    assert "carol: left out, as the configuration has no such speaker" in said


def nothing(folder: Path) -> None:
    (folder / "alice").mkdir()


def another_encoder(folder: Path) -> None:
    clip(folder / "alice/0.wav", encoder="hubert-soft")


def two_encoders(folder: Path) -> None:
    clip(folder / "alice/0.wav")
    clip(folder / "bob/0.wav", encoder="hubert-soft")


def one_frame(folder: Path) -> None:
    clip(folder / "alice/0.wav")
    clip(folder / "bob/0.wav", frames=1)


def a_stranger(folder: Path) -> None:
    clip(folder / "alise/0.wav")


def other_width(folder: Path) -> None:
    (folder / "alice").mkdir()
    content = torch.zeros(CHANNELS + 1, 99)
    save_file({"content": content}, folder / "alice/0.features.safetensors", {"content": ENCODER})


def not_numbers(folder: Path) -> None:
    (folder / "alice").mkdir()
    content = torch.full((CHANNELS, 99), torch.nan)
    save_file({"content": content}, folder / "alice/0.features.safetensors", {"content": ENCODER})


def half_a_file(folder: Path) -> None:
    clip(folder / "alice/0.wav")
    path = folder / "alice/0.wav.features.safetensors"
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (nothing, "There is no features file"),
        (another_encoder, "was made with content hubert-soft, but the configuration has sovits-co"),
        (two_encoders, "was made with content hubert-soft, but others with sovits-content"),
        (one_frame, f"Speaker bob has 1 of the {FEWEST} frames of content that an index needs"),
        (a_stranger, "alise, which is no speaker of the configuration. Did you mean alice?"),
        (other_width, "was made with channels 7, but the configuration has 6"),
        (not_numbers, "is damaged (its content holds NaN or infinite values)"),
        (half_a_file, "alice/0.wav.features.safetensors is damaged ("),
    ],
)
def test_what_cannot_be_indexed_is_named_in_one_line(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(tmp_path)
    with pytest.raises(DatasetError, match=re.escape(message)) as caught:
        trained(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    assert not list(tmp_path.rglob("*index*"))


@pytest.mark.parametrize("name", ["i.pkl", "file/i.safetensors"])
def test_where_no_index_can_be_written_is_named(tmp_path: Path, name: str) -> None:
    clip(tmp_path / "alice/0.wav")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=re.escape(str(tmp_path / name))):
        train_index(tmp_path, tmp_path / name, toy_voice(tmp_path), IndexOptions(), print)


def test_the_command_writes_beside_the_training_what_infer_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    channels = CONTENT[ENCODER].channels
    clip(Path("dataset/44k/alice/0.wav"), channels=channels)
    assert main(["train-index"]) == 1
    assert "configs/44k/config.json does not exist" in capsys.readouterr().err
    config = toy_config(tmp_path)
    network = replace(config.voice.synthesizer, content_channels=channels)
    config = replace(config, voice=toy_voice(tmp_path, synthesizer=network))
    Path("configs/44k").mkdir(parents=True)
    write_config(Path("configs/44k/config.json"), config)
    assert main(["train-index"]) == 0
    out, err = capsys.readouterr()
    assert out == "logs/44k/index.safetensors\n"
    assert "alice: 300 frames (0.1 minutes) of 1 clip\n" in err
    assert re.search(r"\n0\.\d MB\. Use it with svc infer -r 0\.5\.\n$", err)
    singer = voice(config.voice)
    singer.path = Path("logs/44k/G_3.pth")
    assert singer.index_path() == Path("logs/44k/index.safetensors")
    assert len(singer.index(None, "alice").vectors) == 300
    config_path = "configs/44k/config.json"
    argv = ["-i", "dataset/44k", "-c", config_path, "-o", "i.safetensors", "-d", "cpu"]
    assert main(["train-index", *argv]) == 0
    capsys.readouterr()
    for wrong in (["-o", "i.pkl"], ["-i", "nowhere"], ["-d", "abacus"]):
        assert main(["train-index", *wrong]) == 1
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert ConvertOptions(retrieval_ratio=0.5).retrieval is None


def test_a_voice_without_an_index_says_where_one_would_be(tmp_path: Path) -> None:
    singer = voice(toy_voice(tmp_path))
    singer.path = tmp_path / "alice.safetensors"
    with pytest.raises(SovitsError, match=r"alice\.index\.safetensors and no .*/index\.safe"):
        singer.index(None, None)
