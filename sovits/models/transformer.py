"""Post-norm transformer blocks over frames, channels first (Vaswani 2017, Shaw 2018)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sovits.types import Mask

WINDOW = 4  # frames on each side that have a relative position of their own
QUERIES_AT_ONCE = 1024  # bounds the memory of attention: it grows with time, not with its square


class ChannelNorm(nn.Module):
    """Layer normalisation over channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each frame of `[batch, channels, frames]`."""
        y = F.layer_norm(x.transpose(1, 2), self.gamma.shape, self.gamma, self.beta, 1e-5)
        return y.transpose(1, 2)


class FeedForward(nn.Module):
    """Two convolutions over time with a ReLU between."""

    def __init__(
        self, channels: int, filter_channels: int, kernel_size: int, dropout: float, *, causal: bool
    ) -> None:
        super().__init__()
        self.conv_1 = nn.Conv1d(channels, filter_channels, kernel_size)
        self.conv_2 = nn.Conv1d(filter_channels, channels, kernel_size)
        self.drop = nn.Dropout(dropout)
        past = kernel_size - 1 if causal else (kernel_size - 1) // 2
        self.padding = (past, kernel_size - 1 - past)

    def forward(self, x: Tensor, mask: Mask) -> Tensor:
        """Map `[batch, channels, frames]` to the same shape."""
        y = self.drop(F.relu(self.conv_1(F.pad(x * mask, self.padding))))
        out: Tensor = self.conv_2(F.pad(y * mask, self.padding)) * mask
        return out


class _Attention(nn.Module):
    """Projections that all kinds of self-attention share."""

    def __init__(self, channels: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads, self.head_channels, self.dropout = n_heads, channels // n_heads, dropout
        self.conv_q = nn.Conv1d(channels, channels, 1)
        self.conv_k = nn.Conv1d(channels, channels, 1)
        self.conv_v = nn.Conv1d(channels, channels, 1)
        self.conv_o = nn.Conv1d(channels, channels, 1)
        for conv in (self.conv_q, self.conv_k, self.conv_v):
            nn.init.xavier_uniform_(conv.weight)

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value, each `[batch, heads, frames, head_channels]`."""

        def split(y: Tensor) -> Tensor:
            heads: Tensor = y.unflatten(1, (self.n_heads, self.head_channels))
            return heads.transpose(2, 3)

        return split(self.conv_q(x)), split(self.conv_k(x)), split(self.conv_v(x))

    def _merge(self, y: Tensor) -> Tensor:
        out: Tensor = self.conv_o(y.transpose(2, 3).flatten(1, 2))
        return out


class CausalAttention(_Attention):
    """Self-attention to the past and the present."""

    def __init__(self, channels: int, n_heads: int, dropout: float) -> None:
        super().__init__(channels, n_heads, dropout)
        with torch.no_grad():
            self.conv_k.weight.copy_(self.conv_q.weight)
            self.conv_k.bias.copy_(self.conv_q.bias)  # type: ignore[union-attr,arg-type]

    def forward(self, x: Tensor, mask: Mask) -> Tensor:
        """Map `[batch, channels, frames]` to the same shape; padding lies in the future."""
        del mask
        query, key, value = self._heads(x)
        drop = self.dropout if self.training else 0.0
        return self._merge(
            F.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=drop)
        )


class RelativeAttention(_Attention):
    """Self-attention that knows how far neighbours are, up to `WINDOW` frames away.

    The relative terms are a band around the diagonal, so only the band is ever built, and
    queries are taken `QUERIES_AT_ONCE` at a time.
    """

    def __init__(self, channels: int, n_heads: int, dropout: float) -> None:
        super().__init__(channels, n_heads, dropout)
        scale = self.head_channels**-0.5
        shape = (1, 2 * WINDOW + 1, self.head_channels)
        self.emb_rel_k = nn.Parameter(torch.randn(shape) * scale)
        self.emb_rel_v = nn.Parameter(torch.randn(shape) * scale)

    def forward(self, x: Tensor, mask: Mask) -> Tensor:
        """Map `[batch, channels, frames]` to the same shape."""
        query, key, value = self._heads(x)
        query = query * self.head_channels**-0.5
        hidden = mask.unsqueeze(1) == 0 if bool((mask == 0).any()) else None
        frames = x.shape[-1]
        parts = [
            self._rows(query[:, :, start : start + QUERIES_AT_ONCE], key, value, hidden, start)
            for start in range(0, frames, QUERIES_AT_ONCE)
        ]
        return self._merge(torch.cat(parts, dim=2) if len(parts) > 1 else parts[0])

    def _rows(
        self, query: Tensor, key: Tensor, value: Tensor, hidden: Tensor | None, start: int
    ) -> Tensor:
        """Return the attention of the queries from frame `start` on."""
        rows, frames = query.shape[2], key.shape[2]
        scores = query @ key.transpose(2, 3)
        # Column c of the band is key start - WINDOW + c; only those that exist are added.
        left, right = min(start, WINDOW), min(frames - start - rows, WINDOW)
        near = slice(start - left, start + rows + right)
        kept = slice(WINDOW - left, WINDOW + rows + right)
        band = _skew(query @ self.emb_rel_k.transpose(1, 2))[..., kept]
        scores[..., near] = scores[..., near] + band
        if hidden is not None:
            scores = scores.masked_fill(hidden, -1e4)
        weights = F.dropout(scores.softmax(dim=-1), self.dropout, self.training)
        near_weights = F.pad(weights[..., near], (WINDOW - left, WINDOW - right))
        return weights @ value + _unskew(near_weights) @ self.emb_rel_v


