"""Voices come from the hub by name, and from its cache without a network."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    EntryNotFoundError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)
from made_voices import fork_config, synthesizer, synthesizer_config, voice, write_legacy

from sovits.config import AudioConfig, VoiceConfig
from sovits.errors import VoiceError
from sovits.hub import fetch_voice
from sovits.voice import load_voice, save_voice


@dataclass
class Hub:
    """Stand in for the hub: a folder of repos, and a cache of what was fetched."""

    folder: Path
    online: bool = True
    fetched: list[str] = field(default_factory=list)

    def list_repo_files(self, repo: str) -> list[str]:
        if not self.online:
            raise OfflineModeIsEnabled("offline")
        files = (self.folder / repo).rglob("*")
        return [path.relative_to(self.folder / repo).as_posix() for path in files if path.is_file()]

    def hf_hub_download(self, repo: str, file: str) -> str:
        path, name = self.folder / repo / file, f"{repo}/{file}"
        if not self.online and name not in self.fetched:
            raise LocalEntryNotFoundError("not in the cache")
        if not path.is_file():
            raise EntryNotFoundError("no such file")
        self.fetched.append(name)
        return str(path)

    def snapshot_download(self, repo: str, *, local_files_only: bool) -> str:
        assert local_files_only
        if not any(name.startswith(repo) for name in self.fetched):
            raise LocalEntryNotFoundError("nothing of it is in the cache")
        return str(self.folder / repo)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: made)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", made.hf_hub_download)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    return made


def put(hub: Hub, *files: str, repo: str = "a/b") -> None:
    """Put empty files into a repo."""
    for file in files:
        path = hub.folder / repo / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize("name", ["", "a", "a/", "/b", "a/b/", "a b/c", "a/b/../c", "../b", "a/.."])
def test_names_that_are_none_are_refused(name: str, hub: Hub) -> None:
    with pytest.raises(VoiceError, match="names no repo"):
        fetch_voice(name, None)
    assert not hub.fetched


def test_a_native_voice_is_preferred(hub: Hub) -> None:
    put(hub, "G_900.pth", "config.json", "voices/x.safetensors", "README.md")
    found, config = fetch_voice("a/b", None)
    assert (found, config) == (hub.folder / "a/b/voices/x.safetensors", None)
    assert hub.fetched == ["a/b/voices/x.safetensors"]


def test_the_highest_number_is_taken_with_the_settings_beside_it(hub: Hub) -> None:
    put(hub, "G_900.pth", "logs/44k/G_1000.pth", "logs/44k/D_2000.pth", "logs/44k/config.json")
    found, config = fetch_voice("a/b", None)
    folder = hub.folder / "a/b/logs/44k"
    assert (found, config) == (folder / "G_1000.pth", folder / "config.json")
    assert fetch_voice("a/b/G_900.pth", folder)[1] == folder


def test_a_file_can_be_named(hub: Hub) -> None:
    put(hub, "x.safetensors", "old/G_3.pth", "old/config.json")
    assert fetch_voice("a/b/old/G_3.pth", None)[0] == hub.folder / "a/b/old/G_3.pth"


def test_a_generator_without_settings_is_said_so(hub: Hub) -> None:
    put(hub, "x/G_3.pth", "config.json")
    with pytest.raises(VoiceError, match=r"x/G_3\.pth of a/b needs its config\.json.* x/config"):
        fetch_voice("a/b", None)


def test_a_repo_without_a_voice_is_said_so(hub: Hub) -> None:
    put(hub, "model.bin", "G_x.pth", "README.md")
    with pytest.raises(VoiceError, match=r"a/b holds 3 files, but no \.safetensors"):
        fetch_voice("a/b", None)


@pytest.mark.parametrize("file", ["", "/x.safetensors"])
def test_without_a_network_one_line_says_what_to_do(file: str, hub: Hub) -> None:
    hub.online = False
    with pytest.raises(
        VoiceError, match=r"of a/b is not in the cache.*huggingface\.co/a/b"
    ) as told:
        fetch_voice(f"a/b{file}", None)
    assert "LocalEntryNotFoundError" in str(told.value) or "OfflineModeIsEnabled" in str(told.value)


def test_any_failure_of_the_network_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    class ProxyError(Exception):
        pass

    def broken(repo: str, file: str) -> str:
        raise ProxyError("no")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", broken)
    with pytest.raises(VoiceError, match=r"could not be fetched \(ProxyError\)"):
        fetch_voice("a/b/x.safetensors", None)


def test_without_a_network_what_was_fetched_before_is_used(hub: Hub) -> None:
    put(hub, "G_3.pth", "config.json")
    before = fetch_voice("a/b", None)
    hub.online = False
    assert fetch_voice("a/b", None) == before


def test_voices_are_loaded_by_their_name_on_the_hub(hub: Hub) -> None:
    config = VoiceConfig(AudioConfig(), synthesizer_config(content_channels=9), "of tomorrow")
    (hub.folder / "a/native").mkdir(parents=True)
    save_voice(hub.folder / "a/native/x.safetensors", voice(config))
    assert load_voice("hub:a/native").config == config
    network = synthesizer(synthesizer_config(), AudioConfig())
    (hub.folder / "a/legacy").mkdir()
    write_legacy(hub.folder / "a/legacy", network.state_dict(), fork_config(), 7)
    assert load_voice("hub:a/legacy/G_7.pth").speakers == {"alice": 0, "bob": 1}
