"""Trainings find their best checkpoint, keep it, show it, and end when they gain nothing."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from test_resume import contents, same, train
from toy_training import light, set_toy, toy

from sovits.errors import Interrupted
from sovits.library import chosen
from sovits.train import fit, validate
from sovits.train.checkpoint import list_checkpoints
from sovits.train.ears import Found
from sovits.train.gallery import MOST_SHOWN, shown
from sovits.voice import load_voice

Table = dict[str, Any]
Script = Callable[[int], float]


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let evaluations take as much time as they like: steps here take next to none."""
    monkeypatch.setattr(validate, "SHARE", 1e9)


def scripted(monkeypatch: pytest.MonkeyPatch, script: Script) -> None:
    """Let evaluations find what a script says of each, and listen to nothing."""

    class Ears:
        references: dict[str, float] = {}  # noqa: RUF012
        judge = "nobody"

        def __init__(self, *_: Any) -> None:
            self.step: int | None = None

        def hear(self, _sung: Any) -> Found:
            assert self.step is not None
            return Found({"held_out_mel": script(self.step)}, {})

    evaluate = validate.Validation.evaluate

    def told_when(self: Any, synthesizer: Any, step: int, *rest: Any) -> None:
        self._prepared().step = step
        evaluate(self, synthesizer, step, *rest)

    monkeypatch.setattr(validate, "Ears", Ears)
    monkeypatch.setattr(validate.Validation, "evaluate", told_when)


def verdict(model: Path) -> Table:
    table: Table = json.loads((model / "verdict.json").read_text())
    return table


def curve(model: Path) -> list[Table]:
    """Return the evaluations, without what depends on the clock."""
    clock = ("seconds", "cost")
    return [
        {key: value for key, value in entry.items() if key not in clock}
        for entry in verdict(model)["evaluations"]
    ]


def test_the_best_is_found_kept_and_converted_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, lambda step: abs(step - 6) / 10)
    config, model = (
        toy(tmp_path, eval_interval=2, name_by_step=True, keep_checkpoints=1),
        tmp_path / "m",
    )
    told = train(config, model, 14)
    assert verdict(model)["best"]["checkpoint"] == "G_6.pth"
    assert [c.number for c in list_checkpoints(model)] == [6, 14]
    assert [entry["step"] for entry in curve(model)] == [0, 2, 4, 6, 8, 10, 12, 14]
    kept = re.findall(r"<td><code>(\w+)</code></td>", (model / "report.html").read_text())
    assert kept == ["G_14", "G_6"]
    assert chosen(model).path == model / "G_6.pth"
    voice = load_voice(model)
    assert voice.path == model / "G_6.pth"
    assert voice.remarks[0] == f"Using G_6.pth, the best checkpoint in {model}."
    best = [line for line in told if "best so far" in line]
    assert [line.split()[1] for line in best] == ["2", "4", "6"]
    # Now that it does better, the old one may go.
    scripted(monkeypatch, lambda step: -step)
    train(config, model, 18)
    assert [c.number for c in list_checkpoints(model)] == [18]
    assert verdict(model)["best"]["step"] == 18


def test_real_measurements_are_made_of_a_real_training(tmp_path: Path) -> None:
    config, model = (
        toy(tmp_path, eval_interval=6, name_by_step=True, learning_rate=1e-3),
        tmp_path / "m",
    )
    train(config, model, 12)
    first, _, last = curve(model)
    assert {"held_out_mel", "similarity", "pitch_cents", "octave_errors", "voicing_f1"} <= first[
        "values"
    ].keys()
    assert last["values"]["held_out_mel"] < first["values"]["held_out_mel"]
    assert first["checkpoint"] is None
    assert verdict(model).keys() == {
        *("format", "best", "stopped", "every", "seconds", "saved", "evaluations", "pitches"),
    }
    assert last["each"].keys() == {"copy-1", "copy-2"}
    entries = [json.loads(line) for line in (model / "train.jsonl").read_text().splitlines()]
    assert entries[-1]["held_out_mel"] == pytest.approx(last["values"]["held_out_mel"], abs=1e-5)


