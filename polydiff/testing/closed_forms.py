"""Distributions whose denoiser and probability-flow map are known, for tests of the engine."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from polydiff.engine.loop import Run, sample
from polydiff.engine.processes import Fixed, Gaussian
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

ALL_SCHEDULES: dict[str, Schedule] = {name: make() for name, make in SCHEDULES.items()}
ALL_SCHEDULES["shifted"] = shifted(RectifiedFlow(), 3.0)

PROCESSES = {
    "gaussian": {"x": Gaussian(), "label": Fixed()},
    "centred": {"x": Gaussian(centre=True), "label": Fixed()},
}

# solver, options, observed order of convergence
SOLVER_ORDERS = [
    ("ddim", {}, 1),
    *[("adams", {"order": k, "readout": "eps"}, k) for k in (1, 2, 3, 4)],
    *[("adams", {"order": k, "readout": "x0"}, k) for k in (1, 2, 3, 4)],
    *[("adams", {"order": k, "readout": "v"}, k) for k in (1, 2, 3, 4)],
    ("adams", {"order": 3, "readout": "v", "deviation": 4.0}, 3),
    # weights of equal steps on a step that is exponential: second order at most
    *[("adams", {"order": k, "weights": "uniform"}, min(k, 2)) for k in (1, 2, 3, 4)],
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
SINGLESTEP = ("heun", "dpm2", "dpmpp_singlestep")  # several calls a step
STOCHASTIC = [
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
ALL_SOLVERS = [(name, options) for name, options, _ in SOLVER_ORDERS] + STOCHASTIC


def named(case: object) -> str:
    """A readable test id for a solver and its options."""
    name, options, *_ = case  # type: ignore[misc]
    return "-".join([name, *[f"{key}={value}" for key, value in options.items()]])


def scalar(function: object, t: float) -> float:
    return float(function(torch.tensor(t, dtype=torch.float64)))  # type: ignore[operator]


@dataclass(frozen=True, eq=False)
class Mixture:
    """Equal weights, means and variances (K, C), float64; one component is an anisotropic Gaussian."""

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

    def denoiser(self, schedule: Schedule):
        """The exact denoiser of component "x"; every sample of the batch must be at the same time."""

        def call(x, t, mask, cond):
            alpha, sigma = float(schedule.alpha(t[0])), float(schedule.sigma(t[0]))
            return {"x": self.denoise(x["x"], alpha, sigma)}

        return call

    def path(self, y: Tensor, lams: list[float], substeps: int = 24) -> list[Tensor]:
        """y = x / alpha at each lambda along the ODE, by classical Runge-Kutta in lambda."""

        def slope(y: Tensor, lam: float) -> Tensor:
            rho = math.exp(-lam)
            return -(
                y - self.denoise(y, 1.0, rho)
            )  # dy = eps d rho, eps = (y - x0) / rho, d rho = -rho d lam

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
    means = torch.tensor([[1.0, 0.0, 0.3], [-0.8, 0.6, 0.0], [-0.2, -1.0, -0.3]]).double()
    return Mixture(means, torch.tensor([[0.2, 0.3, 0.1], [0.3, 0.2, 0.2], [0.25, 0.25, 0.3]]).double())


def times_at(schedule: Schedule, lams: list[float]) -> list[float]:
    return schedule.t_of_log_snr(2 * torch.tensor(lams, dtype=torch.float64)).tolist()


def finish(denoiser, processes, table: Table, run: Run, mask=None, cond=None) -> Run:
    """The run after its last row."""
    return deque(sample(denoiser, processes, table, run, mask, cond), maxlen=1).pop()
