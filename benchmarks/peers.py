"""The same denoiser and the same starting noise, handed to each library in its own way.

Every function here takes a problem of `problems.py`, the starting state at sigma_max (rows, D) and a number
of network calls, and returns the end point. All solve the EDM process (alpha = 1, sigma from 80 to 0.002,
then 0 where the library allows it).
"""

from __future__ import annotations

import importlib.util
import math
import sys
import types
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.problems import Mixture
from polydiff.engine.processes import Gaussian
from polydiff.engine.sampling import Run, sample
from polydiff.engine.schedules import EDM, Schedule
from polydiff.engine.solvers import make_table

SIGMA_MAX, SIGMA_MIN = 80.0, 0.002
Sampler = Callable[[Mixture, Tensor, int], Tensor]


def polydiff(
    solver: str,
    grid: str = "karras",
    options: Mapping[str, Any] | None = None,
    schedule: Schedule | None = None,
) -> Sampler:
    schedule = schedule or EDM(SIGMA_MAX)
    process = {"x": Gaussian()}

    def run(problem: Mixture, x: Tensor, calls: int) -> Tensor:
        steps = calls // 2 + 1 if solver == "heun" else calls
        table = make_table(solver, schedule, steps, grid, options)

        def denoiser(state: Any, t: Tensor, mask: Any, cond: Any) -> dict[str, Tensor]:
            return {"x": problem.denoise(state["x"], schedule.alpha(t[:1]), schedule.sigma(t[:1]))}

        first = Run(x={"x": x[:, None]}, h={"x": ()}, anchor={}, row=0, seeds=torch.arange(len(x)))
        last = deque(sample(denoiser, process, table, first), maxlen=1).pop()
        return last.x["x"][:, 0]

    return run


def k_diffusion() -> types.ModuleType:
    """Its sampling module alone: the package's __init__ asks for image libraries that sampling does not."""
    if "k_diffusion" not in sys.modules:
        spec = importlib.util.find_spec("k_diffusion")
        if spec is None or spec.submodule_search_locations is None:
            raise ImportError("k_diffusion is not installed")
        package, utils = types.ModuleType("k_diffusion"), types.ModuleType("k_diffusion.utils")
        package.__path__ = list(spec.submodule_search_locations)
        utils.append_dims = lambda x, dims: x[(...,) + (None,) * (dims - x.ndim)]  # type: ignore[attr-defined]
        sys.modules |= {"k_diffusion": package, "k_diffusion.utils": utils}
        package.utils = utils  # type: ignore[attr-defined]
    return importlib.import_module("k_diffusion.sampling")


def from_k_diffusion(name: str, grid: str) -> Sampler:
    sampling = k_diffusion()

    def run(problem: Mixture, x: Tensor, calls: int) -> Tensor:
        steps = calls // 2 + 1 if name == "sample_heun" else calls
        sigmas = getattr(sampling, f"get_sigmas_{grid}")(steps, SIGMA_MIN, SIGMA_MAX).double()
        model = lambda x, sigma, **_: problem.denoise(x, 1.0, sigma[:, None, None][:1])  # noqa: E731
        return getattr(sampling, name)(lambda x, s, **k: model(x[:, None], s)[:, 0], x, sigmas, disable=True)

    return run


def from_azula(name: str, grid: str, **options: Any) -> Sampler:
    """azula's samplers end at sigma_min: their coefficients are not finite at 0."""
    import azula.sample
    from azula.denoise import Denoiser
    from azula.noise import Schedule as AzulaSchedule

    def run(problem: Mixture, x: Tensor, calls: int) -> Tensor:
        u = torch.linspace(1, 0, calls + 1, dtype=torch.float64)

        class Grid(AzulaSchedule):
            def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
                t = t.double()
                if grid == "karras":
                    low, high = SIGMA_MIN ** (1 / 7), SIGMA_MAX ** (1 / 7)
                    sigma = (low + t * (high - low)) ** 7
                else:
                    sigma = torch.exp(math.log(SIGMA_MIN) + t * math.log(SIGMA_MAX / SIGMA_MIN))
                return torch.ones_like(t), sigma

        class Exact(Denoiser):
            def __init__(self) -> None:
                super().__init__()
                self.schedule = Grid()

            def forward(self, x_t: Tensor, t: Tensor, **_: Any) -> Any:
                return types.SimpleNamespace(mean=problem.denoise(x_t, 1.0, self.schedule(t)[1]))

        steps = calls // 2 if name == "HeunSampler" else calls
        sampler = getattr(azula.sample, name)(Exact(), steps=steps, silent=True, dtype=u.dtype, **options)
        return sampler(x)

    return run


