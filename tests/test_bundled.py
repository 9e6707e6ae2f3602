"""What ships with the package fits together, and its cards tell what it was made of."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from safetensors import safe_open
from torch import nn

import sovits
from sovits.features.content.registry import SOVITS_CONTENT
from sovits.header import read_header
from sovits.legacy.presets import PRESETS
from sovits.library import list_voices
from sovits.models.build import make_synthesizer
from sovits.models.discriminator import Discriminator
from sovits.train.base import BASE_FILE, fits, write_base
from sovits.weights import ASSETS

PRESET = PRESETS["sovits-native"]("sovits-content", {"alice": 0})


def unfilled(card: object, name: str = "") -> Iterator[str]:
    """Yield the entries of a card that nobody has filled in."""
    if isinstance(card, dict):
        for key, value in card.items():
            yield from unfilled(value, f"{name}.{key}".lstrip("."))
    elif card is None:
        yield name


def test_the_encoder_tells_what_it_learnt_from() -> None:
    assert SOVITS_CONTENT.bundled
    with safe_open(ASSETS / SOVITS_CONTENT.bundled, "pt") as file:
        card = json.loads((file.metadata() or {})["card"])
    source = Path(sovits.__file__).parents[1] / "tools/pretrain/cards/content.json"
    assert card == json.loads(source.read_text("utf-8"))
    assert card["licence"] == SOVITS_CONTENT.licence
    assert all({"what", "licence", "attribution"} <= data.keys() for data in card["data"])
    assert not list(unfilled(card))


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return `tools/pretrain/base.py`."""
    folder = Path(sovits.__file__).parents[1] / "tools/pretrain"
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location("pretrain_base", folder / "base.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_base_is_made_as_new_voices_are(tool: ModuleType, tmp_path: Path) -> None:
    config, nothing = tool.configuration(["a", "b", "c"]), nn.Linear(1, 1)
    write_base(tmp_path / "base.safetensors", nothing, nothing, config, {})
    assert fits(PRESET, tmp_path / "base.safetensors")
    assert config.discriminator == PRESET.discriminator


def test_new_voices_begin_with_all_of_the_base() -> None:
    assert fits(PRESET, BASE_FILE)
    networks = {
        "generator": make_synthesizer(PRESET.voice.synthesizer, PRESET.voice.audio),
        "discriminator": Discriminator(PRESET.discriminator),
    }
    wanted = {
        f"{name}.{key}": tuple(tensor.shape)
        for name, network in networks.items()
        for key, tensor in network.state_dict().items()
    }
    with safe_open(BASE_FILE, "pt") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        assert all(file.get_tensor(name).float().isfinite().all() for name in found)
        card = json.loads(file.metadata()["sovits"])["card"]
    speakers, channels = found.pop("generator.emb_g.weight")
    assert speakers >= 5
    assert wanted.pop("generator.emb_g.weight")[1] == channels
    assert found == wanted
    assert card["licence"]
    assert card["data"]
    assert not list(unfilled(card))


def test_the_voices_are_of_this_kind() -> None:
    voices = list_voices(bundled_only=True)
    assert len(voices) >= 2
    for listed in voices:
        assert listed.problem is None
        assert (listed.architecture, listed.content) == ("sovits-native", "sovits-content")
        assert (listed.sample_rate, listed.look_ahead) == (
            44_100,
            PRESET.voice.synthesizer.look_ahead,
        )
        assert listed.licence
        assert listed.sample is not None
        header = read_header(listed.path)
        assert header is not None
        assert not list(unfilled(header["card"]))
