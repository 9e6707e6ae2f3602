"""Refiners and vocoders of ours on disk: settings, card and weights in one safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from sovits.config import AudioConfig, build
from sovits.errors import ConfigError, OutputError, RefinerError
from sovits.quantized import dequantize, quantize

KEY = "sovits-network"
"""Name of the settings in the metadata."""
MOST_SETTINGS = 1 << 20  # characters
MOST = {
    "sample_rate": 768_000,
    "n_fft": 16_384,
    "n_mels": 1024,
    "blocks": 64,
    "width": 4096,
    "expansion": 16,
    "kernel_size": 64,
    "mel_max": 384_000,
}
"""Largest settings of a network that is built; all others are at most `MOST_OTHERS`."""
MOST_OTHERS = 16_384

T = TypeVar("T")


class NetworkFile(NamedTuple):
    """What a file holds."""

    path: Path
    what: str
    """Kind of the network, in a word."""
    settings: dict[str, Any]
    """`config`, `audio`, `card`, and what else the kind has."""
    tensors: dict[str, Tensor]

    @property
    def audio(self) -> AudioConfig:
        """Rates, bands and range of its mels."""
        return self.part(AudioConfig, "audio")

    def part(self, kind: type[T], name: str) -> T:
        """Return some of the settings, checked.

        Raises:
            RefinerError: They are wrong, or those of a network that would fill every memory.
        """
        try:
            table = self.settings.get(name, {})
            if not isinstance(table, dict):
                raise ConfigError.wrong_value(name, table, "an object")
            for key, value in table.items():
                most = MOST.get(key, MOST_OTHERS)
                if isinstance(value, int | float) and not value <= most:
                    raise RefinerError.too_large(self.path, key, float(value), most)
            return build(kind, table, f"{self.what}.")
        except ConfigError as error:
            raise RefinerError.damaged(self.path, self.what, str(error)) from error

    def fill(self, network: nn.Module) -> None:
        """Give a network its weights.

        Raises:
            RefinerError: Some are missing, of another shape, or not finite.
        """
        for name, like in network.state_dict().items():
            found = self.tensors.get(name)
            if found is None or found.shape != like.shape:
                shape = "missing" if found is None else str(list(found.shape))
                problem = f"{name} is {shape} where the settings ask for {list(like.shape)}"
                raise RefinerError.damaged(self.path, self.what, problem)
            if not bool(found.isfinite().all()):
                raise RefinerError.damaged(self.path, self.what, f"{name} is not finite")
        network.load_state_dict({name: self.tensors[name] for name in network.state_dict()})


def read_network(path: Path, what: str) -> NetworkFile:
    """Return what a file holds; weights as float32.

    Args:
        path: A file of `write_network`.
        what: Kind of the network: `vocoder` or `refiner`.

    Raises:
        RefinerError: There is none, or it is damaged or of another kind.
    """
    if not path.is_file():
        raise RefinerError.missing(what, path)
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY, "")
            if len(text) > MOST_SETTINGS:
                raise RefinerError.damaged(path, what, "its settings are too long")
            settings = json.loads(text) if text else None
            if not isinstance(settings, dict) or settings.get("format") != _format(what):
                raise RefinerError.damaged(path, what, f"it is not of the format {_format(what)}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            plain = {name: tensor.float() for name, tensor in dequantize(tensors).items()}
    except RefinerError:
        raise
    # Damaged headers fail in the reader, and unknown kinds of numbers in torch, as many classes.
    except Exception as error:
        raise RefinerError.damaged(path, what, str(error) or type(error).__name__) from error
    return NetworkFile(path, what, settings, plain)


def write_network(
    path: Path,
    what: str,
    network: nn.Module,
    settings: Mapping[str, object],
    *,
    exact: bool = False,
) -> None:
    """Write a network as one file, at once or not at all.

    Args:
        path: Where to.
        what: Kind of the network: `vocoder` or `refiner`.
        network: Its weights.
        settings: `config`, `audio`, `card` and what else the kind has, as JSON types.
        exact: Keep float32 instead of 8 bits for large matrices.

    Raises:
        OutputError: The file cannot be written.
    """
    state = {k: v.detach().to("cpu").contiguous() for k, v in network.state_dict().items()}
    tensors = state if exact else quantize(state)
    header = {"format": _format(what), **settings}
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        # Not save_file, whose files nobody but their owner may read.
        with part.open("wb") as file:
            file.write(save(tensors, metadata={KEY: json.dumps(header, ensure_ascii=False)}))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise OutputError.cannot_write(path, error.strerror or str(error)) from error
    finally:
        part.unlink(missing_ok=True)


def is_network(path: Path, what: str) -> bool:
    """Return whether a file is a network of ours of some kind, by its header alone."""
    try:
        with safe_open(path, framework="pt") as file:
            return f'"{_format(what)}"' in (file.metadata() or {}).get(KEY, "")[:200]
    except Exception:  # damaged headers fail as many classes
        return False


def _format(what: str) -> str:
    return f"sovits-{what}-1"
