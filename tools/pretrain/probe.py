"""Measure how much content keeps of what is said, and how much of who says it.

    python tools/pretrain/parallel.py --out parallel
    python tools/pretrain/probe.py --parallel parallel --encoder whisper-base --encoder hama

Seven synthetic voices say the same twelve sentences (`parallel.py`). All frames are brought to
50 Hz first, each new one the nearest old one, so that encoders of any rate compare.

**ABX.** X is a sentence of a voice, A the same sentence of another voice, B another sentence of
the voice of X. The distance of two recordings is the Euclidean distance of their frames, averaged
along the best path of dynamic time warping (steps (1, 1), (1, 0) and (0, 1) at equal cost, ends
tied, mean over the cells of the path). `abx_error` is the share of all X, A, B with B nearer to X
than A. `ratio` is the mean distance of all X and B over that of all X and A: above 1, words
weigh more than voices; higher is better. `angle_ratio` is the same with the angle between
frames instead, which no scale of channels' sum decides. Features are not normalised: whitening
would hide in what proportion an encoder holds voices and words.

**Speaker.** A linear classifier (logistic regression on standardised channels, the sum of
cross-entropies plus `L2 / 2` times the squared weights) names the voice: from the mean over a
sentence, and from each frame. It learns from one half of the sentences and is tried on the other;
three random halvings, each both ways. Lower is better, 1 / voices is chance.

This comes near an earlier measurement of the same seven voices, whose sentences and definition are
not recorded (`ratio`, and speaker by sentence / by frame)::

                                    then             now
    whisper-base, layer 2           1.34  1.00/.97   1.11  1.00/.97
    whisper-base                    2.30   .79/.45   1.97   .83/.51
    hama (posteriors, no logs)      3.58   .21/.17   3.46   .23/.17
    mfcc (ABX error .22; now .25)         1.00/.84   1.15  1.00/.66

Nothing else that was tried comes nearer to all of it: cosine distance gives ratios of 1.2, 3.2
and 5.6, standardised channels 1.3, 2.0 and 2.4. Who learns from more sentences names voices
better (`folds` 4: whisper-base .88/.55), so that figures of different `folds` do not compare.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sovits.audio.io import read
from sovits.audio.mel import mel_filters
from sovits.config import AudioConfig
from sovits.features.content import CONTENT, load_content_encoder, stretch

Features = Mapping[str, Mapping[str, Tensor]]
"""`[channels, frames]` by voice and sentence."""

Encode = Callable[[Path], tuple[Tensor, float]]
"""From a recording to content `[channels, frames]` and its frames per second."""

FRAME_RATE = 50.0
"""Frames per second that all features are brought to."""

GROUPS = {
    "all": ("heart", "joe", *(f"kokoro-{number}" for number in range(1, 6))),
    "kokoro": tuple(f"kokoro-{number}" for number in range(1, 6)),
    "held-out": ("kokoro-3", "kokoro-4", "kokoro-5"),
}
"""Voices that are probed together; nothing has ever learnt from those of the last group."""

PARTINGS, L2 = 3, 10.0
PAIRS_AT_ONCE = 64
MFCC = AudioConfig(sample_rate=16_000, hop_length=320, n_fft=1024, n_mels=80)
COEFFICIENTS = 20


@dataclass(frozen=True)
class Result:
    """What a probe found; see the top of this file for what is measured how."""

    voices: tuple[str, ...]
    sentences: int
    abx_error: float
    ratio: float
    angle_ratio: float
    speaker_by_sentence: float
    speaker_by_frame: float

    @property
    def chance(self) -> float:
        """How often a guess names the voice."""
        return 1 / len(self.voices)


def probe(features: Features, *, frame_rate: float = FRAME_RATE, folds: int = 2) -> Result:
    """Measure content in which every voice says every sentence.

    Args:
        features: At least two voices and `folds` sentences, the same of every voice.
        frame_rate: Frames per second of them.
        folds: Parts of the sentences, of which the classifier learns from all but one.
    """
    voices, sentences = tuple(features), sorted(next(iter(features.values())))
    if len(voices) < 2 or len(sentences) < max(folds, 2):
        raise SystemExit("A probe needs two voices and two sentences, or as many as folds.")
    if any(sorted(spoken) != sentences for spoken in features.values()):
        raise SystemExit("Every voice must say the same sentences.")
    held = {
        (voice, sentence): at_rate(features[voice][sentence], frame_rate)
        for voice in voices
        for sentence in sentences
    }
    error, ratio = abx(held, euclidean)
    _, angle_ratio = abx(held, angle)
    by_sentence, by_frame = speaker(held, folds)
    return Result(voices, len(sentences), error, ratio, angle_ratio, by_sentence, by_frame)


def at_rate(content: Tensor, frame_rate: float) -> Tensor:
    """Return frames `[frames, channels]` at `FRAME_RATE` of `[channels, frames]`."""
    frames = max(round(content.shape[-1] * FRAME_RATE / frame_rate), 1)
    return stretch(content.detach().float().cpu(), frames).T.contiguous()


# ---------------------------------------------------------------------------------------------- ABX


def euclidean(a: Tensor, b: Tensor) -> Tensor:
    """Return the Euclidean distance of all frames `[n, channels]` to all `[m, channels]`."""
    return torch.cdist(a, b)


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Return the angle between all frames `[n, channels]` and all `[m, channels]` (rad)."""
    return (F.normalize(a, dim=1) @ F.normalize(b, dim=1).T).clamp(-1, 1).arccos()


