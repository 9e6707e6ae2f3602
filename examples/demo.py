"""Convert two real recordings with both bundled voices, and say in numbers how well it went.

Run by `make demo`. The recordings and their licences are listed in docs/legal.md.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")

import math
import resource
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import sovits
from sovits.evaluate.pitch import compare_pitch, melody
from sovits.features.pitch import load_pitch_extractor
from sovits.features.speaker import load_speaker_encoder, similarity
from sovits.library import VOICES

HERE = Path(__file__).parent
OUT = HERE.parent / "demo_out"
NAMES = {"heart": ".out.wav", "kumo": ".low.out.wav"}
"""How the results of each voice are called."""


def main() -> None:
    """Convert, measure, and print where the results are."""
    OUT.mkdir(exist_ok=True)
    speakers, pitch = load_speaker_encoder(), load_pitch_extractor("swift")
    table = Table("recording", "result", "-t", "s per s", "pitch r", "like target", "source was")
    for name, suffix in NAMES.items():
        voice = sovits.load_voice(name)
        voice.content_encoder()
        sample, sample_rate = sovits.read(VOICES / f"{name}.sample.ogg", mono=True)
        target = speakers.embed(sample[0], sample_rate)
        for source in sorted(HERE.glob("*.flac")):
            wave, rate = sovits.read(source, mono=True)
            sung = melody(pitch, wave[0], rate)
            median = float(sung.f0[sung.voiced].median())
            # Into the range of the voice, by octaves, so that songs stay in key.
            octaves = round(math.log2(voice.card["median_f0_hz"] / median))
            options = sovits.ConvertOptions(output_rate=44_100, semitones=12.0 * octaves)
            begun = time.perf_counter()
            converted = voice.convert(wave, rate, options)
            seconds = time.perf_counter() - begun
            out = OUT / f"{source.stem}{suffix}"
            sovits.write(out, converted, 44_100)
            agreement = compare_pitch(sung, melody(pitch, converted[0], 44_100), options.semitones)
            table.add_row(
                source.name,
                f"{OUT.name}/{out.name}",
                f"{options.semitones:g}",
                f"{seconds / (wave.shape[-1] / rate):.3f}",
                f"{agreement.correlation:.3f}",
                f"{similarity(speakers.embed(converted[0], 44_100), target):.3f}",
                f"{similarity(speakers.embed(wave[0], rate), target):.3f}",
            )
    console = Console(width=None if os.isatty(1) else 100)
    console.print(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    console.print(
        "-t: semitones. s per s: seconds taken per second of sound, on "
        f"{torch.get_num_threads()} threads. pitch r: correlation of log pitch with the "
        "recording.\n"
        "like target: speaker similarity of the result to the voice, 0 to 1; source was: that "
        f"of the recording itself. Peak memory {peak:.0f} MB.\n"
    )
    print(f"Listen: {OUT / 'speech.out.wav'} {OUT / 'speech.low.out.wav'}")


if __name__ == "__main__":
    main()
