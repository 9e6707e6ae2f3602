"""Train the bundled vocoder, `sovits-vocoder`, on the clips that the base is trained on.

    python tools/pretrain/vocoder.py sing   WORK              sung copies of some clips
    python tools/pretrain/vocoder.py train  WORK --minutes 9
    python tools/pretrain/vocoder.py bundle WORK --card cards/vocoder.json

Every stage resumes where it was stopped. WORK/clips and WORK/pitch are made by `content.py teach`
and `base.py features`. The network begins with the weights of the bundled base where shapes fit.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from base import AUDIO, BETAS, HOP, load, save
from content import _save, interpolated
from lightning_fabric import Fabric
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from sovits.audio.loudness import frame_rms
from sovits.audio.mel import linear_spectrogram
from sovits.audio.resample import resample
from sovits.config import (
    Config,
    DiscriminatorConfig,
    NativeConfig,
    TrainConfig,
    VocoderConfig,
    VoiceConfig,
)
from sovits.models.discriminator import Discriminator
from sovits.models.synthesizer import TrainBatch
from sovits.models.vocoder import VOCODER_FILE, Vocoder, write_vocoder
from sovits.train.base import BASE_FILE
from sovits.train.dataset import Crops
from sovits.train.step import Objective, Trainee, averaged, train_step

SPEAKERS = "en,es,fr,it,ru,heart,joe,kokoro-1,kokoro-2"
SUNG_OF = ("heart", "kokoro-1", "kokoro-2", "joe", "en", "it")
SLOWEST, FASTEST = 2**-0.6, 2**1.0  # playback, which moves pitch and formants
SHARE_MOVED, SHARE_SUNG, SHARE_COLOURED, SHARE_BLURRED = 0.6, 0.2, 0.4, 0.3
COLOUR_DB = 8.0  # of the gains of a random smooth filter, each way
BLUR = 0.12  # of the logarithm of bins, as the mels of networks are not those of sound
HEAD_SHARE = 0.1  # of the base's head with which the vocoder's begins
MARGIN = 2  # frames around a crop that its spectrogram sees


def melody(rng: np.random.Generator, seconds: float, low: float, high: float) -> np.ndarray:
    """Return pitch every 5 ms (Hz): notes of a scale, gliding, with vibrato where they last."""
    span = math.log2(high / low) * 12
    steps = np.array([0, 2, 4, 5, 7, 9, 11])
    notes = [n for n in (steps[None] + 12 * np.arange(5)[:, None]).ravel() if n <= span]
    place, out = int(rng.integers(len(notes))), []
    while sum(map(len, out)) < seconds * 200:
        place = int(np.clip(place + rng.integers(-3, 4), 0, len(notes) - 1))
        length = int(rng.uniform(0.15, 1.0) * 200)
        t = np.arange(length) / 200
        depth = rng.uniform(0, 0.6) * np.clip((t - 0.15) / 0.2, 0, 1)
        out.append(notes[place] + depth * np.sin(2 * np.pi * rng.uniform(4.5, 7) * t))
    semitones = np.concatenate(out)
    glide = np.hanning(2 * rng.integers(4, 14) + 1)
    semitones = np.convolve(
        np.pad(semitones, len(glide) // 2, "edge"), glide / glide.sum(), "valid"
    )
    return low * 2 ** (semitones / 12)


def sing(work: Path, clips: int) -> None:
    """Write copies of clips in which WORLD sings, with their pitch, to WORK/vocoder/sung."""
    import pyworld

    rng = np.random.default_rng(5)
    rate = AUDIO.sample_rate
    for number in range(clips):
        speaker = SUNG_OF[number % len(SUNG_OF)]
        paths = sorted((work / "clips" / speaker).rglob("*.safetensors"))
        path = paths[int(rng.integers(len(paths)))]
        seed = int(rng.integers(1 << 30))
        out = work / "vocoder" / "sung" / f"{number:03}-{speaker}.safetensors"
        if out.exists() or paths.index(path) % 40 == 7:
            continue
        own = np.random.default_rng(seed)
        with safe_open(path, framework="pt") as file:
            wave = file.get_slice("wave")[: 6 * rate].double().numpy() / 32768
        spoken, times = pyworld.dio(wave, rate)
        spoken = pyworld.stonemask(wave, spoken, times, rate)
        envelope = pyworld.cheaptrick(wave, spoken, times, rate)
        aperiodicity = pyworld.d4c(wave, spoken, times, rate)
        slower = own.uniform(1.0, 2.0)
        at = np.arange(int(len(times) * slower)) / slower
        near = np.clip(np.round(at).astype(int), 0, len(times) - 1)
        low = own.choice([80, 110, 150, 220, 300, 400, 500])
        line = melody(own, len(at) * 0.005, low, min(low * own.uniform(1.5, 3.5), 1600))
        f0 = np.where(spoken[near] > 0, line[: len(at)], 0.0)
        sound = pyworld.synthesize(
            f0,
            np.ascontiguousarray(envelope[near]),
            np.ascontiguousarray(aperiodicity[near]),
            rate,
            5.0,
        )
        frames = min(len(sound) // HOP, int((len(at) - 1) * 0.005 * rate / HOP))
        sound = sound[: frames * HOP] * (0.7 / max(np.abs(sound).max(), 1e-3))
        centres = (np.arange(frames) + 0.5) * HOP / rate / 0.005
        held = torch.from_numpy(sound).float()
        voiced = f0[np.round(centres).astype(int)] > 0
        _save(
            out,
            {
                "wave": (held * 32767).round().to(torch.int16),
                "f0": torch.from_numpy(
                    np.interp(centres, np.arange(len(at)), line[: len(at)])
                ).float(),
                "voiced": torch.from_numpy(voiced),
                "volume": frame_rms(held[None], HOP)[0],
            },
        )


class Sounds:
    """All clips in memory, and how they are heard."""

    def __init__(self, work: Path, speakers: list[str], *, held_out: bool) -> None:
        self.clips: list[dict[str, Tensor]] = []
        self.weights: list[float] = []
        for speaker in speakers:
            paths = sorted((work / "clips" / speaker).rglob("*.safetensors"))
            chosen = [p for i, p in enumerate(paths) if (i % 40 == 7) == held_out]
            clips = []
            for path in chosen:
                pitch = load_file(work / "pitch" / path.relative_to(work / "clips"))
                frames = pitch["f0"].shape[-1]
                if frames >= 40:
                    with safe_open(path, framework="pt") as file:
                        clips.append(
                            {"f0": pitch["f0"], "wave": file.get_slice("wave")[: frames * HOP]}
                        )
            total = sum(len(c["f0"]) for c in clips)
            self.clips += clips
            self.weights += [len(c["f0"]) * total**-0.6 for c in clips]
        sung = sorted((work / "vocoder" / "sung").glob("*.safetensors"))
        chosen = [p for i, p in enumerate(sung) if (i % 20 == 7) == held_out]
        self.sung = [{k: v for k, v in load_file(p).items() if k in ("f0", "wave")} for p in chosen]

    def crop(self, rng: random.Random, context: int, segment: int, *, plain: bool) -> Crops:
        """Return one crop, perhaps sung, at another speed, coloured or blurred."""
        if self.sung and rng.random() < SHARE_SUNG:
            clip = rng.choice(self.sung)
        else:
            clip = rng.choices(self.clips, self.weights)[0]
        speed = 2 ** rng.uniform(math.log2(SLOWEST), math.log2(FASTEST))
        if plain or rng.random() >= SHARE_MOVED:
            speed = 1.0
        f0, stored = clip["f0"], clip["wave"]
        needed = context + 2 * MARGIN
        total = int(len(f0) / speed)
        first = rng.randint(0, max(0, total - needed))
        frames = min(needed, total)
        low, high = int(first * speed * HOP), int((first + frames) * speed * HOP) + HOP
        wave = stored[low:high].float() / 32768
        if speed != 1.0:
            wave = resample(wave, round(AUDIO.sample_rate * speed), AUDIO.sample_rate)
        wave = F.pad(wave, (0, max(0, needed * HOP - len(wave))))[: needed * HOP]
        at = (first + torch.arange(needed) + 0.5) * speed - 0.5
        pitch = interpolated(f0[None].float(), at.clamp(0, len(f0) - 1))[0] * speed
        if not plain and rng.random() < SHARE_COLOURED:
            wave = coloured(wave, rng)
        gain = 10 ** rng.uniform(-0.8, 0.3)
        wave = wave * min(gain, 0.99 / max(float(wave.abs().max()), 1e-3))
        spectrogram = linear_spectrogram(wave, AUDIO)
        if not plain and rng.random() < SHARE_BLURRED:
            generator = torch.Generator().manual_seed(rng.getrandbits(40))
            drawn = torch.randn(spectrogram.shape, generator=generator)
            spectrogram = spectrogram * (rng.random() * BLUR * drawn).exp()
        inner = slice(MARGIN, MARGIN + context)
        begin = rng.randint(0, max(0, min(frames - MARGIN, context) - segment))
        sound = wave[(MARGIN + begin) * HOP : (MARGIN + begin + segment) * HOP]
        ones = torch.ones(context)
        batch = TrainBatch(
            content=torch.zeros(1, context),
            f0=pitch[inner],
            voiced=ones,
            volume=ones,
            spectrogram=spectrogram[:, inner],
            speaker=torch.tensor(0),
            mask=ones[None],
            start=torch.tensor(begin),
            formants=torch.tensor(1.0),
        )
        return Crops(batch, sound[None])

    def batch(
        self, rng: random.Random, size: int, context: int, segment: int, *, plain: bool = False
    ) -> Crops:
        """Return `size` crops."""
        crops = [self.crop(rng, context, segment, plain=plain) for _ in range(size)]
        batch = TrainBatch(*map(torch.stack, zip(*(c.batch for c in crops), strict=True)))
        return Crops(batch, torch.stack([c.wave for c in crops]))


def coloured(wave: Tensor, rng: random.Random) -> Tensor:
    """Return sound through a random smooth filter without delay."""
    spectrum = torch.fft.rfft(wave)
    points = torch.tensor([rng.uniform(-COLOUR_DB, COLOUR_DB) for _ in range(7)])
    place = torch.linspace(0, 1, len(spectrum)).sqrt() * 6
    low = place.long().clamp(max=5)
    gains = torch.lerp(points[low], points[low + 1], place - low)
    return torch.fft.irfft(spectrum * 10 ** (gains / 20), len(wave))


def configuration(adversarial_from: int, segment_frames: int) -> Config:
    """Return what an objective reads; its bands reach up to half the rate."""
    return Config(
        VoiceConfig(AUDIO, NativeConfig()),
        DiscriminatorConfig(width=0.25, scale=False, spectra=(2048, 1024, 512)),
        TrainConfig(
            mel_weight=15.0,
            stft_weight=8.0,
            feature_weight=2.0,
            precision="bf16",
            average=0.999,
            adversarial_from=adversarial_from,
            segment_frames=segment_frames,
            context_frames=segment_frames,
        ),
    )


def begin(vocoder: Vocoder, judge: Discriminator) -> None:
    """Take what fits of the bundled base: blocks, which hear their mean speaker, and judges."""
    base = load_file(BASE_FILE)
    held = {name: tensor.float() for name, tensor in base.items()}
    mean = held["generator.emb_g.weight"].mean(0)
    own = vocoder.state_dict()
    number = 0
    for part in ("prior", "decoder"):
        linear = f"generator.{part}_speaker"
        shift = held[f"{linear}.weight"] @ mean + held[f"{linear}.bias"]
        count = len({k.split(".")[3] for k in held if k.startswith(f"generator.{part}.blocks.")})
        for index in range(count):
            prefix = f"generator.{part}.blocks.{index}."
            for name in (k.removeprefix(prefix) for k in held if k.startswith(prefix)):
                tensor = held[prefix + name]
                if name == "depthwise.conv.bias":
                    tensor = tensor + shift
                if own.get(f"body.blocks.{number}.{name}", tensor[None]).shape == tensor.shape:
                    own[f"body.blocks.{number}.{name}"] = tensor
            number += 1
    own["pitch.weight"] = held["generator.pitch.weight"][:, :-1]
    # What bands tell is right from the first step; the head begins as little beside it.
    own["shaper.head.weight"] = held["generator.shaper.head.weight"] * HEAD_SHARE
    own |= {f"norm.{k}": held[f"generator.norm.{k}"] for k in ("weight", "bias")}
    vocoder.load_state_dict(own)
    prefix = "discriminator."
    judge.load_state_dict(
        {k.removeprefix(prefix): v for k, v in held.items() if k.startswith(prefix)}
    )


def train(args: argparse.Namespace) -> None:
    """Train for some minutes."""
    torch.manual_seed(0)
    work: Path = args.work
    folder = work / "vocoder" / args.name
    fabric = Fabric(accelerator="auto", devices=1, precision="32-true")
    device = fabric.device
    far, close = configuration(args.adversarial, 64), configuration(args.adversarial, 40)
    generator = Vocoder(VocoderConfig(**json.loads(args.network)))
    judge = Discriminator(far.discriminator)
    parts = Trainee(
        generator.to(device),
        judge.to(device),
        torch.optim.AdamW(generator.parameters(), args.rate, betas=BETAS, fused=True),
        torch.optim.AdamW(judge.parameters(), args.rate / 2, betas=BETAS, fused=True),
        average={},
    )
    if (folder / "whole").exists():
        load(folder, parts)
    else:
        begin(generator, judge)
        parts.begin_average()
    clips = Sounds(work, args.speakers.split(","), held_out=False)
    tests = Sounds(work, args.speakers.split(","), held_out=True)
    objectives = Objective(far, device), Objective(close, device)
    arithmetic = torch.autocast(device.type, torch.bfloat16)
    begun = saved = time.monotonic()
    seen: dict[str, float] = {}
    while parts.step < args.steps and time.monotonic() - begun < 60 * args.minutes:
        fighting = parts.step >= args.adversarial
        rate = args.rate * min(1, (parts.step + 1) / 50)
        rate *= 0.03 + 0.97 * (0.5 + 0.5 * math.cos(math.pi * parts.step / args.steps))
        for optimizer, share in (
            (parts.generator_optimizer, 1.0),
            (parts.discriminator_optimizer, 0.5),
        ):
            for group in optimizer.param_groups:
                group["lr"] = rate * share
        rng = random.Random(f"{args.seed}/{parts.step}")
        size, context, segment = (8, 88, 40) if fighting else (12, 108, 64)
        crops = fabric.to_device(clips.batch(rng, size, context, segment))
        terms = train_step(fabric, parts, objectives[fighting], crops, arithmetic)
        parts.step += 1
        for name, term in terms.items():
            seen[name] = seen.get(name, term.item()) * 0.97 + 0.03 * term.item()
        if parts.step % 50 == 0:
            spent = (time.monotonic() - begun) / 60
            told = {name: round(value, 3) for name, value in seen.items()}
            print(parts.step, f"{spent:.1f} min", told, flush=True)
        if parts.step % 500 == 0 or time.monotonic() - saved > 240:
            save(folder, parts)
            saved = time.monotonic()
            print("held out", judged(parts, tests, objectives[0], device), flush=True)
    save(folder, parts)
    print("held out", judged(parts, tests, objectives[0], device), flush=True)


@torch.no_grad()
def judged(parts: Trainee, clips: Sounds, objective: Objective, device: torch.device) -> float:
    """Return the log-mel distance on clips that are not trained on, with averaged weights."""
    crops = clips.batch(random.Random(3), 32, 108, 64, plain=True)
    crops = Crops(TrainBatch(*(x.to(device) for x in crops.batch)), crops.wave.to(device))
    with torch.random.fork_rng([]), averaged(parts.generator, parts.average):
        out = parts.generator(crops.batch, 64)
    distance = (objective.log_mel(out.wave) - objective.log_mel(crops.wave)).abs().mean()
    return round(float(distance), 4)


def bundle(args: argparse.Namespace) -> None:
    """Write the averaged vocoder into the package."""
    tensors: dict[str, Tensor] = {}
    for path in sorted((args.work / "vocoder" / args.name).glob("*.safetensors")):
        tensors |= load_file(path)
    prefix = "average."
    average = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    vocoder = Vocoder(VocoderConfig(**json.loads(args.network)))
    vocoder.load_state_dict(average)
    out = args.out or VOCODER_FILE
    write_vocoder(out, vocoder, json.loads(args.card.read_text()) if args.card else {})
    print(out, out.stat().st_size)


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=("sing", "train", "bundle"))
    parser.add_argument("work", type=Path)
    parser.add_argument("--clips", type=int, default=120, help="to sing")
    parser.add_argument("--minutes", type=float, default=9.0, help="of training in this burst")
    parser.add_argument("--steps", type=int, default=3000, help="of training in all bursts")
    parser.add_argument("--adversarial", type=int, default=2200, help="step of the first judge")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="base", help="folder of the checkpoint in WORK/vocoder")
    parser.add_argument("--card", type=Path, help="JSON: data, licence, metrics")
    parser.add_argument("--out", type=Path, help="the package's file if not given")
    parser.add_argument("--network", default="{}", help="settings of the network, as JSON")
    parser.add_argument("--speakers", default=SPEAKERS)
    args = parser.parse_args()
    if args.stage == "sing":
        sing(args.work, args.clips)
    elif args.stage == "bundle":
        bundle(args)
    else:
        train(args)


if __name__ == "__main__":
    sys.exit(main())
