r"""Categories: kinds, letters, tokens.

A token keeps its category with the probability a(t) = alpha² / (alpha² + sigma²), the share of signal in
the variance of a Gaussian component at the same t, and alpha² itself where the schedule preserves
variance. Else it is hidden ("absorbing") or one of the K categories at random ("uniform"); Austin et al.
2021, section 3.1.

The denoiser's x̂0 is p, the probabilities of each token's category. A step from t to s < t draws from the
exact posterior Σ_i p_i q(x_s | x_t, x0 = i): where the noise absorbs, a hidden token is shown with the
probability (a_s - a_t) / (1 - a_t), and shown tokens stay (Sahoo et al. 2024; Shi et al. 2024); where it
is uniform, with c = a_t / a_s, d = (1 - c) / K and b = (1 - a) / K,

    q(x_s = j | x_t) ∝ (c [j = x_t] + d) Σ_i p_i (a_s [i = j] + b_s) / (a_t [i = x_t] + b_t)

So the law of a single token is exact however few the steps; tokens of one step are drawn as if they were
independent, which is the only error. A step is random whatever the solver: what drives it are the noise
levels of the table's row, not its weights, and the second call of a solver that makes two changes nothing
here. A rise of the noise level is the forward process: a token keeps its category with the probability
a_s / a_t.

The loss is the rate at which the bound on the log likelihood falls with log_snr, in the unit of
`Process.loss`, 2 / snr. With d a / d log_snr = a (1 - a) that is for hidden tokens 2 (1 - a) times the
cross-entropy -log p_x0 (Sahoo et al. 2024, eq. 10; Shi et al. 2024: -a' / (1 - a) times it in t).
For uniform noise, with r_y = b q(x_t = y | x0) / q(x_t | x0) and r̂_y its mean over p, it is 2 / snr
times (the bound of Campbell et al. 2022; the score entropy of Lou et al. 2024)

    Σ_{y ≠ x_t} r̂_y - r_y + r_y log(r_y / r̂_y)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from polydiff.engine.processes.base import Process, Scaling
from polydiff.engine.processes.tangent import levels_of
from polydiff.engine.schedules import Schedule
from polydiff.engine.states import either, masked, mean_over_real, per_sample
from polydiff.engine.table import Level, Row
from polydiff.errors import UsageError

__all__ = ["Categorical", "kept"]

_TINY = 1e-30


def kept(schedule: Schedule, t: Tensor) -> Tensor:
    """a(t), float64.

    >>> from polydiff.engine.schedules import Cosine
    >>> kept(Cosine(), torch.tensor(0.5, dtype=torch.float64)).item().__round__(6)
    0.5
    """
    return torch.sigmoid(schedule.log_snr(t))


def _kept_at(level: Level) -> float:
    alpha, sigma = level
    return alpha**2 / (alpha**2 + sigma**2)


def _uniforms(noise: Tensor) -> Tensor:
    result: Tensor = torch.special.ndtr(noise.double())
    return result


def _one_hot(index: Tensor, like: Tensor) -> Tensor:
    return (index[..., None] == torch.arange(like.shape[-1], device=index.device)).to(like.dtype)


def _drawn(weights: Tensor, noise: Tensor, like: Tensor) -> Tensor:
    """One-hot draws with probabilities in proportion to `weights` (..., K), by the Gumbel-max trick."""
    gumbel = -torch.log(-torch.log(_uniforms(noise)))
    return _one_hot((torch.log(weights.double()) + gumbel).argmax(-1), like)


@dataclass(frozen=True)
class Categorical(Process):
    """Tokens as one-hot vectors, (B, N, K); a hidden one is zero, as padding is. A network sees them as they
    are and returns logits, (B, N, K). See the module for the mathematics.

    transition: "absorbing" hides tokens, "uniform" replaces them by random ones.
    """

    transition: Literal["absorbing", "uniform"] = "absorbing"

    def noise_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], shape[-1] + 1)  # one a category, and whether anything happens

    def project(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = masked(x, mask).clamp(min=0)
        return x / x.sum(-1, keepdim=True).clamp(min=_TINY)

    def prior(self, noise: Tensor, schedule: Schedule, t: Tensor, mask: Tensor | None) -> Tensor:
        nothing = torch.zeros_like(noise[..., :-1])
        return nothing if self.transition == "absorbing" else masked(self._any(noise, nothing), mask)

    def corrupt(
        self, x0: Tensor, noise: Tensor, t: Tensor, schedule: Schedule, mask: Tensor | None
    ) -> Tensor:
        return masked(self._noised(x0, noise, per_sample(kept(schedule, t), noise.double())), mask)

    def _noised(self, x: Tensor, noise: Tensor, keep: Tensor | float) -> Tensor:
        """x with each token kept with the probability `keep`."""
        other = torch.zeros_like(x) if self.transition == "absorbing" else self._any(noise, x)
        return torch.where(_uniforms(noise[..., -1:]) < keep, x, other)

    def _any(self, noise: Tensor, like: Tensor) -> Tensor:
        """Uniformly random categories, one-hot: the index of the greatest of K normals."""
        return _one_hot(noise[..., :-1].argmax(-1), like)

    def denoised(self, output: Tensor, x: Tensor, scaling: Scaling) -> Tensor:
        p = output.softmax(-1)
        return p if self.transition == "uniform" else torch.where(_hidden(x), p, x)

    def read(
        self, x: Tensor, x0_hat: Tensor, row: Row, mask: Tensor | None, out: Tensor | None = None
    ) -> Tensor:
        return self.project(x0_hat, mask)

    def draws(self, row: Row) -> bool:
        return True

    def move(
        self,
        x: Tensor,
        readouts: Sequence[Tensor],
        row: Row,
        anchor: Tensor | None,
        noise: Tensor | None,
        mask: Tensor | None,
        out: Tensor | None = None,
    ) -> Tensor:
        assert noise is not None
        levels = levels_of(row)
        here, there = _kept_at(levels.here), _kept_at(levels.there)

        def shown() -> Tensor:
            if self.transition == "uniform":
                return _drawn(_posterior(x, readouts[0], here, there), noise[..., :-1], x)
            now = _hidden(x) & (_uniforms(noise[..., -1:]) * (1 - here) < there - here)
            return torch.where(now, _drawn(readouts[0], noise[..., :-1], x), x)

        return masked(either(there < here, lambda: self._noised(x, noise, there / here), shown), mask)

    def loss(
        self, x0_hat: Tensor, x0: Tensor, x: Tensor, t: Tensor, schedule: Schedule, mask: Tensor | None
    ) -> Tensor:
        p, known, seen = x0_hat.double(), x0.double(), x.double()
        keep = per_sample(kept(schedule, t), p)
        if self.transition == "absorbing":
            entropy = -torch.log((p * known).sum(-1, keepdim=True).clamp(min=_TINY))
            return mean_over_real(2 * (1 - keep) * torch.where(_hidden(x), entropy, 0.0), mask)
        hoped, true = _rates(p, seen, keep), _rates(known, seen, keep)
        bregman = hoped - true + true * torch.log(true / hoped)
        rate = (bregman * (1 - seen)).sum(-1, keepdim=True)
        return mean_over_real(2 * per_sample(torch.exp(-schedule.log_snr(t)), p) * rate, mask)

    def between(self, a: Tensor, b: Tensor, share: float) -> Tensor:
        raise UsageError("there is nothing between two noises of a Categorical component")


def _hidden(x: Tensor) -> Tensor:
    return x.sum(-1, keepdim=True) < 0.5


def _posterior(x: Tensor, p: Tensor, here: float, there: float) -> Tensor:
    """Σ_i p_i q(x_s | x_t = x, x0 = i) for uniform noise, but for a factor, float64."""
    # a row may lead from all noise to all noise, where grids rise again: 0 / 0
    x, count, step = x.double(), x.shape[-1], here / (there + _TINY)
    shares = p.double() / (here * x + (1 - here) / count).clamp(min=_TINY)
    back = there * shares + (1 - there) / count * shares.sum(-1, keepdim=True)
    return (step * x + (1 - step) / count) * back


def _rates(p: Tensor, x: Tensor, keep: Tensor) -> Tensor:
    """The mean of b q(y | x0) / q(x | x0) over x0 from p, for every y, in a sum of positive terms."""
    b = (1 - keep) / p.shape[-1]
    others = (p * (1 - x)).sum(-1, keepdim=True)
    return b * (others * keep + b) / (keep + b) + p * keep
