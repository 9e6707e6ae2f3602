"""Files are converted piece by piece, in bounded memory, and appear whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from stand_ins import AUDIO, Singer, steady, tone, whistler

from sovits.audio.io import read, write
from sovits.config import AudioConfig, ConvertOptions
from sovits.convert import convert, convert_file
from sovits.errors import AudioError, OutputError, VoiceError

RATE = AUDIO.sample_rate
PIECES = ConvertOptions(max_piece_seconds=1.0)


@pytest.fixture(autouse=True)
def _steady_pitch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sovits.convert.load_pitch_extractor", steady())


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """Return a file of two phrases, 5.1 s long, in its own folder."""
    path = tmp_path / "in" / "song.wav"
    path.parent.mkdir()
    phrases = [tone(2.0, 44_100), torch.zeros(2, 44_100)[0], tone(2.1, 44_100)]
    write(path, torch.stack([torch.cat(phrases)] * 2), 44_100, subtype="FLOAT")
    return path


def left_in(folder: Path) -> list[str]:
    """Return the names of all files in a folder, hidden ones too."""
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("stereo", ["mono", "side", "both"])
def test_a_file_is_what_its_wave_would_be(stereo: str, song: Path, tmp_path: Path) -> None:
    options = ConvertOptions(max_piece_seconds=1.0, stereo=stereo)  # type: ignore[arg-type]
    out = tmp_path / "out.wav"
    convert_file(whistler(), song, out, options)
    wave, rate = read(song)
    expected = convert(whistler(), wave, rate, options)
    made, made_rate = read(out)
    assert (made_rate, made.shape) == (44_100, expected.shape)
    torch.testing.assert_close(made, expected, atol=2**-22, rtol=0)


def test_the_output_has_the_rate_that_is_asked_for(song: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.flac"
    convert_file(whistler(), song, out, ConvertOptions(output_rate=16_000))
    made, rate = read(out)
    assert (rate, made.shape) == (16_000, (1, round(5.1 * 16_000)))


def test_the_same_seed_gives_the_same_file(song: Path, tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        convert_file(whistler(), song, tmp_path / name)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_progress_rises_to_its_end(song: Path, tmp_path: Path) -> None:
    told: list[float] = []
    convert_file(whistler(), song, tmp_path / "out.wav", PIECES, on_progress=told.append)
    assert len(told) > 4
    assert told == sorted(told)
    assert 0 < told[0] < 0.3
    assert told[-1] == 1.0


def test_a_silent_file_is_done_at_once(tmp_path: Path) -> None:
    source, out, told = tmp_path / "silence.wav", tmp_path / "out.wav", []
    write(source, torch.zeros(1, 30_000), RATE)
    convert_file(whistler(), source, out, on_progress=told.append)
    assert told == [1.0]
    assert not read(out)[0].any()


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, VoiceError])
def test_what_is_interrupted_leaves_no_trace(
    error: type[BaseException], there: bool, song: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.wav"
    if there:
        out.write_bytes(b"before")

    def interrupt(share: float) -> None:
        if share > 0.4:
            raise error("now")

    with pytest.raises(error, match="now"):
        convert_file(whistler(), song, out, PIECES, on_progress=interrupt)
    assert left_in(tmp_path) == (["in", "out.wav"] if there else ["in"])
    if there:
        assert out.read_bytes() == b"before"


def test_what_cannot_be_read_or_written_is_noticed_before_any_work(
    song: Path, tmp_path: Path
) -> None:
    voice = whistler()
    with pytest.raises(AudioError, match="does not exist"):
        convert_file(voice, tmp_path / "none.wav", tmp_path / "out.wav")
    with pytest.raises(OutputError, match="is not a folder"):
        convert_file(voice, song, tmp_path / "none" / "out.wav")
    with pytest.raises(OutputError, match=r"has the suffix \.xyz"):
        convert_file(voice, song, tmp_path / "out.xyz")
    assert not voice.synthesizer.asked
    assert left_in(tmp_path) == ["in"]


def test_nan_in_a_file_is_refused(tmp_path: Path) -> None:
    wave = tone(2.0, RATE).numpy()
    wave[RATE] = np.nan
    soundfile.write(tmp_path / "nan.wav", wave, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"holds 1 samples that are NaN or infinite.* 1\.000 s"):
        convert_file(whistler(), tmp_path / "nan.wav", tmp_path / "out.wav")
    assert left_in(tmp_path) == ["nan.wav"]


def test_a_network_that_fails_writes_nothing(song: Path, tmp_path: Path) -> None:
    voice = whistler()
    voice.synthesizer.loudness = lambda content: torch.full((1, content.shape[-1]), torch.nan)
    with pytest.raises(OutputError, match="are NaN or infinite"):
        convert_file(voice, song, tmp_path / "out.wav")
    assert left_in(tmp_path) == ["in"]


def test_a_file_shorter_than_a_frame_is_converted(tmp_path: Path) -> None:
    for samples in (1, 300, 2205):
        write(tmp_path / "short.wav", tone(1.0, 44_100)[None, 100 : 100 + samples], 44_100)
        convert_file(whistler(), tmp_path / "short.wav", tmp_path / "out.wav")
        assert read(tmp_path / "out.wav")[0].shape == (1, samples)


def test_without_any_sound_around_it_a_crumb_holds_no_content(tmp_path: Path) -> None:
    voice: Singer = whistler(AudioConfig(sample_rate=96_000, hop_length=8))
    with pytest.raises(AudioError, match="too short to hold any content"):
        convert(voice, tone(0.004, RATE, 500), RATE, ConvertOptions(pad_seconds=0))


MEASURE = """
    import resource, sys
    from pathlib import Path
    import soundfile, torch
    torch.set_num_threads(1)
    from made_voices import synthesizer, synthesizer_config
    from stand_ins import CHANNELS, Singer, steady, tone
    import sovits.convert
    from sovits.config import AudioConfig, ConvertOptions, VoiceConfig

    sovits.convert.load_pitch_extractor = steady()
    audio = AudioConfig(sample_rate=16_000)
    config = synthesizer_config("ms-istft", content_channels=CHANNELS)
    voice = Singer(synthesizer(config, audio).fold(), VoiceConfig(audio, config, "nearby sound"))

    def peak_after(minutes):
        with soundfile.SoundFile("long.wav", "w", 44_100, 2, "PCM_16") as file:
            for second in range(60 * minutes):
                silent = 20 < second < 60 * minutes / 3  # a long silence, then an endless phrase
                level = 0.0 if silent else 0.3
                file.write(torch.stack([tone(1.0, 44_100, level=level)] * 2).t().numpy())
        options = ConvertOptions(stereo="side")
        sovits.convert.convert_file(voice, "long.wav", "out.wav", options)
        status = Path("/proc/self/status")
        if status.exists():  # Linux counts the parent's memory in ru_maxrss of a child
            line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
            return int(line.split()[1])
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = peak_after(1)
    print(peak_after(10) - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_file(tmp_path: Path) -> None:
    """Ten minutes hold 212 MB of sound as it is computed with, and as much again when converted.

    Next to nothing of it adds to the peak of one minute (measured: 20 to 60 MB, of the allocator
    and of the CPU's convolutions, which keep something for each length that they meet).
    """
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURE)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": here, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100_000  # KiB
