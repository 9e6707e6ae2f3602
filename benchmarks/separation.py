"""How well are songs taken apart, voices cleaned, and covers made, where the truth is known?

    python benchmarks/separation.py VOICES_A VOICES_B --sung SUNG --music MUSIC --write

VOICES are folders of speech, SUNG one of singing, MUSIC one of instrumental songs, each a folder of
stems (fretsonfire-songs-sectoid has four). Mixes are sums of them, so both stems are known to the
sample. The song of the package stempeg is measured too, and five minutes of music for speed.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import av
import numpy as np
import torch
from run import PAGE, processor
from torch import Tensor

from sovits.audio.io import AUDIO_SUFFIXES, read, write
from sovits.audio.resample import resample
from sovits.config import ConvertOptions
from sovits.cover import cover
from sovits.ends import WaveSound
from sovits.features.pitch import load_pitch_extractor
from sovits.remix import measure
from sovits.separation.clean import Cleaner, clean
from sovits.separation.denoise import load_denoiser
from sovits.separation.dereverb import Dereverberator
from sovits.separation.music import accompaniment
from sovits.separation.registry import load_separator
from sovits.separation.separate import separate
from sovits.separation.windows import Separator
from sovits.voice import load_voice

BEGIN, END = "<!-- separation.py writes from here -->", "<!-- separation.py up to here -->"
RATE, SECONDS, FROM = 44_100, 12.0, 40.0
LEVELS = (6.0, 0.0, -6.0)
"""Voice above music (dB)."""
SPEED = 300.0
"""Length of what speed is measured with (s)."""


class Scores(NamedTuple):
    """How near a sound is to the truth (dB): all error counts, or all but a wrong level."""

    sdr: float
    si_sdr: float


def scores(true: Tensor, found: Tensor) -> Scores:
    """Compare two sounds of one shape."""
    a, b = true.double().reshape(-1), found.double().reshape(-1)
    scaled = (a @ b) / (a @ a) * a
    return Scores(
        *(
            10 * math.log10(float(x.square().sum() / e.square().sum()))
            for x, e in ((a, a - b), (scaled, b - scaled))
        )
    )


def mean(values: Iterable[Scores]) -> Scores:
    """Return the mean of each score."""
    return Scores(*np.mean(list(values), 0).tolist())


def sounds(folder: Path, seconds: float) -> Tensor:
    """Return recordings of a folder, one after the other with short pauses, in stereo."""
    parts, count = [], 0
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES):
        wave, rate = read(path, mono=True)
        parts += [resample(wave, rate, RATE), torch.zeros(1, RATE // 4)]
        count += parts[-2].shape[-1] + RATE // 4
        if count >= seconds * RATE:
            break
    return torch.cat(parts, -1)[:, : round(seconds * RATE)].expand(2, -1)


def music(folder: Path, start: float, seconds: float) -> Tensor:
    """Return a stretch of the sum of all stems in a folder."""
    stems = [read(path, sample_rate=RATE)[0] for path in sorted(folder.glob("*.ogg"))]
    samples = min(stem.shape[-1] for stem in stems)
    total = sum((stem[:, :samples] for stem in stems), torch.zeros(2, samples))
    return total[:, round(start * RATE) : round((start + seconds) * RATE)]


def mixed(voice: Tensor, band: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Return both as they are in a mix that peaks at 0.8."""
    samples = min(voice.shape[-1], band.shape[-1])
    voice, band = voice[:, :samples], band[:, :samples]
    band = band * (voice.std() / band.std() / 10 ** (level / 20))
    peak = (voice + band).abs().max() / 0.8
    return voice / peak, band / peak


def song() -> tuple[Tensor, Tensor, Tensor]:
    """Return mix, vocals and the rest of stempeg's song."""
    found = importlib.util.find_spec("stempeg")
    assert found is not None
    assert found.submodule_search_locations
    path = next(Path(found.submodule_search_locations[0]).glob("data/*.stem.mp4"))
    stems = []
    for number in range(5):
        with av.open(str(path)) as file:
            frames = [frame.to_ndarray() for frame in file.decode(file.streams.audio[number])]
            stems.append(torch.from_numpy(np.concatenate(frames, 1)))
    return stems[0], stems[4], stems[1] + stems[2] + stems[3]


