"""How noise levels are weighed against each other in training.

A weighting is a function `(snr, sigma_data) -> weight`: snr = (alpha / sigma)^2, float64 (B,), and the weight
of |x̂0 - x0|² there, float64 (B,). Plugins bring others as components of the kind "weighting".
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

__all__ = ["WEIGHTINGS", "Weighting", "edm", "min_snr"]

Weighting = Callable[[Tensor, float], Tensor]


def edm(snr: Tensor, sigma_data: float) -> Tensor:
    """The weighting 1 / c_out² = snr + 1 / sigma_data²: every level counts alike for the network's own output
    (Karras et al. 2022, section 5 and table 1)."""
    return snr + 1 / sigma_data**2


def min_snr(snr: Tensor, sigma_data: float) -> Tensor:
    """The weighting min(snr, 5): the loss on the noise, limited at clean levels (Hang et al. 2023,
    section 3.4)."""
    return snr.clamp(max=5.0)


#: those that a config may name; polydiff.workflows.recipe adds the one of a plugin that a recipe asks for
WEIGHTINGS: dict[str, Weighting] = {"edm": edm, "min_snr": min_snr}
