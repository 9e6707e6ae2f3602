"""What is found can be read by people and by programs, with a player for every sound."""

from __future__ import annotations

import io
import json
import re
import struct
import zlib
from base64 import b64decode
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from recordings import RATE, measure_of, recorded, vowel
from rich.console import Console

from sovits.config import ConvertOptions
from sovits.errors import OutputError
from sovits.evaluate import report
from sovits.evaluate.bootstrap import ratio
from sovits.evaluate.clips import Recording, cut
from sovits.evaluate.pictures import palette, png, spectrograms
from sovits.evaluate.results import SCHEMA, Column, Evaluation, Measure, Transcript
from sovits.evaluate.table import number, table

HOSTILE = '<script>alert("x")</script> & Ж'
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Reads a page strictly: every tag is closed, in order; nothing comes from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def evaluation(folder: Path, count: int = 3, *, name: str = "talk") -> Evaluation:
    """Return what might have been found of some clips."""
    made = [
        recorded(folder, f"{name}-{i}", vowel(14, seed=i), vowel(14, 200), text="a b")
        for i in range(count)
    ]
    clips = cut(made)
    names = [clip.name for clip in clips]
    places = tuple((i,) for i in range(count))
    score = measure_of([0.1 * i for i in range(count)], names)
    change = Column(np.array([[-0.25 * i, 1] for i in range(count)]), ratio)
    rows = [
        Measure("a", "Score", "quality", "higher", score.units, score.result, change=change),
        Measure("b", "Rate", "speed", "lower", score.units, score.result, unit="s", clips=places),
        measure_of([float("nan")] * count, names, "nothing"),
    ]
    return Evaluation(
        voice={"name": HOSTILE, "path": None},
        options=ConvertOptions(speaker=HOSTILE),
        machine={"threads": 1},
        date="2026-01-02T03:04:05+00:00",
        metrics=("quality", "speed"),
        recordings=made,
        clips=clips,
        measures=rows,
        target={"seconds": 14.0, "similarity_between_halves": 0.9},
        target_sample=made[0].source,
        transcripts=[
            Transcript("ear", names[0], (0,), HOSTILE, True, "a b", "a c <i>"),
            Transcript("eye", names[0], (0,), "Well, x.", False, "x", "well y"),
        ],
        notes=[HOSTILE],
    )


def test_a_page_holds_a_player_and_a_picture_for_each_sound(tmp_path: Path) -> None:
    found = evaluation(tmp_path)
    before = sorted(tmp_path.iterdir())
    read = Page(report.page(found, tmp_path))
    assert sorted(tmp_path.iterdir()) == before
    players, pictures = read.all("audio"), read.all("img")
    assert len(players) == len(pictures) == 2 * len(found.clips) + 1
    for player, clip in zip(players[1::2], found.clips, strict=True):
        kind, _, data = str(player["src"]).partition(",")
        assert kind == "data:audio/ogg;base64"
        wave, rate = soundfile.read(io.BytesIO(b64decode(data)))
        assert (len(wave), rate) == (14 * RATE, RATE)
        expected = clip.source()[0].numpy()
        assert np.corrcoef(wave, expected)[0, 1] > 0.98
        assert player["aria-label"] == f"Source {clip.name}"
        assert "controls" in player


def test_a_page_needs_nothing_and_runs_nothing(tmp_path: Path) -> None:
    text = report.page(evaluation(tmp_path), tmp_path)
    read = Page(text)
    assert "<script" not in text
    assert "//" not in re.sub(r'"data:[^"]*"', "", text)
    assert not read.all("link")
    for attributes in (attributes for _, attributes in read.tags):
        for key in ("src", "href"):
            assert str(attributes.get(key, "data:")).startswith("data:")
        assert not any(key.startswith("on") for key in attributes)
    assert HOSTILE in read.text
    assert "url(" not in report.STYLE
    assert "@import" not in report.STYLE


def test_a_page_can_be_read_without_eyes(tmp_path: Path) -> None:
    read = Page(report.page(evaluation(tmp_path), tmp_path))
    assert read.all("html") == [{"lang": "en"}]
    assert all(picture["alt"] for picture in read.all("img"))
    assert all(head["scope"] in ("col", "row") for head in read.all("th"))
    assert len(read.all("caption")) == len(read.all("table")) == 1
    names = {str(attributes["id"]) for _, attributes in read.tags if "id" in attributes}
    assert {str(section["aria-labelledby"]) for section in read.all("section")} <= names
    levels = [int(tag[1]) for tag, _ in read.tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_a_page_is_legible_by_day_and_by_night() -> None:
    light, dark = (
        dict(part.split(": ") for part in block.replace("\n", " ").strip(" ;").split("; "))
        for block in (
            report.STYLE.split("color-scheme: light dark;")[1].split("}")[0],
            report.STYLE.split(":root {")[2].split("}")[0],
        )
    )
    for names in (light, dark):
        colours = {name.strip(): value for name, value in names.items()}
        for text in ("--ink", "--faint", "--accent", "--gone", "--new"):
            for ground in ("--paper", "--raised"):
                assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)