def at_step(step: int) -> Callable[[str], None]:
    def on_log(line: str) -> None:
        if line.startswith(f"step {step}  epoch"):
            os.kill(os.getpid(), signal.SIGTERM)

    return on_log


@pytest.mark.parametrize("settings", [{}, {"accumulate": 3, "batch_size": 1}])
def test_a_resumed_verdict_is_that_of_a_training_that_never_stopped(
    tmp_path: Path, settings: Table
) -> None:
    config = light(tmp_path, eval_interval=4, name_by_step=True, average=0.9, **settings)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(config, whole, 13)
    for stop in (2, 7):
        with pytest.raises(Interrupted):
            fit(config, parts, device="cpu", on_log=at_step(stop))
    train(config, parts, 13)
    assert curve(whole) == curve(parts)
    assert verdict(whole)["best"] == verdict(parts)["best"]
    assert same(contents(whole), contents(parts))
    seconds = [entry["seconds"] for entry in verdict(parts)["evaluations"]]
    assert seconds == sorted(seconds)


def test_what_was_done_after_the_checkpoint_is_forgotten(tmp_path: Path) -> None:
    config, model = toy(tmp_path, eval_interval=2, name_by_step=True), tmp_path / "m"
    train(config, model, 6)
    before = curve(model)
    for letter in "GD":
        (model / f"{letter}_6.pth").unlink()  # killed before they were written
    train(config, model, 6)
    assert curve(model) == before


def test_a_kill_between_verdict_and_checkpoint_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, model = toy(tmp_path, eval_interval=2, name_by_step=True), tmp_path / "m"
    train(config, tmp_path / "whole", 6)

    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        if json.loads((model / "verdict.json").read_text())["evaluations"][-1]["step"] == 4:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("sovits.train.setup.prune_checkpoints", lambda *_: None)
        from sovits.train import setup

        save = setup.save_checkpoint
        patch.setattr(setup, "save_checkpoint", lambda *args: (killed(), save(*args)))
        with pytest.raises(Killed):
            train(config, model, 6)
    assert chosen(model).path.name == "G_2.pth"  # whatever the verdict names is not there
    train(config, model, 6)
    assert curve(model) == curve(tmp_path / "whole")
    assert same(contents(model), contents(tmp_path / "whole"))


def test_a_training_that_gains_nothing_ends_and_says_why_and_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, lambda step: max(0.0, 1 - step / 6))
    settings: Table = {"eval_interval": 2, "name_by_step": True}
    config, model = toy(tmp_path, patience=3, **settings), tmp_path / "m"
    told = train(config, model, None)
    reason = (
        "The last 3 evaluations gained nothing (none has 0.5 points more than those before), so "
        "training stops. The best checkpoint is G_12. To go on all the same, set train.patience "
        "(3) higher, or to 0 for no end, and train again."
    )
    assert told[-2:] == [reason, f"Step 12 is saved in {model / 'G_12.pth'}."]
    assert verdict(model)["stopped"] == reason
    assert reason in (model / "report.html").read_text()
    again = train(config, model, None)
    assert again[-2] == reason
    assert re.fullmatch(r"Nothing to do: 12 of \d+ steps are done\.", again[-1])
    train(set_toy(tmp_path, patience=0, **settings), model, 20)
    train(set_toy(tmp_path, patience=0, **settings), tmp_path / "whole", 20)
    assert same(contents(model), contents(tmp_path / "whole"))
    assert verdict(model)["stopped"] is None


def test_patience_is_counted_over_interruptions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, lambda step: 1.0)
    config, model = toy(tmp_path, patience=4, eval_interval=2, name_by_step=True), tmp_path / "m"
    for steps in (1, 3, 5):
        assert not any("gained nothing" in line for line in train(config, model, steps))
    assert any("gained nothing" in line for line in train(config, model, None))
    assert list_checkpoints(model)[-1].number == 8  # as without a stop: evaluations 0, 2, 4, 6, 8