def line(name: str, mix: Tensor, stems: tuple[Tensor, Tensor], separator: Separator) -> str:
    """Return a row of the first table."""
    found = separate(mix, RATE, separator)
    error = float((found[0] + found[1] - mix).abs().max())
    cells = [
        f"{before.sdr:.2f} -> {after.sdr:.2f} | {after.si_sdr:.2f}"
        for before, after in (
            (scores(true, mix), scores(true, got)) for true, got in zip(stems, found, strict=True)
        )
    ]
    return f"| {name} | {' | '.join(cells)} | {error:.0e} |"


def separation(args: argparse.Namespace) -> list[str]:
    """Return the table of separations."""
    separator = load_separator()
    mix, *stems = song()
    rows = [line("stempeg's song", mix, (stems[0], stems[1]), separator)]
    songs = sorted(path.parent for path in args.music.glob("*/song.ogg"))
    for number, folder in enumerate([*args.voices, args.sung]):
        voice = sounds(folder, SECONDS)
        band = music(songs[number % len(songs)], FROM, SECONDS)
        for level in LEVELS:
            pair = mixed(voice, band, level)
            name = f"{folder.name} and {songs[number % len(songs)].name}, {level:+g} dB"
            rows.append(line(name, pair[0] + pair[1], pair, separator))
    head = (
        "| mix | vocals SDR | SI-SDR | accompaniment SDR | SI-SDR | sum is off by |",
        "|---|---:|---:|---:|---:|---:|",
    )
    return [*head, *rows]


def detection(args: argparse.Namespace) -> list[str]:
    """Return the table of what is told of sounds with and without music."""
    separator = load_separator()
    songs = sorted(path.parent for path in args.music.glob("*/song.ogg"))
    rows = ["| sound | behind the voice | steadiness | music |", "|---|---:|---:|---|"]
    for number, folder in enumerate([*args.voices, args.sung]):
        voice = sounds(folder, SECONDS)
        noise = torch.randn(voice.shape) * voice.std()
        band = music(songs[number % len(songs)], FROM, SECONDS)
        cases = {"alone": voice, "in white noise, 20 dB": voice + noise / 10}
        cases |= {f"before music, {x} dB": sum(mixed(voice, band, x)) for x in (20, 10, 0)}
        for name, wave in cases.items():
            found = accompaniment(torch.as_tensor(wave), RATE, separator)
            rows.append(
                f"| {folder.name} {name} | {100 * found.share:.2f} % | {found.steadiness:.2f} "
                f"| {'yes' if found.is_music else 'no'} |"
            )
    return rows


def cleaning(args: argparse.Namespace) -> list[str]:
    """Return the table of noise and reverberation."""

    def cleaned(wave: Tensor, cleaner: Cleaner) -> tuple[Tensor, float]:
        parts: list[Tensor] = []
        begin = time.process_time()
        clean(WaveSound(wave, RATE), cleaner, parts.append)
        return torch.cat(parts, -1), (time.process_time() - begin) / (wave.shape[-1] / RATE)

    rows = ["| sound | SI-SDR before | after | CPU s per s |", "|---|---:|---:|---:|"]
    for folder in args.voices:
        voice = sounds(folder, SECONDS)[:1]
        for level in (0, 10, 20):
            noisy = voice + torch.randn(voice.shape) * voice.std() / 10 ** (level / 20)
            found, cost = cleaned(noisy, load_denoiser())
            before, after = scores(voice, noisy).si_sdr, scores(voice, found).si_sdr
            name = f"{folder.name}, white noise at {level} dB, denoised"
            rows.append(f"| {name} | {before:.1f} | {after:.1f} | {cost:.2f} |")
        late = torch.randn(RATE) * 10 ** (-3 * torch.arange(RATE) / RATE / 0.8)
        late[: RATE // 20] = 0
        late *= 0.5 / late.norm()
        size = voice.shape[-1] + RATE
        tail = torch.fft.irfft(torch.fft.rfft(voice, size) * torch.fft.rfft(late, size), size)
        wet = voice + tail[:, : voice.shape[-1]]
        found, cost = cleaned(wet, Dereverberator())
        before, after = scores(voice, wet).si_sdr, scores(voice, found).si_sdr
        name = f"{folder.name}, reverberation of 0.8 s, dereverberated"
        rows.append(f"| {name} | {before:.1f} | {after:.1f} | {cost:.2f} |")
    return rows


def speed(args: argparse.Namespace, folder: Path) -> str:
    """Return what five minutes of stereo cost, in a process of their own."""
    songs = sorted(path.parent for path in args.music.glob("*/song.ogg"))
    band = music(songs[0], 0.0, 60.0)
    copies = math.ceil(SPEED * RATE / band.shape[-1])
    write(folder / "five.flac", band.repeat(1, copies)[:, : round(SPEED * RATE)], RATE)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", CHILD, "separate", str(folder / "five.flac"), "-d", "cpu"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak = int(re.findall(r"(\d+) KiB", done.stderr)[-1]) / 2**20
    return (
        f"`svc separate` takes {cpu:.0f} CPU seconds for {SPEED:.0f} s of stereo "
        f"({cpu / SPEED:.3f} a second, loading included) and {peak:.2f} GiB at most."
    )


CHILD = (
    "import resource, sys; from sovits.cli import main; main(sys.argv[1:]); "
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 'KiB', file=sys.stderr)"
)


