"""The average of weights that is sampled from: power-function EMA (Karras et al. 2024, section 3.1)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def power_exponent(width: float) -> float:
    """The exponent gamma whose profile has relative standard deviation `width` (eq. 126, solved).

    >>> gamma = power_exponent(0.1)
    >>> round(((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3))) ** 0.5, 6)
    0.1
    """
    if not 0 < width < 0.28:
        raise ValueError(f"an EMA's relative width must lie between 0 and 0.28, got {width}")
    variance = width**2
    roots = np.roots([variance, 7 * variance, 16 * variance - 1, 12 * variance - 1])
    return float(roots.real.max())


@torch.no_grad()
def update_ema(average: dict[str, Tensor], weights: dict[str, Tensor], step: int, gamma: float) -> None:
    """Move `average` towards `weights` in place after step `step` (counted from 1).

    The average keeps a share beta = (1 - 1/step)^(gamma + 1). At step 1 the average becomes the
    weights, so it needs no warm-up and no correction of bias.
    """
    share = 1 - (1 - 1 / step) ** (gamma + 1)
    floating = [name for name, value in weights.items() if value.is_floating_point()]
    torch._foreach_lerp_([average[name] for name in floating], [weights[name] for name in floating], share)
    for name, value in weights.items():
        if not value.is_floating_point():
            average[name].copy_(value)
