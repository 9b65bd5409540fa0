"""polydiff's methods on the inverse problems."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers import SIGMA_MAX
from benchmarks.posterior.inverses import DRAWS, TRUTHS, Inverse, Method
from benchmarks.problems import Mixture
from polydiff.engine.denoisers import Denoiser
from polydiff.engine.guidance import inpaint
from polydiff.engine.inverse import posterior
from polydiff.engine.inverse.particles import measured, sample_particles, systematic
from polydiff.engine.inverse.posterior import Measurement
from polydiff.engine.loop import sample, start
from polydiff.engine.noise import uniform
from polydiff.engine.processes import Gaussian
from polydiff.engine.schedules import EDM
from polydiff.engine.solvers import make_table

SCHEDULE = EDM(SIGMA_MAX)
PROCESS = {"x": Gaussian()}


def denoiser_of(prior: Mixture) -> Denoiser:
    """The exact one, each sample of a batch at a time of its own."""

    def call(x: Any, t: Tensor, mask: Any, cond: Any) -> dict[str, Tensor]:
        alpha, sigma = (f(t)[:, None, None, None] for f in (SCHEDULE.alpha, SCHEDULE.sigma))
        return {"x": prior.denoise(x["x"], alpha, sigma)}

    return call


def operator(problem: Inverse, y: Tensor) -> Measurement:
    return Measurement(lambda x0, mask: x0["x"][:, 0] @ problem.A.T, y, problem.std)


def ours(
    wrap: Callable[[Denoiser, Inverse, Tensor], Denoiser], solver: str = "ddpm", grid: str = "karras"
) -> Method:
    def run(problem: Inverse, calls: int) -> Tensor:
        y = problem.y.repeat_interleave(DRAWS, 0)
        steps = calls // 4 + 1 if grid == "repaint" else calls  # four rounds of all but the last piece
        table = make_table(solver, SCHEDULE, steps, grid)
        denoiser = wrap(denoiser_of(problem.prior), problem, y)
        shape = {"x": (1, problem.prior.dimension)}
        run = start(PROCESS, SCHEDULE, table, range(len(y)), shape, dtype=torch.float64)
        x = deque(sample(denoiser, PROCESS, table, run), maxlen=1).pop().x["x"]
        return x.reshape(TRUTHS, DRAWS, -1)

    return run


def linear(name: str, **options: Any) -> Callable[[Denoiser, Inverse, Tensor], Denoiser]:
    """The denoiser is exact, and so is its Jacobian: it is believed at every noise."""
    method = getattr(posterior, name)
    if name != "diffpir":
        options["jacobian_below"] = math.inf
    return lambda denoiser, problem, y: method(denoiser, operator(problem, y), SCHEDULE, **options)


def replaced(denoiser: Denoiser, problem: Inverse, y: Tensor) -> Denoiser:
    known = {"x": (y @ problem.A)[:, None]}
    keep = {"x": problem.A.sum(0).bool().expand_as(known["x"])}
    return inpaint(denoiser, known, keep)


def particles(bend: float) -> Method:
    def run(problem: Inverse, calls: int) -> Tensor:
        table = make_table("ddpm", SCHEDULE, calls)
        y = problem.y.repeat_interleave(DRAWS, 0)
        last = deque(
            sample_particles(
                denoiser_of(problem.prior),
                PROCESS,
                SCHEDULE,
                table,
                measured(operator(problem, y), SCHEDULE),
                range(TRUTHS),
                DRAWS,
                {"x": (1, problem.prior.dimension)},
                bend=bend,
                dtype=torch.float64,
            ),
            maxlen=1,
        ).pop()
        chosen = systematic(last.weights, uniform(range(TRUTHS), "drawn", 0, (1,)), DRAWS)
        return last.x["x"][torch.arange(TRUTHS)[:, None], chosen, 0]

    return run


def methods() -> dict[str, Method]:
    return {
        "polydiff mmps, ddpm": ours(linear("mmps", iterations=16)),
        "polydiff mmps, adams": ours(linear("mmps", iterations=16), "adams"),
        "polydiff mmps, ddpm, 3 iterations": ours(linear("mmps")),
        "polydiff pigdm, ddpm": ours(linear("pigdm")),
        "polydiff pigdm, adams": ours(linear("pigdm"), "adams"),
        "polydiff diffpir 1, ddpm": ours(linear("diffpir")),
        "polydiff diffpir 10, ddpm": ours(linear("diffpir", strength=10.0)),
        "polydiff dps 1, ddpm": ours(linear("dps")),
        "polydiff dps 0.3, ddpm": ours(linear("dps", scale=0.3)),
        "polydiff particles, twisted": particles(1.0),
        "polydiff particles, bootstrap": particles(0.0),
        "polydiff inpaint, ddpm": ours(replaced),
        "polydiff inpaint, ddpm on repaint": ours(replaced, "ddpm", "repaint"),
    }