def test_evaluations_leave_weights_and_random_numbers_alone(tmp_path: Path) -> None:
    often: Table = {"eval_interval": 1, "patience": 0}
    for name, config in (("vits", toy), ("light", light)):
        folder = tmp_path / name
        folder.mkdir()
        quiet = config(folder, name_by_step=True, average=0.5)
        train(quiet, folder / "quiet", 5)
        train(config(folder, name_by_step=True, average=0.5, **often), folder / "busy", 5)
        assert len(curve(folder / "busy")) == 6
        assert same(contents(folder / "quiet"), contents(folder / "busy"))


def test_what_converts_is_what_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def note(synthesizer: Any, probe: Any) -> torch.Tensor:
        seen.append(synthesizer.state_dict()["shaper.head.bias"].clone())
        return torch.zeros(len(probe.source))

    monkeypatch.setattr(validate, "sing", note)
    config, model = (
        light(tmp_path, average=0.8, learning_rate=1e-2, name_by_step=True),
        tmp_path / "m",
    )
    train(config, model, 5)
    assert torch.equal(seen[-1], contents(model)[0]["average"]["shaper.head.bias"])
    assert not torch.equal(seen[-1], contents(model)[0]["model"]["shaper.head.bias"])


def test_the_best_of_an_epoch_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, lambda step: 0.0 if step == 1 else 1.0)
    settings: Table = {"batch_size": 1, "eval_interval": 1, "keep_checkpoints": 2}
    config, model = toy(tmp_path, name_by_step=False, **settings), tmp_path / "m"
    train(config, model, 8)  # six batches an epoch
    best = verdict(model)["best"]
    assert (best["checkpoint"], best["step"]) == ("G_1.pth", 1)
    content = torch.load(model / "G_1.pth", weights_only=True)
    assert content["progress"]["step"] == 1
    assert [c.number for c in list_checkpoints(model)] == [1, 7, 8]
    assert [e["checkpoint"] for e in curve(model)][:4] == [None, "G_1.pth", "G_2.pth", "G_3.pth"]
    assert any("named by step, as those" in line for line in train(config, model, 9))
    assert contents(model)[0]["progress"]["step"] == 9


def test_evaluations_come_rarer_where_they_cost_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, model = toy(tmp_path, eval_interval=1, name_by_step=True, patience=2), tmp_path / "m"
    monkeypatch.setattr(validate, "SHARE", 1e-4)
    told = train(config, model, 6)
    assert [entry["step"] for entry in curve(model)] == [0, 1, 6]  # the first tells what it costs
    pattern = r"An evaluation takes [\d.]+ s, and 1 steps take [\d.]+ s: from now on there is one "
    assert any(re.match(pattern + r"every 1000 steps\.", line) for line in told)
    assert [c.number for c in list_checkpoints(model)] == [4, 5, 6]  # saved as often as before
    train(config, model, 7)
    assert [entry["step"] for entry in curve(model)] == [0, 1, 6, 7]
    monkeypatch.setattr(validate, "SHARE", 1e9)
    (model / "verdict.json").write_text(json.dumps(verdict(model) | {"every": 2}))
    train(config, model, 8)
    assert verdict(model)["every"] == 1


def test_a_training_that_leaves_no_memory_goes_on_unjudged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError

    config, model = toy(tmp_path, eval_interval=2, name_by_step=True), tmp_path / "m"
    with monkeypatch.context() as patch:
        patch.setattr(validate, "sing", full)
        told = train(config, model, 2)
    assert any(line.startswith("step 2  not evaluated, as there is too little") for line in told)
    assert told[-1] == f"Step 2 is saved in {model / 'G_2.pth'}."
    train(config, model, 4)
    assert [entry["step"] for entry in curve(model)] == [2, 4]


