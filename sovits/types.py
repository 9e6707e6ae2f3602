"""Glossary of tensors: name, shape, dtype, unit. Time is the last axis."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from torch import Tensor

Wave: TypeAlias = Tensor
"""Sound, float32 in [-1, 1], `[..., samples]`."""

Content: TypeAlias = Tensor
"""Speech content, float32, `[..., channels, frames]`."""

F0: TypeAlias = Tensor
"""Pitch in Hz, float32, `[..., frames]`; positive everywhere, bridged through unvoiced frames."""

Voiced: TypeAlias = Tensor
"""Whether the vocal folds vibrate, bool, `[..., frames]`."""

Volume: TypeAlias = Tensor
"""Root mean square of each frame, float32, `[..., frames]`."""

Spectrogram: TypeAlias = Tensor
"""Linear magnitude, float32, `[..., bins, frames]`."""

Mel: TypeAlias = Tensor
"""Natural-log mel magnitude, float32, `[..., bands, frames]`."""

Speaker: TypeAlias = Tensor
"""Index of a speaker inside a model, int64, `[batch]`."""

Shares: TypeAlias = Tensor
"""How much of each speaker a sound has, float32, at least 0, `[batch, speakers, 1 or frames]`."""

Embedding: TypeAlias = Tensor
"""Conditioning vector of a speaker, float32, `[batch, channels, 1 or frames]`."""

Mask: TypeAlias = Tensor
"""1 where a frame belongs to the sound, 0 where it is padding, float32, `[batch, 1, frames]`."""


class Pitch(NamedTuple):
    """Pitch of a sound: Hz for every frame, and which frames are voiced."""

    f0: F0
    voiced: Voiced
