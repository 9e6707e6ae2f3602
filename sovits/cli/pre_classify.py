"""svc pre-classify."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

from tyro.conf import arg

from sovits.cli.keys import Keys, keys
from sovits.cli.progress import note
from sovits.errors import AudioError, LiveError, SovitsError, one_line

if TYPE_CHECKING:
    from sovits.realtime.device import Device, SoundCard, Stream
    from sovits.realtime.ring import Samples
    from sovits.types import Wave

FASTER = 1.1
"""Factor on the speed for each press of an arrow."""
HELP = "A letter: the speaker whose folder begins with it. enter: next. up, down: speed. .: end."


class Player(Protocol):
    """What plays a sound again and again."""

    def play(self, wave: Wave, sample_rate: float) -> None:
        """Begin `[samples]`, in place of what was playing."""

    def stop(self) -> None:
        """Be silent."""


@dataclass(frozen=True, kw_only=True)
class PreClassify:
    """Hear recordings one by one, and press a key for the speaker whose folder each goes to."""

    input_dir: Annotated[Path, arg(aliases=("-i",))]
    """Recordings; those that lie in a speaker's folder of OUTPUT_DIR are left alone."""
    output_dir: Annotated[Path | None, arg(aliases=("-o",))] = None
    """Where the speakers' folders are; INPUT_DIR if not given."""
    create_new: Annotated[bool, arg(aliases=("-c",))] = True
    """A letter that no folder begins with makes one of that name. -nc: do not."""

    def run(self) -> int:
        """Sort until there are no more recordings, or somebody ends it."""
        out = self.output_dir or self.input_dir
        from sovits.prepare.recordings import sound_files

        paths = sound_files(self.input_dir).paths
        waiting = [p for p in paths if p.parent == self.input_dir or out not in p.parents]
        player = open_player()
        try:
            with keys() as read:
                moved, damaged = sort(waiting, out, read, player, note, create_new=self.create_new)
        finally:
            player.stop()
        note(f"{moved} of {len(waiting)} recordings sorted.")
        print(out)
        return 1 if damaged else 0


def sort(
    paths: list[Path],
    out: Path,
    read: Keys,
    player: Player,
    say: Callable[[str], None],
    *,
    create_new: bool,
) -> tuple[int, int]:
    """Move each recording to the folder that a key stands for.

    Returns:
        How many were moved, and how many could not be read.
    """
    from sovits.audio.io import read as read_sound

    moved, damaged, speed = 0, 0, 1.0
    say(HELP)
    for number, path in enumerate(paths, 1):
        try:
            sound, rate = read_sound(path, mono=True)
        except AudioError as error:
            damaged += 1
            say(f"skipped {error}")
            continue
        known = folders(out)
        listed = ", ".join(f"{name[0]} {name}" for name in known)
        seconds = sound.shape[1] / rate
        say(one_line(f"{number}/{len(paths)} {path.name}, {seconds:.1f} s [{listed}]"))
        player.play(sound[0], rate * speed)
        while True:
            key = read()
            if key in (None, "escape", "space"):
                continue
            if key in ("end", "."):
                return moved, damaged
            if key == "enter":
                break
            if key in ("up", "down", "+", "-"):
                speed *= FASTER if key in ("up", "+") else 1 / FASTER
                player.play(sound[0], rate * speed)
                say(f"speed {speed:.2f}")
                continue
            assert key is not None
            fitting = [name for name in known if name.casefold().startswith(key.casefold())]
            if len(fitting) > 1:
                say(f"{key} may be any of {', '.join(fitting)}; the first is taken.")
            if not fitting and not (create_new and key.isalnum()):
                say(f"No folder begins with {key}." if key.isprintable() else "No such key.")
                continue
            move(path, out / (fitting[0] if fitting else key))
            moved += 1
            break
    return moved, damaged


def folders(out: Path) -> list[str]:
    """Return the speakers' folders."""
    if not out.is_dir():
        return []
    return sorted(p.name for p in out.iterdir() if p.is_dir() and not p.name.startswith("."))


def move(path: Path, folder: Path) -> Path:
    """Move a file into a folder; one of the same name in it stays, and this one gets a number."""
    folder.mkdir(parents=True, exist_ok=True)
    target, count = folder / path.name, 0
    while target.exists():
        count += 1
        target = folder / f"{path.stem}_{count}{path.suffix}"
    shutil.move(path, target)
    return target


def open_player() -> Player:
    """Return what plays sounds; something silent, and that is said, if nothing can."""
    try:
        from sovits.realtime.device import PortAudio, choose_device

        card = PortAudio()
        return _CardPlayer(card, choose_device(card, "output", None))
    except LiveError as error:
        note(f"Nothing can be heard, so listen elsewhere and sort here: {error}")
        return Silent()


class Silent:
    """Plays nothing."""

    def play(self, wave: Wave, sample_rate: float) -> None:
        """Play nothing."""

    def stop(self) -> None:
        """Be silent, still."""


class _CardPlayer:
    """Plays a sound in a loop on a sound card."""

    def __init__(self, card: SoundCard, device: Device) -> None:
        self.card, self.device = card, device
        self.stream: Stream | None = None

    def play(self, wave: Wave, sample_rate: float) -> None:
        """Begin `[samples]`; speed is a matter of the rate that it is taken to have."""
        from sovits.audio.resample import resample

        self.stop()
        rate = self.device.rate
        sound = resample(wave, round(sample_rate), rate).numpy()
        place = 0

        def fill(block: Samples) -> None:
            nonlocal place
            block[:] = sound.take(range(place, place + len(block)), mode="wrap")[:, None]
            place += len(block)

        with contextlib.suppress(SovitsError):
            self.stream = self.card.open("output", self.device, rate, 1, fill)

    def stop(self) -> None:
        """Be silent."""
        if self.stream is not None:
            self.stream.close()
            self.stream = None
