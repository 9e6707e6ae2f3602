"""Measure in which directions Whisper's content tells the time instead of what is said.

    python tools/pretrain/positions.py FOLDER_OF_RECORDINGS...

Whisper times its words by a code of the position inside its window. In Whisper-base that is
40 % of the variance of the last layer, and the same sound has another code wherever it stands:
a synthesizer would have to learn every sound at every place. The mean over much speech, at
each position, is this code; its few principal directions are written to a file that
`sovits.features.content` projects out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from bundle import ASSETS, save

from sovits.audio.io import read
from sovits.features.content.registry import WHISPER_BASE
from sovits.features.content.whisper import WhisperContent, load_whisper
from sovits.weights import find

WINDOW, STEP, DIRECTIONS = 750, 375, 8


@torch.no_grad()
def position_code(network: WhisperContent, folders: list[Path], seconds: float) -> torch.Tensor:
    """Return the mean content `[positions, channels]` over windows of joined recordings."""
    total, count = torch.zeros(WINDOW, 512, dtype=torch.float64), 0
    for folder in folders:
        waves, length = [], 0
        for path in sorted(folder.rglob("*.wav")):
            wave, _ = read(path, sample_rate=16_000, mono=True)
            waves.append(wave[0])
            length += wave.shape[1]
            if length >= seconds * 16_000:
                break
        wave = torch.cat(waves)
        hear = network.listen(wave)
        for first in range(0, network.count(len(wave)) - WINDOW + 1, STEP):
            total += network(hear(first, first + WINDOW))[0].T.double()
            count += 1
    print(f"{count} windows")
    return total / count


def main() -> None:
    """Read recordings, write the directions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="one speaker each")
    parser.add_argument("--seconds", type=float, default=900.0, help="sound used of each")
    parser.add_argument("--source", default="", help="what the recordings are, for the file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    raw = load_whisper(find(WHISPER_BASE), 512, torch.device("cpu"))
    code = position_code(raw, options.folders, options.seconds)
    _, strength, directions = torch.linalg.svd(code - code.mean(0), full_matrices=False)
    share = strength.square().cumsum(0) / strength.square().sum()
    print("share of the code:", [round(float(part), 3) for part in share[:12]])
    kept = directions[:DIRECTIONS]
    signs = kept.gather(1, kept.abs().argmax(1, keepdim=True)).sign()
    save(
        ASSETS / "whisper-base-positions.safetensors",
        {"directions": (kept * signs).float()},
        {
            "network": "directions of the position code in Whisper-base's last layer",
            "source": options.source or "measured by tools/pretrain/positions.py",
            "licence": "MIT",
        },
    )


if __name__ == "__main__":
    main()
