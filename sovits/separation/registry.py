"""What can separate, by name."""

from __future__ import annotations

from dataclasses import dataclass

from sovits.errors import SeparationError
from sovits.separation.spleeter import WEIGHTS, load_spleeter
from sovits.separation.windows import Separator


@dataclass(frozen=True)
class SeparationModel:
    """One model, where it comes from, and under which terms."""

    name: str
    """What it is called here."""
    about: str
    """What it is, in words."""
    licence: str
    """SPDX name of the licence of its weights, or who states it."""
    sha256: tuple[str, ...] = ()
    """Digests of its files; none where their publisher states none."""
    file: str | None = None
    """Name under which the package audio-separator knows it; our own network if None."""


MODELS = {
    model.name: model
    for model in (
        SeparationModel(
            "spleeter-2stems",
            "Spleeter's two U-Nets, up to 11 kHz; light",
            "MIT",
            tuple(spec.sha256 or "" for spec in WEIGHTS),
        ),
        SeparationModel(
            "mel-band-roformer",
            "vocals of Mel-Band RoFormer by Kimberley Jensen; heavy",
            "its author's",
            file="vocals_mel_band_roformer.ckpt",
        ),
        SeparationModel(
            "bs-roformer",
            "BS-RoFormer by viperx; heavy",
            "its author's",
            file="model_bs_roformer_ep_317_sdr_12.9755.ckpt",
        ),
        SeparationModel(
            "mdx23c",
            "MDX23C InstVoc HQ of UVR",
            "its author's",
            file="MDX23C-8KFFT-InstVoc_HQ.ckpt",
        ),
        SeparationModel(
            "kim-vocal-2",
            "Kim Vocal 2, an MDX-Net",
            "its author's",
            file="Kim_Vocal_2.onnx",
        ),
    )
}
"""Every model by its name. Those with a file are fetched and run by audio-separator."""


def model_named(name: str) -> SeparationModel:
    """Return what is known of a model.

    Raises:
        SeparationError: There is none of this name.
    """
    if name not in MODELS:
        raise SeparationError.unknown_model(name, MODELS)
    return MODELS[name]


def load_separator(name: str = "spleeter-2stems", device: str = "cpu") -> Separator:
    """Return a network of our own that separates.

    Raises:
        SeparationError: There is none of this name, or its weights are not on this machine.
    """
    model = model_named(name)
    if model.file is not None:
        own = (known.name for known in MODELS.values() if known.file is None)
        raise SeparationError.unknown_model(name, own)
    return load_spleeter(device)
