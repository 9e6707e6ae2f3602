"""Make the sounds that every training converts at each evaluation, of the recordings in examples/.

    python tools/probe_sounds.py

Writes `speech.ogg` and `song.ogg` into `sovits/assets/probe/`, at the level of prepared clips.
"""

from __future__ import annotations

from pathlib import Path

import soundfile

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "sovits/assets/probe"
STRETCHES = {"speech": (0.0, 7.12), "song": (0.0, 6.6)}
"""What is taken of each recording (s): up to a pause, and together more than ten seconds."""
PEAK = 0.95
SMALLEST = 0.4  # compression; 0 is the largest file


def main() -> None:
    """Cut, level and encode."""
    OUT.mkdir(exist_ok=True)
    for name, (start, stop) in STRETCHES.items():
        wave, rate = soundfile.read(ROOT / f"examples/{name}.flac", dtype="float32")
        cut = wave[round(start * rate) : round(stop * rate)]
        path = OUT / f"{name}.ogg"
        soundfile.write(path, cut * (PEAK / abs(cut).max()), rate, compression_level=SMALLEST)
        print(f"{path.relative_to(ROOT)}: {len(cut) / rate:.2f} s, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