def contrast(a: str, b: str) -> float:
    """Return the contrast ratio of WCAG 2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_what_was_misunderstood_is_marked(tmp_path: Path) -> None:
    text = report.page(evaluation(tmp_path, 1), tmp_path)
    assert "<dd>well <del>x.</del> <ins>y</ins></dd>" in text
    assert "a c &lt;i&gt;" in text
    assert "Reference (given text)" in text
    assert "Reference (heard in the source)" in text


def test_of_many_clips_some_can_be_heard_and_the_page_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MOST_PLAYED", 2)
    found = evaluation(tmp_path, 5)
    read = Page(report.page(found, tmp_path))
    assert len(read.all("audio")) == 5
    assert "2 of 5 clips, taken at even distances." in read.text
    assert "talk-0.wav" in read.text
    assert "Source talk-2.wav" in {str(player["aria-label"]) for player in read.all("audio")}


def test_json_has_all_that_the_page_has(tmp_path: Path) -> None:
    found, path = evaluation(tmp_path), tmp_path / "x.json"
    report.write_json(path, found)
    read: dict[str, Any] = json.loads(path.read_text("utf-8"))
    assert read["schema"] == SCHEMA == "sovits-evaluation-1"
    assert {
        "schema": str, "date": str, "machine": dict, "voice": dict, "options": dict,
        "metrics": list, "methods": dict, "target": dict, "sources": list, "clips": list,
        "confidence": float, "measures": list, "transcripts": list, "notes": list,
    } == {key: type(value) for key, value in read.items()}  # fmt: skip
    first, _, nothing = read["measures"]
    assert first["result"]["value"] == pytest.approx(0.1)
    assert first["result"]["low"] <= 0.1 <= first["result"]["high"]
    assert first["result"]["values"] == pytest.approx([0, 0.1, 0.2])
    assert first["source"] is None
    assert first["change"]["value"] == pytest.approx(-0.25)
    assert len(first["units"]) == 3
    assert nothing["result"] == {"value": None, "low": None, "high": None, "values": [None] * 3}
    assert read["voice"]["name"] == HOSTILE
    assert read["transcripts"][0]["result"] == "a c <i>"
    assert read["options"]["f0_method"] == "swift"


def test_names_that_are_no_text_are_written_as_text(tmp_path: Path) -> None:
    found = evaluation(tmp_path, 1)
    record = found.recordings[0]
    found.recordings[0] = Recording(Path("\udcff.wav"), record.source, record.result)
    found.clips = cut(found.recordings)
    report.write_json(tmp_path / "x.json", found)
    report.write_report(tmp_path / "x.html", found, tmp_path)
    assert json.loads((tmp_path / "x.json").read_text("utf-8"))["sources"][0]["name"] == "?.wav"


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match="taken cannot be written"):
        report.write_json(tmp_path / "taken", evaluation(tmp_path, 1))
    assert not list(tmp_path.glob(".*"))


def test_the_table_fits_a_narrow_terminal(tmp_path: Path) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, highlight=False)
    found = evaluation(tmp_path)
    found.voice["name"] = "heart"
    console.print(table(found))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    lines = [line.strip() for line in lines]
    assert lines[0].startswith("heart: 3 recordings, 42.0 s in 3 clips")
    (score,) = (line.split() for line in lines if line.startswith("Score"))
    assert score[:4] == ["Score", "high", "-", "0.100"]
    assert score[-1] == "-0.250"
    assert "…" not in out.getvalue()
    assert next(line.split() for line in lines if "Nothing" in line)[2:] == ["-", "-", "-", "-"]


def test_numbers_are_shown_with_their_places() -> None:
    assert (number(0.5, 2), number(0.5, 2, sign=True), number(-1, 0)) == ("0.50", "+0.50", "-1")
    assert number(float("inf"), 3) == "-"


def test_a_tone_lies_in_its_row_of_the_picture() -> None:
    rows = []
    for hz in (300, 1000, 4000):
        time = torch.arange(2 * RATE) / RATE
        (pixels,) = spectrograms([(0.5 * torch.sin(2 * torch.pi * hz * time), RATE)])
        assert pixels.shape == (96, 200)
        rows.append(int(pixels.mean(1).argmax()))
    assert rows == sorted(rows, reverse=True)  # the highest row is the highest frequency
    assert rows[0] - rows[2] > 30


def test_pictures_share_a_scale_of_loudness() -> None:
    tone = torch.sin(torch.arange(RATE) * 0.4)
    loud, soft = spectrograms([(0.5 * tone, RATE), (0.005 * tone, RATE)])
    assert int(loud.max()) == 255
    assert 70 < int(soft.max()) < 150  # 40 dB of 70 below


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_pictures_are_png_files(height: int, width: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    data = png(pixels)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        body = data[at + 4 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(body)
        chunks[body[:4]], at = body[4:], at + 12 + length
    assert struct.unpack(">IIBBBBB", chunks[b"IHDR"]) == (width, height, 8, 3, 0, 0, 0)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    assert np.array_equal(rows[:, 1:], pixels)


def test_colours_grow_lighter() -> None:
    light = palette().astype(float) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(light) >= -0.5).all()
    assert light[-1] > 200
