"""The content-versus-speaker probe tells made-up content from made-up voices."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from sovits.audio.io import write

VOICES, SENTENCES, CHANNELS = ("a", "b", "c", "d"), ("0", "1", "2", "3", "4", "5"), 12

Made = dict[str, dict[str, Tensor]]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """tools/pretrain/probe.py, which is no part of the package."""
    path = Path(__file__).parents[3] / "tools" / "pretrain" / "probe.py"
    spec = importlib.util.spec_from_file_location("pretrain_probe", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up
    spec.loader.exec_module(module)
    return module


def made(content: float, voice: float, *, noise: float = 0.1, rate: float = 50.0) -> Made:
    """Features of voices that say sentences: each at a tempo of its own, phones held for 100 ms."""
    rng = np.random.default_rng(0)
    said = {s: rng.standard_normal((CHANNELS, 8)) for s in SENTENCES}
    own = {v: rng.standard_normal((CHANNELS, 1)) for v in VOICES}
    features: Made = {v: {} for v in VOICES}
    for v, s in product(VOICES, SENTENCES):
        frames = round(rng.uniform(0.7, 0.9) * rate)
        phones = said[s][:, np.arange(frames) * 8 // frames]
        x = content * phones + voice * own[v] + noise * rng.standard_normal(phones.shape)
        features[v][s] = torch.from_numpy(x).float()
    return features


def test_content_alone_tells_sentences_but_no_voices(tool: ModuleType) -> None:
    result = tool.probe(made(content=1.0, voice=0.0))
    assert result.abx_error == 0
    assert min(result.ratio, result.angle_ratio) > 4
    assert result.speaker_by_sentence < 0.45
    assert abs(result.speaker_by_frame - result.chance) < 0.06


def test_voices_alone_tell_voices_but_no_sentences(tool: ModuleType) -> None:
    result = tool.probe(made(content=0.0, voice=1.0))
    assert result.abx_error == 1
    assert max(result.ratio, result.angle_ratio) < 0.4
    assert result.speaker_by_sentence == result.speaker_by_frame == 1


def test_a_little_voice_shows_in_every_figure(tool: ModuleType) -> None:
    clean, leaky = (tool.probe(made(content=1.0, voice=v)) for v in (0.05, 0.5))
    assert leaky.ratio < clean.ratio
    assert leaky.angle_ratio < clean.angle_ratio
    assert leaky.speaker_by_sentence > clean.speaker_by_sentence
    assert leaky.speaker_by_frame > clean.speaker_by_frame


def test_scale_does_not_matter_and_frame_rate_hardly(tool: ModuleType) -> None:
    plain = tool.probe(made(content=1.0, voice=0.3))
    louder = {v: {s: 50 * x for s, x in x.items()} for v, x in made(content=1.0, voice=0.3).items()}
    assert tool.probe(louder).ratio == pytest.approx(plain.ratio, rel=1e-3)
    faster = tool.probe(made(content=1.0, voice=0.3, rate=44_100 / 512), frame_rate=44_100 / 512)
    assert faster.ratio == pytest.approx(plain.ratio, rel=0.1)
    assert tool.at_rate(torch.zeros(3, 200), 100.0).shape == (100, 3)


def cheapest(distances: Tensor) -> float:
    """The mean along the cheapest path, by trying every path there is."""
    rows, columns = distances.shape

    def walk(i: int, j: int) -> list[tuple[float, int]]:
        here = float(distances[i, j])
        if (i, j) == (rows - 1, columns - 1):
            return [(here, 1)]
        steps = [(i + 1, j + 1), (i + 1, j), (i, j + 1)]
        return [
            (here + cost, 1 + cells)
            for i, j in steps
            if i < rows and j < columns
            for cost, cells in walk(i, j)
        ]

    cost, cells = min(walk(0, 0))
    return cost / cells


def test_warping_finds_the_cheapest_of_all_paths(tool: ModuleType) -> None:
    rng = torch.Generator().manual_seed(0)
    shapes = [(1, 1), (1, 5), (4, 1), (4, 5), (5, 3), (5, 5)]
    grids = [torch.rand(shape, generator=rng) for shape in shapes]
    expected = torch.tensor([cheapest(grid) for grid in grids])
    torch.testing.assert_close(tool.warped(grids), expected)


def test_distances_are_euclid_s_and_the_angle(tool: ModuleType) -> None:
    one, others = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0], [6.0, 0.0]])
    torch.testing.assert_close(tool.euclidean(one, others), torch.tensor([[5.0, 3.0]]))
    right = torch.tensor([[math.pi / 2, 0.0]])
    torch.testing.assert_close(tool.angle(one, others), right)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda features: features["b"].pop("3"), "same sentences"),
        (lambda features: [features.pop(v) for v in "bcd"], "two voices"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    tool: ModuleType, change: Callable[[Made], object], message: str
) -> None:
    features = made(content=1.0, voice=0.0)
    change(features)
    with pytest.raises(SystemExit, match=message):
        tool.probe(features)


def test_command_reads_npz_and_prints_each_group(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = made(content=1.0, voice=0.0, rate=100.0)
    arrays = {f"{v}/{s}": x.numpy() for v in VOICES for s, x in features[v].items()}
    np.savez(tmp_path / "mine.npz", frame_rate=100.0, **arrays)
    out = tmp_path / "probe.json"
    name = str(tmp_path / "mine.npz")
    tool.main(["--encoder", name, "--voices", "a", "c", "--out", str(out)])
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 2
    assert "mine.npz" in table[1]
    assert '"voices": [\n        "a",\n        "c"\n' in out.read_text(encoding="utf-8")
    with pytest.raises(SystemExit, match="nothing of nobody"):
        tool.main(["--encoder", name, "--voices", "a", "nobody"])
    with pytest.raises(SystemExit, match="whisper-bse: there are"):
        tool.main(["--encoder", "whisper-bse"])


def test_loudness_is_in_the_first_coefficient_alone(tool: ModuleType, tmp_path: Path) -> None:
    noise = 0.1 * torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    found = []
    for name, wave in (("soft", 0.5 * noise), ("loud", noise)):
        write(tmp_path / f"{name}.wav", wave, 16_000)
        content, rate = tool.mfcc(tmp_path / f"{name}.wav")
        found.append(content)
    assert rate == 50
    assert content.shape == (20, 51)
    gap = (found[1] - found[0]).mean(1)
    # An orthonormal cosine transform makes of 80 equal bands their value times the root of 80.
    expected = torch.zeros(20)
    expected[0] = 20 * math.log10(2) * math.sqrt(80)
    torch.testing.assert_close(gap, expected, atol=1e-2, rtol=0)
