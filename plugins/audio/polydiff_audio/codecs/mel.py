"""The mel scale as a matrix: linear frequency bins to bands that are evenly spaced to the ear."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def hertz_to_mel(hertz: Tensor) -> Tensor:
    """O'Shaughnessy's formula, 2595 log10(1 + f / 700)."""
    return 2595 * torch.log10(1 + hertz / 700)


def mel_to_hertz(mel: Tensor) -> Tensor:
    """The inverse of `hertz_to_mel`."""
    return 700 * (10 ** (mel / 2595) - 1)


@lru_cache(maxsize=16)
def mel_filters(bins: int, bands: int, sample_rate: int, low: float = 0.0) -> Tensor:
    """Triangular filters (bands, bins), each row summing to one, so that a band is a mean of its bins.

    Bands at the low end may be narrower than one bin; such a filter reads between its neighbours
    instead of being empty.

    Args:
        bins: number of linear bins from 0 Hz to half the sample rate, both included.
        bands: number of mel bands.
        sample_rate: Hz.
        low: lower edge of the first band, Hz.
    """
    frequency = torch.linspace(0, sample_rate / 2, bins, dtype=torch.float64)
    spacing = sample_rate / 2 / (bins - 1)
    ends = hertz_to_mel(torch.tensor([low, sample_rate / 2], dtype=torch.float64))
    edges = mel_to_hertz(torch.linspace(float(ends[0]), float(ends[1]), bands + 2, dtype=torch.float64))
    centre = edges[1:-1]
    # no side narrower than one bin: the triangle of a narrow band becomes linear interpolation
    left = torch.minimum(edges[:-2], centre - spacing)[:, None]
    right = torch.maximum(edges[2:], centre + spacing)[:, None]
    rising = (frequency - left) / (centre[:, None] - left)
    falling = (right - frequency) / (right - centre[:, None])
    filters = torch.minimum(rising, falling).clamp(min=0)
    return (filters / filters.sum(1, keepdim=True)).float()


@lru_cache(maxsize=16)
def mel_inverse(bins: int, bands: int, sample_rate: int, low: float = 0.0) -> Tensor:
    """The pseudo-inverse (bins, bands) of `mel_filters`."""
    result: Tensor = torch.linalg.pinv(mel_filters(bins, bands, sample_rate, low).double(), rtol=1e-3).float()
    return result