def test_who_has_no_time_left_waits_for_no_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, model = toy(tmp_path, eval_interval=2, name_by_step=True), tmp_path / "m"
    with pytest.raises(Interrupted):
        fit(config, model, device="cpu", on_log=at_step(2))
    sing = validate.sing

    def slow(*args: Any) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGTERM)
        monkeypatch.setattr(validate, "sing", sing)
        return sing(*args)

    monkeypatch.setattr(validate, "sing", slow)
    before = curve(model)
    with pytest.raises(Interrupted):
        fit(config, model, device="cpu", on_log=print)
    assert curve(model) == before
    train(config, model, 4)
    assert [entry["step"] for entry in curve(model)] == [0, 3, 4]


class Links(HTMLParser):
    """Collects what a page refers to, and how its tags nest."""

    VOID = ("meta", "img")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closes something else"


def test_the_page_needs_nothing_else_and_is_whole(tmp_path: Path) -> None:
    config, model = toy(tmp_path, eval_interval=2, name_by_step=True), tmp_path / "m"
    table = json.loads(config.read_text())
    table["spk"] = {"alice": 0, "<b>\"bob'&": 1}
    config.write_text(json.dumps(table))
    (tmp_path / "bob").rename(tmp_path / "<b>\"bob'&")
    for name in ("train", "val"):
        path = tmp_path / f"{name}.txt"
        path.write_text(path.read_text().replace("/bob/", "/<b>\"bob'&/"))
    train(config, model, 4)
    text = (model / "report.html").read_text("utf-8")
    page = Links()
    page.feed(text)
    page.close()
    assert page.open == []
    assert page.found
    assert all(link.startswith("data:") for link in page.found)
    assert not re.search(r"https?:|//[\w.]|@import|url\((?!#)", re.sub(r'"data:[^"]*"', "", text))
    assert not {"script", "link", "iframe", "b"} & set(page.tags)
    assert "Best checkpoint: <code>G_4</code>" in text
    assert text.count("<audio") == 2 * (1 + 3)  # two clips: the recording, and three evaluations
    for words in ("Held-out log-mel distance", "Median pitch", "because it has the most points"):
        assert words in text


def test_the_page_goes_on_where_it_was(tmp_path: Path) -> None:
    config, model = toy(tmp_path, eval_interval=2, name_by_step=True), tmp_path / "m"
    for steps in (2, 4, 6):
        train(config, model, steps)
    page = (model / "report.html").read_text()
    rows = re.findall(r'<th scope="row">(\d+)</th>', page)
    assert rows == ["6", "4", "2", "0"]
    assert page.count("<circle") >= 4 * 5
    assert {path.name.split("-")[0] for path in (model / "probe").iterdir()} == {
        "source",
        *map(str, (0, 2, 4, 6)),
    }


@pytest.mark.parametrize("count", [1, 5, 8, 9, 30, 100])
def test_few_sounds_are_kept_and_they_stay(count: int) -> None:
    steps = list(range(0, 10 * count, 10))
    kept = shown(steps, 0)
    assert len(kept) <= MOST_SHOWN + 2
    assert steps[-1] in kept
    before = shown(steps[:-1], 0)
    assert set(kept) - {steps[-1]} <= set(before)  # nothing that is gone would be needed again


def test_a_page_that_cannot_be_written_ends_no_training(tmp_path: Path) -> None:
    config, model = toy(tmp_path, name_by_step=True), tmp_path / "m"
    (model / "report.html").mkdir(parents=True)
    told = train(config, model, 2)
    (line, *_) = [line for line in told if "Training goes on" in line]
    assert re.match(r"Training goes on, but .*report\.html cannot be written \(", line)
    assert verdict(model)["best"]["checkpoint"] == "G_2.pth"


def test_a_training_from_before_there_were_verdicts_gets_one(tmp_path: Path) -> None:
    config, model = toy(tmp_path, name_by_step=True), tmp_path / "m"
    train(config, model, 3)
    (model / "verdict.json").unlink()
    told = train(config, model, 4)
    assert [entry["step"] for entry in curve(model)] == [3, 4]
    assert curve(model)[0]["checkpoint"] == "G_3.pth"
    assert any(line.startswith("step 3  held-out") for line in told)
