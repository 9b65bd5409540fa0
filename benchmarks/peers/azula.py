"""azula. Its samplers end at sigma_min: their coefficients are not finite at 0."""

from __future__ import annotations

import types
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers import SIGMA_MAX, SIGMA_MIN, Columns, Sampler, levels, steps_within
from benchmarks.problems import Mixture

#: the lowest alpha and sigma of its own rectified schedule
SMALLEST = 1e-3
SAMPLERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("DDIM", {}),
    ("Euler", {}),
    ("Heun", {}),
    *[(name, {"order": order}) for name in ("zAB", "vAB", "zEAB", "xEAB", "REAB") for order in (2, 3, 4)],
)


def columns(flow: bool) -> Columns:
    import azula.sample  # noqa: F401

    grids = ("karras", "exponential", *(["uniform"] if flow else []))
    return {
        f"azula {name}{''.join(f'-{order}' for order in options.values())} {grid}": _sampler(
            name, grid, flow, options
        )
        for name, options in SAMPLERS
        for grid in grids
    }


def _sampler(name: str, grid: str, flow: bool, options: dict[str, Any]) -> Sampler:
    import azula.sample
    from azula.denoise import Denoiser
    from azula.noise import RectifiedSchedule, Schedule

    high, low = (1 / SMALLEST, SMALLEST) if flow else (SIGMA_MAX, SIGMA_MIN)

    class Grid(Schedule):
        """At t from 0 to 1 the levels of a grid; steps are even in t."""

        def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
            count = round(1 / float(self.step))
            sigma = levels(grid, count + 1, high, low).flip(0)[(t.double() * count).round().long()]
            return (1 / (1 + sigma), sigma / (1 + sigma)) if flow else (torch.ones_like(sigma), sigma)

    class Exact(Denoiser):
        def __init__(self, problem: Mixture, steps: int) -> None:
            super().__init__()
            self.schedule = RectifiedSchedule(SMALLEST, SMALLEST) if grid == "uniform" else Grid()
            self.schedule.step, self.problem = 1 / steps, problem

        def forward(self, x: Tensor, t: Tensor, **_: Any) -> Any:
            return types.SimpleNamespace(mean=self.problem.denoise(x, *self.schedule(t)))

    def run(problem: Mixture, noise: Tensor, calls: int) -> Tensor:
        steps = steps_within(calls, 2) if name == "Heun" else calls
        exact = Exact(problem, steps)
        sampler = getattr(azula.sample, f"{name}Sampler")(
            exact, steps=steps, silent=True, dtype=torch.float64, **options
        )
        return sampler(noise if flow else SIGMA_MAX * noise)

    return run
