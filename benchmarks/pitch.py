"""Which method should find the pitch that a native voice sings by?

    python benchmarks/pitch.py                        # print the answer
    python benchmarks/pitch.py --write                # put it into docs/benchmarks.md
    python benchmarks/pitch.py --sources FOLDER ...   # of other voices; a folder of each speaker

Every method hears voices whose pitch is known (`known_pitch.py`): clean, and as they reach a
microphone. It takes less than three minutes on one core; the largest CREPE, and what else is not
at hand, are measured only if `--methods` names them. Needs the extras `world` and `dev`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import known_pitch
import numpy as np
import torch
from known_pitch import HOP, RATE, Known, Samples, Truth
from numpy.typing import NDArray
from pitch_scores import ACCURACY, OVERALL, SCORES, count, difference, right, shown
from run import PAGE, ROOT, processor

from sovits.audio.resample import resample
from sovits.errors import SovitsError
from sovits.evaluate import bootstrap
from sovits.evaluate.bootstrap import Sums, estimate
from sovits.features.pitch import PITCH_METHODS, PitchExtractor, fcpe, load_pitch_extractor, rmvpe
from sovits.weights import at_hand

SOURCES = (ROOT / "examples/speech.flac", ROOT / "examples/song.flac")
BEGIN, END = "<!-- pitch.py writes from here -->", "<!-- to here -->"
SECONDS = 16.0
DEFAULT = "swift"
"""What the others are compared with."""
SLOW = "crepe"
BANDS = (50, 80, 120, 200, 350, 600, 1100)
"""Ranges of pitch (Hz)."""
AHEAD = (0, 1, 2, 3, 4, 6, 8, 12, 16)
"""Frames of future."""
CUTS = 8
"""Moments of each clip at which the future is taken away."""

Results = dict[str, dict[str, Sums]]
"""Counts `[clips, terms]` of every method under every disturbance."""
Found = tuple[Samples, NDArray[np.bool_]]
"""Hz and voicing of the frames of a sound."""


def hear(extractor: PitchExtractor, wave: Samples) -> Found:
    """Return what a method finds in a sound."""
    found = extractor(torch.from_numpy(wave).float(), RATE, HOP)
    return found.f0.double().numpy(), found.voiced.numpy()


def judge(voices: Sequence[Known], found: Sequence[Found]) -> Sums:
    """Return the counts `[clips, terms]` of what was found in the voices."""
    return np.stack([count(v.truth, *f) for v, f in zip(voices, found, strict=True)])


def by_band(voices: Sequence[Known], found: Sequence[Found]) -> Samples:
    """Return the share of voiced frames with the right pitch, in percent, for each of `BANDS`."""
    found_right, there = np.zeros((2, len(BANDS) - 1))
    for voice, (f0, voiced) in zip(voices, found, strict=True):
        truth = voice.truth
        sung = truth.judged & truth.voiced
        found_right += np.histogram(truth.f0[sung & right(truth, f0, voiced)], BANDS)[0]
        there += np.histogram(truth.f0[sung], BANDS)[0]
    shares: Samples = 100 * bootstrap.ratio(np.stack([found_right, there], -1))
    return shares


class Foresight(NamedTuple):
    """What a method makes of sounds whose future it has not heard yet."""

    reach: float
    """Before the last moment heard, how far back anything was to change (seconds)."""
    whole: float
    """Longest that it could have been: from the first frame to the last moment (seconds)."""
    same: Samples
    """Share of frames that were not to change, for each number of `AHEAD`, in percent."""
    lost: Samples
    """By how much fewer frames are right than with all the future, likewise."""


def foresee(
    extractor: PitchExtractor,
    voices: Sequence[Known],
    found: Sequence[Found],
    rng: np.random.Generator,
) -> Foresight:
    """Cut sounds off, and compare what is found up to the cut with what is found in the whole.

    A frame has changed if its voicing is another or its pitch differs by more than 10 cents; for
    the reach a hundredth of a cent counts.
    """
    reach, whole = 0.0, 0.0
    same, lost, number = np.zeros((3, len(AHEAD)))
    for voice, (f0, voiced) in zip(voices, found, strict=True):
        truth = voice.truth
        for stop in rng.integers(len(f0) // 3, len(f0) - 1, CUTS):
            early, spoke = hear(extractor, voice.wave[: stop * HOP])
            cents = np.abs(1200 * np.log2(early / f0[:stop])) * (spoke & voiced[:stop])
            other = spoke != voiced[:stop]
            back = (stop - np.arange(stop) - 0.5) * HOP / RATE
            reach = max(reach, back[other | (cents > 0.01)].max(initial=0.0))
            whole = max(whole, back[0])
            places = stop - 1 - np.array(AHEAD)
            judged = truth.judged[places]
            number += judged
            same += judged & ~(other | (cents > 10))[places]
            part = Truth(truth.f0[:stop], truth.voiced[:stop], truth.judged[:stop])
            now, then = right(part, early, spoke), right(part, f0[:stop], voiced[:stop])
            lost += judged * (then[places].astype(int) - now[places])
    return Foresight(reach, whole, 100 * same / number, 100 * lost / number)


def cost(extractor: PitchExtractor, voices: Sequence[Known]) -> float:
    """Return CPU seconds per second of ten seconds of 44.1 kHz, the least of two."""
    joined = np.resize(np.concatenate([voice.wave for voice in voices]), 10 * RATE)
    wave, times = resample(torch.from_numpy(joined).float(), RATE, 44_100), []
    for _ in range(3):  # the first pays for what is made once
        begun = time.process_time()
        extractor(wave, 44_100, 512)
        times.append((time.process_time() - begun) / 10)
    return min(times[1:])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of Markdown."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---", *["---:"] * (len(head) - 1)], *rows)]


def pooled(results: dict[str, Sums]) -> Sums:
    """Return the counts of all that is not clean."""
    return np.sum([sums for name, sums in results.items() if name != "clean"], axis=0)


def scores(results: Results, part: Callable[[dict[str, Sums]], Sums]) -> list[str]:
    """Return the table of every score of every method."""
    rows = []
    for method, found in results.items():
        sums = part(found)
        cells = [shown(estimate(sums, OVERALL.statistic), 1)]
        cells += [f"{score.statistic(sums.sum(0)):.{score.digits}f}" for score in SCORES[1:]]
        rows.append([method, *cells])
    return table(["method", *(score.name for score in SCORES)], rows)


def compared(results: Results) -> list[str]:
    """Return the table of differences from `DEFAULT`."""
    parts = {"clean": lambda found: found["clean"], "disturbed": pooled}
    rows = [
        [f"{method}, {name}"]
        + [
            shown(difference(part(found), part(results[DEFAULT]), score), 1, "+")
            for score in (OVERALL, ACCURACY, SCORES[-1])
        ]
        for method, found in results.items()
        for name, part in parts.items()
        if method != DEFAULT
    ]
    return table([f"less {DEFAULT}, points", "overall", "within 50 c", "F1"], rows)


def foretold(found: Mapping[str, Foresight]) -> list[str]:
    """Return the table of what is known before the future is heard."""
    rows = []
    for method, seen in found.items():
        reach = "the whole" if seen.reach > 0.9 * seen.whole else f"{1000 * seen.reach:.0f} ms"
        settled = next((n for n, s in zip(AHEAD, seen.same, strict=True) if s >= 99), None)
        cells = [f"{value:.1f}" for value in seen.lost]
        rows.append([method, reach, "later" if settled is None else f"{settled}", *cells])
    return table(["method", "looks ahead", "settled after", *(f"{n}" for n in AHEAD)], rows)


def section(
    voices: Sequence[Known],
    results: Results,
    costs: Mapping[str, float],
    bands: Mapping[str, Samples],
    ahead: Mapping[str, Foresight],
    extra: str,
) -> list[str]:
    """Return the part of the page that answers the question."""
    speakers = len({voice.speaker for voice in voices})
    conditions = list(next(iter(results.values())))
    overall = [
        [name, *(f"{OVERALL.statistic(found[name].sum(0)):.1f}" for found in results.values())]
        for name in conditions
    ]
    prices = [[method, f"{price:.3f}"] for method, price in costs.items()]
    ranges = [f"{low}-{high}" for low, high in pairwise(BANDS)]
    return [
        "## Pitch: who finds what was sung",
        "",
        f"Written by `benchmarks/pitch.py --write`{extra}. "
        f"{date.today().isoformat()}, {processor()}, one thread.",
        f"{len(voices)} clips of {known_pitch.CLIP_SECONDS:g} s of {speakers} speakers, "
        "resynthesised by WORLD with a pitch of our own, so",
        "that the truth is exact: melodies of 60-1000 Hz with glides and vibrato, speech moved by "
        "-12 to +24",
        "semitones, deep voices. Frames of 11.6 ms; those within 10 ms of a change of voicing are "
        "not judged.",
        "Percent, with an interval of 95 % over clips. *Overall*: frames whose voicing is right "
        "and, if voiced, whose",
        "pitch is within 50 cents. *Within 50 c*, *octave* (a wrong one), *gross* (off by more "
        "than a fifth of the",
        "frequency) and the errors in cents (*RMS* without the gross ones) are of the voiced "
        "frames that were found voiced.",
        "",
        "Clean:",
        "",
        *scores(results, lambda found: found["clean"]),
        "",
        f"With noise, in a room, through a telephone, ... ({len(conditions) - 1} disturbances):",
        "",
        *scores(results, pooled),
        "",
        "Differences, clip by clip:",
        "",
        *compared(results),
        "",
        "Overall, by disturbance; `quiet` is 40 dB lower, in 16 bits:",
        "",
        *table(["sound", *results], overall),
        "",
        "Voiced frames found with the right pitch, by pitch in Hz, clean:",
        "",
        *table(["method", *ranges], [[m, *(f"{v:.1f}" for v in bands[m])] for m in bands]),
        "",
        "What it costs, of 44.1 kHz:",
        "",
        *table(["method", "CPU s per s"], prices),
        "",
        "How far a method looks ahead: a sound is cut off and compared with the whole of it. "
        "*Looks ahead*: the earliest",
        "frame that changed, before the cut. *Settled after*: frames of future from which 99 % of "
        "frames stay as they are,",
        "within 10 cents. Then how many percent fewer frames are right (overall) than with all "
        "the future, by frames of future heard:",
        "",
        *foretold(ahead),
    ]


def put(page: str, lines: Sequence[str]) -> str:
    """Return a page with these lines between its marks; they are put at its end if it has none."""
    block = "\n".join([BEGIN, "", *lines, "", END])
    before, begin, rest = page.partition(BEGIN)
    if not begin:
        return f"{page.rstrip()}\n\n{block}\n"
    return before + block + rest.partition(END)[2]


def ready() -> list[str]:
    """Return the methods that can be measured here in reasonable time, without a network."""
    weights, found = {"fcpe": fcpe.WEIGHTS, "rmvpe": rmvpe.WEIGHTS}, []
    for name in PITCH_METHODS:
        if name == SLOW or (name in weights and not at_hand(weights[name])):
            continue
        try:
            load_pitch_extractor(name)
        except SovitsError as error:
            print(error, file=sys.stderr)
        else:
            found.append(name)
    return found


def main() -> int:
    """Measure, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help=f"of voices (default: {SECONDS:g})"
    )
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="instead of all at hand")
    parser.add_argument("--sources", nargs="+", type=Path, default=SOURCES, metavar="PATH")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help=f"to {PAGE.relative_to(ROOT)}")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(args.seed)
    clips = max(2, round(args.seconds / known_pitch.CLIP_SECONDS))
    sources = known_pitch.gather(args.sources, clips, rng)
    voices = known_pitch.make(sources, rng)
    sounds = {
        name: [disturb(voice.wave, rng) for voice in voices]
        for name, disturb in known_pitch.disturbances(sources).items()
    }
    results: Results = {}
    costs, bands, ahead = {}, {}, {}
    try:
        for name in dict.fromkeys([DEFAULT, *(args.methods or ready())]):
            extractor = load_pitch_extractor(name)
            found = {sound: [hear(extractor, w) for w in waves] for sound, waves in sounds.items()}
            results[name] = {sound: judge(voices, heard) for sound, heard in found.items()}
            costs[name] = cost(extractor, voices)
            bands[name] = by_band(voices, found["clean"])
            cuts = np.random.default_rng(args.seed)
            ahead[name] = foresee(extractor, voices, found["clean"], cuts)
            print(f"{name}: {costs[name]:.3f} CPU s per s", file=sys.stderr, flush=True)
    except SovitsError as error:
        print(f"pitch: {error}", file=sys.stderr)
        return 1
    extra = "" if args.sources == SOURCES else f" with other --sources, {args.seconds:g} s of them"
    lines = section(voices, results, costs, bands, ahead, extra)
    if args.write:
        PAGE.write_text(put(PAGE.read_text("utf-8"), lines), "utf-8")
        print(PAGE.relative_to(ROOT))
    else:
        print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