def abx(
    held: Mapping[tuple[str, str], Tensor], distance: Callable[[Tensor, Tensor], Tensor]
) -> tuple[float, float]:
    """Return the ABX error and ratio of frames `[frames, channels]` by voice and sentence."""
    pairs = [
        (one, other)
        for one, other in combinations(held, 2)
        if (one[0] == other[0]) != (one[1] == other[1])
    ]
    apart: dict[Any, float] = {}
    for first in range(0, len(pairs), PAIRS_AT_ONCE):
        batch = pairs[first : first + PAIRS_AT_ONCE]
        found = warped([distance(held[one], held[other]) for one, other in batch]).tolist()
        for (one, other), value in zip(batch, found, strict=True):
            apart[one, other] = apart[other, one] = value
    errors, same, other_words = [], [], []
    for x in held:
        to_a = np.array([apart[x, a] for a in held if a[1] == x[1] and a != x])
        to_b = np.array([apart[x, b] for b in held if b[0] == x[0] and b != x])
        gap = to_a[:, None] - to_b
        errors.append(np.mean((gap > 0) + 0.5 * (gap == 0)))
        same.append(to_a.mean())
        other_words.append(to_b.mean())
    return float(np.mean(errors)), float(np.mean(other_words) / max(np.mean(same), 1e-12))


def warped(distances: list[Tensor]) -> Tensor:
    """Return the mean along the cheapest warping path of each `[n, m]`, all at once: `[pairs]`."""
    rows = max(d.shape[0] for d in distances)
    columns = max(d.shape[1] for d in distances)
    grid = torch.full((len(distances), rows, rows + columns), math.inf)
    for cells, d in zip(grid, distances, strict=True):
        cells[: d.shape[0], : d.shape[1]] = d
    # Row i moves right by i, so that a column is a diagonal: its cells do not need each other.
    diagonals = grid.flatten(1)[:, : rows * (rows + columns - 1)].unflatten(1, (rows, -1))
    ends = torch.tensor([d.shape[0] + d.shape[1] - 2 for d in distances])
    last = torch.tensor([d.shape[0] for d in distances])
    edge = torch.full((len(distances), 1), math.inf)
    cost = edge.expand(-1, rows + 1)
    cost_before = torch.cat([torch.zeros_like(edge), cost[:, 1:]], 1)
    cells, cells_before = torch.zeros_like(cost), torch.zeros_like(cost)
    mean = torch.zeros(len(distances))
    for number in range(rows + columns - 1):
        ways = torch.stack([cost_before[:, :-1], cost[:, :-1], cost[:, 1:]])
        best, way = ways.min(0)
        walked = torch.stack([cells_before[:, :-1], cells[:, :-1], cells[:, 1:]])
        walked = walked.gather(0, way[None])[0] + 1
        cost_before, cells_before = cost, cells
        cost = torch.cat([edge, best + diagonals[:, :, number]], 1)
        cells = torch.cat([torch.zeros_like(edge), walked], 1)
        for done in (ends == number).nonzero()[:, 0].tolist():
            mean[done] = cost[done, last[done]] / cells[done, last[done]]
    return mean


# ------------------------------------------------------------------------------------------ speaker


