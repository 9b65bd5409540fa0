"""Four inverse problems whose posterior is a Gaussian or a mixture of them, and the distance of two sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from benchmarks.problems import Mixture, problems
from polydiff.engine.noise import noise

TRUTHS, DRAWS = 4, 256


@dataclass(frozen=True, eq=False)
class Inverse:
    """y = A x0 + std noise of TRUTHS draws of a mixture; A (M, D) with orthonormal rows, y (TRUTHS, M)."""

    name: str
    prior: Mixture
    A: Tensor
    std: float

    @property
    def known(self) -> bool:
        """Whether A picks coordinates and there is no noise."""
        return self.std == 0

    @property
    def y(self) -> Tensor:
        clean = draws(self.prior, TRUTHS, 7) @ self.A.T
        return clean + self.std * noise(range(TRUTHS), "measured", 0, clean.shape[1:], torch.float64)

    def exact(self, y: Tensor, seed: int) -> Tensor:
        """DRAWS of the posterior, (DRAWS, D)."""
        p, spread = self.prior, self.A * self.prior.variances[:, None]  # (K, M, D)
        S = spread @ self.A.T + self.std**2 * torch.eye(len(y), dtype=torch.float64)
        law = torch.distributions.MultivariateNormal(p.means @ self.A.T, S)
        weights = (p.weights.log() + law.log_prob(y)).softmax(0)
        gain = torch.linalg.solve(S, spread).transpose(1, 2)  # (K, D, M)
        means = p.means + (gain @ (y - p.means @ self.A.T)[:, :, None])[:, :, 0]
        covariances = torch.diag_embed(p.variances) - gain @ spread
        values, vectors = torch.linalg.eigh(covariances)
        roots = vectors * values.clamp(min=0).sqrt()[:, None]
        random = torch.Generator().manual_seed(seed)
        k = torch.multinomial(weights, DRAWS, replacement=True, generator=random)
        xi = torch.randn(DRAWS, p.dimension, 1, generator=random, dtype=torch.float64)
        return means[k] + (roots[k] @ xi)[:, :, 0]


def draws(prior: Mixture, count: int, seed: int) -> Tensor:
    """(count, D) of a mixture."""
    random = torch.Generator().manual_seed(seed)
    k = torch.multinomial(prior.weights, count, replacement=True, generator=random)
    xi = torch.randn(count, prior.dimension, generator=random, dtype=torch.float64)
    return prior.means[k] + prior.variances[k].sqrt() * xi


@lru_cache
def inverses() -> tuple[Inverse, ...]:
    _, gaussian, ring, mixture, _ = problems()

    def rows(count: int, dimension: int) -> Tensor:
        full = noise(0, f"operator {dimension}", 0, (dimension, count), torch.float64)[0]
        return torch.linalg.qr(full).Q.T

    return (
        Inverse("gaussian-64, 16 seen", gaussian, rows(16, 64), 0.1),
        Inverse("mixture-2, 1 seen", ring, torch.eye(2, dtype=torch.float64)[:1], 0.1),
        Inverse("mixture-16, 4 seen", mixture, rows(4, 16), 0.1),
        Inverse("mixture-16, 8 known", mixture, torch.eye(16, dtype=torch.float64)[:8], 0.0),
    )


def distance(a: Tensor, b: Tensor) -> float:
    """Sliced Wasserstein-2 of two sets (DRAWS, D), over 128 directions."""
    w = torch.nn.functional.normalize(noise(range(128), "slices", 0, (a.shape[1],), torch.float64), dim=1)
    gap = (a @ w.T).sort(0).values - (b @ w.T).sort(0).values
    return float(gap.square().mean().sqrt())


Method = Callable[[Inverse, int], Tensor]  # problem, calls -> (TRUTHS, DRAWS, D)
