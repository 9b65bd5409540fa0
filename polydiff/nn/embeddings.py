"""Embeddings of what is not a token: noise level, position and conditions."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["ConditionEmbedding", "NoiseEmbedding", "sinusoids"]


def sinusoids(values: Tensor, width: int, longest: float = 1000.0) -> Tensor:
    """Sines and cosines of (...,) values at wavelengths from 2 pi to 2 pi `longest`: (..., width)."""
    half = width // 2
    decay = -math.log(longest) / max(half - 1, 1)
    frequencies = torch.exp(torch.arange(half, device=values.device) * decay)
    angles = values[..., None].float() * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class NoiseEmbedding(nn.Module):
    """c_noise (B,) to (B, width): sinusoids and a two-layer perceptron.

    c_noise = log(sigma / alpha) / 4 spans a few units, so it is stretched before the sinusoids.
    """

    def __init__(self, width: int, features: int = 128, stretch: float = 100.0) -> None:
        super().__init__()
        self.features, self.stretch = features, stretch
        self.mlp = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, c_noise: Tensor) -> Tensor:
        result: Tensor = self.mlp(sinusoids(c_noise * self.stretch, self.features))
        return result


class ConditionEmbedding(nn.Module):
    """Conditions to one vector: the sum of a linear map of each condition's encoded values.

    Args:
        widths: name and encoded width of each condition (polydiff.conditions gives both). A categorical
            condition is encoded as weights over its choices and a null slot, so the linear map is a
            table of embeddings, and mixtures of classes are mixtures of rows.
        width: width of the result.

    Conditions absent from the mapping that `forward` gets count as zero.
    """

    def __init__(self, widths: Mapping[str, int], width: int) -> None:
        super().__init__()
        self.width = width
        self.maps = nn.ModuleDict({name: nn.Linear(size, width, bias=False) for name, size in widths.items()})
        for layer in self.maps.values():
            nn.init.normal_(layer.weight, std=0.5)  # type: ignore[arg-type]

    def forward(self, cond: Mapping[str, Tensor], batch: int, device: torch.device) -> Tensor:
        total = torch.zeros(batch, self.width, device=device)
        for name, layer in self.maps.items():
            if name in cond:
                total = total + layer(cond[name].to(device).float())
        return total
