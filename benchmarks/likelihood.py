"""How far the likelihood is from the closed form, and a state from itself there and back:
`python -m benchmarks.likelihood`. See README.md."""

from __future__ import annotations

import json
import math
from collections import deque
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.posterior.inverses import draws
from benchmarks.posterior.ours import PROCESS, SCHEDULE, denoiser_of
from benchmarks.problems import Mixture, problems
from polydiff.engine.loop import sample, start
from polydiff.engine.ode.encoding import encode
from polydiff.engine.ode.likelihood import log_likelihood
from polydiff.engine.solvers import make_table


def likelihoods() -> dict[str, dict[str, float]]:
    """Mean error of the log density of 8 draws, over its mean size."""
    result = {}
    for problem in problems()[:4]:
        x = draws(problem, 8, 3)
        parts = problem.weights.log() - 0.5 * (
            (x[:, None] - problem.means) ** 2 / problem.variances + (2 * math.pi * problem.variances).log()
        ).sum(-1)
        exact = parts.logsumexp(1)

        def error(problem: Mixture = problem, x: Tensor = x, exact: Tensor = exact, **options: Any) -> float:
            state = {"x": x[:, None]}
            found = log_likelihood(denoiser_of(problem), PROCESS, SCHEDULE, state, **options)
            return float((found.log_density - exact).abs().mean() / exact.abs().mean())

        result[problem.name] = {
            "exact trace, 1e-4": error(),
            "exact trace, 1e-6": error(rtol=1e-6, atol=1e-6),
            "16 probes, 1e-4": error(probes=16, seeds=range(8)),
        }
    return result


def round_trips() -> dict[str, dict[str, float]]:
    """Root mean square distance of 64 draws from what 20 and 100 steps there and back make of them."""
    result: dict[str, dict[str, float]] = {}
    for problem in problems():
        x, call = draws(problem, 64, 5)[:, None], denoiser_of(problem)
        result[problem.name] = {}
        for steps in (20, 100):
            noisy = encode(call, PROCESS, SCHEDULE, {"x": x}, steps=steps)
            table = make_table("adams", SCHEDULE, steps)
            run = start(PROCESS, SCHEDULE, table, range(64), noisy=noisy, dtype=torch.float64)
            back = deque(sample(call, PROCESS, table, run), maxlen=1).pop().x["x"]
            result[problem.name][str(steps)] = float((back - x).square().mean().sqrt())
    return result


def main() -> None:
    torch.set_num_threads(1)
    result = {"log_density_relative_error": likelihoods(), "round_trip_rms": round_trips()}
    print(json.dumps(result, indent=1), flush=True)
    Path(__file__).with_name("likelihood.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
