"""Data whose exact denoiser is known, to test solvers: the order of convergence, and whether samples come
from the right distribution.

>>> from polydiff.engine.loop import start
>>> from polydiff.engine.solvers import make_table
>>> schedule, processes = ALL_SCHEDULES["edm"], {"x": Gaussian()}
>>> table = make_table("ddim", schedule, steps=200)         # or your own solver, by its function
>>> run = start(processes, schedule, table, [0, 1], {"x": (256, 3)})
>>> x = finish(gaussian().denoiser(schedule), processes, table, run).x["x"]
>>> [round(value, 1) for value in x.flatten(0, 1).std(0).tolist()]
[1.0, 0.5, 0.2]
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from polydiff.engine.denoisers import Cond, Denoiser, Mask, State
from polydiff.engine.loop import Run, sample
from polydiff.engine.processes import Fixed, Gaussian, Process
from polydiff.engine.schedules import SCHEDULES, RectifiedFlow, Schedule, shifted
from polydiff.engine.table import Table

__all__ = [
    "ALL_SCHEDULES",
    "ALL_SOLVERS",
    "PROCESSES",
    "SINGLESTEP",
    "SOLVER_ORDERS",
    "STOCHASTIC",
    "Mixture",
    "finish",
    "gaussian",
    "mixture",
    "named",
    "scalar",
    "times_at",
]

#: every schedule that ships, with its default parameters, and one that is shifted
ALL_SCHEDULES: dict[str, Schedule] = {name: make() for name, make in SCHEDULES.items()}
ALL_SCHEDULES["shifted"] = shifted(RectifiedFlow(), 3.0)

#: a vector component, free or with zero centre of mass, beside one that is carried along
PROCESSES: dict[str, dict[str, Process]] = {
    "gaussian": {"x": Gaussian(), "label": Fixed()},
    "centred": {"x": Gaussian(centre=True), "label": Fixed()},
}

#: deterministic solvers: name, options, observed order of convergence
SOLVER_ORDERS: list[tuple[str, dict[str, Any], int]] = [
    ("ddim", {}, 1),
    *[("adams", {"order": k, "readout": "eps"}, k) for k in (1, 2, 3, 4)],
    *[("adams", {"order": k, "readout": "x0"}, k) for k in (1, 2, 3, 4)],
    *[("adams", {"order": k, "readout": "v"}, k) for k in (1, 2, 3, 4)],
    ("adams", {"order": 3, "readout": "v", "deviation": 4.0}, 3),
    # weights of equal steps on a step that is exponential: second order at most
    *[("ipndm", {"order": k}, min(k, 2)) for k in (1, 2, 3, 4)],
    *[("dpmpp", {"order": k}, k) for k in (1, 2, 3)],
    *[("deis", {"order": k}, k) for k in (1, 2, 3, 4)],
    *[("lms", {"order": k}, k) for k in (1, 2, 3, 4)],
    ("heun", {}, 2),
    ("dpm2", {}, 2),
    *[("dpmpp_singlestep", {"order": k}, k) for k in (2, 3)],
    *[("unipc", {"order": k, "corrector": False}, k) for k in (1, 2, 3)],
    *[("unipc", {"order": k}, k + 1) for k in (1, 2, 3)],
    ("sa", {"order": 3, "tau": 0.0, "corrector": 0}, 3),
    ("sa", {"order": 2, "tau": 0.0, "corrector": 2}, 3),
    ("sa", {"order": 3, "tau": 0.0, "corrector": 3}, 4),
]
#: solvers with several network calls a step
SINGLESTEP = ("heun", "dpm2", "dpmpp_singlestep")
#: solvers that add noise: name, options
STOCHASTIC: list[tuple[str, dict[str, Any]]] = [
    ("ddpm", {}),
    ("ddim", {"eta": 1.0}),
    ("ddim", {"eta": 0.5}),
    ("ddim", {"churn": 20.0}),
    ("dpmpp", {"order": 1, "eta": 1.0}),
    ("dpmpp", {"order": 2, "eta": 1.0}),
    ("dpmpp", {"order": 3, "eta": 1.0}),
    ("dpmpp", {"order": 2, "eta": 0.5}),
    ("heun", {"eta": 1.0}),
    ("heun", {"churn": 20.0}),
    ("dpm2", {"eta": 1.0}),
    ("dpmpp_singlestep", {"order": 2, "eta": 1.0}),
    ("dpmpp_singlestep", {"order": 3, "eta": 0.5}),
    *[("sa", {"order": k, "tau": 1.0, "corrector": c}) for k, c in ((1, 1), (2, 0), (3, 3))],
    ("sa", {"order": 3, "tau": 0.4}),
    *[("er_sde", {"order": k}) for k in (1, 2, 3)],
]
#: every solver with options that matter: name, options
ALL_SOLVERS = [(name, options) for name, options, _ in SOLVER_ORDERS] + STOCHASTIC


def named(case: tuple[Any, ...]) -> str:
    """A readable test id for a solver and its options: a case of SOLVER_ORDERS or STOCHASTIC.

    >>> named(("ddim", {"eta": 0.5}))
    'ddim-eta=0.5'
    """
    name, options = case[:2]
    return "-".join([name, *[f"{key}={value}" for key, value in options.items()]])


def scalar(function: Callable[[Tensor], Tensor], t: float) -> float:
    """The value of a schedule's function, such as `schedule.alpha`, at one time."""
    return float(function(torch.tensor(t, dtype=torch.float64)))


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of K Gaussians of equal weight over the features (C,) of each node.

    means, variances: (K, C), float64. With K = 1 it is an anisotropic Gaussian, whose probability-flow map is
    known in closed form too.
    """

    means: Tensor
    variances: Tensor

    def denoise(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """E[x0 | x_t], computed with elementwise operations in the dtype of x."""
        means, variances = self.means.to(x.dtype), self.variances.to(x.dtype)
        x = x.unsqueeze(-2)
        variance = alpha**2 * variances + sigma**2
        residual = x - alpha * means
        logits = -0.5 * (residual**2 / variance + variance.log()).sum(-1)
        posterior = means + alpha * variances / variance * residual
        return (logits.softmax(-1).unsqueeze(-1) * posterior).sum(-2)

    def denoiser(self, schedule: Schedule) -> Denoiser:
        """The exact denoiser of component "x"; every sample of the batch must be at the same time."""

        def call(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
            alpha, sigma = float(schedule.alpha(t[0])), float(schedule.sigma(t[0]))
            return {"x": self.denoise(x["x"], alpha, sigma)}

        return call

    def path(self, y: Tensor, lams: list[float], substeps: int = 24) -> list[Tensor]:
        """y = x / alpha at each lambda along the ODE, by classical Runge-Kutta in lambda."""

        def slope(y: Tensor, lam: float) -> Tensor:
            rho = math.exp(-lam)
            # dy = eps d rho, eps = (y - x0) / rho, d rho = -rho d lam
            return -(y - self.denoise(y, 1.0, rho))

        out = [y]
        for start, end in pairwise(lams):
            h = (end - start) / substeps
            for i in range(substeps):
                lam = start + i * h
                k1 = slope(y, lam)
                k2 = slope(y + h / 2 * k1, lam + h / 2)
                k3 = slope(y + h / 2 * k2, lam + h / 2)
                k4 = slope(y + h * k3, lam + h)
                y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            out.append(y)
        return out


def gaussian() -> Mixture:
    """Zero mean, standard deviations 1, 0.5 and 0.2."""
    return Mixture(torch.zeros(1, 3).double(), torch.tensor([[1.0, 0.25, 0.04]]).double())


def mixture() -> Mixture:
    """Three overlapping anisotropic Gaussians in three dimensions."""
    means = torch.tensor([[1.0, 0.0, 0.3], [-0.8, 0.6, 0.0], [-0.2, -1.0, -0.3]]).double()
    return Mixture(means, torch.tensor([[0.2, 0.3, 0.1], [0.3, 0.2, 0.2], [0.25, 0.25, 0.3]]).double())


def times_at(schedule: Schedule, lams: list[float]) -> list[float]:
    """The times at which lambda = log(alpha / sigma) has these values."""
    return schedule.t_of_log_snr(2 * torch.tensor(lams, dtype=torch.float64)).tolist()


def finish(
    denoiser: Denoiser,
    processes: Mapping[str, Process],
    table: Table,
    run: Run,
    mask: Mask | None = None,
    cond: Cond | None = None,
) -> Run:
    """The run after its last row, by the plain loop: no memory is reused."""
    return deque(sample(denoiser, processes, table, run, mask, cond), maxlen=1).pop()
