"""The network: two streams, many points and few latents. The latents read the points, think, and write back.

Latents that read from and write to a set by cross-attention: Jabri et al. 2023 (RIN); trained at few points
and sampled at many: Huang et al. 2024 (PointInfinity). The cost grows linearly with the points.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polydiff.nn.embeddings import ConditionEmbedding, NoiseEmbedding

OCTAVES = 4  # of the sinusoids that a coordinate is shown as


class PointLatents(nn.Module):
    """x̂0 of "points" (B, N, 3), given "context" (B, N, 4): the clean place of a point that is given or
    zeros, and whether it is given.

    Permutation-equivariant, for any N. Padded points are not read and come out zero.

    Args:
        condition_widths: encoded width of each condition.
        points, latents: width of each stream, multiples of `heads`. count: how many latents.
        rounds: how often the latents read, think and write. depth: transformer blocks of a round.

    >>> network = PointLatents({}, points=16, latents=32, count=4, rounds=1, depth=1, heads=2)
    >>> x = {"points": torch.randn(2, 50, 3), "context": torch.zeros(2, 50, 4)}
    >>> network(x, torch.zeros(2), {}, {})["points"].shape
    torch.Size([2, 50, 3])
    """

    def __init__(
        self,
        condition_widths: Mapping[str, int],
        points: int = 128,
        latents: int = 256,
        count: int = 64,
        rounds: int = 3,
        depth: int = 2,
        heads: int = 4,
    ) -> None:
        super().__init__()
        if points % heads or latents % heads:
            raise ValueError(f"widths {points} and {latents} must be multiples of {heads} heads")
        self.noise = NoiseEmbedding(latents)
        self.conditions = ConditionEmbedding(condition_widths, latents)
        self.embed = nn.Sequential(
            nn.Linear(2 * _SHOWN + 1, points), nn.GELU("tanh"), nn.Linear(points, points)
        )
        self.latents = nn.Parameter(torch.randn(count, latents) * 0.5)
        self.modulation = nn.Linear(latents, 6 * latents)
        self.rounds = nn.ModuleList(Round(points, latents, depth, heads) for _ in range(rounds))
        self.norm = nn.LayerNorm(points, elementwise_affine=False)
        self.output = nn.Linear(latents, 2 * points)
        self.write = nn.Linear(points, 3)
        for layer in (self.modulation, self.output, self.write):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, x: dict[str, Tensor], c_noise: Tensor, mask: Mapping[str, Tensor], cond: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        points, context = x["points"], x["context"]
        real = mask.get("points")
        c = F.silu(self.noise(c_noise) + self.conditions(cond, len(points), points.device))
        seen = torch.cat([_shown(points), _shown(context[..., :3]), context[..., 3:]], dim=-1)
        hidden = self.embed(seen)
        latents = self.latents.expand(len(points), -1, -1)
        modulation = self.modulation(c)
        bias = None if real is None else real[:, None, None, :]
        for one in self.rounds:
            hidden, latents = one(hidden, latents, c, modulation, bias)
        shift, scale = self.output(c)[:, None].chunk(2, dim=-1)
        output = self.write(torch.addcmul(shift, self.norm(hidden), 1 + scale))
        return {"points": output if real is None else output * real[..., None].to(output.dtype)}


class Round(nn.Module):
    """Latents read the points, pass through transformer blocks, and the points read the latents."""

    def __init__(self, points: int, latents: int, depth: int, heads: int) -> None:
        super().__init__()
        self.read = CrossAttention(latents, points, points, heads)
        self.blocks = nn.ModuleList(LatentBlock(latents, heads) for _ in range(depth))
        self.write = CrossAttention(points, latents, points, heads)
        self.norm = nn.LayerNorm(points, elementwise_affine=False)
        self.mlp = nn.Sequential(
            nn.Linear(points, 2 * points), nn.GELU("tanh"), nn.Linear(2 * points, points)
        )
        self.modulation = nn.Linear(latents, 2 * points)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(
        self, points: Tensor, latents: Tensor, c: Tensor, modulation: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        latents = latents + self.read(latents, points, bias)
        for block in self.blocks:
            latents = block(latents, modulation)
        points = points + self.write(points, latents, None)
        shift, scale = self.modulation(c)[:, None].chunk(2, dim=-1)
        points = points + self.mlp(torch.addcmul(shift, self.norm(points), 1 + scale))
        return points, latents


class CrossAttention(nn.Module):
    """What `asking` (B, M, a) finds in `asked` (B, N, b): (B, M, a); `width` is that of the attention."""

    def __init__(self, asking: int, asked: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.asking_norm, self.asked_norm = nn.LayerNorm(asking), nn.LayerNorm(asked)
        self.query = nn.Linear(asking, width)
        self.key_value = nn.Linear(asked, 2 * width)
        self.out = nn.Linear(width, asking)
        self.query_norm, self.key_norm = nn.RMSNorm(width // heads), nn.RMSNorm(width // heads)

    def forward(self, asking: Tensor, asked: Tensor, bias: Tensor | None) -> Tensor:
        batch, length, _ = asking.shape
        query = self.query(self.asking_norm(asking)).view(batch, length, self.heads, -1).transpose(1, 2)
        key_value = self.key_value(self.asked_norm(asked)).view(batch, asked.shape[1], 2, self.heads, -1)
        key, value = key_value.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(
            self.query_norm(query), self.key_norm(key), value, attn_mask=bias
        )
        result: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, length, -1))
        return result


class LatentBlock(nn.Module):
    """Self-attention and perceptron; the modulation of the noise level and conditions is shared by all
    blocks, each adding an offset of its own (Chen et al. 2024, PixArt-alpha, section 2.3)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.query_norm, self.key_norm = nn.RMSNorm(width // heads), nn.RMSNorm(width // heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))
        self.offset = nn.Parameter(torch.zeros(6 * width))

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = (modulation + self.offset)[:, None].chunk(6, dim=-1)
        x = torch.addcmul(x, gate1, self._attended(torch.addcmul(shift1, self.norm1(x), 1 + scale1)))
        return torch.addcmul(x, gate2, self.mlp(torch.addcmul(shift2, self.norm2(x), 1 + scale2)))

    def _attended(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        query, key, value = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(self.query_norm(query), self.key_norm(key), value)
        result: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return result


_SHOWN = 3 + 6 * OCTAVES


def _shown(x: Tensor) -> Tensor:
    """Coordinates (..., 3) and their sines and cosines at OCTAVES frequencies: (..., _SHOWN)."""
    waves = torch.cat([x * 2.0**k for k in range(OCTAVES)], dim=-1)
    return torch.cat([x, waves.sin(), waves.cos()], dim=-1)
