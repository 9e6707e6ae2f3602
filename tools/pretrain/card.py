"""Put what can be measured of a voice's target into its card, without touching its weights.

    python tools/pretrain/card.py sovits/assets/voices/heart.safetensors
    python tools/pretrain/card.py sovits/assets/content.safetensors --card cards/content.json

The first measures the pitch of `heart.sample.ogg` beside it, and writes `median_f0_hz` and
`f0_range_hz`; other sounds can be named with --recordings. The second gives a file that is no
voice the card in another, and prints its digest, which the registry has to know.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from sovits.audio.io import read
from sovits.features.pitch import load_pitch_extractor
from sovits.header import KEY, parse_settings, read_header
from sovits.library import SAMPLE
from sovits.types import Wave

CARD = "card"
"""Name of the card in the metadata of what is no voice."""
F0_METHOD = "swift"
HOP_SECONDS = 0.01
RANGE = (0.05, 0.95)
"""Shares of the voiced frames below the ends of the range; what is beyond is creak and slips."""


def main() -> None:
    """Measure, or read a card, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("voice", type=Path)
    parser.add_argument("--recordings", type=Path, nargs="+", help="sounds of the target")
    parser.add_argument("--card", type=Path, help="JSON with the card of a file that is no voice")
    args = parser.parse_args()
    if args.card is not None:
        write_card(args.voice, json.loads(args.card.read_text("utf-8")))
        print(args.voice, hashlib.sha256(args.voice.read_bytes()).hexdigest())
        return
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

    def changed(metadata: dict[str, str]) -> dict[str, str]:
        settings = parse_settings(path, metadata[KEY])
        settings["card"] |= changes
        return metadata | {KEY: json.dumps(settings, ensure_ascii=False)}

    _rewrite(path, changed)


def write_card(path: Path, card: dict[str, Any]) -> None:
    """Put a card into the header of weights that are no voice; their bytes stay as they are."""
    told = {CARD: json.dumps(card, ensure_ascii=False)}
    if read_header(path) is not None:
        raise SystemExit(f"{path} is a voice, whose settings would be lost.")
    _rewrite(path, lambda _metadata: told)


def _rewrite(path: Path, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    """Replace what the header of a safetensors file tells besides its tensors."""
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = change(header.get("__metadata__", {}))
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
