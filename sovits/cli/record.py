"""svc record."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from tyro.conf import arg

from sovits.cli.infer import check_output
from sovits.cli.keys import Keys, keys
from sovits.cli.options import check_between
from sovits.cli.progress import note
from sovits.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from sovits.prepare.prompts import Prompt
    from sovits.realtime.device import Device, SoundCard
    from sovits.types import Wave

SHOWN = 0.1
"""Seconds between two looks at the meter."""


class Done(NamedTuple):
    """What became of the prompts."""

    kept: int
    skipped: int
    ended: bool


@dataclass(frozen=True, kw_only=True)
class Record:
    """Read and sing what a voice needs to hear, with a meter, advice, and another try at once."""

    speaker: str
    """Name of the speaker."""
    language: str = "en"
    """Language to read in: en, zh, de or it."""
    text: Annotated[Path | None, arg(metavar="PATH")] = None
    """Text to read instead, a sentence in each line."""
    singing: bool = False
    """Sing vowels, glides and scales in between."""
    low: int = 48
    """Lowest note that is comfortable (MIDI; 48 is C3)."""
    high: int = 72
    """Highest one."""
    output_dir: Annotated[Path, arg(aliases=("-o",))] = Path("dataset_raw")
    """Where the speaker's folder goes."""
    input_device: Annotated[str | None, arg(aliases=("-id",), metavar="DEVICE")] = None
    """Microphone, by number or name; the system's choice if not given."""
    sampling_rate: Annotated[int, arg(aliases=("-s",))] = 48_000
    """Rate to record at (Hz)."""
    list_prompts: bool = False
    """Only print what there is to read and sing."""

    def run(self) -> int:
        """Record what is not recorded yet."""
        if not self.speaker.isprintable() or self.speaker != Path(self.speaker).name:
            raise DatasetError.bad_speaker(self.speaker)
        check_between("--sampling-rate", self.sampling_rate, 8_000, 192_000)
        folder = self.output_dir / self.speaker
        check_output(folder / "x.wav")
        wanted = self._prompts()
        if self.list_prompts:
            for prompt in wanted:
                print(f"{prompt.name}\t{prompt.text}\t{prompt.hint}")
            return 0
        from sovits.realtime.device import PortAudio, choose_device

        card = PortAudio()
        device = choose_device(card, "input", self.input_device)
        folder.mkdir(parents=True, exist_ok=True)
        with keys() as read:

            def take() -> Wave:
                return listen(card, device, self.sampling_rate, read)

            done = session(wanted, folder, self.sampling_rate, take, read, note)
        note(f"{done.kept} takes kept, {done.skipped} skipped. svc doctor {self.output_dir} says "
             "what is missing.")  # fmt: skip
        print(folder)
        return 0

    def _prompts(self) -> list[Prompt]:
        from sovits.prepare.prompts import Prompt, exercises, prompts

        if self.text is None:
            return prompts(self.language, singing=self.singing, low=self.low, high=self.high)
        try:
            lines = [line.strip() for line in self.text.read_text("utf-8").splitlines()]
        except (OSError, ValueError) as error:
            raise ConfigError.no_text(self.text) from error
        own = [line for line in lines if line]
        if not own:
            raise ConfigError.no_text(self.text)
        read = [Prompt(f"{self.text.stem}_{i:03}", "sentence", t) for i, t in enumerate(own, 1)]
        return read + (exercises(self.low, self.high) if self.singing else [])


def session(
    wanted: Sequence[Prompt],
    folder: Path,
    sample_rate: int,
    take: Callable[[], Wave],
    read: Keys,
    say: Callable[[str], None],
) -> Done:
    """Go through prompts: what is recorded already is passed over, what is bad is taken again.

    Args:
        wanted: What to read and sing.
        folder: Where takes go, named after their prompts.
        sample_rate: Rate of the takes (Hz).
        take: Records until somebody ends it, and returns `[samples]`.
        read: Where keys come from.
        say: Told what to do.
    """
    from sovits.audio.io import write
    from sovits.prepare.coach import judge, trimmed

    kept = skipped = 0
    left = [prompt for prompt in wanted if not (folder / f"{prompt.name}.wav").exists()]
    if len(left) < len(wanted):
        say(f"{len(wanted) - len(left)} are recorded already.")
    for number, prompt in enumerate(left, 1):
        say(f"\n{number}/{len(left)}  {prompt.text}" + (f"\n{prompt.hint}" if prompt.hint else ""))
        again, at_once = True, False
        while again:
            if not at_once:
                say("enter: record.  s: skip.  q: end.")
            key = "enter" if at_once else read()
            if key in ("q", "end"):
                return Done(kept, skipped, True)
            if key == "s":
                skipped += 1
                break
            if key != "enter":
                continue
            wave = take()
            verdict = judge(wave, sample_rate, least_seconds=prompt.least_seconds)
            say(
                f"{verdict.sentence} ({verdict.seconds:.1f} s, speech {verdict.level_db:.0f}, peak "
                f"{verdict.peak_db:.0f}, room {verdict.noise_db:.0f} dBFS)"
            )
            again = not verdict.kept
            if again:
                say("enter: take it again.  k: keep it all the same.  s: skip.  q: end.")
                key = read()
                if key in ("q", "end"):
                    return Done(kept, skipped, True)
                if key == "s":
                    skipped += 1
                    break
                again, at_once = key != "k", True
            if not again:
                path = folder / f"{prompt.name}.wav"
                write(path, trimmed(wave, sample_rate, verdict)[None], sample_rate)
                kept += 1
    return Done(kept, skipped, False)


def listen(card: SoundCard, device: Device, sample_rate: int, read: Keys) -> Wave:
    """Record from a microphone until a key is pressed, with a meter on the terminal."""
    from sovits.prepare.coach import Take, bar

    take = Take()
    stream = card.open("input", device, sample_rate, 1, take.hear)
    shows = sys.stderr.isatty()
    try:
        note("Recording; enter ends it.")
        while (key := read(SHOWN)) is None or key not in ("enter", "end"):
            if shows:
                print(f"\r[{bar(take.level())}]", end="", file=sys.stderr, flush=True)
    finally:
        stream.close()
        if shows:
            print(file=sys.stderr)
    return take.wave()
