"""What do our refiner and vocoder cost beside those of so-vits-svc, and how well do copies sound?

    python benchmarks/refining.py [--write] [--sources FILE ...] [--vocoder FILE] [--seconds 20]

A few minutes on one thread; `--write` puts the tables into docs/benchmarks.md. Costs are those of
networks of random weights. Copies are made of the mel spectrogram and the pitch (`swift`) of each
source, and of the same speech sung by WORLD to a melody up to 1000 Hz, whose pitch is known. DNSMOS
is left out without `sovits[evaluate]`, PESQ without the package `pesq`.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from run import PAGE, ROOT, processor
from section import put
from torch import Tensor

import sovits
from sovits.audio.mel import VOCODER_MEL, VOCODER_POWER_FLOOR, LogMel
from sovits.audio.resample import resample
from sovits.config import RefinerConfig, SynthesizerConfig, VocoderConfig
from sovits.errors import SovitsError
from sovits.features.pitch import load_pitch_extractor
from sovits.models.losses import FULL_BAND, stft_distance
from sovits.models.noise import NoiseSource
from sovits.models.nsf_vocoder import NsfVocoder
from sovits.models.refiner import NativeRefiner, Velocity
from sovits.models.unit2mel import Unit2Mel, Unit2MelConfig
from sovits.models.vocoder import VOCODER_FILE, Vocoder, read_vocoder
from sovits.refine import MelVocoder, Refiner

RATE, HOP = VOCODER_MEL.sample_rate, VOCODER_MEL.hop_length
COST, TIMES, STEPS, LEGACY_STEPS = 0.35, 10.0, 4, 10
"""What is promised: CPU seconds a second, and how many times less than so-vits-svc."""
CENTS = 10.0
"""Largest error of the pitch of a copy that is promised (root mean square)."""
CONTENT = 256, 768
STEP = 0.005  # of WORLD (s)
EDGE = 3  # frames next to a change of voicing that are not judged
NOTES = (0, 4, 7, 12, 16, 19, 24, 19, 12, 7)
"""Semitones above the lowest note."""
LOWEST = 250.0  # Hz; two octaves above it is the highest note


class Copy(NamedTuple):
    """How near a copy is to its original."""

    mel: float
    stft: float
    cents: float
    median_cents: float
    quality: tuple[float, float] | None
    """DNSMOS of the original and of the copy."""
    pesq: float | None


def least(work: Callable[[], object], seconds: float, repeats: int = 3) -> float:
    """Return the CPU seconds that a second of sound takes; the first run is a warm-up."""
    times = []
    for _ in range(repeats):
        begun = time.process_time()
        work()
        times.append((time.process_time() - begun) / seconds)
    return min(times[1:])


def costs(seconds: float) -> tuple[list[str], bool]:
    """Return rows of the table of costs, and whether what is promised holds."""
    torch.manual_seed(0)
    frames = round(seconds * RATE / HOP)
    mel, f0 = torch.randn(1, 128, frames) - 4, torch.full((1, frames), 220.0)
    volume, row = torch.full((1, frames), 0.1), torch.tensor([0])
    config = RefinerConfig(content_channels=CONTENT[0])
    ours = NativeRefiner(config, Velocity(config, 128).eval(), None, {})
    theirs = Unit2Mel(Unit2MelConfig(content_channels=CONTENT[1])).eval()
    vocoder = Vocoder(VocoderConfig()).fold()
    shape = SynthesizerConfig(inter_channels=128, speaker_channels=0)
    nsf = NsfVocoder(shape, VOCODER_MEL).fold()

    def refine(refiner: Refiner, channels: int, steps: int) -> Callable[[], object]:
        content = torch.randn(1, channels, frames)
        return lambda: refiner.refine(mel, content, f0, volume, row, strength=0.3, steps=steps)

    def sing(network: MelVocoder) -> Callable[[], object]:
        return lambda: network.synthesize(mel, f0, noise=NoiseSource())

    rows: list[tuple[str, torch.nn.Module, float]] = [
        (
            f"our refiner, {STEPS} evaluations",
            ours.network,
            least(refine(ours, CONTENT[0], STEPS), seconds),
        ),
        ("our vocoder", vocoder, least(sing(vocoder), seconds)),
        (
            f"so-vits-svc's refiner (512 x 20), {LEGACY_STEPS} evaluations",
            theirs,
            least(refine(theirs, CONTENT[1], LEGACY_STEPS), seconds, 2),
        ),
        ("NSF-HiFiGAN", nsf, least(sing(nsf), seconds, 2)),
    ]
    own, other = rows[0][2] + rows[1][2], rows[2][2] + rows[3][2]
    lines = ["| network | M parameters | CPU s per s |", "|---|---:|---:|"]
    for name, network, cost in rows:
        count = sum(tensor.numel() for tensor in network.parameters()) / 1e6
        lines.append(f"| {name} | {count:.1f} | {cost:.3f} |")
    good = own <= COST and other / own >= TIMES
    verdict = "yes" if good else "**no**"
    lines += [
        f"| **ours together** (promised: at most {COST}) | | {own:.3f} |",
        f"| **so-vits-svc's together** (promised: at least {TIMES:g} times ours; {verdict}) "
        f"| | {other:.3f}, {other / own:.0f} times |",
    ]
    return lines, good


def sung(wave: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the same speech sung to a melody: sound, pitch and voicing of its frames."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        world = import_module("pyworld")
    samples = wave.double().numpy()
    spoken, times = world.dio(samples, RATE)
    spoken = world.stonemask(samples, spoken, times, RATE)
    envelope = world.cheaptrick(samples, spoken, times, RATE)
    aperiodicity = world.d4c(samples, spoken, times, RATE)
    at = np.arange(len(times)) * STEP
    note = np.array(NOTES)[(at / 0.6).astype(int) % len(NOTES)].astype(float)
    glide = np.hanning(17)
    note = np.convolve(np.pad(note, 8, "edge"), glide / glide.sum(), "valid")
    line = LOWEST * 2 ** ((note + 0.3 * np.sin(2 * np.pi * 5.5 * at)) / 12)
    made = world.synthesize(np.where(spoken > 0, line, 0.0), envelope, aperiodicity, RATE, 5.0)
    frames = min(len(made), len(samples)) // HOP
    centres = (np.arange(frames) + 0.5) * HOP / RATE / STEP
    f0 = np.interp(centres, np.arange(len(line)), line)
    voiced = spoken[np.clip(np.round(centres).astype(int), 0, len(spoken) - 1)] > 0
    sound = torch.from_numpy(made[: frames * HOP]).float()
    return (
        sound * (0.7 / max(float(sound.abs().max()), 1e-3)),
        torch.from_numpy(f0).float(),
        torch.from_numpy(voiced),
    )


def compare(wave: Tensor, copy: Tensor, f0: Tensor, voiced: Tensor, listener: Any | None) -> Copy:
    """Return how near a copy is to `[samples]`, whose pitch and voicing are given."""
    log_mel = LogMel(VOCODER_MEL, VOCODER_POWER_FLOOR)
    far = float((log_mel(copy) - log_mel(wave)).abs().mean())
    stft = float(stft_distance(wave[None, None], copy[None, None], FULL_BAND))
    found = load_pitch_extractor("swift")(copy, RATE, HOP)
    steady = ~torch.nn.functional.max_pool1d(
        1.0 - (voiced & found.voiced).float()[None], 2 * EDGE + 1, 1, EDGE
    )[0].bool()
    cents = 1200 * (found.f0 / f0).log2()[steady]
    quality = None
    if listener is not None:
        quality = listener.opinions(wave, RATE)[2], listener.opinions(copy, RATE)[2]
    return Copy(
        far,
        stft,
        float(cents.square().mean().sqrt()),
        float(cents.abs().median()),
        quality,
        pesq(wave, copy),
    )


def pesq(wave: Tensor, copy: Tensor) -> float | None:
    """Return PESQ-WB of a copy, if there is the package for it."""
    try:
        package = import_module("pesq")
    except ImportError:
        return None
    heard = [resample(x, RATE, 16_000).numpy() for x in (wave, copy)]
    found = package.pesq(16_000, *heard, "wb", on_error=package.PesqError.RETURN_VALUES)
    return float(found) if found > 0 else None  # below 0 it has found no speech


def copies(vocoder: Vocoder, sources: list[Path], seconds: float) -> list[str]:
    """Return rows of the table of copies."""
    try:
        from sovits.evaluate.quality import Listener

        listener: Listener | None = Listener()
    except (ImportError, SovitsError):
        listener = None
    extractor = load_pitch_extractor("swift")
    lines = [
        "| source | log-mel L1 | MR-STFT | pitch error, RMS (median), cents "
        "| DNSMOS of the copy (source) | PESQ-WB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    every: dict[str, list[Copy]] = {"spoken": [], "sung": []}
    for source in sources:
        wave = sovits.read(source, sample_rate=RATE, mono=True)[0][0][: round(seconds * RATE)]
        wave = wave[: len(wave) // HOP * HOP]
        pitch = extractor(wave, RATE, HOP)
        for kind, (sound, f0, voiced) in (
            ("spoken", (wave, pitch.f0, pitch.voiced)),
            ("sung", sung(wave)),
        ):
            mel = vocoder.log_mel(sound[None])
            copy = vocoder.synthesize(mel, f0[None], noise=NoiseSource())[0]
            found = compare(sound, copy, f0, voiced, listener)
            every[kind].append(found)
            lines.append(row(f"{source.stem}, {kind}", [found]))
            print(lines[-1], flush=True)
    return lines + [row(f"**all, {kind}**", found) for kind, found in every.items()]


def row(name: str, found: list[Copy]) -> str:
    """Return the means of some copies as a row."""

    def mean(values: list[float]) -> float:
        return statistics.fmean(values)

    rms = math.sqrt(mean([c.cents**2 for c in found]))
    opinions = [c.quality for c in found if c.quality is not None]
    told = "-"
    if opinions:
        before, after = (mean([pair[i] for pair in opinions]) for i in (0, 1))
        told = f"{after:.2f} ({before:.2f})"
    heard = [c.pesq for c in found if c.pesq is not None]
    cells = [
        name,
        f"{mean([c.mel for c in found]):.3f}",
        f"{mean([c.stft for c in found]):.3f}",
        f"{rms:.1f} ({mean([c.median_cents for c in found]):.1f})",
        told,
        f"{mean(heard):.2f}" if heard else "-",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    parser.add_argument("--sources", type=Path, nargs="+", default=[ROOT / "examples/speech.flac"])
    parser.add_argument("--vocoder", type=Path, default=VOCODER_FILE)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each source")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        rows, good = costs(5.0)
        print("\n".join(rows), flush=True)
        table = []
        if args.vocoder.is_file():
            table = copies(read_vocoder(args.vocoder), args.sources, args.seconds)
    names = ", ".join(path.stem for path in args.sources)
    lines = [
        "## Refiner and vocoder",
        "",
        "Written by `benchmarks/refining.py --write`"
        f"{' with other --sources' if len(args.sources) > 1 else ''}. {date.today()}, "
        f"{processor()}, one thread.",
        "",
        "Random weights of the real shapes, 5 s of sound, in one run:",
        "",
        *rows,
    ]
    if table:
        lines += [
            "",
            f"Copies of {names}, up to {args.seconds:g} s each, by the vocoder from mel "
            "spectrogram and pitch; and of the same speech",
            "sung by WORLD to a melody of 250 to 1000 Hz. Log-mel L1 in nepers (0.1 is 0.9 dB); "
            "pitch is found by `swift` in the copy",
            "and compared with what was asked for, three frames away from a change of voicing; "
            f"{CENTS:g} cents are the goal.",
            "",
            *table,
        ]
    if args.write:
        PAGE.write_text(put(PAGE.read_text("utf-8"), "refining.py", lines), "utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
