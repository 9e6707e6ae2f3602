"""Native voices whose headers are damaged, hostile or of another voice are refused."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from made_voices import (
    refused,
    synthesizer_config,
    voice,
)
from safetensors.torch import save_file

from sovits.config import AudioConfig, VoiceConfig, to_dict
from sovits.voice import FORMAT, load_voice, save_voice

OURS = VoiceConfig(
    AudioConfig(mel_max=22_050.0), synthesizer_config(content_channels=9), content="unheard of"
)


def header(config: Any = None, **changes: Any) -> dict[str, str]:
    """Return the metadata of a native voice."""
    table = {"format": FORMAT, "config": to_dict(OURS) if config is None else config, "card": {}}
    return {"sovits": json.dumps(table | changes)}


def altered(*keys: str, value: Any) -> dict[str, Any]:
    """Return the settings of a native voice with one of them changed."""
    table: Any = json.loads(json.dumps(to_dict(OURS)))
    inner = table
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return dict(table)


def nested(depth: int) -> Any:
    """Return an object in an object, and so on."""
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


SYNTHESIZER = "synthesizer"
HEADERS: dict[str, tuple[dict[str, str] | None, str]] = {
    "no voice": (None, "it has no settings, so it is no voice"),
    "not JSON": ({"sovits": "{"}, "its settings are not JSON"),
    "a list": ({"sovits": "[]"}, "not of the format sovits-voice-1"),
    "endless digits": ({"sovits": '{"format": ' + "9" * 5000 + "}"}, "its settings are not JSON"),
    "deep lists": ({"sovits": "[" * 100_000}, "nested too deeply"),
    "deep objects": (header(nested(900)), "nested too deeply|There is no setting"),
    "too long": ({"sovits": " " * 5_000_000}, "5 MB of settings are too many"),
    "another format": (header(format="sovits-voice-9"), "not of the format"),
    "no config": (header([]), "its config or its card is no object"),
    "no card": (header(card="mine"), "its config or its card is no object"),
    "a setting unknown": (header({"audios": {}}), "There is no setting voice.audios"),
    "a name that breaks lines": (header({"a\nb": {}}), "There is no setting voice.a.b"),
    "a billion speakers": (
        header(altered(SYNTHESIZER, "n_speakers", value=10**9)),
        "synthesizer.n_speakers is 1000000000, but must be between 1 and",
    ),
    "a million speakers": (
        header(altered(SYNTHESIZER, "n_speakers", value=10**6)),
        "about 6.1e[+]06",
    ),
    "endless speakers": (header(altered(SYNTHESIZER, "n_speakers", value=10**400)), "of ordinary"),
    "NaN": (header(altered(SYNTHESIZER, "dropout", value=float("nan"))), "of ordinary size"),
    "wide": (header(altered(SYNTHESIZER, "hidden_channels", value=16_000)), "describes a network"),
    "wide enough": (
        header(altered(SYNTHESIZER, "hidden_channels", value=800)),
        "holds 0 numbers, but its settings describe",
    ),
    "deep": (header(altered(SYNTHESIZER, "n_layers", value=10**7)), "between 1 and 128"),
    "no heads": (header(altered(SYNTHESIZER, "n_heads", value=0)), "between 1 and 256"),
    "no kernel": (header(altered(SYNTHESIZER, "kernel_size", value=0)), "between 1 and 255"),
    "no dilation": (
        header(altered(SYNTHESIZER, "resblock_dilations", value=[[0], [1], [1]])),
        "between 1 and 4096",
    ),
    "endless list": (
        header(altered(SYNTHESIZER, "upsample_rates", value=[1] * 100_000)),
        "a list of at most 64",
    ),
    "a huge inverse STFT": (
        header(
            altered(
                SYNTHESIZER,
                value=to_dict(
                    synthesizer_config(
                        "ms-istft",
                        upsample_initial_channels=16_384,
                        istft_n_fft=4096,
                        subbands=64,
                        upsample_rates=(2,),
                        upsample_kernel_sizes=(2,),
                    )
                ),
            )
        ),
        "describes a network|samples a frame",
    ),
    "an odd inverse STFT": (
        header(altered(SYNTHESIZER, value=to_dict(synthesizer_config("istft", istft_n_fft=17)))),
        "gen_istft_n_fft is 17, but must be even",
    ),
    "a stage that does nothing": (
        header(
            altered(
                SYNTHESIZER,
                value=to_dict(
                    synthesizer_config(
                        upsample_rates=(512, 1), upsample_kernel_sizes=(1024, 3)
                    )
                ),
            )
        ),
        "above 1 at its end",
    ),
    "another rate": (header(altered("audio", "sample_rate", value=0)), "at least 1"),
    "another hop": (header(altered("audio", "hop_length", value=500)), "but hop_length is 500"),
    "a speaker beyond": (header(altered("speakers", value={"x": 5})), "Speaker x has row 5"),
    "a word for a number": (header(altered(SYNTHESIZER, "n_heads", value="2")), "of type int"),
    "a known encoder of another width": (
        header(altered("content", value="whisper-base")),
        "whisper-base gives 512 channels",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", HEADERS)
def test_a_header_beyond_reason_is_refused_before_anything_is_built(
    kind: str, tmp_path: Path
) -> None:
    metadata, match = HEADERS[kind]
    path = tmp_path / "voice.safetensors"
    save_file({"none": torch.zeros(0)}, path, metadata=metadata)
    refused(path, match)


def raw(path: Path, table: Any, size: int | None = None, data: bytes = b"") -> None:
    """Write a safetensors file by hand."""
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(text) if size is None else size) + text + data)


TENSORS: dict[str, Any] = {
    "beyond its end": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
    "of other bytes": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]},
    "overflowing": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 8]},
    "of unknown kind": {"dtype": "F9", "shape": [2], "data_offsets": [0, 8]},
    "of small floats": {"dtype": "F4", "shape": [16], "data_offsets": [0, 8]},
    "of bits": {"dtype": "BOOL", "shape": [8], "data_offsets": [0, 8]},
    "backwards": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]},
}


@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_that_are_not_there_are_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "voice.safetensors"
    raw(path, {"__metadata__": header(), "emb_g.weight": TENSORS[kind]}, data=bytes(8))
    refused(path, "is damaged|lacks")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (b"{", 1 << 62),
        (b"{", 90_000_000),
        (b'{"a":' * 100_000, None),
        (b"{}", None),
        (b'{"__metadata__": {"sovits": 3}}', None),
        (b'{"__metadata__": {"a": "\xff"}}', None),
    ],
)
def test_a_broken_header_is_refused(text: bytes, size: int | None, tmp_path: Path) -> None:
    path = tmp_path / "voice.safetensors"
    raw(path, text, size)
    refused(path, "is damaged|no voice")


def test_a_native_voice_is_known_by_its_content(tmp_path: Path) -> None:
    good = tmp_path / "good.safetensors"
    save_voice(good, voice(OURS))
    content = good.read_bytes()
    for name in ("G_1.pth", "voice", "voice.bin"):
        (tmp_path / name).write_bytes(content)
        assert load_voice(tmp_path / name).config == OURS
    for share in (0.01, 0.3, 0.99):
        cut = tmp_path / "cut.safetensors"
        cut.write_bytes(content[: int(share * len(content))])
        refused(cut, "is damaged")


def test_a_native_voice_must_hold_all_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "voice.safetensors"
    state = {n: t.clone() for n, t in voice(OURS).synthesizer.state_dict().items()}
    save_file({n: t for n, t in state.items() if n != "pre.bias"}, path, metadata=header())
    refused(path, r"lacks 1 tensors \(pre\.bias\)")
    save_file(state | {"pre.bias": torch.ones(9)}, path, metadata=header())
    refused(path, r"pre\.bias has the shape \(9,\), but its settings say \(8,\)")
    save_file(state | {"pre.bias": torch.full((8,), torch.nan)}, path, metadata=header())
    refused(path, r"pre\.bias holds NaN")
    wider = replace(OURS, synthesizer=replace(OURS.synthesizer, n_speakers=6))
    save_file(state, path, metadata=header(to_dict(wider)))
    refused(path, r"emb_g\.weight has the shape \(5, 6\), but its settings say \(6, 6\)")
