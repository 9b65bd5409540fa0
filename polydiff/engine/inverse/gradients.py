"""Derivatives of a denoiser inside a loop that keeps no graph.

The Jacobian J of x̂0 by x is also the covariance of what x0 can still be, but for a factor (Robbins 1956;
Efron 2011): with x = alpha x0 + sigma eps

    ∇_x log p(x) = (alpha x̂0 - x) / sigma²,        Cov[x0 | x] = (sigma² / alpha) J

so adding ∇_x log p(y | x) to the score adds (sigma² / alpha) ∇_x log p(y | x) to x̂0.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from polydiff.engine.denoisers import State
from polydiff.engine.schedules import Schedule
from polydiff.engine.states import per_sample

__all__ = ["LOWEST_ALPHA", "added", "graph", "leaves", "pull", "scaled", "tweedie_factor"]

#: below this alpha x says nothing of x0, and the derivative of x̂0 is rounding error
LOWEST_ALPHA = 1e-6


@contextmanager
def graph() -> Iterator[None]:
    """A context in which torch records gradients, also inside inference_mode or no_grad."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def leaves(x: State) -> State:
    """Copies of the tensors of a state as leaves of a new autograd graph. Call it inside `graph`."""
    return {k: v.detach().clone().requires_grad_(v.is_floating_point()) for k, v in x.items()}


def pull(outputs: State, inputs: State, weights: State) -> State:
    """Jᵀ weights: the gradient of Σ weights · outputs by each of the inputs that matter to them."""
    used = [name for name in weights if name in outputs and outputs[name].requires_grad]
    moved = [name for name in inputs if inputs[name].requires_grad]
    if not used:
        return {}
    found = torch.autograd.grad(
        [outputs[name] for name in used],
        [inputs[name] for name in moved],
        [weights[name].to(outputs[name]) for name in used],
        retain_graph=True,
        allow_unused=True,
    )
    return {name: value for name, value in zip(moved, found, strict=True) if value is not None}


def tweedie_factor(schedule: Schedule, t: Tensor) -> Tensor:
    """sigma² / alpha at t (B,), zero where there is no signal to follow."""
    alpha = schedule.alpha(t)
    return torch.where(alpha > LOWEST_ALPHA, schedule.sigma(t) ** 2 / alpha.clamp(min=LOWEST_ALPHA), 0.0)


def scaled(state: State, factor: Tensor) -> State:
    """factor · state, factor (B,)."""
    return {name: per_sample(factor, value) * value for name, value in state.items()}


def added(state: State, change: State, factor: Tensor) -> State:
    """state + factor · change, detached; factor (B,). Components without a change stay."""
    return {
        name: value.detach() + per_sample(factor, value) * change[name] if name in change else value.detach()
        for name, value in state.items()
    }