def speaker(held: Mapping[tuple[str, str], Tensor], folds: int) -> tuple[float, float]:
    """Return how often the voice is named, by sentence and by frame."""
    voices = sorted({voice for voice, _ in held})
    sentences = sorted({sentence for _, sentence in held})
    by_sentence, by_frame = [], []
    for learnt in parted(sentences, folds):
        means: list[tuple[Tensor, Tensor]] = []
        frames: list[tuple[Tensor, Tensor]] = []
        for part in (True, False):
            chosen = [key for key in held if (key[1] in learnt) == part]
            labels = torch.tensor([voices.index(voice) for voice, _ in chosen])
            lengths = torch.tensor([len(held[key]) for key in chosen])
            means.append((torch.stack([held[key].mean(0) for key in chosen]), labels))
            frames.append(
                (torch.cat([held[key] for key in chosen]), labels.repeat_interleave(lengths))
            )
        by_sentence.append(named(*means))
        by_frame.append(named(*frames))
    return float(np.mean(by_sentence)), float(np.mean(by_frame))


def parted(sentences: list[str], folds: int) -> Iterator[set[str]]:
    """Yield the sentences to learn from, `folds * PARTINGS` sets."""
    rng = np.random.default_rng(0)
    for _ in range(PARTINGS):
        for part in np.array_split(rng.permutation(sentences), folds):
            yield set(sentences) - set(part.tolist())


