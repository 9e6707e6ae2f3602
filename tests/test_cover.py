"""A cover is as long, loud and wide as the song; only what has changed is done again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from sovits import cover as module
from sovits.audio.io import AudioReader, read, write
from sovits.cli import main
from sovits.config import ConvertOptions, CoverOptions
from sovits.cover import Cover, cover
from sovits.errors import ConfigError, OutputError, SeparationError
from sovits.remix import CEILING_DB, measure
from sovits.work import work_folder

RATE, SECONDS = 16_000, 8


class LowIsVoice:
    """Stand in for a separator: what lies below 1 kHz is voice."""

    sample_rate, window, hop, frames = RATE, 512, 128, 192

    def share(self, spectrum: Tensor) -> Tensor:
        bins = torch.arange(spectrum.shape[1]) * self.sample_rate / self.window
        return (bins < 1_000).float()[:, None].expand(spectrum.shape).clone()


class Studio:
    """Stand in for a voice that sings an octave higher and half as loud, at `calls`' request."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "voice.safetensors"
        self.path.write_bytes(b"weights")
        self.device = torch.device("cpu")
        self.separated = 0
        self.converted: list[tuple[str, ConvertOptions]] = []

    def load_separator(self, name: str, device: str) -> LowIsVoice:
        self.separated += 1
        return LowIsVoice()

    def convert_file(
        self,
        voice: Any,
        source: Path,
        out: Path,
        options: ConvertOptions,
        *,
        on_progress: Callable[[float], None],
    ) -> None:
        self.converted.append((source.name.split("-")[0], options))
        with AudioReader(source) as reader:
            wave, rate = reader.read(0, reader.frames), reader.sample_rate
        time = torch.arange(wave.shape[-1]) / rate
        envelope = torch.nn.functional.avg_pool1d(wave.abs(), 401, 1, 200)
        write(out, 0.5 * envelope * torch.sin(2 * torch.pi * 600 * time), rate)
        on_progress(1.0)


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    studio = Studio(tmp_path)
    monkeypatch.setattr(module, "convert_file", studio.convert_file)
    monkeypatch.setattr("sovits.separation.job.load_separator", studio.load_separator)
    return studio


def tone(hertz: float) -> Tensor:
    return torch.sin(2 * torch.pi * hertz * torch.arange(SECONDS * RATE) / RATE)


