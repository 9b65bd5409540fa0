"""diffusers' schedulers, each on every grid, with the levels of the process in the place of their own.

Those written for images keep the state x / √(1 + sigma²), or with `use_flow_sigmas` x / (1 + sigma), and read
nothing but their `sigmas`; their discrete time steps go unused.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers import SIGMA_MAX, SIGMA_MIN, Columns, Sampler, levels, steps_within
from benchmarks.problems import Mixture

#: in the variance-preserving or the rectified state: class, options
SCALED: tuple[tuple[str, dict[str, Any]], ...] = (
    *[
        ("DPMSolverMultistep", {"solver_order": order, "algorithm_type": kind, "solver_type": slope})
        for kind in ("dpmsolver++", "dpmsolver")
        for order, slope in ((1, "midpoint"), (2, "midpoint"), (2, "heun"), (3, "midpoint"))
    ],
    *[("DPMSolverSinglestep", {"solver_order": order}) for order in (2, 3)],
    *[
        ("UniPCMultistep", {"solver_order": order, "solver_type": kind, "predict_x0": predict})
        for order in (1, 2, 3)
        for kind in ("bh1", "bh2")
        for predict in (True, False)
    ],
    *[("DEISMultistep", {"solver_order": order}) for order in (2, 3)],
    *[
        ("SASolver", {"predictor_order": order, "corrector_order": order, "tau_func": lambda t: 0.0})
        for order in (2, 3)
    ],
)
#: in the state x0 + sigma eps: class, calls a step
UNSCALED = {"EulerDiscrete": 1, "LMSDiscrete": 1, "HeunDiscrete": 2, "KDPM2Discrete": 2}


def columns(flow: bool) -> Columns:
    logging.disable(logging.WARNING)  # it asks for scale_model_input, which the exact denoiser needs not
    import diffusers  # noqa: F401

    found: dict[str, Sampler] = {}
    for name, options in SCALED:
        shown = "-".join(str(value) for value in options.values() if not callable(value))
        for grid in ("karras", "exponential", *(["uniform", "shift 3"] if flow else [])):
            found[f"diffusers {name} {shown} {grid}"] = _scaled(name, grid, flow, options)
    if flow:
        found |= {f"diffusers FlowMatch{name}": _flow(name) for name in ("Euler", "Heun")}
        found["diffusers IPNDM"] = _ipndm
        return found
    for grid in ("karras", "exponential"):
        found |= {f"diffusers {name} {grid}": _unscaled(name, each, grid) for name, each in UNSCALED.items()}
        found[f"diffusers EDMEuler {grid}"] = _edm("EDMEuler", sigma_schedule=grid)
        for order in (1, 2, 3):
            for last in ("zero", "sigma_min"):
                found[f"diffusers EDMDPMSolverMultistep {order} {grid} {last}"] = _edm(
                    "EDMDPMSolverMultistep",
                    sigma_schedule=grid,
                    solver_order=order,
                    final_sigmas_type=last,
                )
    return found


def _make(name: str, **options: Any) -> Any:
    import diffusers

    return getattr(diffusers, f"{name}Scheduler")(**options)


def _scaled(name: str, grid: str, flow: bool, options: dict[str, Any]) -> Sampler:
    # some are finite at sigma = 0: the others end, as azula's, at sigma_min
    finite = options.get("algorithm_type", "") != "dpmsolver" and options.get("solver_type") != "bh1"
    free = name not in ("DEISMultistep", "SASolver")  # to choose their end
    finite = finite and options.get("predict_x0", True) and free

    def run(problem: Mixture, noise: Tensor, calls: int) -> Tensor:
        flag = "use_flow_sigmas" if flow else "use_karras_sigmas"
        scheduler = _make(
            name,
            beta_schedule="scaled_linear",
            prediction_type="sample",
            **({"final_sigmas_type": "zero" if finite else "sigma_min"} if free else {}),
            **{flag: True, **options},
        )
        scheduler.set_timesteps(calls)
        scheduler.sigmas = _sigmas(grid, calls, flow, finite)
        scheduler.timesteps = torch.arange(calls)
        scheduler.set_begin_index(0)
        x = noise if flow else noise * SIGMA_MAX / (1 + SIGMA_MAX**2) ** 0.5
        for level, t in zip(scheduler.sigmas[:-1], scheduler.timesteps, strict=True):
            norm = 1.0 if flow else (1 + level**2).sqrt()
            x0 = problem.denoise(x, (1 - level) if flow else 1 / norm, level / norm)
            x = scheduler.step(x0, t, x).prev_sample
        return x.double()

    return run


def _sigmas(grid: str, calls: int, flow: bool, finite: bool) -> Tensor:
    """What such a scheduler calls sigmas, calls + 1 of them: sigma / alpha, or t of rectified flow."""
    count = calls if finite else calls + 1
    if grid in ("karras", "exponential"):
        sigmas = levels(grid, count)
        sigmas = sigmas / (1 + sigmas) if flow else sigmas
    else:
        sigmas = torch.linspace(1, 0 if finite else SIGMA_MIN, calls + 1, dtype=torch.float64)[:count]
        sigmas = 3 * sigmas / (1 + 2 * sigmas) if grid == "shift 3" else sigmas
    if flow:
        sigmas[0] = 1 - 1e-6  # as they begin
    return torch.cat([sigmas, torch.zeros(calls + 1 - count, dtype=torch.float64)])


def _unscaled(name: str, each: int, grid: str) -> Sampler:
    def run(problem: Mixture, noise: Tensor, calls: int) -> Tensor:
        scheduler = _make(
            name, prediction_type="sample" if name == "LMSDiscrete" else "epsilon", use_karras_sigmas=True
        )
        steps = steps_within(calls, each, 1)
        scheduler._convert_to_karras = lambda *_, **__: levels(grid, steps).numpy()
        return _stepped(scheduler, problem, SIGMA_MAX * noise, steps)

    return run


def _stepped(scheduler: Any, problem: Mixture, x: Tensor, steps: int) -> Tensor:
    """A run in the state x0 + sigma eps."""
    scheduler.set_timesteps(steps)
    scheduler.set_begin_index(0)
    for i, t in enumerate(scheduler.timesteps):
        sigma = float(scheduler.sigmas[i])
        x0 = problem.denoise(x, 1.0, sigma)
        answer = x0 if scheduler.config.prediction_type == "sample" else (x - x0) / sigma
        x = scheduler.step(answer, t, x).prev_sample
    return x.double()


def _edm(name: str, **options: Any) -> Sampler:
    def run(problem: Mixture, noise: Tensor, calls: int) -> Tensor:
        scheduler = _make(name, sigma_min=SIGMA_MIN, sigma_max=SIGMA_MAX, sigma_data=1.0, **options)
        scheduler.precondition_outputs = lambda sample, output, sigma: output  # the denoiser is what it is
        scheduler.set_timesteps(calls)
        scheduler.set_begin_index(0)
        x = SIGMA_MAX * noise
        for i, t in enumerate(scheduler.timesteps):
            x = scheduler.step(problem.denoise(x, 1.0, float(scheduler.sigmas[i])), t, x).prev_sample
        return x.double()

    return run


def _flow(name: str) -> Sampler:
    def run(problem: Mixture, noise: Tensor, calls: int) -> Tensor:
        scheduler = _make(f"FlowMatch{name}Discrete")
        scheduler.set_timesteps(steps_within(calls, 2, 1) if name == "Heun" else calls)
        scheduler.set_begin_index(0)
        x = noise
        for i, t in enumerate(scheduler.timesteps):
            sigma = float(scheduler.sigmas[i])
            x = scheduler.step((x - problem.denoise(x, 1 - sigma, sigma)) / sigma, t, x).prev_sample
        return x.double()

    return run


def _ipndm(problem: Mixture, noise: Tensor, calls: int) -> Tensor:
    """On its own process, alpha² + sigma² = 1, which takes noise where rectified flow takes it."""
    scheduler = _make("IPNDM")
    scheduler.set_timesteps(calls)
    scheduler.set_begin_index(0)
    x = noise
    for i, t in enumerate(scheduler.timesteps):
        alpha, sigma = scheduler.alphas[i].double(), scheduler.betas[i].double()
        x0 = problem.denoise(x, alpha, sigma)
        v = (alpha * x - x0) / sigma
        x = scheduler.step(v, t, x).prev_sample
    return x.double()