def named(learn: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> float:
    """Return the share of `test` that a linear classifier of `learn` puts in the right class.

    Both are vectors `[count, channels]` and their classes `[count]`.
    """
    mean, deviation = learn[0].mean(0), learn[0].std(0)
    scale = deviation.clamp(min=1e-6 * float(deviation.max()) + 1e-12)
    x, classes = (learn[0] - mean) / scale, int(learn[1].max()) + 1
    weights = torch.zeros(x.shape[1] + 1, classes, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weights], max_iter=100, history_size=10, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        fit = F.cross_entropy(x @ weights[:-1] + weights[-1], learn[1])
        total = fit + 0.5 * L2 / len(x) * weights[:-1].square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    with torch.no_grad():
        guess = ((test[0] - mean) / scale @ weights[:-1] + weights[-1]).argmax(1)
    return float((guess == test[1]).float().mean())


# ----------------------------------------------------------------------------------------- encoders


def of_package(name: str, path: Path | None) -> Encode:
    """Return an encoder of `CONTENT`; `NAME:2` is what the second layer of a Whisper says."""
    name, _, layer = name.partition(":")
    encoder = load_content_encoder(name, path=path)
    spec, inner = encoder.spec, []
    if layer:
        chosen = encoder.network.encoder.layers[int(layer) - 1]  # type: ignore[attr-defined]
        chosen.register_forward_hook(lambda *call: inner.append(call[2][0].T))

    def encode(path: Path) -> tuple[Tensor, float]:
        wave, _ = read(path, sample_rate=spec.sample_rate, mono=True)
        content = encoder.encode(wave[0])
        return (inner.pop() if layer else content), spec.sample_rate / spec.hop_length

    return encode


def hama(*, logs: bool = False) -> Encode:
    """Return the phoneme recogniser hama: the posterior of each of its 191 symbols, or its log."""
    try:
        from hama import asr
    except ImportError:
        raise SystemExit("hama is not installed: pip install hama==1.7.0") from None

    heard: list[np.ndarray] = []

    class Recogniser(asr.ASRModel):  # type: ignore[misc]
        """Keeps what it is about to decode."""

        def _decode_single(self, log_probs: np.ndarray, length: int) -> None:
            heard.append(np.array(log_probs[:length]))

    recogniser = Recogniser()

    def encode(path: Path) -> tuple[Tensor, float]:
        wave, _ = read(path, sample_rate=16_000, mono=True)
        recogniser.transcribe_waveform(wave[0].numpy(), 16_000)
        content = torch.from_numpy(heard.pop()).float().T.log_softmax(0)
        return (content if logs else content.exp()), 50.0

    return encode


def mfcc(path: Path) -> tuple[Tensor, float]:
    """Return mel-frequency cepstral coefficients of 64-ms windows, in dB: nothing is learnt."""
    wave, _ = read(path, sample_rate=MFCC.sample_rate, mono=True)
    pieces = F.pad(wave[0], (MFCC.n_fft // 2,) * 2).unfold(0, MFCC.n_fft, MFCC.hop_length)
    power = torch.fft.rfft(pieces * torch.hann_window(MFCC.n_fft)).abs().square()
    bands = (power @ mel_filters(MFCC).T).clamp(min=1e-5).log10() * 10
    number, centre = torch.arange(COEFFICIENTS)[:, None], torch.arange(MFCC.n_mels) + 0.5
    cosines = (math.pi / MFCC.n_mels * number * centre).cos() * math.sqrt(2 / MFCC.n_mels)
    cosines[0] *= math.sqrt(0.5)
    return cosines @ bands.T, MFCC.sample_rate / MFCC.hop_length


def encoder_of(name: str) -> Encode:
    """Return the encoder of that name; `NAME=WEIGHTS` uses other weights."""
    name, _, path = name.partition("=")
    if name.partition(":")[0] in CONTENT:
        return of_package(name, Path(path) if path else None)
    others: dict[str, Callable[[], Encode]] = {
        "mfcc": lambda: mfcc,
        "hama": hama,
        "hama-log": lambda: hama(logs=True),
    }
    if name not in others:
        raise SystemExit(f"{name}: there are {', '.join([*CONTENT, *others])}, and .npz files.")
    return others[name]()


def features_of(name: str, folder: Path, voices: list[str]) -> tuple[dict[str, Any], float]:
    """Return what an encoder makes of the recordings in `folder`, and its frames per second.

    An `.npz` holds arrays `[channels, frames]` named `VOICE/SENTENCE`, and the number `frame_rate`
    if that is not 50.
    """
    features: dict[str, Any] = {voice: {} for voice in voices}
    rate = FRAME_RATE
    if name.endswith(".npz"):
        with np.load(name) as arrays:
            rate = float(arrays["frame_rate"]) if "frame_rate" in arrays else rate
            for key in arrays:
                voice, _, sentence = key.partition("/")
                if voice in features:
                    features[voice][sentence] = torch.from_numpy(arrays[key])
    else:
        encode = encoder_of(name)
        for voice in voices:
            for path in sorted((folder / voice).glob("*.wav")):
                features[voice][path.stem], rate = encode(path)
    return {voice: spoken for voice, spoken in features.items() if spoken}, rate


HEADER = f"{'encoder':26} {'voices':9} {'ABX error':>9} {'ratio':>6} {'angle':>6} " + (
    f"{'speaker: sentence':>18} {'frame':>6} {'chance':>7}"
)


def row(name: str, group: str, result: Result) -> str:
    """Return a line of the table."""
    return (
        f"{name[-26:]:26} {group:9} {result.abx_error:9.3f} {result.ratio:6.2f} "
        f"{result.angle_ratio:6.2f} {result.speaker_by_sentence:18.2f} "
        f"{result.speaker_by_frame:6.2f} {result.chance:7.2f}"
    )


def main(argv: list[str] | None = None) -> None:
    """Probe the encoders that the command line names, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--encoder", action="append", required=True, metavar="NAME[=WEIGHTS]",
        help=f"{', '.join(CONTENT)}, hama, hama-log, mfcc, whisper-base:LAYER, or a .npz",
    )  # fmt: skip
    parser.add_argument("--parallel", type=Path, default=Path("parallel"), help="sentences")
    parser.add_argument("--voices", nargs="+", help="probe these together, not the usual groups")
    parser.add_argument("--folds", type=int, default=2, help="parts of the sentences")
    parser.add_argument("--out", type=Path, help="a .json to write all figures to")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    groups = {"chosen": tuple(args.voices)} if args.voices else GROUPS
    wanted = list(dict.fromkeys(voice for voices in groups.values() for voice in voices))
    found: dict[str, Any] = {}
    print(HEADER)
    for name in args.encoder:
        features, rate = features_of(name, args.parallel, wanted)
        for group, voices in groups.items():
            if missing := [voice for voice in voices if voice not in features]:
                raise SystemExit(f"{name}: there is nothing of {', '.join(missing)}.")
            chosen = {voice: features[voice] for voice in voices}
            result = probe(chosen, frame_rate=rate, folds=args.folds)
            print(row(name, group, result), flush=True)
            figures = asdict(result) | {"chance": result.chance, "folds": args.folds}
            found.setdefault(name, {})[group] = figures
    if args.out:
        args.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
