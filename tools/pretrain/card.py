"""Put what can be measured of a voice's target into its card, without touching its weights.

    python tools/pretrain/card.py sovits/assets/voices/heart.safetensors

measures the pitch of `heart.sample.ogg` beside it, and writes `median_f0_hz` and `f0_range_hz`.
Other sounds can be named with --recordings.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sovits.audio.io import read
from sovits.features.pitch import load_pitch_extractor
from sovits.header import KEY, parse_settings, read_header
from sovits.library import SAMPLE
from sovits.types import Wave

F0_METHOD = "swift"
HOP_SECONDS = 0.01
RANGE = (0.05, 0.95)
"""Shares of the voiced frames below the ends of the range; what is beyond is creak and slips."""


def main() -> None:
    """Measure, and rewrite the card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("voice", type=Path)
    parser.add_argument("--recordings", type=Path, nargs="+", help="sounds of the target")
    args = parser.parse_args()
    sounds = args.recordings or [args.voice.with_name(args.voice.stem + SAMPLE)]
    facts = pitch_facts([read(path, mono=True) for path in sounds])
    rewrite_card(args.voice, facts)
    print(args.voice, json.dumps(facts))


def pitch_facts(sounds: Sequence[tuple[Wave, int]]) -> dict[str, Any]:
    """Return median and range of the pitch of waves `[1, samples]`, each with its rate (Hz)."""
    extract = load_pitch_extractor(F0_METHOD)
    voiced = []
    for wave, rate in sounds:
        pitch = extract(wave[0], rate, round(rate * HOP_SECONDS))
        voiced.append(pitch.f0[pitch.voiced])
    f0 = torch.cat(voiced)
    low, median, high = torch.quantile(f0, torch.tensor([RANGE[0], 0.5, RANGE[1]])).tolist()
    return {
        "median_f0_hz": round(median, 1),
        "f0_range_hz": [round(low, 1), round(high, 1)],
        "f0_how": f"{F0_METHOD}, voiced frames: median, {RANGE[0]:.0%} and {RANGE[1]:.0%} quantile",
    }


def rewrite_card(path: Path, changes: dict[str, Any]) -> None:
    """Change entries of a voice's card; every byte of its tensors stays as it is."""
    if read_header(path) is None:
        raise SystemExit(f"{path} is no voice.")
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    settings = parse_settings(path, header["__metadata__"][KEY])
    settings["card"] |= changes
    header["__metadata__"][KEY] = json.dumps(settings, ensure_ascii=False)
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
