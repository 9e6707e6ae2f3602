"""Every key of config.json is documented, and does what is said of it."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from documents import DOCUMENTS, ROOT, blocks, spans

from sovits.choices import field_docs
from sovits.config import Config
from sovits.errors import ConfigError
from sovits.legacy import keys
from sovits.legacy.presets import PRESETS
from sovits.legacy.settings import config_from_json, config_to_json
from sovits.library import bundled_files
from sovits.prepare.lengths import LENGTHS, of_length
from sovits.voice import load_voice

_SPEC = importlib.util.spec_from_file_location("config_page", ROOT / "tools/config_page.py")
assert _SPEC is not None
assert _SPEC.loader is not None
PAGE: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(PAGE)

TEXT = (ROOT / "docs/config.md").read_text("utf-8")
KEYS = [setting.key for setting in keys.SETTINGS]
COMPOSED = [f"{section}.{key}" for section, names in keys.COMPOSED.items() for key in names]
DEAD = [f"{section}.{key}" for section, names in keys.DEAD.items() for key in names]
REFUSED = [f"model.{key}" for key in keys.REQUIRED]

# Settings that can only change together with others: what else has to be said.
TOGETHER: dict[str, dict[str, Any]] = {
    "data.sampling_rate": {"data.mel_fmax": None},
    "data.filter_length": {"data.win_length": 4096},
    "data.hop_length": {"train.segment_size": 20_480, "model.upsample_rates": [8, 8, 2, 2, 4]},
    "model.ssl_dim": {"model.content": "mine"},
    "model.gen_istft_hop_size": {
        "model.type_": "istft",
        "model.upsample_rates": [8, 8],
        "model.upsample_kernel_sizes": [16, 16],
    },
    "model.upsample_rates": {"data.hop_length": 1024, "train.segment_size": 20_480},
    "model.resblock_kernel_sizes": {"model.resblock_dilation_sizes": [[1]]},
    "model.resblock_dilation_sizes": {"model.resblock_kernel_sizes": [3, 7, 11]},
    "model.upsample_kernel_sizes": {"model.upsample_rates": [8, 8, 2, 2, 2]},
}
OTHER: dict[str, Any] = {
    "train.betas": [0.5, 0.9],
    "train.fft_sizes": [64, 32, 16],
    "train.hop_sizes": [4, 8, 16],
    "train.win_lengths": [32, 16, 64],
    "train.average": 0.5,
    "train.moved": 0.25,
    "data.filter_length": 4096,
    "data.mel_fmin": 50.0,
    "data.mel_fmax": 8000.0,
    "data.hop_length": 1024,
    "model.resblock_kernel_sizes": [3],
    "model.resblock_dilation_sizes": [[1], [3], [1]],
    "model.upsample_rates": [8, 8, 2, 2, 4],
    "model.upsample_kernel_sizes": [16, 16, 4, 4, 6],
    "model.gen_istft_n_fft": 32,
    "model.gen_istft_hop_size": 8,
    "model.ssl_dim": 99,
    "model.kernel_size": 5,
    "model.discriminator_periods": [2],
    "model.discriminator_spectra": [256],
    "model.look_ahead": 5,
}


def base(room: str) -> dict[str, Any]:
    kind = keys.NATIVE if room == "native" else "so-vits-svc-4.0v1"
    encoder = "sovits-content" if room == "native" else "contentvec-768l12"
    table = config_to_json(PRESETS[kind](encoder, {"alice": 0}))
    table["data"].pop("contentvec_final_proj", None)
    table["model"].pop("speech_encoder", None)
    return table


def put(table: dict[str, Any], key: str, value: Any) -> None:
    section, _, name = key.partition(".")
    table[section][name] = value


def other(setting: keys.Setting, value: Any) -> Any:
    """Return another value that a setting may have."""
    if setting.key in OTHER:
        return OTHER[setting.key]
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        kinds = {"model.type_": "harmonic", "model.resblock": "2"}
        return kinds.get(setting.key, "elsewhere.txt")
    if value is None:
        return 8000.0
    for candidate in (value * 2, value / 2, setting.high):
        if setting.low <= candidate <= setting.high and candidate != value:
            return type(value)(candidate)
    raise AssertionError(setting)


def test_the_page_is_up_to_date() -> None:
    assert PAGE.page() == TEXT, "run tools/config_page.py --write"


def test_every_key_is_on_the_page_once_for_each_kind_of_voice() -> None:
    for key in {*KEYS, *COMPOSED, *DEAD, *REFUSED}:
        rows = [line for line in TEXT.splitlines() if line.startswith(f"| `{key}` |")]
        assert len(rows) == max(1, KEYS.count(key)), key
    documented = set(re.findall(r"^\| `((?:train|data|model)\.\w+)` \|", TEXT, re.MULTILINE))
    assert documented == {*KEYS, *COMPOSED, *DEAD, *REFUSED}


def test_what_is_told_beside_the_code_is_of_keys_that_there_are() -> None:
    known = {*KEYS, *COMPOSED, *DEAD, *REFUSED}
    for words in PAGE.UNITS.values():
        assert set(words.split()) <= known
    assert set(PAGE.COMPOSED) == set(COMPOSED)
    assert set(PAGE.WHY_DEAD) == set(DEAD)
    assert PAGE.keys(PAGE.FORK) | PAGE.keys(PAGE.SO_VITS_SVC) <= known
    assert set(DEAD) | set(REFUSED) <= PAGE.keys(PAGE.FORK) | PAGE.keys(PAGE.SO_VITS_SVC)
    meanings = {f"{s.room}.{s.name}" for s in keys.SETTINGS}
    for room, kind in PAGE.ROOMS.items():
        for name in field_docs(kind):
            assert f"{room}.{name}" in meanings or name in ("precision", "segment_frames")


@pytest.mark.parametrize("setting", keys.SETTINGS, ids=lambda s: f"{s.room}-{s.key}")
def test_every_key_changes_what_it_is_said_to(setting: keys.Setting) -> None:
    if setting.key == "model.type_" and setting.room == "native":
        return  # it has one value only
    room = "native" if setting.room == "native" or setting.key == "train.moved" else setting.room
    table = base(room)
    for key, value in TOGETHER.get(setting.key, {}).items():
        put(table, key, value)
    section, _, name = setting.key.partition(".")
    before = table[section][name]
    put(table, setting.key, other(setting, before))
    config, notes = config_from_json(table)
    assert notes == []
    parts = {"train": config.train, "audio": config.voice.audio}
    parts |= {"discriminator": config.discriminator}
    found = getattr(parts.get(setting.room, config.voice.synthesizer), setting.name)
    assert json.loads(json.dumps(found)) == other(setting, before)


@pytest.mark.parametrize("setting", keys.SETTINGS, ids=lambda s: f"{s.room}-{s.key}")
def test_no_key_may_be_out_of_its_range(setting: keys.Setting) -> None:
    if setting.low == -float("inf"):
        return
    section, _, name = setting.key.partition(".")
    for bad in (setting.low - 1, setting.high * 2):
        table = base(setting.room)
        value = table[section][name]
        while isinstance(value, list):
            value = value[0] if value else 1
        bad_value: Any = int(bad) if type(value) is int else float(bad)
        if isinstance(table[section][name], list):
            whole = table[section][name] or [1]
            bad_value = [[bad_value]] if isinstance(whole[0], list) else [bad_value] * len(whole)
        put(table, setting.key, bad_value)
        with pytest.raises(ConfigError, match=re.escape(name)):
            config_from_json(table)


def test_every_setting_is_read_by_the_program() -> None:
    sources = [
        path.read_text("utf-8")
        for path in (ROOT / "sovits").rglob("*.py")
        if "legacy" not in path.parts and path.name != "config.py"
    ]
    for setting in keys.SETTINGS:
        if setting.name != "architecture":
            assert any(re.search(rf"\.{setting.name}\b", text) for text in sources), setting


@pytest.mark.parametrize("key", DEAD)
def test_dead_keys_are_named_and_change_nothing(key: str) -> None:
    table = base("synthesizer")
    config, _ = config_from_json(table)
    put(table, key, 5)
    assert config_from_json(table) == (config, [f"Without effect here: {key}."])


@pytest.mark.parametrize("key", REFUSED)
def test_other_networks_are_refused(key: str) -> None:
    table = base("synthesizer")
    put(table, key, keys.REQUIRED[key.partition(".")[2]])
    config_from_json(table)
    put(table, key, "another")
    with pytest.raises(ConfigError, match=key):
        config_from_json(table)


def configurations() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every configuration in the repo, with where it is."""
    for kind, make in PRESETS.items():
        for length in LENGTHS:
            for encoder in keys.CHANNELS:
                config = of_length(make(encoder, {"alice": 0}), length, 60)
                yield f"{kind} {length} {encoder}", config_to_json(config)
    found = [
        path for part in ("docs", "examples", "tools") for path in (ROOT / part).rglob("*.json")
    ]
    texts = {str(path): path.read_text("utf-8") for path in found}
    texts |= {
        f"{path} {i}": text for path in DOCUMENTS for i, text in enumerate(blocks(path, "json"))
    }
    for name, text in texts.items():
        try:
            table = json.loads(text)
        except json.JSONDecodeError:  # a part of a file, with dots
            continue
        if isinstance(table, dict) and "train" in table and "model" in table:
            yield name, table


def test_every_configuration_in_the_repo_loads() -> None:
    for name, table in configurations():
        config, notes = config_from_json(table)
        assert isinstance(config, Config), name
        assert notes == [], name
    assert bundled_files()
    for path in bundled_files():
        assert load_voice(path).config.speakers


def test_the_page_is_found() -> None:
    assert "config.md" in (ROOT / "docs/guide.md").read_text("utf-8")
    assert "config.md" in (ROOT / "README.md").read_text("utf-8")
    assert set(spans(Path(ROOT / "docs/config.md"))) >= {"svc pre-config", "svc train"}