def _skew(x: Tensor) -> Tensor:
    """Shift row i of `[..., rows, width]` right by i; returns `[..., rows, rows + width - 1]`."""
    rows, width = x.shape[-2:]
    flat = F.pad(x, (0, rows)).flatten(-2)[..., : rows * (rows + width - 1)]
    skewed: Tensor = flat.unflatten(-1, (rows, rows + width - 1))
    return skewed


def _unskew(x: Tensor) -> Tensor:
    """Undo `_skew`: take from row i the `2 * WINDOW + 1` entries from column i on."""
    rows, wide = x.shape[-2:]
    straight: Tensor = F.pad(x.flatten(-2), (0, rows)).unflatten(-1, (rows, wide + 1))
    return straight[..., : 2 * WINDOW + 1]


class PriorTransformer(nn.Module):
    """Blocks with relative attention, as VITS uses them for the prior."""

    def __init__(
        self,
        channels: int,
        filter_channels: int,
        n_heads: int,
        n_layers: int,
        kernel_size: int,
        dropout: float,
    ) -> None:
        super().__init__()
        layers = range(n_layers)
        self.drop = nn.Dropout(dropout)
        self.attn_layers = nn.ModuleList(
            RelativeAttention(channels, n_heads, dropout) for _ in layers
        )
        self.norm_layers_1 = nn.ModuleList(ChannelNorm(channels) for _ in layers)
        self.ffn_layers = nn.ModuleList(
            FeedForward(channels, filter_channels, kernel_size, dropout, causal=False)
            for _ in layers
        )
        self.norm_layers_2 = nn.ModuleList(ChannelNorm(channels) for _ in layers)

    def forward(self, x: Tensor, mask: Mask) -> Tensor:
        """Map `[batch, channels, frames]` to the same shape."""
        return _post_norm(
            x * mask,
            mask,
            self.drop,
            zip(
                self.attn_layers,
                self.norm_layers_1,
                self.ffn_layers,
                self.norm_layers_2,
                strict=True,
            ),
        )


class CausalTransformer(nn.Module):
    """Blocks that never look ahead, as the F0 decoder uses them."""

    def __init__(
        self,
        channels: int,
        filter_channels: int,
        n_heads: int,
        n_layers: int,
        kernel_size: int,
        dropout: float,
    ) -> None:
        super().__init__()
        layers = range(n_layers)
        self.drop = nn.Dropout(dropout)
        self.self_attn_layers = nn.ModuleList(
            CausalAttention(channels, n_heads, dropout) for _ in layers
        )
        self.norm_layers_0 = nn.ModuleList(ChannelNorm(channels) for _ in layers)
        self.ffn_layers = nn.ModuleList(
            FeedForward(channels, filter_channels, kernel_size, dropout, causal=True)
            for _ in layers
        )
        self.norm_layers_1 = nn.ModuleList(ChannelNorm(channels) for _ in layers)

    def forward(self, x: Tensor, mask: Mask) -> Tensor:
        """Map `[batch, channels, frames]` to the same shape."""
        return _post_norm(
            x * mask,
            mask,
            self.drop,
            zip(
                self.self_attn_layers,
                self.norm_layers_0,
                self.ffn_layers,
                self.norm_layers_1,
                strict=True,
            ),
        )


def _post_norm(
    x: Tensor, mask: Mask, drop: nn.Dropout, layers: zip[tuple[nn.Module, ...]]
) -> Tensor:
    """Run blocks of attention, norm, feed-forward and norm."""
    for attention, norm_1, feed_forward, norm_2 in layers:
        x = norm_1(x + drop(attention(x, mask)))
        x = norm_2(x + drop(feed_forward(x, mask)))
    return x * mask
