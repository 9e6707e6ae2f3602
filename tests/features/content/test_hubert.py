from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import small_hubert as small
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sovits.errors import WeightsError
from sovits.features.content import hubert
from sovits.features.content.encoder import ContentSpec, WindowedEncoder
from sovits.features.content.hubert import HubertContent, load_hubert
from sovits.weights import WeightsFile

CPU = torch.device("cpu")
LAYOUTS = (small.hugging_face, small.old_hugging_face, small.fairseq, small.bshall)


def numbers(text: str, columns: int) -> Tensor:
    return torch.tensor([float(word) for word in text.split()]).view(-1, columns)


# What transformers 5.23 makes of `small.hugging_face()` and `small.wave()`: every third frame of
# the last hidden state, and of final_proj after the second layer.
LAST = numbers(
    """
    -1.22687 0.91387 -0.92009 0.57441 0.01132 0.50898 -1.89155 1.35311
    -0.35313 -0.17452 -0.20486 1.11797 -1.00122 1.08263 -0.77523 0.37894
    -1.17002 0.97265 -0.9168 0.34374 0.1024 0.50473 -1.94955 1.3692
    -0.3234 -0.25949 -0.28477 1.11719 -0.90846 1.14383 -0.81013 0.26724
    -1.27253 0.92655 -0.86315 0.68656 -0.06972 0.41271 -1.90324 1.42736
    -0.32972 -0.12329 -0.26967 1.04006 -1.02243 1.09612 -0.68672 0.43268
    """,
    16,
)
PROJECTED = numbers(
    """
    -1.00519 0.44729 0.30446 -0.65919 0.57798 -0.03514 -0.76195 0.96075 0.01267 -1.21534
    -1.39101 0.88492 0.2734 -1.06722 0.99775 -0.027 -1.18947 1.35988 0.05997 -1.65953
    -0.77281 0.2058 0.30215 -0.41549 0.34814 -0.05988 -0.50853 0.74408 -0.03434 -0.95389
    """,
    10,
)


def loaded(
    path: Path,
    tensors: dict[str, Tensor],
    *,
    layers: int = 3,
    projected: bool = False,
    pad: int = 0,
) -> HubertContent:
    torch.save(tensors, path / "x.bin")
    channels = small.PROJECTED if projected else small.WIDTH
    return load_hubert(
        path / "x.bin", channels, CPU, layers=layers, projected=projected, pad=pad, head_width=8
    )


def encoder(network: HubertContent, channels: int = small.WIDTH) -> WindowedEncoder:
    file = WeightsFile("small", "x.bin", "MIT")
    return WindowedEncoder(ContentSpec("small", channels, file), network, CPU)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_what_transformers_gives(
    tmp_path: Path, layout: Callable[[], dict[str, Tensor]]
) -> None:
    last = encoder(loaded(tmp_path, layout())).encode(small.wave())
    torch.testing.assert_close(last[:, ::3].T, LAST, rtol=0, atol=3e-5)
    network = loaded(tmp_path, layout(), layers=2, projected=True)
    content = encoder(network, small.PROJECTED).encode(small.wave())
    torch.testing.assert_close(content[:, ::3].T, PROJECTED, rtol=0, atol=3e-5)


def test_frames_computed_a_few_at_once_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = encoder(loaded(tmp_path, small.hugging_face()))
    whole = network.encode(small.wave())
    monkeypatch.setattr(hubert, "AT_ONCE", 3)
    torch.testing.assert_close(network.encode(small.wave()), whole, rtol=0, atol=1e-5)


def test_hubert_soft_is_what_torchs_own_layers_make_of_it(tmp_path: Path) -> None:
    network = loaded(tmp_path, small.bshall(), projected=True, pad=40)
    content = encoder(network, small.PROJECTED).encode(small.wave())
    with torch.no_grad():
        torch.testing.assert_close(
            content.T, small.SecondRoute()(small.wave()), rtol=1e-4, atol=1e-5
        )
    assert content.shape[1] == 2700 // 320


