"""How natural and how clean speech sounds: DNSMOS P.835 (Reddy et al., 2022)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sovits.audio.resample import resample
from sovits.evaluate import bootstrap
from sovits.evaluate.clips import Clip, one_by_one
from sovits.evaluate.results import Column, Measure
from sovits.types import Wave
from sovits.weights import WeightsFile, find

NETWORK = WeightsFile(
    name="dnsmos-p835",
    filename="sig_bak_ovr.onnx",
    licence="MIT",
    sha256="269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd",
    bytes=1_157_965,
    package=("speechmos:dnsmos_models/sig_bak_ovr.onnx",),
)
"""The network, which package `speechmos` carries; the package's own code is not used."""

RATE = 16_000
WINDOW = int(9.01 * RATE)
"""Samples that the network hears at once."""
STEP = RATE
"""Samples from one window to the next."""

KINDS: dict[str, tuple[str, str, tuple[float, float, float]]] = {
    "sig": (
        "speech",
        "How undistorted the speech itself sounds",
        (-0.08397278, 1.22083953, 0.0052439),
    ),
    "bak": (
        "background",
        "How little the background disturbs",
        (-0.13166888, 1.60915514, -0.39604546),
    ),
    "ovrl": ("overall", "How good it sounds overall", (-0.06766283, 1.11546468, 0.04602535)),
}
"""What the network's outputs are, and the polynomials that make opinions of them."""


class Listener:
    """Guesses what people would say of a recording, from 1 (bad) to 5 (excellent).

    Made for telephone speech: singing, and rates above 16 kHz, are beyond it.
    """

    def __init__(self) -> None:
        runtime: Any = import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self.session = runtime.InferenceSession(
            str(find(NETWORK)), options, providers=["CPUExecutionProvider"]
        )

    def opinions(self, wave: Wave, sample_rate: int) -> list[float]:
        """Return SIG, BAK and OVRL of `[samples]`, the means of all windows.

        Sound shorter than a window is repeated until it fills one.
        """
        heard = resample(wave.detach().float().cpu(), sample_rate, RATE).clamp(-1, 1).numpy()
        heard = np.tile(heard, -(-WINDOW // max(len(heard), 1)))[: max(WINDOW, len(heard))]
        found = []
        for start in range(0, len(heard) - WINDOW + 1, STEP):
            window = np.ascontiguousarray(heard[start : start + WINDOW])[None]
            found.append(self.session.run(None, {"input_1": window})[0][0])
        return [float(value) for value in calibrated(np.array(found)).mean(0)]


def calibrated(raw: NDArray[Any]) -> NDArray[np.float64]:
    """Return opinions `[windows, 3]` for outputs of the network."""
    columns = [
        np.polyval(polynomial, raw[:, index].astype(np.float64))
        for index, (_, _, polynomial) in enumerate(KINDS.values())
    ]
    return np.stack(columns, 1)


def measure_quality(
    clips: Sequence[Clip], listener: Listener, on_progress: Callable[[float], None]
) -> list[Measure]:
    """Return the opinions of sources and results."""
    rows = []
    for number, clip in enumerate(clips):
        rows.append([listener.opinions(*clip.source()), listener.opinions(*clip.result())])
        on_progress((number + 1) / len(clips))
    source, result = np.array(rows).transpose(1, 2, 0)
    ones = np.ones(len(clips))
    names = tuple(clip.name for clip in clips)
    return [
        Measure(
            f"dnsmos_{key}",
            f"DNSMOS {key.upper()}, {word}",
            "quality",
            "higher",
            names,
            Column(np.stack([made, ones], 1), bootstrap.ratio),
            Column(np.stack([was, ones], 1), bootstrap.ratio),
            Column(np.stack([made, ones, was, ones], 1), bootstrap.change_of_ratio),
            digits=2,
            explanation=f"{meaning}, 1 to 5. Made for speech: of singing it says little.",
            clips=one_by_one(clips),
        )
        for (key, (word, meaning, _)), was, made in zip(KINDS.items(), source, result, strict=True)
    ]
