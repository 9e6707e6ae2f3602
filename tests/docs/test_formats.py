"""Files are as docs/voice-format.md describes them, tensor by tensor."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
from documents import ROOT, blocks, rows, spans
from safetensors import safe_open

from sovits.config import (
    AudioConfig,
    DecoderKind,
    NativeConfig,
    SynthesizerConfig,
    VoiceConfig,
    build,
)
from sovits.models.native import NativeSynthesizer
from sovits.models.synthesizer import Synthesizer
from sovits.train.verdict import Evaluation, State, write_state
from sovits.voice import FORMAT, Voice, save_voice

FORMATS = ROOT / "docs/voice-format.md"
RATES: dict[DecoderKind, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "hifi-gan": ((4, 2, 2), (8, 4, 6)),
    "istft": ((2, 2), (4, 6)),
    "ms-istft": ((2,), (4,)),
    "mb-istft": ((2,), (4,)),
    "harmonic": ((2,), (4,)),
}
AUDIO = AudioConfig(sample_rate=8000, hop_length=16, n_fft=64)
KINDS = list(product(get_args(DecoderKind), ("1", "2"), (True, False)))


def config(decoder: DecoderKind, resblock: Any, more: bool) -> SynthesizerConfig:
    """Return settings of which no two are alike by chance."""
    rates, kernels = RATES[decoder]
    return SynthesizerConfig(
        content_channels=5,
        inter_channels=6,
        hidden_channels=12,
        filter_channels=7,
        n_heads=3,
        n_layers=2,
        kernel_size=11,
        speaker_channels=13,
        n_speakers=9,
        flow_layers=3,
        decoder=decoder,
        resblock=resblock,
        resblock_kernel_sizes=(3, 5),
        resblock_dilations=((1, 2), (1, 2)),
        upsample_rates=rates,
        upsample_kernel_sizes=kernels,
        upsample_initial_channels=32,
        istft_n_fft=8,
        istft_hop_length={"istft": 4}.get(decoder, 2),
        subbands=4,
        volume=more,
        predicts_f0=more,
    )


def letters(c: SynthesizerConfig) -> dict[str, Any]:
    """Return what the letters of the document stand for."""
    rates, last = c.upsample_rates, len(c.upsample_rates) - 1
    return {
        "C": c.content_channels,
        "H": c.hidden_channels,
        "I": c.inter_channels,
        "F": c.filter_channels,
        "K": c.kernel_size,
        "A": c.n_heads,
        "N": c.n_speakers,
        "S": c.speaker_channels,
        "U": c.upsample_initial_channels,
        "L": c.flow_layers,
        "P": len(c.resblock_kernel_sizes),
        "B": c.subbands,
        "bins": AUDIO.n_fft // 2 + 1,
        "Q": c.istft_n_fft // 2 + 1,
        "W": lambda s: c.upsample_initial_channels // 2 ** (s + 1),
        "last": last,
        "source": lambda s: 1 if s == last else 2 * math.prod(rates[s + 1 :]),
        "upsample_kernel_sizes": c.upsample_kernel_sizes,
        "resblock_kernel_sizes": c.resblock_kernel_sizes,
    }


def holds(condition: str, c: SynthesizerConfig) -> bool:
    """Return whether a row of the table speaks of such a voice."""
    decoders, _, resblock = condition.partition("; resblock ")
    alone = {"all": True, "volume": c.volume, "predicts_f0": c.predicts_f0}
    return alone.get(decoders, c.decoder in decoders.split(", ")) and resblock in ("", c.resblock)


@pytest.mark.parametrize(("decoder", "resblock", "more"), KINDS)
def test_every_tensor_is_described(decoder: DecoderKind, resblock: str, more: bool) -> None:
    c = config(decoder, resblock, more)
    state = Synthesizer(c, AUDIO, posterior=False).fold().state_dict()
    shapes = {name: list(tensor.shape) for name, tensor in state.items()}
    described: dict[str, list[int]] = {}
    for name, weight, bias, condition in rows(
        FORMATS, "| tensor | shape of weight | of bias | in |"
    ):
        if not holds(condition, c):
            continue
        stem = re.escape(name.strip("`")).replace(r"\{", "{").replace(r"\}", "}")
        pattern = re.sub(r"\{(\w)\}", r"(?P<\1>\\d+)", stem)
        found = False
        for tensor in shapes:
            match = re.fullmatch(rf"{pattern}(?P<kind>\.weight|\.bias|)", tensor)
            if match and (shape := bias if match["kind"] == ".bias" else weight):
                found = True
                numbers = {k: int(v) for k, v in match.groupdict().items() if k != "kind"}
                described[tensor] = eval(shape.strip("`"), letters(c) | numbers)
        assert found, name
    assert described == shapes


@pytest.mark.parametrize("latent", [0, 5])
def test_every_tensor_of_the_light_network_is_described(latent: int) -> None:
    flow = 2 if latent else 0
    c = NativeConfig(
        "sovits-native", 5, 13, 3, 12, 2, 3, 4, 2, 4, 7, 6, latent=latent, flow_layers=flow
    )
    state = NativeSynthesizer(c, AUDIO, posterior=False).fold().state_dict()
    names = {"D": 12, "C": 5, "S": 13, "N": 3, "K": 4, "E": 24, "V": latent, "h": latent // 2}
    names |= {"harmonic_bands": 7, "noise_bands": 6}
    head = "| tensor of sovits-native | shape of weight | of bias | in |"
    described: dict[str, list[int]] = {}
    for name, weight, bias, condition in rows(FORMATS, head):
        if condition == "latent" and not latent:
            continue
        pattern = re.escape(name.strip("`")).replace(r"\{k\}", r"\d+")
        found = [t for t in state if re.fullmatch(rf"{pattern}(\.weight|\.bias|)", t)]
        assert found, name
        for tensor in found:
            shape = bias if tensor.endswith(".bias") else weight
            described[tensor] = eval(shape.strip("`"), dict(names))
    assert described == {name: list(tensor.shape) for name, tensor in state.items()}


def test_the_header_is_as_described(tmp_path: Path) -> None:
    path, c = tmp_path / "voice.safetensors", config("harmonic", "1", True)
    given = VoiceConfig(AUDIO, c, speakers={"a": 0})
    save_voice(path, Voice(given, Synthesizer(c, AUDIO), {"name": "a"}))
    assert path.read_bytes()[8:9] == b"{"
    with safe_open(path, "pt") as file:
        (key,) = file.metadata()
        header = json.loads(file.metadata()[key])
        kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    assert kinds == {"F16"}
    assert key == "sovits"
    (shown,) = (json.loads(block) for block in blocks(FORMATS, "json"))
    assert shown.keys() == header.keys()
    assert shown["format"] == header["format"] == FORMAT
    assert shown["config"].keys() == header["config"].keys()
    assert build(VoiceConfig, header["config"]) == replace(given)


def test_the_keys_of_other_files_are_named() -> None:
    from sovits.prepare import features
    from sovits.train import checkpoint, dataset

    named = set(spans(FORMATS))
    assert {*dataset.STORED, features.FORMAT} <= named
    for module in (features, checkpoint):
        code = Path(str(module.__file__)).read_text("utf-8")
        keys = re.findall(r'^ {8,}"(\w+)": ', code, re.MULTILINE)
        assert keys
        assert set(keys) <= named


def test_verdicts_have_the_keys_that_are_described(tmp_path: Path) -> None:
    more = {"best": {"checkpoint": "G_4.pth", "step": 4, "because": "it is"}, "stopped": None}
    write_state(tmp_path, State([Evaluation(4, 1.0, 0.5, {"dnsmos": 3.0}, "G_4.pth")]), more)
    table = json.loads((tmp_path / "verdict.json").read_text())
    for title, found in (("verdict", table), ("evaluation", table["evaluations"][0])):
        with_an = f"{'an' if title[0] == 'e' else 'a'} {title}"
        described = rows(FORMATS, f"| key of {with_an} | what |")
        assert {key for row in described for key in re.findall(r"`(\w+)`", row[0])} == set(found)
    assert all(f"`{key}`" in FORMATS.read_text("utf-8") for key in table["best"])
