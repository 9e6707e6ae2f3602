"""What svc doctor finds of faults that were planted in clean recordings, and how fast.

    python benchmarks/doctor.py                      # print the table
    python benchmarks/doctor.py --write              # put it into docs/benchmarks.md
    python benchmarks/doctor.py --sources FOLDER --music FOLDER   # a folder of each speaker; music

Without --sources the recordings are those that ship with the package, and without --music chords
of our own are behind them. A speaker's clips are shared out: some stay as they are, and each of the
others gets one fault. `precision` is how many of a kind's findings are right, `recall` how many of
the planted ones were found; *clean* is how many clean clips were said to have that fault.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path

import planted_faults as plant
import torch
from run import processor
from section import put
from torch import Tensor

import sovits
from sovits.audio.io import AUDIO_SUFFIXES
from sovits.audio.resample import resample
from sovits.prepare.doctor import diagnose

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/benchmarks.md"
SECONDS = 10.0
"""Length of a clip."""
CLEAN = 8
"""Clips of each speaker that are left as they are, if there are so many."""
EACH = 3
"""Clips of each speaker that get the same fault."""
Clip = tuple[Tensor, int]
Plant = Callable[[Tensor, int, int], Tensor]


def clips(folder: Path) -> list[Clip]:
    """Return mono clips of about ten seconds; short recordings are joined."""
    made: list[Clip] = []
    parts: list[Tensor] = []
    rate = 0
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES):
        wave, rate = sovits.read(path, mono=True)
        for part in wave[0].split(round(1.2 * SECONDS * rate)):
            parts += [part, part.new_zeros(rate // 5)]
            if sum(map(len, parts)) >= SECONDS * rate:
                made.append((torch.cat(parts), rate))
                parts = []
    if sum(map(len, parts)) > SECONDS / 2 * rate:
        made.append((torch.cat(parts), rate))
    return made


def own_speakers() -> dict[str, list[Clip]]:
    """Return clips of the recordings that ship with the package."""
    voices = ROOT / "sovits/assets/voices"
    found = {}
    for path in (voices / "heart.sample.ogg", voices / "kumo.sample.ogg"):
        wave, rate = sovits.read(path, mono=True)
        size = len(wave[0]) // 3
        found[path.name.split(".")[0]] = [(part, rate) for part in wave[0].split(size)[:3]]
    return found


def plants(music: Sequence[Clip]) -> dict[str, Plant]:
    """Return what makes each fault, by the name that the doctor has for it."""
    return {
        "clipped": plant.clipped,
        "noisy": plant.noisy,
        "reverberant": plant.reverberant,
        "narrow": plant.low_passed,
        "hum": plant.humming,
        "music": plant.with_music(music),
    }


def write_speaker(
    home: Path, own: Sequence[Clip], others: Sequence[Clip], faults: dict[str, Plant], each: int
) -> dict[str, str]:
    """Write the clips of a speaker with faults in some, and return which fault each has."""
    home.mkdir(parents=True)
    planted: dict[str, str] = {}
    clean = max(1, min(CLEAN, len(own) - each * len(faults)))

    def save(name: str, fault: str, clip: Clip) -> None:
        wave, rate = clip
        wave = wave / max(1.0, float(wave.abs().max()) / 0.99)
        sovits.write(home / name, wave[None], rate)
        planted[name] = fault

    for number in range(clean):
        save(f"clean{number}.wav", "", own[number])
    rest = own[clean:] or own
    for count, (fault, make) in enumerate(faults.items()):
        for seed in range(each):
            wave, rate = rest[(each * count + seed) % len(rest)]
            save(f"{fault}{seed}.wav", fault, (make(wave, rate, seed), rate))
    for seed in range(each):
        wave, rate = own[seed % clean]
        save(f"duplicate{seed}.ogg" if seed % 2 else f"zduplicate{seed}.wav", "duplicate",
             (0.6 * wave, rate))  # fmt: skip
        if others:
            save(f"other-voice{seed}.wav", "other-voice", others[seed % len(others)])
            wave, rate = own[(seed + 1) % len(own)]
            guest = resample(*others[-1 - seed % len(others)], rate)
            both = torch.cat([wave[: len(wave) // 2], guest[: len(guest) // 2]])
            save(f"two{seed}.wav", "other-voice", (both, rate))
    return planted


def scores(found: set[tuple[str, str]], planted: dict[str, str], kind: str) -> list[int]:
    """Return right findings, all findings, planted faults, and findings in clean clips."""
    there = {name for name, fault in planted.items() if fault == kind}
    said = {name for name, what in found if what == kind}
    # A clip that another was made of is no fault of its own, nor is one that is a copy.
    if kind == "duplicate":
        copied = {name for name in said if planted[name] not in ("", "duplicate")}
        said -= copied
    clean = sum(planted[name] == "" for name in said)
    return [len(there & said), len(said), len(there), clean]


def measure(
    speakers: dict[str, list[Clip]], music: Sequence[Clip], each: int
) -> Iterator[tuple[str, list[int], int]]:
    """Yield for each fault its scores over all speakers, and at the end the speed."""
    faults = plants(music)
    names = list(speakers)
    with tempfile.TemporaryDirectory() as folder:
        planted = {
            name: write_speaker(
                Path(folder, name), speakers[name],
                speakers[names[i - 1]] if len(names) > 1 else [], faults, each,
            )
            for i, name in enumerate(names)
        }  # fmt: skip
        clean = sum(fault == "" for table in planted.values() for fault in table.values())
        begin, wall = time.process_time(), time.perf_counter()
        diagnosis = diagnose(Path(folder), n_jobs=1)
        spent, wall = time.process_time() - begin, time.perf_counter() - wall
    for kind in (*faults, "duplicate", "other-voice"):
        total = [0, 0, 0, 0]
        for speaker in diagnosis.speakers:
            found = {(f.file, f.kind) for f in speaker.findings if f.file is not None}
            total = [a + b for a, b in zip(total, scores(found, planted[speaker.name], kind),
                                           strict=True)]  # fmt: skip
        yield kind, total, clean
    seconds = sum(file.seconds for speaker in diagnosis.speakers for file in speaker.files)
    yield "speed", [round(seconds), round(100 * spent), round(100 * wall), 0], clean


def table(results: Sequence[tuple[str, list[int], int]], said: str) -> str:
    """Return the section of the page."""
    lines = [
        "## Dataset doctor: what it finds of planted faults",
        "",
        f"Written by `benchmarks/doctor.py --write`{said}. {date.today().isoformat()}, "
        f"{processor()}, one thread.",
        "Peaks cut at the loudest 2 % of the samples; white and pink noise 12 dB below the voice; "
        "rooms of 0.6 and 1 s;",
        "nothing above 3.8 kHz; hum of 50 and 60 Hz 30 dB below; music 8 dB below; copies at "
        "another level or in Ogg;",
        "clips of another speaker, whole or half.",
        "",
        "| fault | planted | found | precision | recall | in clean clips |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for kind, (right, said_so, there, wrong), clean in results[:-1]:
        precision = f"{right / said_so:.2f}" if said_so else "–"
        recall = f"{right / there:.2f}" if there else "–"
        lines.append(
            f"| {kind} | {there} | {right} | {precision} | {recall} | {wrong} of {clean} |"
        )
    _, (seconds, spent, _, _), _ = results[-1]
    lines += [
        "",
        f"{seconds / 60:.1f} minutes of sound took {spent / 100:.0f} CPU seconds: "
        f"{100 * seconds / max(spent, 1):.0f} times real time on each core, the networks' loading "
        "included.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sources", type=Path, nargs="*", default=[], help="folders of speakers")
    parser.add_argument("--music", type=Path, help="folder of music")
    parser.add_argument("--each", type=int, default=EACH, help="clips of a speaker with one fault")
    parser.add_argument("--write", action="store_true", help=f"to {PAGE.relative_to(ROOT)}")
    args = parser.parse_args()
    torch.set_num_threads(1)
    speakers = {path.name: clips(path) for path in args.sources} or own_speakers()
    music: list[Clip] = []
    if args.music:
        for path in sorted(p for p in args.music.rglob("*") if p.suffix in AUDIO_SUFFIXES):
            wave, rate = sovits.read(path, mono=True)
            music.append((wave[0], rate))
    said = f" with other --sources ({', '.join(speakers)}) and --music" if args.sources else ""
    text = table(list(measure(speakers, music, args.each)), said)
    if args.write:
        PAGE.write_text(put(PAGE.read_text("utf-8"), "doctor.py", text.splitlines()), "utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
