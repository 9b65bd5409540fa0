"""k-diffusion. It has the EDM process only."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from typing import Any

from torch import Tensor

from benchmarks.peers import SIGMA_MAX, SIGMA_MIN, Columns, Sampler, steps_within
from benchmarks.problems import Mixture

GRIDS = ("karras", "exponential", "vp")  # polyexponential is exponential at its default rho
#: sampler, its options, calls a step
SAMPLERS: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("euler", {}, 1),
    ("heun", {}, 2),
    ("dpm_2", {}, 2),
    *[("lms", {"order": order}, 1) for order in (2, 3, 4)],
    ("dpmpp_2m", {}, 1),
    # the stochastic ones without their noise
    ("dpmpp_2s_ancestral", {"eta": 0.0}, 2),
    ("dpmpp_sde", {"eta": 0.0}, 2),
    ("dpmpp_2m_sde", {"eta": 0.0, "solver_type": "midpoint"}, 1),
    ("dpmpp_2m_sde", {"eta": 0.0, "solver_type": "heun"}, 1),
    ("dpmpp_3m_sde", {"eta": 0.0}, 1),
)


def sampling() -> types.ModuleType:
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


def columns(flow: bool) -> Columns:
    module = sampling()
    if flow:
        return {}
    found: dict[str, Sampler] = {"k-diffusion dpm_fast": _fast(module)}
    for name, options, each in SAMPLERS:
        shown = "".join(f"-{value}" for value in options.values() if value)
        found |= {
            f"k-diffusion {name}{shown} {grid}": _sampler(module, name, grid, each, options) for grid in GRIDS
        }
    return found


def _model(problem: Mixture) -> Any:
    return lambda x, sigma, **_: problem.denoise(x, 1.0, sigma.double()[:1, None])


def _sampler(module: Any, name: str, grid: str, each: int, options: dict[str, Any]) -> Sampler:
    def run(problem: Mixture, noise: Tensor, calls: int) -> Tensor:
        bounds = () if grid == "vp" else (SIGMA_MIN, SIGMA_MAX)
        count = steps_within(calls, each, 1)
        sigmas = getattr(module, f"get_sigmas_{grid}")(count, *bounds).double()
        if "sde" in name:  # which draw a Brownian path even where eta = 0
            options["noise_sampler"] = lambda *_: 0.0
        x = sigmas[0] * noise
        return getattr(module, f"sample_{name}")(_model(problem), x, sigmas, disable=True, **options)

    return run


def _fast(module: Any) -> Sampler:
    def run(problem: Mixture, noise: Tensor, calls: int) -> Tensor:
        x = SIGMA_MAX * noise
        return module.sample_dpm_fast(_model(problem), x, SIGMA_MIN, SIGMA_MAX, calls, disable=True)

    return run