def song(folder: Path, *, channels: int = 2, name: str = "song.wav") -> Path:
    """Write a voice of 300 Hz in the middle, for the first half, before a band of 3 kHz."""
    voice = 0.2 * tone(300)
    voice[SECONDS * RATE // 2 :] = 0
    band = torch.stack([0.1 * tone(3_000), 0.06 * tone(3_500)])
    wave = voice + band
    write(folder / name, wave[:channels], RATE, subtype="FLOAT")
    return folder / name


def made(studio: Studio, path: Path, out: str = "out.wav", **more: Any) -> Cover:
    return cover(studio, path, path.parent / out, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [1, 2])
def test_a_cover_is_as_long_wide_and_loud_as_the_song(
    studio: Studio, tmp_path: Path, channels: int
) -> None:
    path = song(tmp_path, channels=channels)
    shares: list[float] = []
    result = made(studio, path, on_progress=shares.append)
    wave, rate = read(result.out)
    assert (wave.shape, rate) == ((channels, SECONDS * RATE), RATE)
    assert measure(result.out).lufs == pytest.approx(measure(path).lufs, abs=0.5)
    assert measure(result.out).peak_db <= CEILING_DB
    assert shares == sorted(shares)
    assert all(stem.is_file() for stem in result.stems.values())


def test_where_nobody_sings_the_accompaniment_is_what_it_was(
    studio: Studio, tmp_path: Path
) -> None:
    path = song(tmp_path)
    wave, before = read(made(studio, path).out)[0], read(path)[0]
    quiet = slice(5 * RATE, SECONDS * RATE)
    error = (wave - before)[:, quiet].square().mean() / before[:, quiet].square().mean()
    assert 10 * torch.log10(error) < -40


def test_another_transposition_uses_the_separation_again(studio: Studio, tmp_path: Path) -> None:
    path = song(tmp_path)
    made(studio, path, "a.wav")
    made(studio, path, "b.wav", conversion=ConvertOptions(semitones=3))
    assert studio.separated == 1
    assert [options.semitones for _, options in studio.converted] == [0, 3]
    made(studio, path, "c.wav", options=CoverOptions(voice_db=3.0))
    assert len(studio.converted) == 2
    assert (read(tmp_path / "c.wav")[0] - read(tmp_path / "a.wav")[0]).abs().max() > 0.02


def test_another_voice_or_song_of_the_same_name_is_noticed(studio: Studio, tmp_path: Path) -> None:
    path = song(tmp_path)
    made(studio, path)
    studio.path.write_bytes(b"other weights")
    made(studio, path)
    assert (studio.separated, len(studio.converted)) == (1, 2)
    write(path, 0.5 * read(path)[0], RATE)
    made(studio, path)
    assert (studio.separated, len(studio.converted)) == (2, 3)


def test_harmonies_are_kept_or_converted_on_their_own(studio: Studio, tmp_path: Path) -> None:
    lead, harmony = 0.2 * tone(300), 0.1 * tone(500)
    wave = torch.stack([lead + harmony, lead]) + 0.1 * tone(3_000)
    write(tmp_path / "song.wav", wave, RATE, subtype="FLOAT")
    kept = made(studio, tmp_path / "song.wav")
    assert [name for name, _ in studio.converted] == ["lead"]
    backing = read(kept.stems["backing"])[0]
    assert backing[0].square().mean() > 100 * backing[1].square().mean()
    made(
        studio,
        tmp_path / "song.wav",
        options=CoverOptions(backing="convert", backing_semitones=-12.0),
    )
    name, options = studio.converted[-1]
    assert (name, options.semitones, options.stereo) == ("backing", -12.0, "both")
    assert studio.separated == 1


def test_a_lead_on_one_side_is_the_lead_all_the_same(studio: Studio, tmp_path: Path) -> None:
    wave = torch.stack([0.2 * tone(300), 0.1 * tone(3_000)])
    write(tmp_path / "song.wav", wave, RATE, subtype="FLOAT")
    assert "not in the middle" in made(studio, tmp_path / "song.wav").remarks[0]
    assert studio.converted[0][0] == "vocals"


def test_a_song_without_vocals_is_refused_and_kept_apart(studio: Studio, tmp_path: Path) -> None:
    write(tmp_path / "band.wav", 0.1 * tone(3_000)[None], RATE)
    with pytest.raises(SeparationError, match="no vocals that can be heard"):
        made(studio, tmp_path / "band.wav")
    write(tmp_path / "silence.wav", torch.zeros(1, RATE), RATE)
    with pytest.raises(SeparationError, match="no vocals"):
        made(studio, tmp_path / "silence.wav")
    assert not (tmp_path / "out.wav").exists()


def test_vocals_without_music_become_a_cover(studio: Studio, tmp_path: Path) -> None:
    write(tmp_path / "solo.wav", 0.2 * tone(300)[None], RATE)
    assert read(made(studio, tmp_path / "solo.wav").out)[0].abs().max() > 0.05


def test_surround_is_refused(studio: Studio, tmp_path: Path) -> None:
    write(tmp_path / "six.wav", torch.zeros(6, RATE), RATE)
    with pytest.raises(SeparationError, match="has 6 channels"):
        made(studio, tmp_path / "six.wav")


def test_very_long_and_foreign_names_have_a_folder(studio: Studio, tmp_path: Path) -> None:
    path = song(tmp_path, name="とても長い歌" * 13 + ".wav")
    assert len(path.name.encode()) > 230
    result = made(studio, path)
    assert result.stems["lead"].parent == work_folder(path, result.out)


def test_options_that_cannot_be_are_refused() -> None:
    for wrong in ({"backing": "drop"}, {"voice_db": 90.0}, {"backing_semitones": 99.0}):
        with pytest.raises(ConfigError):
            CoverOptions(**wrong)  # type: ignore[arg-type]


def test_the_command_covers(
    studio: Studio,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = song(tmp_path)
    stand_in = SimpleNamespace(path=studio.path, device=studio.device, remarks=["A remark."])
    monkeypatch.setattr("sovits.voice.load_voice", lambda *_, **__: stand_in)
    command = ["cover", str(path), "-m", "heart", "-d", "cpu", "-t", "12", "--backing", "convert"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert out.strip() == str(tmp_path / "song.cover.wav")
    assert "A remark." in err
    assert studio.converted[0][1].semitones == 12
    assert main(["cover", str(tmp_path / "none.wav")]) == 1
    assert main(["cover", str(path), "-o", str(path)]) == 1
    assert main(["cover", str(path), "-o", str(tmp_path / "no" / "out.wav")]) == 1
    assert capsys.readouterr().err.count("\n") == 3


def test_no_space_left_is_one_line(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = song(tmp_path)
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sovits.audio.encode.SoundFileEncoder.write", full)
    with pytest.raises(OutputError, match="full"):
        made(studio, path)
    assert not list((tmp_path / "song.cover").iterdir())
