"""Our stages, on the clip and the networks that the fork's side made in the current folder.

python our_side.py STAGE
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from stage_clock import report

import sovits
from sovits.audio.resample import resample
from sovits.features.content import load_content_encoder
from sovits.features.pitch import load_pitch_extractor

HUBERT = Path("lengyue233/content-vec-best/model.safetensors")
KINDS = ("hifi-gan", "ms-istft", "heart")


def main() -> None:
    """Time one stage; `KIND-bf16` computes in bfloat16."""
    torch.set_num_threads(1)
    stage, repeats = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2
    wave, rate = sovits.read("clip.wav", mono=True)
    seconds = wave.shape[-1] / rate
    kind, _, precision = stage.partition("-bf")
    half = bool(precision)
    if stage in ("content", "content-bundled"):
        encoder = (
            load_content_encoder("contentvec-768l12", path=HUBERT)
            if stage == "content"
            else load_content_encoder("sovits-content")
        )

        def work() -> object:
            return encoder.encode(resample(wave[0], rate, encoder.spec.sample_rate))
    elif kind in KINDS:
        voice = sovits.load_voice(f"{kind}/G_1.pth" if kind != "heart" else kind)
        config = voice.config
        frames = round(seconds * config.audio.frame_rate)
        content = torch.randn(1, config.synthesizer.content_channels, frames)
        f0, voiced = torch.full((1, frames), 220.0), torch.ones(1, frames, dtype=torch.bool)
        volume = torch.full((1, frames), 0.1) if config.synthesizer.volume else None

        def work() -> object:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                return voice.synthesizer.infer(
                    content, f0, voiced, torch.tensor([0]), volume=volume
                )
    elif stage.startswith("convert"):
        name = stage.partition(":")[2] or "hifi-gan"
        voice = sovits.load_voice(name if name == "heart" else f"{name}/G_1.pth")
        if name != "heart":
            voice._encoder = load_content_encoder("contentvec-768l12", path=HUBERT)
        options = sovits.ConvertOptions(f0_method="swift" if name == "heart" else "dio")

        def work() -> object:
            return voice.convert(wave[0], rate, options)
    else:
        extractor = load_pitch_extractor(stage)

        def work() -> object:
            return extractor(wave[0], rate, 512)

    report(stage, work, seconds, repeats)


if __name__ == "__main__":
    main()