def from_diffusers(name: str, **options: Any) -> Sampler:
    import diffusers

    def run(problem: Mixture, x: Tensor, calls: int) -> Tensor:
        scheduler = getattr(diffusers, name)(
            **{"sigma_min": SIGMA_MIN, "sigma_max": SIGMA_MAX, "sigma_data": 1.0, **options}
        )
        scheduler.set_timesteps(calls)
        sigmas = scheduler.sigmas.double()
        # their starting state has deviation sqrt(sigma_max² + 1): ours is that of the other libraries
        for i, t in enumerate(scheduler.timesteps):
            denoised = problem.denoise(x, 1.0, sigmas[i])
            # EDM schedulers take the raw network output F of x0 = c_skip x + c_out F
            variance = sigmas[i] ** 2 + 1
            output = (denoised - x / variance) / (sigmas[i] / variance.sqrt())
            x = scheduler.step(output, t, x).prev_sample
        return x.double()

    return run


def from_diffusers_vp(name: str, **options: Any) -> Sampler:
    """Schedulers without an EDM form, on their discrete VP steps with the EDM process's noise levels.

    Their sigmas are ours by `use_karras_sigmas`; the state is x / sqrt(1 + sigma²).
    """
    import diffusers

    def run(problem: Mixture, x: Tensor, calls: int) -> Tensor:
        scheduler = getattr(diffusers, name)(
            beta_schedule="scaled_linear", prediction_type="sample", use_karras_sigmas=True, **options
        )
        bounds = {"sigma_min": SIGMA_MIN, "sigma_max": SIGMA_MAX}
        scheduler.register_to_config(**bounds)
        low, high = SIGMA_MIN ** (1 / 7), SIGMA_MAX ** (1 / 7)
        levels = torch.linspace(high, low, calls, dtype=torch.float64) ** 7
        scheduler.set_timesteps(calls)
        scheduler.sigmas = torch.cat([levels, torch.zeros(1, dtype=torch.float64)])
        scheduler.timesteps = torch.arange(calls)  # indices: the solver itself reads only sigmas
        scale = lambda sigma: 1 / torch.sqrt(1 + sigma**2)  # noqa: E731
        y = x * scale(levels[0])
        for i, t in enumerate(scheduler.timesteps):
            denoised = problem.denoise(y, scale(levels[i]), levels[i] * scale(levels[i]))
            y = scheduler.step(denoised, t, y).prev_sample
        return y.double()

    return run


def available() -> dict[str, Sampler]:
    """Every column of the comparison whose library is installed."""
    columns: dict[str, Sampler] = {
        "polydiff default (adams, karras)": polydiff("adams"),
        "polydiff adams-4": polydiff("adams", options={"order": 4}),
        "polydiff adams iPNDM-3": polydiff("adams", options={"weights": "uniform"}),
        "polydiff dpmpp-2": polydiff("dpmpp", options={"order": 2}),
        "polydiff dpmpp-2 log-SNR": polydiff("dpmpp", "uniform_log_snr", {"order": 2}),
        "polydiff dpmpp-3 log-SNR": polydiff("dpmpp", "uniform_log_snr", {"order": 3}),
        "polydiff heun": polydiff("heun"),
        "polydiff ddim": polydiff("ddim"),
    }
    wanted: list[tuple[str, Callable[[], Sampler]]] = [
        ("k-diffusion dpmpp_2m karras", lambda: from_k_diffusion("sample_dpmpp_2m", "karras")),
        ("k-diffusion dpmpp_2m exponential", lambda: from_k_diffusion("sample_dpmpp_2m", "exponential")),
        ("k-diffusion lms karras", lambda: from_k_diffusion("sample_lms", "karras")),
        ("k-diffusion heun karras", lambda: from_k_diffusion("sample_heun", "karras")),
        ("k-diffusion euler karras", lambda: from_k_diffusion("sample_euler", "karras")),
        ("azula zEAB-3 karras", lambda: from_azula("zEABSampler", "karras", order=3)),
        ("azula zEAB-3 exponential", lambda: from_azula("zEABSampler", "exponential", order=3)),
        ("azula xEAB-3 exponential", lambda: from_azula("xEABSampler", "exponential", order=3)),
        ("azula zAB-3 karras", lambda: from_azula("zABSampler", "karras", order=3)),
        ("azula Heun karras", lambda: from_azula("HeunSampler", "karras")),
        ("diffusers EDM DPM++2M", lambda: from_diffusers("EDMDPMSolverMultistepScheduler")),
        ("diffusers EDM DPM++3M", lambda: from_diffusers("EDMDPMSolverMultistepScheduler", solver_order=3)),
        ("diffusers EDM Euler", lambda: from_diffusers("EDMEulerScheduler")),
        ("diffusers DPM++2M karras", lambda: from_diffusers_vp("DPMSolverMultistepScheduler")),
        ("diffusers UniPC-2 karras", lambda: from_diffusers_vp("UniPCMultistepScheduler")),
        ("diffusers UniPC-3 karras", lambda: from_diffusers_vp("UniPCMultistepScheduler", solver_order=3)),
    ]
    for name, make in wanted:
        try:
            columns[name] = make()
        except ImportError as error:
            print(f"left out: {name} ({error})")
    return columns
