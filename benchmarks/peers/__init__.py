"""The same denoiser and the same starting noise, handed to each library in its own way.

A `Sampler` takes a problem of `problems.py`, standard normal noise (rows, D) and a number of network calls,
and returns the end point. On EDM (alpha = 1) the run begins at sigma = 80 times the noise, on rectified flow
at the noise itself. Each module of this package is a library: its `columns(flow)` are all its deterministic
samplers with a fixed number of calls, on all grids that it has, by name.
"""

from __future__ import annotations

import importlib
import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.problems import Mixture
from polydiff.engine.loop import Run, sample
from polydiff.engine.processes import Gaussian
from polydiff.engine.schedules import EDM, RectifiedFlow, Schedule
from polydiff.engine.solvers import make_table

SIGMA_MAX, SIGMA_MIN = 80.0, 0.002
Sampler = Callable[[Mixture, Tensor, int], Tensor]
Columns = Mapping[str, Sampler]
LIBRARIES = ("azula", "diffusers", "k_diffusion", "torchdiffeq")


def schedule_of(flow: bool) -> Schedule:
    return RectifiedFlow() if flow else EDM(SIGMA_MAX)


def levels(grid: str, count: int, high: float = SIGMA_MAX, low: float = SIGMA_MIN) -> Tensor:
    """`count` falling noise levels sigma / alpha from high to low, as these libraries lay them, float64."""
    ramp = torch.linspace(0, 1, count, dtype=torch.float64)
    if grid == "karras":  # rho = 7
        return (high ** (1 / 7) + ramp * (low ** (1 / 7) - high ** (1 / 7))) ** 7
    if grid == "exponential":
        return torch.exp(math.log(high) + ramp * math.log(low / high))
    raise ValueError(grid)


def steps_within(calls: int, each: int, last: int | None = None) -> int:
    """As many steps of `each` calls, the last one of `last`, as `calls` are enough for."""
    return max((calls + each - (last or each)) // each, 1)


def polydiff(
    flow: bool, solver: str = "adams", grid: str | None = None, options: Mapping[str, Any] | None = None
) -> Sampler:
    schedule, process = schedule_of(flow), {"x": Gaussian()}

    def run(problem: Mixture, noise: Tensor, calls: int) -> Tensor:
        steps = steps_within(calls, 2, 1) if solver in ("heun", "dpm2") else calls
        table = make_table(solver, schedule, steps, grid, options)

        def denoiser(state: Any, t: Tensor, mask: Any, cond: Any) -> dict[str, Tensor]:
            return {"x": problem.denoise(state["x"], schedule.alpha(t[:1]), schedule.sigma(t[:1]))}

        x = noise[:, None] if flow else SIGMA_MAX * noise[:, None]
        first = Run(x={"x": x}, h={"x": ()}, anchor={}, row=0, seeds=torch.arange(len(x)))
        return deque(sample(denoiser, process, table, first), maxlen=1).pop().x["x"][:, 0]

    return run


def ours(flow: bool) -> Columns:
    wanted: dict[str, tuple[Any, ...]] = {
        "default": (),
        "adams-4": ("adams", None, {"order": 4}),
        "adams-v": ("adams", "uniform_log_snr", {"readout": "v"}),
        "adams-v of deviation 4": ("adams", None, {"readout": "v", "deviation": 4.0}),
        "iPNDM-3": ("ipndm", None, {}),
        "dpmpp-2": ("dpmpp", None, {"order": 2}),
        "dpmpp-2 log-SNR": ("dpmpp", "uniform_log_snr", {"order": 2}),
        "dpmpp-3 log-SNR": ("dpmpp", "uniform_log_snr", {"order": 3}),
        "unipc-3": ("unipc",),
        "deis-3": ("deis",),
        "heun": ("heun",),
        "ddim": ("ddim",),
    }
    return {f"polydiff {name}": polydiff(flow, *arguments) for name, arguments in wanted.items()}


def available(flow: bool) -> dict[str, Sampler]:
    """Every column of the comparison whose library is installed; the others are named."""
    columns = dict(ours(flow))
    for library in LIBRARIES:
        try:
            columns |= importlib.import_module(f"benchmarks.peers.{library}").columns(flow)
        except ImportError as error:
            print(f"left out: {library} ({error})")
    return columns
