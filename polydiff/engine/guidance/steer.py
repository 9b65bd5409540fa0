"""Guidance along a gradient: of an energy, a reward or a classifier."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from polydiff.engine.denoisers import Cond, Denoiser, Mask, State, parts
from polydiff.engine.inverse.gradients import added, graph, leaves, pull, tweedie_factor
from polydiff.engine.schedules import Schedule
from polydiff.engine.states import masked
from polydiff.errors import UsageError

__all__ = ["Energy", "LogProbability", "classifier", "steer"]

Energy = Callable[[State, Mask], Tensor]
LogProbability = Callable[[State, Tensor, Mask, Cond], Tensor]


def steer(denoiser: Denoiser, energy: Energy, schedule: Schedule, scale: float = 1.0) -> Denoiser:
    """Samples of p(x0) exp(-scale · energy(x0)), as far as x̂0 can stand for x0 (Chung et al. 2023, eq. 11):

        x̂0 ← x̂0 - scale (sigma² / alpha) ∇_x energy(x̂0(x))

    Args:
        energy: from clean states (B, N, ...), padding zero, and masks to one number a sample, (B,), by
            differentiable operations. A reward is an energy with the sign changed.
        scale: 0 is no steering.

    Each call differentiates the network, which costs about two calls more.

    Errors: UsageError when the energy is not of shape (B,) or has no gradient.

    >>> import torch
    >>> from polydiff.engine.schedules import EDM
    >>> plain = lambda x, t, mask, cond: {"x": x["x"] / 2}          # what it is for N(0, 1) at sigma = 1
    >>> pulled = steer(plain, lambda x0, mask: (x0["x"] - 3).square().sum((1, 2)) / 2, EDM())
    >>> t = torch.tensor([1 / 80], dtype=torch.float64)
    >>> round(pulled({"x": torch.full((1, 1, 1), 2.0)}, t, {}, {})["x"].item(), 4)   # 1 - 1/2 (1 - 3)
    2.0
    """

    def steered(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
        with graph():
            here = leaves(x)
            x0_hat = denoiser(here, t, mask, cond)
            value = energy({k: masked(v, mask.get(k)) for k, v in parts(x0_hat).items()}, mask)
            _check(value, len(t), "energy")
            slope = pull({"energy": value}, here, {"energy": value.new_ones(len(t))})
        return added(x0_hat, slope, -scale * tweedie_factor(schedule, t))

    return denoiser if scale == 0 else steered


def classifier(
    denoiser: Denoiser, log_probability: LogProbability, schedule: Schedule, scale: float = 1.0
) -> Denoiser:
    """Classifier guidance (Dhariwal and Nichol 2021, section 4): towards what a classifier of noisy states
    takes for the wanted class, x̂0 ← x̂0 + scale (sigma² / alpha) ∇_x log p(class | x, t).

    Args:
        log_probability: from noisy states (B, N, ...), t (B,), masks and conditions to (B,), differentiable.
        scale: 1 is Bayes' rule, more exaggerates.

    The network itself is not differentiated. Errors: as of `steer`.
    """

    def guided(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
        with graph():
            here = leaves(x)
            value = log_probability(here, t, mask, cond)
            _check(value, len(t), "log probability")
            slope = pull({"log": value}, here, {"log": value.new_ones(len(t))})
        return added(denoiser(x, t, mask, cond), slope, scale * tweedie_factor(schedule, t))

    return denoiser if scale == 0 else guided


def _check(value: Tensor, size: int, what: str) -> None:
    if value.shape != (size,):
        raise UsageError(f"the {what} must be one number a sample, ({size},), and is {tuple(value.shape)}")
    if not value.requires_grad:
        raise UsageError(f"the {what} has no gradient: compute it from the states by torch operations")
