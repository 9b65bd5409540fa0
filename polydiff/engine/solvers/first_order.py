"""First-order solvers: one read-out a step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from polydiff.engine.nodes import Node, fill_table
from polydiff.engine.schedules import Schedule
from polydiff.engine.solvers.rows import ddim_row, remaining
from polydiff.engine.table import Row, Table
from polydiff.errors import UsageError


def ddim(schedule: Schedule, times: Tensor | Sequence[float], eta: float = 0.0) -> Table:
    """DDIM (Song et al. 2021, eq. 12 and 16): exact where x̂0 does not change along a step.

    Args:
        eta: 0 follows the ODE, 1 is ancestral sampling; in between a share of the noise is fresh.
    """
    if not 0 <= eta <= 1:
        raise UsageError(f"eta must lie between 0 and 1, got {eta!r}")

    def fill(nodes: list[Node]) -> list[Row]:
        rows = []
        for node, target in pairwise(nodes):
            fresh = 1 - remaining(node, target) ** 2
            kept = target.sigma * math.sqrt(1 - eta**2 * fresh)
            rows.append(ddim_row(node, target, kept, eta * target.sigma * math.sqrt(fresh)))
        return rows

    return fill_table(f"ddim(eta={eta:g})" if eta else "ddim", schedule, times, fill)


def ddpm(schedule: Schedule, times: Tensor | Sequence[float], noise_scale: float = 1.0) -> Table:
    """Ancestral sampling: x_s drawn from q(x_s | x_t, x̂0) (Ho et al. 2020, eq. 6-7).

    Args:
        noise_scale: of the noise that is added. Below 1 samples gather where the data is dense: fewer odd
            ones and less variety (Yim et al. 2023, FrameDiff). Gaussian data of deviation s, begun far enough
            out, comes out with deviation noise_scale · s.
    """
    if not 0 <= noise_scale <= 1:
        raise UsageError(f"noise_scale must lie between 0 and 1, got {noise_scale!r}")

    def fill(nodes: list[Node]) -> list[Row]:
        rows = []
        for node, target in pairwise(nodes):
            shrink = node.alpha / target.alpha
            between = max(node.sigma**2 - (shrink * target.sigma) ** 2, 0.0)
            share = between / node.sigma**2
            rows.append(
                Row(
                    t=node.t,
                    a=shrink * (target.sigma / node.sigma) ** 2,
                    b=(target.alpha * share,),
                    c=noise_scale * target.sigma * math.sqrt(share),
                )
            )
        return rows

    name = "ddpm" if noise_scale == 1 else f"ddpm(noise_scale={noise_scale:g})"
    return fill_table(name, schedule, times, fill)
