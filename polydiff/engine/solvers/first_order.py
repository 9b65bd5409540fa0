"""First-order solvers: one read-out a step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from polydiff.engine.nodes import Node, churned, fill_table
from polydiff.engine.schedules import Schedule
from polydiff.engine.solvers.rows import ddim_row, remaining
from polydiff.engine.table import Row, Table
from polydiff.errors import UsageError

__all__ = ["ddim", "ddpm"]


def ddim(schedule: Schedule, times: Tensor | Sequence[float], eta: float = 0.0, churn: float = 0.0) -> Table:
    """DDIM (Song et al. 2021, eq. 12 and 16), which is Euler's method in sigma / alpha: exact where x̂0 does
    not change along a step.

    Args:
        eta: 0 follows the ODE, 1 is ancestral sampling; in between a share of the noise is fresh.
        churn: noise that is added before each step, as in `heun`.
    """
    if not 0 <= eta <= 1:
        raise UsageError(f"eta must lie between 0 and 1, got {eta!r}")
    given = {"eta": eta, "churn": churn}
    used = ", ".join(f"{name}={value:g}" for name, value in given.items() if value)
    return _first_order(f"ddim({used})" if used else "ddim", schedule, churned(schedule, times, churn), eta)


def ddpm(schedule: Schedule, times: Tensor | Sequence[float], noise_scale: float = 1.0) -> Table:
    """Ancestral sampling: x_s drawn from q(x_s | x_t, x̂0) (Ho et al. 2020, eq. 6-7).

    Args:
        noise_scale: of the noise that is added. Below 1 samples gather where the data is dense: fewer odd
            ones and less variety (Yim et al. 2023, FrameDiff). Gaussian data of deviation s, begun far enough
            out, comes out with deviation noise_scale · s.
    """
    if not 0 <= noise_scale <= 1:
        raise UsageError(f"noise_scale must lie between 0 and 1, got {noise_scale!r}")

    name = "ddpm" if noise_scale == 1 else f"ddpm(noise_scale={noise_scale:g})"
    return _first_order(name, schedule, times, 1.0, noise_scale)


def _first_order(
    name: str, schedule: Schedule, times: Tensor | Sequence[float], eta: float, noise_scale: float = 1.0
) -> Table:
    """Steps that replace the share eta of what ancestral sampling replaces of the noise."""

    def fill(nodes: list[Node]) -> list[Row]:
        rows = []
        for node, target in pairwise(nodes):
            fresh = 1 - remaining(node, target) ** 2
            kept = target.sigma * math.sqrt(1 - eta**2 * fresh)
            added = noise_scale * eta * target.sigma * math.sqrt(fresh)
            rows.append(ddim_row(node, target, kept, added))
        return rows

    return fill_table(name, schedule, times, fill)
