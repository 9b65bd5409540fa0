"""A solver of one's own: two-step Adams-Bashforth in a dozen lines, against the exact answer.

    python examples/own_solver.py            a second; prints errors beside those of three shipped solvers

A solver is a function that fills a table. It does no tensor arithmetic: the loop that runs the table,
guidance, inpainting, resuming and CUDA graphs work for it at once.
"""

import math
from itertools import pairwise

import torch

from polydiff.engine.loop import finish, start
from polydiff.engine.nodes import nodes_at
from polydiff.engine.processes import Gaussian
from polydiff.engine.schedules import RectifiedFlow
from polydiff.engine.solvers import make_table
from polydiff.engine.table import Row, Table
from polydiff.testing.closed_forms import mixture


def bashforth(schedule, times) -> Table:
    """Two-step Adams-Bashforth on the flow of x / alpha against rho = sigma / alpha.

    With y = x / alpha the probability-flow ODE is dy / d rho = ε̂. ε̂ is read out as x̂0 - x / alpha, which is
    -rho ε̂: that is what p = -1 / alpha asks for, and why each weight is divided by its own rho. A line
    through the newest two read-outs, integrated over a step of length h, has the weights
    h (1 + r / 2) and -h r / 2, where r is this step's length over the last one's.
    """
    rows, before = [], None
    for node, target in pairwise(nodes_at(schedule, [float(t) for t in times])):
        if node.alpha == 0 or target.sigma == 0:  # an end of time: a step of DDIM, exact there
            a = target.sigma / node.sigma
            rows.append(Row(t=node.t, a=a, b=(target.alpha - a * node.alpha,)))
            before = None
            continue
        rho = node.sigma / node.alpha
        h = target.sigma / target.alpha - rho
        r = 0.0 if before is None else h / (rho - before)
        weights = (h * (1 + r / 2) / rho,) if before is None else (h * (1 + r / 2) / rho, -h * r / 2 / before)
        b = tuple(-target.alpha * w for w in weights)
        rows.append(Row(t=node.t, a=target.alpha / node.alpha, b=b, p=-1 / node.alpha))
        before = rho
    return Table(rows=tuple(rows), solver="bashforth.v1")


def error(solver, steps: int) -> float:
    """The root mean square distance to where the exact flow of a mixture ends, over 256 seeds."""
    schedule, data = RectifiedFlow(), mixture()
    table = make_table(solver, schedule, steps)
    exact = make_table("heun", schedule, 400)
    processes = {"x": Gaussian()}

    def end(table: Table) -> torch.Tensor:
        run = start(processes, schedule, table, list(range(256)), shapes={"x": (1, 3)}, dtype=torch.float64)
        return finish(data.denoiser(schedule), processes, table, run).x["x"]

    return math.sqrt((end(table) - end(exact)).square().mean())


if __name__ == "__main__":
    print(make_table(bashforth, RectifiedFlow(), steps=4), end="\n\n")
    print(f"{'steps':>20}" + "".join(f"{steps:>10}" for steps in (10, 20, 40)))
    for solver in ("ddim", bashforth, "adams", "dpmpp"):
        name = solver if isinstance(solver, str) else solver.__name__
        print(f"{name:>20}" + "".join(f"{error(solver, steps):10.5f}" for steps in (10, 20, 40)))
