"""A folder is converted by any workers as by none, and a run that ended early goes on."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sovits.config import ConvertOptions
from sovits.folder import LEDGER, VoiceFile, convert_files, files_of, with_absolute_paths
from sovits.library import VOICES
from sovits.workers.ledger import Ledger
from sovits.workers.processes import Processes

HEART = VoiceFile(VOICES / "heart.safetensors", None, "cpu")


def sing(folder: Path, count: int) -> list[tuple[Path, Path]]:
    t = np.arange(12_000) / 24_000
    pairs = []
    for i in range(count):
        source = folder / f"{i}.wav"
        soundfile.write(source, 0.3 * np.sin(2 * np.pi * (180 + 40 * i) * t), 24_000)
        pairs.append((source, folder / "out" / f"{i}.out.wav"))
    (folder / "out").mkdir(exist_ok=True)
    return pairs


def test_processes_convert_to_the_bit_what_this_one_does(tmp_path: Path) -> None:
    pairs, voice, options = sing(tmp_path, 2), HEART.load(), ConvertOptions(semitones=2)
    results = []
    for crew in (None, Processes(2)):
        shares: list[float] = []
        outcome = convert_files(
            voice,
            HEART,
            pairs,
            options,
            folder=tmp_path / "out",
            crew=crew,
            on_progress=shares.append,
        )
        assert outcome.made == tuple(out for _, out in pairs)
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
        results.append([out.read_bytes() for _, out in pairs])
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
            out.name for _, out in pairs
        ]
    assert results[0] == results[1]


def test_a_run_that_failed_in_part_goes_on_unless_something_has_changed(tmp_path: Path) -> None:
    pairs, voice, options = sing(tmp_path, 3), HEART.load(), ConvertOptions()
    pairs[1][0].write_text("no sound")

    def convert(options: ConvertOptions = options) -> tuple[int, int, int]:
        outcome = convert_files(voice, HEART, pairs, options, folder=tmp_path / "out")
        return tuple(map(len, outcome))  # type: ignore[return-value]

    assert convert() == (2, 0, 1)
    assert convert() == (0, 2, 1)
    sing(tmp_path, 1)  # the first source is another now
    os.utime(pairs[0][0], ns=(0, 0))
    assert convert() == (1, 1, 1)
    pairs[2][1].write_bytes(b"cut short")
    assert convert() == (1, 1, 1)
    assert convert(replace(options, seed=1)) == (2, 0, 1)
    with (tmp_path / "out" / LEDGER).open("a") as file:
        file.write('{"file": 3}\n["half')  # as a machine leaves it that loses its power
    assert convert(replace(options, seed=1)) == (0, 2, 1)
    sing(tmp_path, 3)
    assert convert(replace(options, seed=1))[2] == 0
    assert not (tmp_path / "out" / LEDGER).exists()


def test_options_name_the_same_files_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("k.safetensors").touch()
    Path("alice").touch()  # a file that is called as a speaker is
    options = ConvertOptions(speaker="alice", retrieval="k.safetensors")
    assert files_of(options) == {"retrieval": Path("k.safetensors")}
    assert with_absolute_paths(options) == ConvertOptions(
        speaker="alice", retrieval=str(tmp_path / "k.safetensors")
    )


def test_a_voice_that_ships_with_the_package_is_found_wherever_that_is(tmp_path: Path) -> None:
    elsewhere = tmp_path / "sovits" / "assets" / "voices" / "heart.safetensors"
    voice = VoiceFile(elsewhere, None, "cpu").load()
    assert voice.path == VOICES / "heart.safetensors"


def test_a_ledger_that_cannot_be_kept_does_no_harm(tmp_path: Path) -> None:
    source = tmp_path / "x"
    source.touch()
    ledger = Ledger(tmp_path / "missing" / "ledger", "settings")
    ledger.add(source, tmp_path / "missing" / "y")
    (tmp_path / "ledger").mkdir()
    ledger = Ledger(tmp_path / "ledger", "settings")
    ledger.add(source, source)
    assert ledger.has(source, source)
    ledger.close()
