"""From speakers, or shares of them, to what a network is conditioned on."""

from __future__ import annotations

from torch import Tensor, nn

from sovits.types import Shares, Speaker


def conditioning(table: nn.Embedding, speaker: Speaker | Shares) -> Tensor:
    """Return the vectors of speakers, `[batch, 1 or frames, channels]`.

    Args:
        table: One row for each speaker.
        speaker: Rows, int64 `[batch]`; or shares of all rows, float `[batch, rows, 1 or frames]`.
    """
    if not speaker.is_floating_point():
        vectors: Tensor = table(speaker)[:, None]
        return vectors
    return speaker.transpose(1, 2) @ table.weight
