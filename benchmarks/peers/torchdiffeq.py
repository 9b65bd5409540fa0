"""torchdiffeq's fixed-step methods on rectified flow: what flow_matching's ODE solver calls."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.peers import Columns, Sampler, levels, steps_within
from benchmarks.problems import Mixture

METHODS = {"euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4}


def columns(flow: bool) -> Columns:
    import torchdiffeq  # noqa: F401

    if not flow:
        return {}
    return {
        f"torchdiffeq {method} {grid}": _sampler(method, each, grid)
        for method, each in METHODS.items()
        for grid in ("uniform", "karras", "exponential")
    }


def times(grid: str, steps: int) -> Tensor:
    """steps + 1 times from 1 to 0."""
    if grid == "uniform":
        return torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    inner = levels(grid, steps + 1)[1:-1]
    ends = torch.tensor([1.0, 0.0], dtype=torch.float64)
    return torch.cat([ends[:1], inner / (1 + inner), ends[1:]])


def _sampler(method: str, each: int, grid: str) -> Sampler:
    from torchdiffeq import odeint

    def run(problem: Mixture, noise: Tensor, calls: int) -> Tensor:
        def flow(t: Tensor, x: Tensor) -> Tensor:
            t = t.clamp(min=1e-6)  # the quotient has a limit at 0
            return (x - problem.denoise(x, 1 - t, t)) / t

        return odeint(flow, noise, times(grid, steps_within(calls, each)), method=method)[-1]

    return run
