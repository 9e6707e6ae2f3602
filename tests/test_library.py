"""What is at hand is listed with what its files tell, under names that are its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import soundfile
import torch
from made_library import COMMIT, NATIVE, into_blobs, legacy, native, raw, repo, settings
from made_voices import fork_config, synthesizer, synthesizer_config, voice, write_legacy

import sovits
from sovits import library
from sovits.config import AudioConfig, VoiceConfig
from sovits.errors import VoiceError
from sovits.features.pitch import load_pitch_extractor
from sovits.header import read_header
from sovits.hub import cache_folder, cached_repos
from sovits.library import candidates, chosen, list_voices, newest, resolve
from sovits.voice import load_voice, save_voice

AUDIO = AudioConfig(mel_max=22_050.0)
OURS = VoiceConfig(AUDIO, synthesizer_config(content_channels=9), "unheard of", {"Zoë": 3})
KEYS = (
    "name path kind architecture speakers sample_rate median_f0_hz f0_range_hz look_ahead sample "
    "licence content problem"
)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Be in an empty folder, with a package and a hub cache that are empty too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(library, "VOICES", tmp_path / "assets")
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return tmp_path


def hub(here: Path) -> Path:
    return here / "hf/hub"


def listed() -> dict[str, dict[str, Any]]:
    """Return what is listed, by name, once it is known to be of the promised form."""
    table: list[dict[str, Any]] = [entry.to_json() for entry in list_voices()]
    assert json.loads(json.dumps(table)) == table
    for entry in table:
        assert list(entry) == KEYS.split()
        assert Path(entry["path"]).is_absolute()
        assert Path(entry["path"]).is_file()
        assert entry["kind"] in ("bundled", "trained", "hub")
        assert all(isinstance(name, str) for name in entry["speakers"])
        assert entry["problem"] is None or entry["problem"].isprintable()
    named = {entry["name"]: entry for entry in table}
    assert len(named) == len(table)
    return named


def problem(name: str) -> str:
    """Return why a voice cannot be used."""
    told = listed()[name]["problem"]
    assert isinstance(told, str)
    return told


def test_a_bundled_voice_tells_all_it_knows(here: Path) -> None:
    card = {"licence": "CC0-1.0", "median_f0_hz": 110, "f0_range_hz": [80, 220.5]}
    path = native(here / "assets/low.safetensors", NATIVE, card)
    sample = path.with_name("low.sample.ogg")
    sample.touch()
    (here / "assets/.half.safetensors").touch()
    native(here / "base/base.safetensors")
    assert listed() == {
        "low": {
            "name": "low",
            "path": str(path),
            "kind": "bundled",
            "architecture": "sovits-native",
            "speakers": ["high", "low"],
            "sample_rate": 48_000,
            "median_f0_hz": 110.0,
            "f0_range_hz": [80.0, 220.5],
            "look_ahead": 4,
            "sample": str(sample),
            "licence": "CC0-1.0",
            "content": "sovits-content",
            "problem": None,
        }
    }


def test_what_is_not_told_is_null_and_what_is_left_out_has_its_default(here: Path) -> None:
    native(here / "assets/plain.safetensors")
    plain = listed()["plain"]
    assert (plain["architecture"], plain["sample_rate"]) == ("vits/hifi-gan", 44_100)
    assert plain["content"] == VoiceConfig.content
    for key in ("median_f0_hz", "f0_range_hz", "look_ahead", "sample", "licence", "problem"):
        assert plain[key] is None


@pytest.mark.parametrize("value", [True, "110", -1, 0, float("nan"), 1e9, None, [1], 10**400])
def test_cards_that_tell_no_pitch_are_not_believed(here: Path, value: Any) -> None:
    card = {"median_f0_hz": value, "f0_range_hz": [100, value], "licence": value}
    native(here / "assets/odd.safetensors", None, card)
    odd = listed()["odd"]
    assert (odd["median_f0_hz"], odd["f0_range_hz"], odd["problem"]) == (None, None, None)
    assert odd["licence"] == ("110" if value == "110" else None)


def test_voices_trained_here_are_named_after_their_folder_or_their_speakers(here: Path) -> None:
    for number in (9, 10):
        legacy(here / f"logs/choir/G_{number}.pth", {"b": 1, "a": 0}, "ms-istft")
    legacy(here / "logs/44k/G_800.pth", {"Zoë": 0})
    native(here / "logs/solo.safetensors", NATIVE)
    native(here / "logs/exported/x.safetensors")
    native(here / "logs/.hidden/x.safetensors")
    (here / "logs/empty").mkdir()
    (here / "logs/44k/D_900.pth").touch()
    found = listed()
    assert {name: Path(entry["path"]).relative_to(here) for name, entry in found.items()} == {
        "Zoë": Path("logs/44k/G_800.pth"),
        "choir": Path("logs/choir/G_10.pth"),
        "exported": Path("logs/exported/x.safetensors"),
        "solo": Path("logs/solo.safetensors"),
    }
    choir = found["choir"]
    assert (choir["kind"], choir["architecture"]) == ("trained", "vits/ms-istft")
    assert (choir["speakers"], choir["content"]) == (["a", "b"], "contentvec-768l12")
    assert [entry["problem"] for entry in found.values()] == [None] * 4


def test_a_training_of_many_speakers_keeps_the_name_of_its_folder(here: Path) -> None:
    path = legacy(here / "logs/44k/G_1.pth", {f"speaker {i}": i for i in range(5)})
    assert list(listed()) == ["44k"]
    legacy(path, {"alice": 0, "bob": 1})
    assert list(listed()) == ["alice+bob"]
    legacy(path, {})
    assert list(listed()) == ["44k"]


def test_settings_of_the_current_folder_serve_a_training_without_its_own(here: Path) -> None:
    path = legacy(here / "logs/44k/G_1.pth", {"alice": 0})
    usual = here / "configs/44k/config.json"
    usual.parent.mkdir(parents=True)
    path.with_name("config.json").rename(usual)
    assert listed()["alice"]["problem"] is None
    assert resolve("alice") == (path.parent, usual)
    usual.unlink()
    assert "needs its config.json" in problem("44k")


def test_only_repos_with_voices_are_listed_from_the_cache(here: Path) -> None:
    native(repo(hub(here), "me/low") / "low.safetensors", NATIVE)
    legacy(repo(hub(here), "me/old") / "logs/44k/G_10.pth", {"ann": 0})
    legacy(repo(hub(here), "me/old") / "logs/44k/G_9.pth", None)
    native(repo(hub(here), "me/two") / "a.safetensors")
    native(repo(hub(here), "me/two") / "more/b.safetensors")
    legacy(repo(hub(here), "me/bare") / "G_1.pth", None)
    raw(repo(hub(here), "big/model") / "model.safetensors", {"x": settings()["x"]}, data=bytes(8))
    (repo(hub(here), "big/model") / "config.json").touch()
    native(repo(hub(here), "nobody") / "x.safetensors")
    (hub(here) / "datasets--me--songs/snapshots" / COMMIT).mkdir(parents=True)
    (hub(here) / "models--me--interrupted").mkdir()
    into_blobs(hub(here))
    found = listed()
    assert set(found) == {
        "hub:me/bare",
        "hub:me/low",
        "hub:me/old",
        "hub:me/two",
        "hub:me/two/more/b.safetensors",
    }
    assert found["hub:me/low"]["look_ahead"] == 4
    assert found["hub:me/old"]["speakers"] == ["ann"]
    assert found["hub:me/old"]["path"].endswith("logs/44k/G_10.pth")
    assert "needs its config.json" in found["hub:me/bare"]["problem"]
    assert {entry["kind"] for entry in found.values()} == {"hub"}


def test_the_newest_revision_is_the_one_the_cache_calls_main(here: Path) -> None:
    old, new = (repo(hub(here), "me/low", commit) for commit in ("a" * 40, "b" * 40))
    for folder in (new, old):
        native(folder / "low.safetensors", NATIVE)
    os.utime(new, (1, 1))
    assert listed()["hub:me/low"]["path"] == str(new / "low.safetensors")
    for told in ("../../..", "c" * 40, ""):
        (new.parents[1] / "refs/main").write_text(told)
        assert listed()["hub:me/low"]["path"] == str(old / "low.safetensors")


def test_the_cache_is_read_as_its_own_client_reads_it(here: Path) -> None:
    for name in ("me/low", "me/high"):
        native(repo(hub(here), name) / "sub/voice.safetensors", NATIVE)
    into_blobs(hub(here))
    scanned = huggingface_hub.scan_cache_dir(hub(here))
    assert not scanned.warnings
    theirs = {r.repo_id: next(iter(r.revisions)).snapshot_path.resolve() for r in scanned.repos}
    assert {name: folder.resolve() for name, folder in cached_repos()} == theirs


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"HF_HOME": "~/elsewhere"},
        {"XDG_CACHE_HOME": "/somewhere"},
        {"HF_HUB_CACHE": "$XDG_CACHE_HOME/x", "XDG_CACHE_HOME": "/y", "HF_HOME": "/z"},
        {"HUGGINGFACE_HUB_CACHE": "/old"},
    ],
)
def test_the_cache_is_where_its_own_client_has_it(variables: dict[str, str], here: Path) -> None:
    code = (
        "from sovits.hub import cache_folder; from huggingface_hub.constants import HF_HUB_CACHE;"
        "assert str(cache_folder()) == HF_HUB_CACHE, HF_HUB_CACHE"
    )
    root = Path(sovits.__file__).parents[1]
    environment = {"HOME": str(here), "PYTHONPATH": str(root)} | variables
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert cache_folder() == hub(here)


WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "nothing": (b"", {"size": 0}, "no safetensors file, or is cut short"),
    "a huge length": (b"{}", {"size": 1 << 63}, "no safetensors file, or is cut short"),
    "a length beyond its end": (b"{}", {"size": 3}, "no safetensors file, or is cut short"),
    "no JSON": (b"{garbage}", {}, "its header is not JSON"),
    "no text": (b'{"a": "\xff"}', {}, "its header is not JSON"),
    "endless digits": (b'{"a": ' + b"9" * 5000 + b"}", {}, "its header is not JSON"),
    "another kind": (b"[]", {}, "no safetensors file"),
    "depth": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, {}, "nested too deeply"),
    "deep settings": (
        {"__metadata__": {"sovits": "[" * 100_000}},
        {},
        "its settings are nested too deeply",
    ),
    "too much": ({"__metadata__": {"sovits": " " * 5_000_000}}, {}, "5 MB of settings"),
    "far too much": (b"{" + b" " * (17 << 20) + b"}", {}, "header of 18 MB is too large"),
    "no settings": ({"__metadata__": {"sovits": 3}}, {}, "it has no settings"),
    "metadata that is none": ({"__metadata__": []}, {}, "it has no settings"),
    "another format": (settings(format="sovits-voice-9"), {"data": bytes(8)}, "not of the format"),
    "a half": (settings(), {"data": bytes(7)}, "bytes instead of"),
    "more than all": (settings(), {"data": bytes(9)}, "bytes instead of"),
    "tensors nowhere": (settings() | {"y": {}}, {"data": bytes(8)}, "where its tensors are"),
    "tensors backwards": (
        settings() | {"y": {"data_offsets": [8, 0]}},
        {"data": bytes(8)},
        "where its tensors are",
    ),
    "tensors by name": (
        settings() | {"y": {"data_offsets": ["a", "b"]}},
        {"data": bytes(8)},
        "where its tensors are",
    ),
    "a list for a section": (settings({"audio": []}), {"data": bytes(8)}, "audio is []"),
    "a word for a rate": (
        settings({"audio": {"sample_rate": "x"}}),
        {"data": bytes(8)},
        "audio.sample_rate is 'x', but must be of type int",
    ),
    "a huge number": (settings({"speakers": {"a": 10**400}}), {"data": bytes(8)}, "ordinary size"),
    "an unknown decoder": (
        settings({"synthesizer": {"decoder": "x\x1b[2J"}}),
        {"data": bytes(8)},
        "synthesizer.decoder is",
    ),
    "a list for a name": (settings({"speakers": ["a"]}), {"data": bytes(8)}, "speakers is ['a']"),
    "a look-ahead of nonsense": (
        settings({"synthesizer": {"architecture": "sovits-native", "look_ahead": "far"}}),
        {"data": bytes(8)},
        "synthesizer.look_ahead is 'far'",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_damaged_or_hostile_file_is_listed_with_its_problem(kind: str, here: Path) -> None:
    header, more, match = WRONG[kind]
    raw(here / "assets/odd.safetensors", header, **more)
    native(here / "assets/sound.safetensors")
    assert match in problem("odd")
    assert str(here / "assets/odd.safetensors") in problem("odd")
    assert len(problem("odd")) < 500
    assert listed()["sound"]["problem"] is None
    with pytest.raises(VoiceError):
        load_voice("odd")


def test_damaged_trainings_are_listed_with_their_problem(here: Path) -> None:
    path = legacy(here / "logs/a/G_1.pth", {"a": 0})
    path.write_bytes(path.read_bytes()[:20])
    assert "G_1.pth is no voice" in problem("a")
    path.write_bytes(b"\x80\x02 before torch 1.6")
    assert listed()["a"]["problem"] is None
    path.with_name("config.json").write_text('{"model": ' * 5000)
    assert "nested too deeply" in problem("a")
    native(path, NATIVE)
    assert listed()["a"]["look_ahead"] == 4
    raw(here / "logs/b/b.safetensors", b"{garbage}")
    assert "is damaged" in problem("b")


def test_a_file_that_may_not_be_read_is_a_problem_and_no_crash(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = native(here / "assets/locked.safetensors")

    def refuse(self: Path, *args: Any, **kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    assert "is damaged (Permission denied)" in problem("locked")
    with pytest.raises(VoiceError, match="Permission denied"):
        read_header(path)


def test_what_lies_beside_a_training_is_no_voice(here: Path) -> None:
    path = legacy(here / "logs/a/G_1.pth", {"a": 0})
    centres = {"__metadata__": {"format": "sovits-clusters-1"}}
    raw(path.with_name("kmeans_9000.safetensors"), centres)
    raw(path.with_name("content_9001.safetensors"), {"a": settings()["x"]}, data=bytes(8))
    path.with_name("G_9999.pth").mkdir()
    assert candidates(path.parent) == [path]
    assert newest(path.parent) == path
    raw(here / "logs/b/kmeans.safetensors", centres)
    raw(here / "logs/kmeans.safetensors", centres)
    assert list(listed()) == ["a"]
    with pytest.raises(VoiceError, match="holds no voice"):
        newest(here / "logs/b")


@pytest.mark.parametrize(
    "speaker", ["a\x1b[2Jb", "a\nb", "a/b", "..\\b", "-m", "hub:me/b", "\u202eb"]
)
def test_names_can_be_typed_whatever_a_file_calls_its_speakers(speaker: str, here: Path) -> None:
    path = legacy(here / "logs/44k/G_1.pth", {speaker: 0})
    (name,) = listed()
    assert name.isprintable()
    assert not name.startswith(("-", "hub:"))
    assert "/" not in name
    assert listed()[name]["speakers"] == [speaker]
    assert resolve(name).path == path.parent


def test_voices_of_one_name_are_told_apart_and_all_found(here: Path) -> None:
    bundled = native(here / "assets/heart.safetensors")
    mine = legacy(here / "logs/heart/G_1.pth", {"x": 0})
    alone = native(here / "assets/low.safetensors")
    assert set(listed()) == {"bundled/heart", "trained/heart", "low"}
    assert resolve("bundled/heart").path == bundled
    assert resolve("trained/heart").path == mine.parent
    assert resolve("low").path == resolve("bundled/low").path == alone
    with pytest.raises(VoiceError, match="heart may be any of several voices") as caught:
        resolve("heart")
    assert f"bundled/heart ({bundled}) or trained/heart ({mine})" in str(caught.value)
    second = native(here / "logs/heart.safetensors")
    assert set(listed()) == {"bundled/heart", str(mine.parent), str(second), "low"}
    with pytest.raises(VoiceError, match="several") as caught:
        resolve("trained/heart")
    assert str(second) in str(caught.value)
    assert str(bundled) not in str(caught.value)
    for name in listed():
        assert resolve(name).path.exists()


def test_a_wrong_name_is_answered_with_the_nearest(here: Path) -> None:
    with pytest.raises(VoiceError, match=r"hart does not exist\. .* svc voices lists\.$"):
        resolve("hart")
    native(here / "assets/heart.safetensors")
    native(here / "assets/low.safetensors")
    with pytest.raises(VoiceError, match=r"hart does not exist\. .* Did you mean heart\?$"):
        resolve("hart")
    with pytest.raises(VoiceError, match=r"It may be: heart, low\.$"):
        resolve(Path("xyz"))
    for odd in ("a\0b", "a\nb"):
        with pytest.raises(VoiceError, match="does not exist"):
            resolve(odd)


def test_what_is_there_comes_before_what_is_only_called_so(here: Path) -> None:
    bundled = native(here / "assets/heart.safetensors")
    (here / "heart").mkdir()
    assert resolve("heart").path == bundled  # a folder, but not of voices
    local = native(here / "heart/x.safetensors")
    assert resolve("heart").path == Path("heart")
    assert newest(Path("heart")).samefile(local)
    (here / "low").mkdir()
    with pytest.raises(VoiceError, match="low holds no voice"):
        resolve("low")


def test_voices_of_every_kind_load_by_their_names(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(hub(here)))
    made = voice(OURS)
    for path in (
        here / "assets/low.safetensors",
        here / "logs/high/high_7.safetensors",
        repo(hub(here), "me/own") / "own.safetensors",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_voice(path, made)
    state = synthesizer(synthesizer_config(), AUDIO).state_dict()
    (here / "logs/old").mkdir(parents=True)
    path = write_legacy(here / "logs/old", state, fork_config())
    (here / "configs/old").mkdir(parents=True)
    path.with_name("config.json").rename(here / "configs/old/config.json")
    write_legacy(repo(hub(here), "me/old"), state, fork_config() | {"spk": {"carol": 4}})
    into_blobs(hub(here))
    found = listed()
    assert set(found) == {"low", "high", "old", "hub:me/own", "hub:me/old"}
    for name, entry in found.items():
        read = load_voice(name)
        assert entry["problem"] is None
        assert list(read.speakers) == entry["speakers"]
        assert read.config.content == entry["content"]
        assert read.sample_rate == entry["sample_rate"]
        assert f"vits/{read.config.synthesizer.decoder}" == entry["architecture"]
        assert read.path is not None
        assert read.path.samefile(entry["path"])


def test_a_training_that_has_only_its_base_is_said_so(here: Path) -> None:
    state = synthesizer(synthesizer_config(), AUDIO).state_dict()
    folder = here / "logs/alice"
    folder.mkdir(parents=True)
    base = write_legacy(folder, state, fork_config(), 0)
    for name in ("alice", folder):
        assert (
            load_voice(name)
            .remarks[0]
            .endswith("alice holds only G_0.pth, a base: nothing has been trained on it yet.")
        )
    assert not any("base" in remark for remark in load_voice(base).remarks)
    save_voice(folder / "alice.safetensors", voice(replace(OURS, speakers={})))
    assert newest(folder).name == "alice.safetensors"  # though it has no number
    trained = write_legacy(folder, state, fork_config(), 100)
    assert load_voice("alice").path == trained
    assert not any("base" in remark for remark in load_voice("alice").remarks)


def test_the_best_of_a_training_is_taken_and_that_is_said(here: Path) -> None:
    state = synthesizer(synthesizer_config(), AUDIO).state_dict()
    folder = here / "logs/alice"
    for number in (0, 9, 10, 11):
        folder.mkdir(parents=True, exist_ok=True)
        write_legacy(folder, state, fork_config(), number)
    verdict = folder / "verdict.json"
    verdict.write_text('{"best": {"checkpoint": "G_9.pth"}}')
    for name in ("alice", folder):
        read = load_voice(name)
        assert read.path is not None
        assert read.path.samefile(folder / "G_9.pth")
        assert re.fullmatch(r"Using G_9\.pth, the best checkpoint in .*alice\.", read.remarks[0])
    assert listed()["alice"]["path"] == str(folder / "G_9.pth")
    (folder / "G_9.pth").unlink()
    assert chosen(folder).path.name == "G_11.pth"
    assert chosen(folder).because.endswith("G_9.pth, which was the best, is not there any more.")
    for text in ("", "{}", '{"best": null}', '{"best": {"checkpoint": 3}}', "[" * 100_000):
        verdict.write_text(text)
        assert chosen(folder).because == f"Using G_11.pth, the newest in {folder}."
    verdict.write_text('{"best": {"checkpoint": "../alice/G_10.pth"}}')  # a name, and no path
    assert chosen(folder).path.name == "G_11.pth"


def test_of_one_voice_nothing_needs_to_be_said(here: Path) -> None:
    save_voice(here / "alice.safetensors", voice(OURS))
    assert chosen(here) == (here / "alice.safetensors", "")


@pytest.mark.parametrize("listed_voice", list_voices(bundled_only=True), ids=lambda v: v.name)
def test_bundled_voices_tell_the_truth(listed_voice: library.Listed) -> None:
    assert listed_voice.problem is None
    assert listed_voice.licence
    assert listed_voice.sample is not None
    info = soundfile.info(listed_voice.sample)
    assert info.duration >= 15
    wave, rate = sovits.read(listed_voice.sample, mono=True)
    pitch = load_pitch_extractor("dio")(wave[0], rate, rate // 100)
    f0 = pitch.f0[pitch.voiced]
    assert listed_voice.median_f0_hz == pytest.approx(float(f0.median()), rel=0.03)
    assert listed_voice.f0_range_hz is not None
    low, high = listed_voice.f0_range_hz
    assert low < listed_voice.median_f0_hz < high
    assert 0.8 < float(((f0 >= low) & (f0 <= high)).float().mean()) < 0.98
    assert torch.equal(wave, wave.clamp(-1, 1))
