"""The core's own parts, handed over through the same hooks as any plugin's."""

from __future__ import annotations

from typing import Any

from polydiff.hookspecs import hookimpl
from polydiff.spec import ComponentInfo, RunInfo

polydiff_api = 1

_PARTS = {
    "schedule": (
        "polydiff.engine.schedules",
        {
            "linear_vp": ("LinearVP", "Variance preserving, beta linear in t"),
            "cosine": ("Cosine", "Variance preserving, alpha a cosine of t"),
            "ve": ("VE", "Variance exploding, sigma geometric in t"),
            "edm": ("EDM", "Variance exploding, sigma linear in t"),
            "rectified_flow": ("RectifiedFlow", "A straight line from data to noise"),
        },
    ),
    "grid": (
        "polydiff.engine.grids",
        {
            "karras": ("karras", "Even in sigma^(1/rho)"),
            "uniform_log_snr": ("uniform_log_snr", "Even in log signal-to-noise ratio"),
            "uniform_t": ("uniform_t", "Even in t"),
            "quadratic": ("quadratic", "Even in the square root of t"),
            "custom": ("custom", "Times of your own"),
        },
    ),
    "solver": (
        "polydiff.engine.solvers",
        {
            "ddim": ("ddim", "First order, with as much noise as eta says"),
            "ddpm": ("ddpm", "Ancestral sampling"),
            "adams": ("adams", "Adams-Bashforth on past evaluations, order 1 to 4"),
            "dpmpp": ("dpmpp", "DPM-Solver++, order 1 to 3, ODE and SDE"),
            "heun": ("heun", "Second order, two evaluations a step"),
        },
    ),
    "process": (
        "polydiff.engine.processes",
        {
            "gaussian": ("Gaussian", "Gaussian noise, with masks and a centre of mass"),
            "fixed": ("Fixed", "Carried along, never noised"),
        },
    ),
    "guidance": (
        "polydiff.engine.guidance",
        {
            "cfg": ("cfg", "Classifier-free guidance"),
            "inpaint": ("inpaint", "Keep a known region"),
        },
    ),
}


@hookimpl
def polydiff_components() -> list[ComponentInfo]:
    return [
        ComponentInfo(kind, name, 1, f"{module}:{attribute}", summary)
        for kind, (module, parts) in _PARTS.items()
        for name, (attribute, summary) in parts.items()
    ]


@hookimpl(trylast=True)
def polydiff_run(run: RunInfo) -> Any:
    return run.execute()
