"""Train the bundled base, from which new voices start, on many speakers.

    python tools/pretrain/base.py features WORK          pitch and loudness of WORK/clips
    python tools/pretrain/base.py content  WORK          what `sovits-content` hears in them
    python tools/pretrain/base.py train    WORK --minutes 9
    python tools/pretrain/base.py bundle   WORK
    python tools/pretrain/base.py train    WORK --name heart --speakers heart --init WORK/base
    python tools/pretrain/base.py voice    WORK --name heart --speakers heart --card heart.json
    python tools/pretrain/base.py judge    WORK --name base    how near copies of held-out clips are

The last two make a demo voice (add --adversarial 0 --rate 5e-4 --steps 1500).
Every stage resumes where it was stopped. WORK/clips/SPEAKER/*.safetensors are made by
`tools/pretrain/content.py teach`. A checkpoint is a folder of files of at most 16 MB.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import sys
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
import torch.nn.functional as F
from card import pitch_facts
from content import _save, interpolated
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import Tensor

from sovits.audio.io import write
from sovits.audio.loudness import frame_rms
from sovits.audio.mel import LogMel, linear_spectrogram
from sovits.audio.resample import resample
from sovits.config import (
    AudioConfig,
    Config,
    DiscriminatorConfig,
    NativeConfig,
    TrainConfig,
    VoiceConfig,
)
from sovits.features.content import load_content_encoder
from sovits.features.content.student import CHANNELS, StudentContent
from sovits.features.pitch import load_pitch_extractor
from sovits.library import SAMPLE, VOICES
from sovits.models.discriminator import Discriminator
from sovits.models.native import NativeSynthesizer
from sovits.models.noise import NoiseSource
from sovits.models.synthesizer import TrainBatch
from sovits.train.base import BASE_FILE, write_base
from sovits.train.dataset import Crops
from sovits.train.step import Objective, Trainee, averaged, train_step
from sovits.voice import Voice, save_voice

AUDIO = AudioConfig(n_mels=128)
HOP = AUDIO.hop_length
FASTEST, SLOWEST = 2**0.75, 2**-0.42  # playback, which moves pitch and formants
SHARE_MOVED = 0.5  # of crops that are played at another speed
SHARE_OTHERS = 0.7  # of crops whose content is what is heard when others say it, or the speaker
SHARD = 15_000_000  # bytes of one file of a checkpoint
BETAS = (0.8, 0.99)
JUDGED, JUDGED_FRAMES = 40, 258  # clips, and frames of each, that `judge` converts
SAMPLE_SECONDS = 20  # of the target, beside its voice


def features(work: Path) -> None:
    """Write pitch and loudness of every clip to WORK/pitch."""
    extractor = load_pitch_extractor("swift")
    for path in sorted((work / "clips").rglob("*.safetensors")):
        out = work / "pitch" / path.relative_to(work / "clips")
        if out.exists():
            continue
        wave = load_file(path)["wave"].float() / 32768
        pitch = extractor(wave, AUDIO.sample_rate, HOP)
        _save(
            out,
            {"f0": pitch.f0, "voiced": pitch.voiced, "volume": frame_rms(wave[None], HOP)[0]},
        )


@torch.inference_mode()
def content(work: Path, speakers: list[str], part: int, parts: int) -> None:
    """Write what the bundled encoder hears in every clip to WORK/content.

    Also in its copy in another voice, and as if another speaker said it: a synthesizer that meets
    them all does not count on what content still tells of a speaker.
    """
    encoder = load_content_encoder("sovits-content", bf16=True)
    assert isinstance(encoder, StudentContent)
    paths = [p for s in speakers for p in sorted((work / "clips" / s).rglob("*.safetensors"))]
    for path in paths[part::parts]:
        name = path.relative_to(work / "clips")
        out = work / "content" / name
        if out.exists() or not (work / "pitch" / name).exists():
            continue
        wave = load_file(path)["wave"].float() / 32768
        rng, frames = random.Random(str(name)), len(wave) // HOP
        octaves = rng.choice((-1, 1)) * rng.uniform(0.08, 0.38)
        heard = [encoder.encode(wave), encoder.encode(wave, octaves=octaves)]
        if (work / "neutral" / name).exists():
            heard.append(encoder.encode(load_file(work / "neutral" / name)["wave"].float() / 32768))
        frames = min(frames, *(h.shape[1] for h in heard))
        _save(out, {"content": torch.stack([h[:, :frames] for h in heard]).half()})


def configuration(speakers: list[str], **network: object) -> Config:
    """Return the settings of the base."""
    synthesizer = NativeConfig(content_channels=CHANNELS, n_speakers=len(speakers), **network)  # type: ignore[arg-type]
    return Config(
        VoiceConfig(AUDIO, synthesizer, "sovits-content", {s: i for i, s in enumerate(speakers)}),
        DiscriminatorConfig(width=0.25, scale=False, spectra=(2048, 1024, 512)),
        TrainConfig(
            mel_weight=15.0, stft_weight=8.0, feature_weight=2.0, precision="bf16", average=0.999
        ),
    )


class Clips:
    """All clips in memory."""

    def __init__(
        self, work: Path, speakers: list[str], *, teacher: bool, held_out: bool, latent: bool
    ) -> None:
        self.latent = latent  # whether a posterior hears the clips
        self.clips: list[dict[str, Tensor]] = []
        self.weights: list[float] = []
        projection = load_file(work / "projection.safetensors") if teacher else {}
        for row, speaker in enumerate(speakers):
            paths = sorted((work / "clips" / speaker).rglob("*.safetensors"))
            chosen = [p for i, p in enumerate(paths) if (i % 40 == 7) == held_out]
            clips = [self._read(work, path, projection, row) for path in chosen]
            clips = [c for c in clips if c["f0"].shape[-1] >= 40]
            total = sum(c["f0"].shape[-1] for c in clips)
            self.clips += clips
            self.weights += [c["f0"].shape[-1] * total**-0.6 for c in clips]

    def _read(
        self, work: Path, path: Path, projection: dict[str, Tensor], row: int
    ) -> dict[str, Tensor]:
        part = path.relative_to(work / "clips")
        held, pitch = load_file(path), load_file(work / "pitch" / part)
        frames = pitch["f0"].shape[-1]
        if projection:
            said = projection["matrix"] @ (held["whisper"].float() - projection["mean"][:, None])
            at = (torch.arange(frames) + 0.5) * HOP / AUDIO.sample_rate * 50
            heard = interpolated(said, at).half()[None]
        else:
            heard = load_file(work / "content" / part)["content"][..., :frames]
        return {
            **pitch,
            "wave": held["wave"][: frames * HOP],
            "content": heard,
            "speaker": torch.tensor(row),
        }

    def crop(self, rng: random.Random, context: int, segment: int, moved: float) -> Crops:
        """Return one crop, perhaps played at another speed."""
        clip = rng.choices(self.clips, self.weights)[0]
        speed = 2 ** rng.uniform(math.log2(SLOWEST), math.log2(FASTEST))
        if rng.random() >= moved:
            speed = 1.0
        total = clip["f0"].shape[-1]
        frames = min(context, int(total / speed))
        needed = frames * speed
        first = rng.uniform(0, total - needed) if total > needed else 0.0
        if speed == 1.0:
            first = float(int(first))
        at = first + torch.arange(frames) * speed  # where each frame begins, in frames of the clip
        wave = clip["wave"].float() / 32768
        if speed == 1.0:
            begin = int(first) * HOP
            wave = wave[begin : begin + frames * HOP]
        else:
            wave = _played(wave, first * HOP, speed, frames * HOP)
        near = (at + 0.5 * speed).long().clamp(max=total - 1)
        variants = clip["content"]
        chosen = rng.randrange(len(variants)) if rng.random() < SHARE_OTHERS else 0
        held = {
            "content": interpolated(variants[chosen].float(), at + (speed - 1) / 2),
            "f0": interpolated(clip["f0"][None], at + (speed - 1) / 2)[0] * speed,
            "voiced": clip["voiced"][near],
            "volume": clip["volume"][near],
        }
        gain = 10 ** rng.uniform(-0.4, 0.2) * 1.0
        gain = min(gain, 0.99 / max(float(wave.abs().max()), 1e-3))
        missing = context - frames
        padded = {name: F.pad(x, (0, missing)) for name, x in held.items()}
        padded["f0"][frames:] = 100.0
        start = rng.randint(0, max(frames - segment, 0))
        sound = F.pad(wave * gain, (0, max(0, segment - frames) * HOP))
        padded_sound = F.pad(wave * gain, (0, context * HOP - len(wave)))
        batch = TrainBatch(
            content=padded["content"],
            f0=padded["f0"],
            voiced=padded["voiced"],
            volume=padded["volume"] * gain,
            spectrogram=linear_spectrogram(padded_sound, AUDIO)
            if self.latent
            else torch.zeros(1, 1),
            speaker=clip["speaker"],
            mask=F.pad(torch.ones(1, frames), (0, missing)),
            start=torch.tensor(start),
            formants=torch.tensor(speed),
        )
        return Crops(batch, sound[None, start * HOP : (start + segment) * HOP])

    def batch(
        self, rng: random.Random, size: int, context: int, segment: int, moved: float
    ) -> Crops:
        """Return `size` crops."""
        crops = [self.crop(rng, context, segment, moved) for _ in range(size)]
        batch = TrainBatch(*map(torch.stack, zip(*(c.batch for c in crops), strict=True)))
        return Crops(batch, torch.stack([c.wave for c in crops]))


def _played(wave: Tensor, begin: float, speed: float, samples: int) -> Tensor:
    """Return `samples` of `wave` from `begin` on, played at another speed, without aliasing."""
    size, guard = math.ceil(samples * speed) + 2, 64
    first = int(begin)
    low, high = max(0, first - guard), min(len(wave), first + size + guard)
    rate = round(AUDIO.sample_rate * speed)
    moved = resample(wave[low:high], rate, AUDIO.sample_rate)
    start = round((begin - low) / speed)
    out = moved[start : start + samples]
    return F.pad(out, (0, samples - len(out)))


def train(args: argparse.Namespace) -> None:
    """Train for some minutes."""
    torch.manual_seed(0)
    work: Path = args.work
    folder = work / args.name
    fabric = Fabric(accelerator="auto", devices=1, precision="32-true")
    device = fabric.device
    speakers = args.speakers.split(",")
    network = json.loads(args.network)
    config = configuration(speakers, **network)
    generator = NativeSynthesizer(config.voice.synthesizer, AUDIO)  # type: ignore[arg-type]
    judge = Discriminator(config.discriminator)
    generator.to(device), judge.to(device)
    parts = Trainee(
        generator,
        judge,
        torch.optim.AdamW(generator.parameters(), args.rate, betas=BETAS, fused=True),
        torch.optim.AdamW(judge.parameters(), args.rate / 2, betas=BETAS, fused=True),
        average={},
    )
    parts.begin_average()
    if (folder / "whole").exists():
        load(folder, parts)
    elif args.init:
        begin(Path(args.init), speakers, parts)
        parts.begin_average()
    latent = bool(network.get("latent"))
    clips = Clips(work, speakers, teacher=args.teacher, held_out=False, latent=latent)
    tests = Clips(work, speakers, teacher=args.teacher, held_out=True, latent=latent)
    begun = time.monotonic()
    saved, seen = begun, {}
    config = Config(
        config.voice,
        config.discriminator,
        TrainConfig(
            **{
                **vars(config.train),
                "adversarial_from": args.adversarial,
                "segment_frames": 64,
                "context_frames": 128,
            }
        ),
    )
    objective = Objective(config, device)
    short = Config(
        config.voice,
        config.discriminator,
        TrainConfig(**{**vars(config.train), "segment_frames": 40}),
    )
    close = Objective(short, device)
    arithmetic = torch.autocast(device.type, torch.bfloat16)

    def spent() -> float:
        return time.monotonic() - begun

    while parts.step < args.steps and spent() < 60 * args.minutes:
        fighting = parts.step >= args.adversarial
        rate = (
            args.rate
            * min(1, (parts.step + 1) / 50)
            * (0.03 + 0.97 * (0.5 + 0.5 * math.cos(math.pi * parts.step / args.steps)))
        )
        for optimizer, share in (
            (parts.generator_optimizer, 1.0),
            (parts.discriminator_optimizer, 0.5),
        ):
            for group in optimizer.param_groups:
                group["lr"] = rate * share
        rng = random.Random(f"{args.seed}/{parts.step}")
        size, segment, context = (10, 40, 100) if fighting else (16, 64, 128)
        crops = fabric.to_device(clips.batch(rng, size, context, segment, args.moved))
        terms = train_step(fabric, parts, close if fighting else objective, crops, arithmetic)
        parts.step += 1
        for name, term in terms.items():
            seen[name] = seen.get(name, term.item()) * 0.97 + 0.03 * term.item()
        if parts.step % 50 == 0:
            print(
                parts.step,
                f"{spent() / 60:.1f} min",
                {k: round(v, 3) for k, v in seen.items()},
                flush=True,
            )
        if parts.step % 500 == 0 or time.monotonic() - saved > 200:
            save(folder, parts)
            saved = time.monotonic()
            print("held out", judged(parts, tests, objective, device), flush=True)
    save(folder, parts)
    print("held out", judged(parts, tests, objective, device), flush=True)


def averaged_network(folder: Path) -> NativeSynthesizer:
    """Return the network of a checkpoint, ready to convert."""
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
    prefix = "average."
    state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    network = NativeSynthesizer(
        NativeConfig(content_channels=CHANNELS, n_speakers=len(state["emb_g.weight"])), AUDIO
    )
    network.load_state_dict(state)
    network.fold()
    return network


@torch.no_grad()
def judged(parts: Trainee, clips: Clips, objective: Objective, device: torch.device) -> float:
    """Return the log-mel distance on clips that are not trained on, with averaged weights."""
    crops = clips.batch(random.Random(3), 48, 128, 64, 0.0)
    crops = Crops(TrainBatch(*(x.to(device) for x in crops.batch)), crops.wave.to(device))
    with torch.random.fork_rng([]), averaged(parts.generator, parts.average):
        out = parts.generator(crops.batch, 64)
    distance = (objective.log_mel(out.wave) - objective.log_mel(crops.wave)).abs().mean()
    return round(float(distance), 4)


def save(folder: Path, parts: Trainee) -> None:
    """Write a checkpoint beside the one before, then put it in its place."""
    fresh = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    tensors: dict[str, Tensor] = {f"average.{k}": v for k, v in (parts.average or {}).items()}
    for name in ("generator", "discriminator"):
        network = getattr(parts, name)
        tensors |= {f"{name}.{k}": v for k, v in network.state_dict().items()}
        state = getattr(parts, f"{name}_optimizer").state_dict()["state"]
        tensors |= {f"{name}_optimizer.{i}.{k}": v for i, s in state.items() for k, v in s.items()}
    shard: dict[str, Tensor] = {}
    size = number = 0
    for key, tensor in tensors.items():
        if size + tensor.nbytes > SHARD and shard:
            _save(fresh / f"{number:02}.safetensors", shard)
            shard, size, number = {}, 0, number + 1
        shard[key] = tensor.detach().cpu().contiguous()
        size += tensor.nbytes
    _save(fresh / f"{number:02}.safetensors", shard)
    (fresh / "whole").write_text(json.dumps({"step": parts.step}))
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load(folder: Path, parts: Trainee) -> None:
    """Put everything back."""
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)

    def under(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    for name in ("generator", "discriminator"):
        getattr(parts, name).load_state_dict(under(f"{name}."))
        optimizer = getattr(parts, f"{name}_optimizer")
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in under(f"{name}_optimizer.").items():
            index, _, kind = key.partition(".")
            state.setdefault(int(index), {})[kind] = tensor
        optimizer.load_state_dict(
            {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
        )
    parts.step = json.loads((folder / "whole").read_text())["step"]
    parts.average = under("average.")


def begin(base: Path, speakers: list[str], parts: Trainee) -> None:
    """Take the averaged weights of another training; a new speaker begins as the mean of all."""
    tensors: dict[str, Tensor] = {}
    for path in sorted(base.glob("*.safetensors")):
        tensors |= load_file(path)
    state = {k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")}
    table = state["emb_g.weight"]
    if len(table) != len(speakers):
        state["emb_g.weight"] = table.mean(0, keepdim=True).expand(len(speakers), -1).clone()
    parts.generator.load_state_dict(state)
    judge = {
        k.removeprefix("discriminator."): v
        for k, v in tensors.items()
        if k.startswith("discriminator.")
    }
    parts.discriminator.load_state_dict(judge)


def _trained(
    work: Path, name: str, speakers: list[str], network: dict[str, object]
) -> tuple[Config, NativeSynthesizer, Discriminator]:
    """Return averaged generator and discriminator of a checkpoint."""
    config = configuration(speakers, **network)
    tensors: dict[str, Tensor] = {}
    for path in sorted((work / name).glob("*.safetensors")):
        tensors |= load_file(path)
    generator = NativeSynthesizer(config.voice.synthesizer, AUDIO)  # type: ignore[arg-type]
    judge = Discriminator(config.discriminator)
    for network_, prefix in ((generator, "average."), (judge, "discriminator.")):
        held = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        network_.load_state_dict(held)
    return config, generator, judge


def bundle(args: argparse.Namespace) -> None:
    """Write the base into the package."""
    config, generator, judge = _trained(
        args.work, args.name, args.speakers.split(","), json.loads(args.network)
    )
    card = json.loads(args.card.read_text()) if args.card else {}
    write_base(BASE_FILE, generator, judge, config, card)
    print(BASE_FILE, BASE_FILE.stat().st_size)


def voice(args: argparse.Namespace) -> None:
    """Write a voice into the package, with its card, and a sample of its speaker."""
    speakers = args.speakers.split(",")
    config, generator, _ = _trained(args.work, args.name, speakers, json.loads(args.network))
    card = {"name": args.name, "date": date.today().isoformat()}
    card |= json.loads(args.card.read_text()) if args.card else {}
    waves = [
        clip["wave"].float() / 32768
        for held_out in (True, False)  # those it learnt from only where the others are too few
        for clip in Clips(
            args.work, speakers[:1], teacher=False, held_out=held_out, latent=False
        ).clips
    ]
    joined = torch.cat(waves)[None, : SAMPLE_SECONDS * AUDIO.sample_rate]
    card |= pitch_facts([(joined, AUDIO.sample_rate)])
    settings = replace(config.voice, speakers={args.name: 0})
    VOICES.mkdir(exist_ok=True)
    save_voice(VOICES / f"{args.name}.safetensors", Voice(settings, generator, card))
    write(VOICES / f"{args.name}{SAMPLE}", joined, AUDIO.sample_rate)
    print(VOICES / f"{args.name}.safetensors")


@torch.inference_mode()
def judge(args: argparse.Namespace) -> None:
    """Print how near held-out clips come that are converted from their own content and pitch."""
    speakers = args.speakers.split(",")
    _, network, _ = _trained(args.work, args.name, speakers, json.loads(args.network))
    network.eval()
    network.fold()
    extractor, log_mel = load_pitch_extractor("swift"), LogMel(AUDIO)
    clips = Clips(args.work, speakers, teacher=args.teacher, held_out=True, latent=False).clips
    distances, cents, found, there, spent, seconds = [], [], 0, 0, 0.0, 0.0
    for clip in clips[:: max(1, len(clips) // JUDGED)][:JUDGED]:
        frames = min(JUDGED_FRAMES, clip["f0"].shape[-1])
        f0, voiced = clip["f0"][:frames], clip["voiced"][:frames]
        begun = time.process_time()
        wave = network.infer(
            clip["content"][0][None, :, :frames].float(),
            f0[None],
            voiced[None],
            clip["speaker"][None],
            volume=clip["volume"][None, :frames],
            noise=NoiseSource(0),
        )
        spent += time.process_time() - begun
        seconds += frames * HOP / AUDIO.sample_rate
        own = clip["wave"][None, : frames * HOP].float() / 32768
        distances.append((log_mel(wave) - log_mel(own)).abs().mean())
        heard = extractor(wave[0], AUDIO.sample_rate, HOP)
        both = heard.voiced & voiced
        cents.append(1200 * torch.log2(heard.f0[both] / f0[both]).abs())
        found, there = found + int(both.sum()), there + int(voiced.sum())
    print(
        f"log-mel {float(torch.stack(distances).mean()):.3f}  "
        f"median cents {float(torch.cat(cents).median()):.1f}  voiced found {found / there:.2f}  "
        f"CPU s per s {spent / seconds:.3f}  "
        f"parameters {sum(p.numel() for p in network.parameters()) / 1e6:.1f} M"
    )


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "stage", choices=("features", "content", "train", "bundle", "voice", "judge")
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("--minutes", type=float, default=9.0, help="of training in this burst")
    parser.add_argument("--steps", type=int, default=8000, help="of training in all bursts")
    parser.add_argument("--adversarial", type=int, default=4000, help="step of the first judge")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--moved", type=float, default=SHARE_MOVED)
    parser.add_argument("--name", default="base", help="folder of the checkpoint in WORK")
    parser.add_argument("--init", help="folder of the checkpoint to begin with")
    parser.add_argument("--card", type=Path, help="JSON: data, licence, metrics")
    parser.add_argument("--network", default="{}", help="settings of the network, as JSON")
    parser.add_argument("--part", default="0/1", help="content: this of so many parts")
    parser.add_argument("--teacher", action="store_true", help="content of the teacher")
    parser.add_argument(
        "--speakers", default="en,es,fr,it,ru,heart,joe,kokoro-1,kokoro-2", help="in order"
    )
    args = parser.parse_args()
    if args.stage == "features":
        features(args.work)
    elif args.stage == "content":
        part, parts = map(int, args.part.split("/"))
        content(args.work, args.speakers.split(","), part, parts)
    elif args.stage == "bundle":
        bundle(args)
    elif args.stage == "judge":
        judge(args)
    elif args.stage == "voice":
        voice(args)
    else:
        train(args)


if __name__ == "__main__":
    sys.exit(main())