def test_bare_and_wrapped_weights_are_the_same(tmp_path: Path) -> None:
    bare = {name.removeprefix("module."): t for name, t in small.bshall().items()}
    wave = small.wave()[None]
    expected = loaded(tmp_path, small.bshall())(wave)
    torch.testing.assert_close(loaded(tmp_path, bare)(wave), expected)
    prefixed = {f"hubert.{name}": t for name, t in small.hugging_face().items()}
    prefixed["lm_head.weight"] = torch.zeros(3, 3)
    torch.testing.assert_close(loaded(tmp_path, prefixed)(wave), expected)


@given(st.integers(0, 4000), st.sampled_from([0, 40]))
def test_the_frame_count_is_what_the_convolutions_give(samples: int, pad: int) -> None:
    network = HubertContent(torch.nn.Module(), pad)  # type: ignore[arg-type]
    left = samples + 2 * pad
    for kernel, stride in zip(small.KERNELS, small.STRIDES, strict=True):
        left = max(0, (left - kernel) // stride + 1)
    assert network.count(samples) == left
    if not pad:
        assert left == max(0, (samples - 80) // 320)


@given(st.integers(0, 8), st.integers(1, 9), st.sampled_from([0, 40]))
def test_a_stretch_of_frames_is_given_exactly_the_samples_it_sees(
    first: int, count: int, pad: int
) -> None:
    network = HubertContent(torch.nn.Module(), pad)  # type: ignore[arg-type]
    wave = small.wave()
    stop = min(first + count, network.count(len(wave)))
    first = min(first, stop - 1)
    padded = torch.nn.functional.pad(wave, (pad, pad))
    last = stop == network.count(len(wave))
    expected = padded[first * 320 : None if last else (stop - 1) * 320 + 400]
    torch.testing.assert_close(network.listen(wave)(first, stop)[0], expected)


@pytest.mark.parametrize("samples", [0, 1, 399])
def test_a_sound_shorter_than_one_frame_has_none(tmp_path: Path, samples: int) -> None:
    content = encoder(loaded(tmp_path, small.hugging_face())).encode(torch.zeros(samples))
    assert content.shape == (small.WIDTH, 0)


def test_silence_and_a_constant_stay_finite(tmp_path: Path) -> None:
    made = encoder(loaded(tmp_path, small.hugging_face()))
    for wave in (torch.zeros(4000), torch.full((4000,), 0.7)):
        assert made.encode(wave).isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature_projection.projection.weight": None}, "input_proj.weight is not in it"),
        ({"final_proj.weight": None, "final_proj.bias": None}, "projection.weight is not in it"),
        ({"encoder.layers.1.attention.v_proj.weight": None}, "attention is incomplete"),
        ({"encoder.layers.1.feed_forward.output_dense.bias": None}, r"layers.1.down.bias"),
        ({"feature_extractor.conv_layers.0.conv.weight": None}, "its tensors have other names"),
        ({"feature_extractor.conv_layers.1.layer_norm.weight": torch.zeros(8)}, "not part of it"),
        ({"feature_projection.projection.weight": torch.zeros(16)}, "a shape in it is wrong"),
        ({"encoder.layer_norm.weight": torch.zeros(7)}, r"shape \(7,\) instead of \(16,\)"),
        ({"final_proj.weight": torch.zeros(11, 16)}, "it has 11 channels"),
    ],
)
def test_other_networks_are_refused_in_one_line(
    tmp_path: Path, change: dict[str, Tensor | None], message: str
) -> None:
    tensors = {k: v for k, v in (small.hugging_face() | change).items() if v is not None}
    with pytest.raises(WeightsError, match=message) as error:
        loaded(tmp_path, tensors, projected=True)
    assert "\n" not in str(error.value)


def test_layers_after_the_content_need_not_be_in_the_file(tmp_path: Path) -> None:
    tensors = {k: v for k, v in small.hugging_face().items() if ".layers.2." not in k}
    loaded(tmp_path, tensors, layers=2)
    with pytest.raises(WeightsError, match=r"layers\.2\..* are not in it"):
        loaded(tmp_path, tensors, layers=3)
