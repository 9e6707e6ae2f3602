"""Long raw recordings, some with music behind them, become a dataset, and a training begins.

    python examples/dataset_from_nothing.py [--folder WORK] [--minutes 12] [--steps 20]

The recordings are the Italian prompts of Asterisk, spoken by Carlo Flora (CC-BY-3.0), and the music
is that of the songs by Sectoid for Frets on Fire (MIT). Both are packages of Debian and Ubuntu,
which are fetched with apt-get; that needs a network but no root. Nothing of them is part of this
repository.

The separator needs the extra offline; without it, svc prepare says so and leaves out what has music
in it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import torch

import sovits

VOICE, MUSIC = "asterisk-core-sounds-it-g722", "fretsonfire-songs-sectoid"
SPEAKER = "ast-it"
RATE = 16_000
RECORDING = 60.0
"""Seconds of a raw recording."""
PAUSE = 0.5
"""Seconds between two prompts."""
MUSIC_EVERY = 4
"""One recording in so many has music behind it."""
MUSIC_DB = 10.0
"""Level of the voice above it (dB)."""
SVC = [sys.executable, "-m", "sovits"]


def main() -> None:
    """Make raw recordings, prepare them, let the doctor judge, and begin to train."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="where to work; a new one if not given")
    parser.add_argument("--minutes", type=float, default=12.0, help="how much to record")
    parser.add_argument("--steps", type=int, default=20, help="steps of the training")
    given = parser.parse_args()
    work = (given.folder or Path(tempfile.mkdtemp(prefix="sovits-"))).resolve()
    work.mkdir(parents=True, exist_ok=True)
    print(f"Working in {work}.", flush=True)

    record(work, given.minutes * 60)
    svc(work, "prepare", "raw", "--speaker", SPEAKER)
    told = json.loads(svc(work, "doctor", "dataset_raw", "--json"))
    [speaker] = told["speakers"]
    print(f"The doctor says: {told['light']}, {speaker['usable_minutes']} of "
          f"{speaker['minutes']} minutes are usable.", flush=True)  # fmt: skip
    for finding in speaker["findings"]:
        print(f"  {finding['weight']}  {finding['file'] or ''} {finding['found']}")
    if told["light"] != "green":
        sys.exit("The dataset is not as it should be.")
    svc(work, "pre-resample")
    svc(work, "pre-config")
    svc(work, "pre-hubert")
    svc(work, "train", "--max-steps", str(given.steps), "-d", "cpu")
    entries = [json.loads(line) for line in (work / "logs/44k/train.jsonl").open(encoding="utf-8")]
    print(f"Training has begun: {len(entries)} lines in logs/44k/train.jsonl.")


def svc(work: Path, *words: str) -> str:
    """Run one command to its end, and return what it printed."""
    print("$ svc", *words, flush=True)
    ended = subprocess.run([*SVC, *words], cwd=work, check=True, stdout=subprocess.PIPE, text=True)
    return ended.stdout


def fetch(work: Path, package: str) -> Path:
    """Get a package and unpack it."""
    unpacked = work / "packages" / package
    if not unpacked.is_dir():
        unpacked.mkdir(parents=True)
        subprocess.run(["apt-get", "download", package], cwd=unpacked, check=True)
        [file] = unpacked.glob("*.deb")
        subprocess.run(["dpkg", "-x", str(file), str(unpacked)], check=True)
    return unpacked


def record(work: Path, seconds: float) -> None:
    """Write raw recordings of a minute, one in four with music behind it."""
    prompts = prompts_of(fetch(work, VOICE))
    songs = sorted(fetch(work, MUSIC).rglob("song.ogg"))
    (work / "raw").mkdir(exist_ok=True)
    parts: list[torch.Tensor] = []
    number, total = 0, 0.0
    for prompt in prompts:
        parts += [prompt, torch.zeros(round(PAUSE * RATE))]
        wave = torch.cat(parts)
        if len(wave) < RECORDING * RATE:
            continue
        if number % MUSIC_EVERY == MUSIC_EVERY - 1:
            wave = with_music(wave, songs[number // MUSIC_EVERY % len(songs)])
        sovits.write(work / "raw" / f"recording_{number:02}.wav", wave, RATE)
        parts, number, total = [], number + 1, total + len(wave) / RATE
        if total >= seconds:
            break
    print(f"{number} raw recordings, {total / 60:.1f} minutes.", flush=True)


def prompts_of(package: Path) -> Iterator[torch.Tensor]:
    """Yield the spoken prompts, `[samples]`; tones and silences are left out."""
    for path in sorted(package.rglob("*.g722")):
        if "silence" in path.parts or any(word in path.name for word in ("beep", "tone", "ring")):
            continue
        with av.open(str(path), format="g722") as container:
            blocks = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
        yield torch.from_numpy(np.concatenate(blocks).astype(np.float32) / 32_768)


def with_music(wave: torch.Tensor, song: Path) -> torch.Tensor:
    """Return `[samples]` with the middle of a song behind it."""
    music, _ = sovits.read(song, sample_rate=RATE, mono=True)
    begin = max(0, (music.shape[-1] - len(wave)) // 2)
    behind = torch.zeros(len(wave))
    found = music[0, begin : begin + len(wave)]
    behind[: len(found)] = found
    loud = wave[wave.abs() > 0.01].square().mean().sqrt()
    mixed = wave + behind * (loud / behind.square().mean().sqrt() * 10 ** (-MUSIC_DB / 20))
    return mixed / max(1.0, float(mixed.abs().max()) / 0.95)


if __name__ == "__main__":
    main()
