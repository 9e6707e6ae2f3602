"""Convert two real recordings with the bundled voice, and say in numbers how well it went.

Run by `make demo`. The recordings and their licences are listed in docs/legal.md.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")

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
VOICE = "heart"


def main() -> None:
    """Convert, measure, and print where the results are."""
    OUT.mkdir(exist_ok=True)
    voice = sovits.load_voice(VOICE)
    voice.content_encoder()
    speakers, pitch = load_speaker_encoder(), load_pitch_extractor("swift")
    sample, sample_rate = sovits.read(VOICES / f"{VOICE}.sample.ogg", mono=True)
    target = speakers.embed(sample[0], sample_rate)
    table = Table("recording", "result", "s per s", "pitch r", "like target", "source was")
    for source in sorted(HERE.glob("*.flac")):
        wave, rate = sovits.read(source, mono=True)
        options = sovits.ConvertOptions(output_rate=44_100)
        begun = time.perf_counter()
        converted = voice.convert(wave, rate, options)
        seconds = time.perf_counter() - begun
        out = OUT / f"{source.stem}.out.wav"
        sovits.write(out, converted, 44_100)
        agreement = compare_pitch(
            melody(pitch, wave[0], rate), melody(pitch, converted[0], 44_100), options.semitones
        )
        table.add_row(
            source.name,
            f"{OUT.name}/{out.name}",
            f"{seconds / (wave.shape[-1] / rate):.3f}",
            f"{agreement.correlation:.3f}",
            f"{similarity(speakers.embed(converted[0], 44_100), target):.3f}",
            f"{similarity(speakers.embed(wave[0], rate), target):.3f}",
        )
    console = Console(width=None if os.isatty(1) else 100)
    console.print(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    console.print(
        f"s per s: seconds taken per second of sound, on {torch.get_num_threads()} threads. "
        "pitch r: correlation of log pitch with the recording.\n"
        "like target: speaker similarity of the result to the voice, 0 to 1; source was: that "
        f"of the recording itself. Peak memory {peak:.0f} MB.\n"
    )
    print(f"Listen: {OUT / 'speech.out.wav'}")


if __name__ == "__main__":
    main()
