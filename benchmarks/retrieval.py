"""What does retrieval cost, and what do lists miss?

    python benchmarks/retrieval.py dataset/44k/alice dataset/44k/bob dataset/44k/carol --write

Looks up the content of the others in indices of the first minutes of the first: with all frames
compared, with only their principal components compared at first, and in lists. The folders hold
features of one content encoder.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from run import PAGE, ROOT, processor
from torch import Tensor

from sovits.config import SynthesizerConfig, VoiceConfig
from sovits.index_file import open_index
from sovits.retrieval import NEIGHBOURS, SPARE, Index, Near
from sovits.train.frames import Frames, Heard, find_content
from sovits.train.index import IndexOptions, train_index

BEGIN, END = "<!-- retrieval.py writes from here -->", "<!-- to here -->"
MINUTES = (2.0, 10.0, 60.0)
QUERIES = 1000
"""Frames of each of the others."""
DIMENSIONS = 64
AT_ONCE = 8
"""Frames that a live conversion looks up at once."""
HEAD = (
    "| minutes | frames | compared | made in, CPU s | MB | CPU s per s | 8 frames, ms | found, % "
    "| farther, % |",
    "|---:|---:|---|---:|---:|---:|---:|---:|---:|",
)

Search = Callable[[Tensor], Near]


class Made(NamedTuple):
    """An index, and what it took to make it."""

    index: Index
    cpu: float
    megabytes: float


class Principal:
    """Compares principal components first, and then the best of them in full."""

    def __init__(self, vectors: Tensor) -> None:
        self.vectors, self.basis = vectors, torch.linalg.eigh(vectors.t().cov())[1][:, -DIMENSIONS:]
        self.quick = Index(vectors @ self.basis, 4 * (NEIGHBOURS + SPARE))

    def search(self, frames: Tensor) -> Near:
        """Return the nearest vectors of `[frames, channels]`."""
        candidates = self.quick.search(frames @ self.basis).which
        exact = (self.vectors[candidates] - frames[:, None]).square().sum(-1)
        squared, order = exact.topk(NEIGHBOURS, largest=False)
        return Near(candidates.gather(1, order), squared)


def first(heard: Heard, speaker: str, minutes: float, folder: Path) -> Path:
    """Return a data set of the first minutes of a speaker, which links to the clips."""
    (folder / speaker).mkdir(parents=True)
    frames, wanted = 0, minutes * 60 * (heard.frame_rate or 0)
    for clip in heard.speakers[speaker]:
        if frames < wanted:
            os.link(clip.path, folder / speaker / clip.path.name)
            frames += clip.frames
    return folder


def make(dataset: Path, heard: Heard, speaker: str, compared: int) -> Made:
    """Make the index of a data set."""
    network = SynthesizerConfig(content_channels=heard.channels)
    voice = VoiceConfig(synthesizer=network, content=heard.content, speakers={speaker: 0})
    out = dataset / "index.safetensors"
    begin = time.process_time()
    train_index(dataset, out, voice, IndexOptions(compared), lambda _: None)
    cpu = time.process_time() - begin
    return Made(open_index(out).read(speaker), cpu, out.stat().st_size / 1e6)


def timed(search: Search, frames: Tensor) -> float:
    """Return CPU seconds per frame."""
    search(frames[:AT_ONCE])
    begin = time.process_time()
    search(frames)
    return (time.process_time() - begin) / len(frames)


def vectors_of(index: Index, near: Near) -> Tensor:
    """Return what was found, `[frames, neighbours, channels]`."""
    return index.vectors[near.which].float()


def found(mine: Tensor, all_of_them: Tensor) -> float:
    """Return the share of the nearest vectors that were found."""
    same = (mine[:, :, None] == all_of_them[:, None]).all(-1)
    return float(same.any(1).float().mean())


def rows(heard: Heard, speaker: str, minutes: float, queries: Tensor) -> list[str]:
    """Return lines of the table, of one size of index."""
    rate = heard.frame_rate or 0.0
    with TemporaryDirectory(dir=heard.speakers[speaker][0].path.parents[2]) as folder:
        dataset = first(heard, speaker, minutes, Path(folder) / "all")
        whole = make(dataset, heard, speaker, compared=1 << 60)
        lists = make(dataset, heard, speaker, compared=0)
    principal = Principal(whole.index.vectors)
    truth = whole.index.search(queries)
    ways: list[tuple[str, Made, Search, Index]] = [
        ("all frames", whole, whole.index.search, whole.index),
        (f"{DIMENSIONS} components of all", whole, principal.search, whole.index),
        ("lists", lists, lists.index.search, lists.index),
    ]
    lines = []
    for name, made, search, index in ways:
        cost, near = timed(search, queries) * rate, search(queries)
        live = timed(lambda x, s=search: [s(part) for part in x.split(AT_ONCE)], queries[:200])  # type: ignore[misc]
        share = found(vectors_of(index, near), vectors_of(whole.index, truth))
        farther = float(near.squared.sqrt().sum() / truth.squared.sqrt().sum()) - 1
        count = len(index.vectors)
        lines.append(
            f"| {count / rate / 60:.0f} | {count} | {name} | {made.cpu:.1f} "
            f"| {made.megabytes:.1f} | {cost:.4f} | {live * AT_ONCE * 1e3:.1f} "
            f"| {100 * share:.1f} | {abs(100 * farther):.2f} |"
        )
        print(lines[-1], flush=True)
    return lines


def put(page: str, lines: list[str]) -> str:
    """Return a page with these lines between its marks; they are put at its end if it has none."""
    block = "\n".join([BEGIN, "", *lines, "", END])
    before, begin, rest = page.partition(BEGIN)
    if not begin:
        return f"{page.rstrip()}\n\n{block}\n"
    return before + block + rest.partition(END)[2]


def main() -> None:
    """Measure, and print a table or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bank", type=Path, help="features of who is retrieved")
    parser.add_argument("others", type=Path, nargs="+", help="features of who is looked up")
    parser.add_argument("--minutes", type=float, nargs="+", default=MINUTES)
    parser.add_argument("--write", action="store_true", help=f"to {PAGE.relative_to(ROOT)}")
    args = parser.parse_args()
    torch.set_num_threads(1)
    heard = find_content(args.bank.parent)
    paths = [sorted(folder.glob("*.safetensors")) for folder in args.others]
    queries = torch.cat([Frames(found, in_memory=True).join()[:QUERIES] for found in paths]).float()
    lines = [
        "## Retrieval",
        "",
        f"Written by `benchmarks/retrieval.py --write`. {date.today().isoformat()}, {processor()}, "
        "one thread.",
        f"Content of {heard.content}, {heard.channels} channels at {heard.frame_rate:.4g} Hz: "
        f"{len(queries)} frames of {len(paths)} speakers, looked up",
        "in the first minutes of another. *CPU s per s* is what it adds to a second of sound,",
        "*8 frames* what a live conversion waits for so many; *found* is the share of the four",
        "nearest frames that were found, *farther* how much farther those that were found are.",
        "",
        *HEAD,
    ]
    print("\n".join(HEAD))
    for minutes in args.minutes:
        lines += rows(heard, args.bank.name, minutes, queries)
    if args.write:
        PAGE.write_text(put(PAGE.read_text("utf-8"), lines), "utf-8")
        print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
