"""Checkpoints that are none, or no longer, or of other models, are refused in one line."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from made_voices import (
    State,
    Table,
    fork_config,
    refused,
    synthesizer,
    synthesizer_config,
    write_legacy,
)

from sovits.config import AudioConfig, VoiceConfig
from sovits.errors import ConfigError, SovitsError
from sovits.voice import load_voice

AUDIO = AudioConfig(mel_max=22_050.0)
OURS = VoiceConfig(AUDIO, synthesizer_config(content_channels=9), content="unheard of")


def trained(**changes: Any) -> State:
    """Return what so-vits-svc saves."""
    return dict(synthesizer(synthesizer_config(**changes), AUDIO).state_dict())


# Other models under the same file name


STRANGERS: dict[str, tuple[Callable[[State], Any], str]] = {
    "snake": (
        lambda s: {"model": s | {"dec.snakes.0.act.alpha": torch.ones(4)}},
        "so-vits-svc 4.1 with the nsf-snake-hifigan vocoder, which",
    ),
    "snake at the end": (
        lambda s: {"model": s | {"dec.snake_post.act.alpha": torch.ones(4)}},
        "nsf-snake-hifigan",
    ),
    "transformer flow": (
        lambda s: {"model": s | {"flow.flows.0.enc.cond_pre.weight": torch.ones(4, 2, 1)}},
        "so-vits-svc 4.1 with a transformer flow, which",
    ),
    "shared transformer flow": (
        lambda s: {"model": s | {"flow.wn.self_attn_layers.0.conv_q.weight": torch.ones(4, 4, 1)}},
        "so-vits-svc 4.1 with a transformer flow and shared flow parameters",
    ),
    "shared flow": (
        lambda s: {"model": s | {"flow.wn.in_layers.0.weight_v": torch.ones(4, 4, 5)}},
        "so-vits-svc 4.1 with shared flow parameters, which",
    ),
    "depthwise": (
        lambda s: {
            "model": s | {"flow.flows.0.enc.in_layers.0.depth_conv.weight_v": torch.ones(4, 1, 5)}
        },
        "so-vits-svc 4.1 with depthwise convolutions, which",
    ),
    "tiny": (
        lambda s: {
            "model": s
            | {
                "flow.wn.in_layers.0.depth_conv.bias": torch.ones(4),
                "enc_q.enc.in_layers.0.point_conv.bias": torch.ones(4),
            }
        },
        "so-vits-svc 4.1 with shared flow parameters and depthwise convolutions, which",
    ),
    "4.0-v2": (
        lambda s: {
            "model": {
                "text_encoder.pre_net.weight": torch.ones(3),
                "mel_decoder.proj.weight": torch.ones(3),
                "dec_harm.prenet.weight": torch.ones(3),
                "dec_noise.noise_prenet.weight": torch.ones(3),
                "emb_spk.weight": torch.ones(3, 3),
                "dec.conv_pre.bias": torch.ones(3),
            },
            "iteration": 9,
        },
        r"so-vits-svc 4\.0-v2 \(VISinger2\), which",
    ),
    "5.0": (
        lambda s: {
            "model_g": {
                "emb_g.weight": torch.ones(3, 3),
                "enc_p.pre.weight": torch.ones(3),
                "enc_p.pit.weight": torch.ones(3),
                "dec.conv_pre.bias": torch.ones(3),
            }
        },
        r"so-vits-svc 5\.0 \(whisper-vits-svc\), which",
    ),
    "RVC in training": (
        lambda s: {
            "model": {
                "emb_g.weight": torch.ones(3, 3),
                "enc_p.emb_phone.weight": torch.ones(3, 3),
                "enc_p.emb_pitch.weight": torch.ones(3, 3),
                "dec.conv_pre.bias": torch.ones(3),
            },
            "iteration": 2,
        },
        "a model of RVC, which",
    ),
    "RVC as it is shared": (
        lambda s: {
            "weight": {"enc_p.emb_phone.weight": torch.ones(3, 3).half()},
            "config": [1025, 32, "1", [3, 7, 11], 40000],
            "info": "200epoch",
            "sr": "40k",
            "f0": 1,
            "version": "v2",
        },
        "a model of RVC, which",
    ),
    "shallow diffusion": (
        lambda s: {
            "global_step": 7,
            "model": {
                "unit_embed.weight": torch.ones(3),
                "decoder.denoise_fn.input_projection.weight": torch.ones(3),
            },
        },
        "a DDSP or diffusion model",
    ),
    "DDSP-SVC": (
        lambda s: {"model": {"ddsp_model.unit2ctrl.stack.0.weight": torch.ones(3)}},
        "a DDSP or diffusion model",
    ),
    "NSF-HiFiGAN": (
        lambda s: {
            "generator": {"conv_pre.bias": torch.ones(3), "m_source.l_linear.bias": torch.ones(3)}
        },
        "NSF-HiFiGAN, a vocoder",
    ),
    "discriminator": (
        lambda s: {"model": {"discriminators.0.convs.0.bias": torch.ones(3)}},
        r"is no so-vits-svc generator: it holds discriminators\.0\.convs\.0\.bias \.\.\.",
    ),
    "names that break lines": (
        lambda s: {"model": {"a\nb\x1b[2J" + "x" * 10_000: torch.ones(3)}},
        "is no so-vits-svc generator: it holds a",
    ),
    "a tensor": (lambda s: torch.ones(3), "it holds no tensors by name"),
    "numbers": (lambda s: {"model": {"emb_g.weight": 3, 4: 5}}, "it holds no tensors by name"),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_other_models_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    pack, match = STRANGERS[kind]
    path = write_legacy(tmp_path, {}, fork_config())
    torch.save(pack(trained()), path)
    refused(path, match)


@pytest.mark.parametrize(
    "change",
    [
        {"vocoder_name": "nsf-snake-hifigan"},
        {"use_transformer_flow": True},
        {"flow_share_parameter": True},
        {"use_depthwise_conv": True},
    ],
)
def test_other_models_are_known_by_their_settings_too(change: Table, tmp_path: Path) -> None:
    path = write_legacy(tmp_path, trained(), fork_config(**change))
    with pytest.raises(ConfigError, match=f"model.{next(iter(change))} is .*not supported"):
        load_voice(path)


# Checkpoints that are unsafe or damaged


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("how", ["torch.save", "torch.save before 1.6", "pickle", "beside tensors"])
def test_a_pickle_bomb_does_not_go_off(how: str, tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    path = write_legacy(tmp_path, {}, fork_config())
    bomb = Bomb(marker)
    if how == "pickle":
        path.write_bytes(pickle.dumps(bomb))
    elif how == "beside tensors":
        torch.save({"model": trained(), "optimizer": bomb}, path)
    else:
        torch.save(bomb, path, _use_new_zipfile_serialization=how == "torch.save")
    refused(path, "holds more than tensors, and reading it would run code")
    assert not marker.exists()
    with path.open("rb") as file:  # the bomb itself is live
        torch.load(file, weights_only=False) if how != "pickle" else pickle.load(file)
    assert marker.exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"a voice", b"RIFF" + bytes(100), b"\x00" * 64])
def test_what_only_has_the_name_of_a_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    path = write_legacy(tmp_path, {}, fork_config())
    path.write_bytes(content)
    refused(path, "is no voice: it is neither safetensors nor written by torch.save")


@pytest.mark.parametrize("modern", [True, False])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused(share: float, modern: bool, tmp_path: Path) -> None:
    path = write_legacy(tmp_path, {}, fork_config())
    torch.save({"model": trained()}, path, _use_new_zipfile_serialization=modern)
    content = path.read_bytes()
    path.write_bytes(content[: max(2, int(share * len(content)))])
    refused(path, "is damaged|holds more than tensors")


@pytest.mark.parametrize("modern", [True, False])
def test_damage_anywhere_is_an_error_or_harmless(modern: bool, tmp_path: Path) -> None:
    path = write_legacy(tmp_path, {}, fork_config())
    torch.save({"model": trained()}, path, _use_new_zipfile_serialization=modern)
    content = path.read_bytes()
    random = torch.Generator().manual_seed(1)
    for _ in range(15):
        damaged = bytearray(content)
        place = int(torch.randint(2, len(content) // 3, (), generator=random))
        damaged[place : place + 16] = bytes(torch.randint(256, (16,), generator=random).tolist())
        path.write_bytes(damaged)
        with suppress(SovitsError):  # some bytes are never read
            load_voice(path)


def repacked(path: Path, compression: int, repeat: int = 1) -> None:
    """Write the archive again, compressed or with the entries of its data repeated."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w", compression) as new:
        for entry in old.infolist():
            for _ in range(repeat):
                new.writestr(entry.filename, old.read(entry))
    path.write_bytes(out.getvalue())


