"""A diffusion transformer over sequences: adaptive layer norm (Peebles and Xie 2023), rotary positions
(Su et al. 2021), padding masks. Any domain whose state is (B, N, C) can start from it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polydiff.nn.embeddings import ConditionEmbedding, NoiseEmbedding, sinusoids

__all__ = ["Attention", "Block", "NoiseFilter", "SequenceTransformer", "rotary_angles", "rotate"]


def rotary_angles(length: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (length, width) for `rotate`; width is that of one head."""
    frequencies = 10_000.0 ** (-torch.arange(0, width, 2, device=device) / width)
    angles = torch.arange(length, device=device)[:, None] * frequencies
    return angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)


def rotate(x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary position embedding of (..., length, width)."""
    first, second = x.chunk(2, dim=-1)
    return x * angles[0] + torch.cat([-second, first], dim=-1) * angles[1]


class Attention(nn.Module):
    """Multi-head self-attention with rotary positions and normalised queries and keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.query_norm = nn.RMSNorm(width // heads)
        self.key_norm = nn.RMSNorm(width // heads)

    def forward(self, x: Tensor, bias: Tensor | None, angles: tuple[Tensor, Tensor]) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key = self.query_norm(qkv[0]), self.key_norm(qkv[1])
        query, key = rotate(query, angles), rotate(key, angles)
        mixed = F.scaled_dot_product_attention(query, key, qkv[2], attn_mask=bias)
        result: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return result


class Block(nn.Module):
    """Attention and perceptron, each shifted, scaled and gated by the conditioning vector."""

    def __init__(self, width: int, heads: int, expansion: int = 4) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, expansion * width), nn.GELU("tanh"), nn.Linear(expansion * width, width)
        )
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, c: Tensor, bias: Tensor | None, angles: tuple[Tensor, Tensor]) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(c)[:, None].chunk(6, dim=-1)
        attended = self.attention(torch.addcmul(shift1, self.norm1(x), 1 + scale1), bias, angles)
        x = torch.addcmul(x, gate1, attended)
        return torch.addcmul(x, gate2, self.mlp(torch.addcmul(shift2, self.norm2(x), 1 + scale2)))


class NoiseFilter(nn.Module):
    """F x = U (g(c) * V x) for each token: a full-rank linear filter that depends on the noise level.

    A transformer of width w answers within a subspace of w dimensions a token. Preconditioning leaves the
    rest as if data had unit variance there, so it would come out as noise; this path can shrink it (the
    Wiener filter of correlated channels has exactly this form). It begins as zero.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.into = nn.Linear(channels, channels, bias=False)
        self.out = nn.Linear(channels, channels, bias=False)
        self.gate = nn.Linear(width, channels)
        for layer in (self.into, self.out):
            nn.init.eye_(layer.weight)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        result: Tensor = self.out(self.gate(c)[:, None] * self.into(x))
        return result


class SequenceTransformer(nn.Module):
    """Network for one component of shape (B, N, channels), conditioned on noise level and conditions.

    Tokens know their distance from both ends, so that a sequence of any length has a beginning and an
    end. Padded tokens neither attend nor are attended to, and come out zero. Tokens with more channels than
    the transformer is wide pass through a NoiseFilter beside it.

    Args:
        component: name of the state's component.
        channels: features a token.
        condition_widths: encoded width of each condition.
        width, depth, heads: size of the transformer; width must be a multiple of 2 * heads.

    >>> network = SequenceTransformer("frames", 8, {"digit": 11}, width=32, depth=1, heads=2)
    >>> x, c_noise = {"frames": torch.randn(2, 5, 8)}, torch.zeros(2)
    >>> network(x, c_noise, {}, {"digit": torch.eye(11)[:2]})["frames"].shape
    torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        component: str,
        channels: int,
        condition_widths: Mapping[str, int],
        width: int = 256,
        depth: int = 6,
        heads: int = 4,
    ) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} must be a multiple of twice the number of heads ({heads})")
        self.component, self.heads = component, heads
        self.read = nn.Linear(channels, width)
        self.position = nn.Linear(128, width)
        self.noise = NoiseEmbedding(width)
        self.conditions = ConditionEmbedding(condition_widths, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.write = nn.Linear(width, channels)
        self.filter = NoiseFilter(channels, width) if channels > width else None
        for layer in (self.modulation, self.write):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, x: dict[str, Tensor], c_noise: Tensor, mask: Mapping[str, Tensor], cond: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        tokens = x[self.component]
        batch, length, _ = tokens.shape
        real = mask.get(self.component)
        place = torch.arange(length, device=tokens.device).expand(batch, length)
        count = place.new_full((batch,), length) if real is None else real.sum(1)
        ends = torch.cat([sinusoids(place, 64), sinusoids(count[:, None] - 1 - place, 64)], dim=-1)
        c = F.silu(self.noise(c_noise) + self.conditions(cond, batch, tokens.device))
        bias = None if real is None else real[:, None, None, :]
        hidden = self.read(tokens) + self.position(ends)
        angles = rotary_angles(length, hidden.shape[-1] // self.heads, tokens.device)
        for block in self.blocks:
            hidden = block(hidden, c, bias, angles)
        shift, scale = self.modulation(c)[:, None].chunk(2, dim=-1)
        output = self.write(torch.addcmul(shift, self.norm(hidden), 1 + scale))
        if self.filter is not None:
            output = output + self.filter(tokens, c)
        if real is not None:
            output = output * real[..., None].to(output.dtype)
        return {self.component: output}