def covering(args: argparse.Namespace, folder: Path) -> list[str]:
    """Return what is measured of a cover: mixture in, mixture out."""
    songs = sorted(path.parent for path in args.music.glob("*/song.ogg"))
    voice = sounds(args.sung, 24.0)
    voice = torch.nn.functional.pad(voice, (0, 6 * RATE))
    true, band = mixed(voice, music(songs[1], FROM, 30.0), 0.0)
    write(folder / "song.flac", true + band, RATE)
    singer = load_voice("heart")
    clocks = []
    for semitones in (0.0, 3.0):
        begin = time.process_time()
        options = ConvertOptions(semitones=semitones)
        made = cover(singer, folder / "song.flac", folder / f"{semitones:g}.wav", options)
        clocks.append(time.process_time() - begin)
    made = cover(singer, folder / "song.flac", folder / "0.wav")
    out = read(made.out)[0]
    behind, sung = (read(made.stems[name])[0] for name in ("accompaniment", "voice"))
    quiet = slice(true.shape[-1] - 4 * RATE, true.shape[-1])
    off = scores(behind[:, quiet], out[:, quiet]).sdr
    pitch = load_pitch_extractor("swift")
    a, b = (pitch(wave.mean(0), RATE, 512) for wave in (true, sung))
    both = a.voiced & b.voiced
    r = float(torch.corrcoef(torch.stack([a.f0[both].log(), b.f0[both].log()]))[0, 1])
    before, after = measure(folder / "song.flac"), measure(made.out)
    return [
        "| of a cover of 30 s, voice heart | |",
        "|---|---:|",
        f"| result beside the separated accompaniment where nobody sings | {-off:.0f} dB |",
        f"| correlation of log f0 with the true vocals, {int(both.sum())} frames | {r:.3f} |",
        f"| loudness of song and cover | {before.lufs:.2f} and {after.lufs:.2f} LUFS |",
        f"| true peak of the cover | {after.peak_db:.2f} dBTP |",
        f"| first run, and one with another transposition | {clocks[0]:.1f} and {clocks[1]:.1f} "
        f"CPU s ({clocks[0] / clocks[1]:.1f} times as fast) |",
    ]


def main() -> None:
    """Print all tables, or put them into docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("voices", nargs="+", type=Path)
    parser.add_argument("--sung", type=Path, required=True)
    parser.add_argument("--music", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", help="separation, speed, cover, music, cleaning")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    text = [
        "## Songs taken apart, and covers",
        "",
        f"`benchmarks/separation.py`, {date.today()}, {processor()}, {os.cpu_count()} shared "
        "cores, 1 thread, no GPU. SDR is the power of the true stem over that of all error, in "
        "dB; before is that of the mix.",
    ]
    with TemporaryDirectory() as name:
        parts = {
            "separation": lambda: separation(args),
            "speed": lambda: [speed(args, Path(name))],
            "cover": lambda: covering(args, Path(name)),
            "music": lambda: detection(args),
            "cleaning": lambda: cleaning(args),
        }
        for part in args.parts or parts:
            lines = parts[part]()
            print("\n".join(lines), flush=True)
            text += ["", *lines]
    if args.write:
        PAGE.write_text(put(PAGE.read_text("utf-8"), text), "utf-8")


def put(page: str, text: list[str]) -> str:
    """Return the page with these lines in their place, which is at its end at first."""
    block = "\n".join([BEGIN, *text, END])
    if BEGIN not in page:
        return f"{page.rstrip()}\n\n{block}\n"
    before, _, rest = page.partition(BEGIN)
    return before + block + rest.partition(END)[2]


if __name__ == "__main__":
    main()