def test_an_archive_that_would_unfold_is_refused(tmp_path: Path) -> None:
    path = write_legacy(tmp_path, {"emb_g.weight": torch.zeros(10_000_000)}, fork_config())
    repacked(path, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    refused(path, "compressed")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(100_000, 100_000),
        torch.empty(100_000, 100_000, device="meta"),
        torch.eye(3).to_sparse(),
    ],
    ids=["repeated", "without storage", "sparse"],
)
def test_tensors_larger_than_their_file_are_refused(tensor: torch.Tensor, tmp_path: Path) -> None:
    path = write_legacy(tmp_path, trained() | {"emb_g.weight": tensor}, fork_config())
    assert path.stat().st_size < 1_000_000
    refused(path, r"emb_g\.weight does not hold all of its numbers")


def test_tensors_that_share_what_they_hold_are_counted(tmp_path: Path) -> None:
    shared = torch.zeros(2_000_000)
    path = write_legacy(tmp_path, {f"t{i}": shared for i in range(501)}, fork_config())
    refused(path, "holds more than 1e[+]09 numbers")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "name", ["dec.conv_pre.weight_g", "emb_uv.weight", "flow.flows.0.pre.bias"]
)
def test_weights_that_are_no_numbers_are_refused(name: str, value: float, tmp_path: Path) -> None:
    state = trained()
    state[name].view(-1)[0] = value
    refused(write_legacy(tmp_path, state, fork_config()), "holds NaN or infinite values")


@pytest.mark.parametrize("name", ["dec.conv_post.bias", "pre.weight", "flow.flows.6.post.weight"])
def test_missing_tensors_are_named(name: str, tmp_path: Path) -> None:
    state = trained()
    del state[name]
    refused(write_legacy(tmp_path, state, fork_config()), rf"lacks 1 tensors \({name}\)")


@pytest.mark.parametrize("name", sorted({"emb_g.weight", "pre.weight", "enc_p.proj.weight"}))
@pytest.mark.parametrize("dims", [0, 1, 4])
def test_tensors_of_another_shape_are_named(name: str, dims: int, tmp_path: Path) -> None:
    state = trained()
    state[name] = torch.ones([7] * dims)
    refused(write_legacy(tmp_path, state, fork_config()), "has the shape|does not fit its config")


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    state = trained()
    state["emb_uv.weight"] = torch.ones(2, 8, dtype=torch.int8)
    path = write_legacy(tmp_path, state, fork_config())
    refused(path, r"emb_uv\.weight is of type torch\.int8")
