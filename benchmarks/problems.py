"""Five problems with a known denoiser: Gaussians and mixtures of Gaussians in 2 to 256 dimensions.

Data has zero mean and a mean variance of one. The reference end point is the probability-flow map of the
same starting noise: in closed form for a Gaussian, by 2,000 steps of a fourth-order solver for a mixture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Mixture:
    """Σ_k w_k N(mean_k, diag(variance_k)); means and variances (K, D), weights (K,), all float64."""

    name: str
    weights: Tensor
    means: Tensor
    variances: Tensor

    @property
    def dimension(self) -> int:
        return self.means.shape[1]

    def denoise(self, x: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
        """E[x0 | x = alpha x0 + sigma eps], float64 (..., D)."""
        x = x.double().unsqueeze(-2)
        variance = alpha**2 * self.variances + sigma**2
        residual = x - alpha * self.means
        score = self.weights.log() - 0.5 * (residual**2 / variance + variance.log()).sum(-1)
        posterior = self.means + alpha * self.variances / variance * residual
        return (score.softmax(-1).unsqueeze(-1) * posterior).sum(-2)

    def flow(self, x: Tensor, start: float, end: float) -> Tensor:
        """Where the ODE takes x from sigma = start to sigma = end at alpha = 1, if there is one component."""
        return self.means[0] + (x - self.means[0]) * torch.sqrt(
            (self.variances[0] + end**2) / (self.variances[0] + start**2)
        )


def _unit(name: str, weights: Tensor, means: Tensor, variances: Tensor) -> Mixture:
    weights = weights / weights.sum()
    means = means - weights @ means
    total = (weights @ (means**2 + variances)).mean()
    return Mixture(name, weights, means / total.sqrt(), variances / total)


@lru_cache
def problems() -> tuple[Mixture, ...]:
    """The five problems, the same in every run."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    one = torch.ones(1, dtype=torch.float64)
    line = torch.tensor([[1.0, 0.01]], dtype=torch.float64)
    spectrum = torch.logspace(0, -4, 64, dtype=torch.float64)[None]
    angle = torch.arange(8, dtype=torch.float64) * torch.pi / 4
    ring = torch.stack([angle.cos(), angle.sin()], 1)
    return (
        _unit("gaussian-2", one, torch.zeros(1, 2, dtype=torch.float64), line),
        _unit("gaussian-64", one, torch.zeros(1, 64, dtype=torch.float64), spectrum),
        _unit("mixture-2", torch.ones(8, dtype=torch.float64), ring, torch.full((8, 2), 0.01).double()),
        _unit(
            "mixture-16",
            torch.rand(6, generator=random).double() + 0.5,
            normal(6, 16),
            0.05 + 0.1 * normal(6, 16) ** 2,
        ),
        _unit("mixture-256", torch.ones(10).double(), normal(10, 256), 0.02 + 0.3 * normal(10, 256) ** 2),
    )
