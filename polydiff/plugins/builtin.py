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
            "exponential": ("exponential", "Even in log sigma, with a call at the lowest level"),
            "sigmoid": ("sigmoid", "log sigma along a sigmoid: fine at both ends"),
            "listed": ("listed", "Through a list of noise levels, such as Align Your Steps'"),
            "restart": ("restart", "karras, a stretch of it sampled again after noise is added"),
            "repaint": ("repaint", "karras, every few steps sampled again after noise is added"),
            "uniform_t": ("uniform_t", "Even in t"),
            "quadratic": ("quadratic", "Even in the square root of t"),
            "custom": ("custom", "Times of your own"),
        },
    ),
    "solver": (
        "polydiff.engine.solvers",
        {
            "adams": ("adams", "Adams-Bashforth in lambda on past evaluations"),
            "ddim": ("ddim", "As much noise as eta says"),
            "ddpm": ("ddpm", "Ancestral sampling"),
            "deis": ("deis", "Adams-Bashforth in t"),
            "dpm2": ("dpm2", "DPM-Solver-2: the slope in the middle of a step"),
            "dpmpp": ("dpmpp", "DPM-Solver++ multistep"),
            "dpmpp_singlestep": ("dpmpp_singlestep", "DPM-Solver++ 2S and 3S"),
            "er_sde": ("er_sde", "A reverse SDE with little noise where there is much"),
            "heun": ("heun", "Heun's method, also with churn"),
            "ipndm": ("ipndm", "Adams-Bashforth weights of equal steps, for few steps"),
            "lms": ("lms", "Adams-Bashforth in sigma"),
            "sa": ("sa", "Stochastic Adams with a corrector"),
            "unipc": ("unipc", "A corrector at no further call"),
        },
    ),
    "process": (
        "polydiff.engine.processes",
        {
            "gaussian": ("Gaussian", "Gaussian noise, with masks and a centre of mass"),
            "rotation": ("Rotation", "Rotations: IGSO(3) noise, or geodesics to uniform ones"),
            "torus": ("Torus", "Angles: wrapped normal noise"),
            "categorical": ("Categorical", "Categories: hidden, or replaced by random ones"),
            "fixed": ("Fixed", "Carried along, never noised"),
        },
    ),
    "weighting": (
        "polydiff.training.weighting",
        {
            "edm": ("edm", "Every level counts alike for the network's own output"),
            "min_snr": ("min_snr", "The loss on the noise, clean levels held down"),
        },
    ),
    "guidance": (
        "polydiff.engine.guidance",
        {
            "cfg": ("cfg", "Classifier-free guidance"),
            "cfg_zero": ("cfg_zero", "CFG-Zero*: the unconditioned flow fitted, the first one zero"),
            "apg": ("apg", "Adaptive projected guidance: strong scales without glare"),
            "autoguidance": ("autoguidance", "Away from a weaker model"),
            "classifier": ("classifier", "Towards a class, by a classifier of noisy states"),
            "steer": ("steer", "Along the gradient of an energy or a reward"),
            "threshold": ("threshold", "x0 kept within what data can be"),
            "inpaint": ("inpaint", "Keep a known region"),
        },
    ),
}

_POSTERIOR = (
    "polydiff.engine.inverse.posterior",
    {
        "dps": ("dps", "Posterior of a linear measurement, by the residual's gradient"),
        "pigdm": ("pigdm", "The same, with a covariance for data of one deviation"),
        "mmps": ("mmps", "The same, with the network's own covariance"),
        "diffpir": ("diffpir", "The same, without a derivative of the network"),
    },
)

# solver: order of convergence, noise, network calls a step, source
_FACTS = {
    "adams": ("1 to 4", "none", "1", "Zhang and Chen 2023"),
    "ddim": ("1", "eta, churn", "1", "Song et al. 2021"),
    "ddpm": ("1", "always", "1", "Ho et al. 2020"),
    "deis": ("1 to 4", "none", "1", "Zhang and Chen 2023"),
    "dpm2": ("2", "eta", "2", "Lu et al. 2022"),
    "dpmpp": ("1 to 3", "eta", "1", "Lu et al. 2023"),
    "dpmpp_singlestep": ("2 to 3", "eta", "2 to 3", "Lu et al. 2023"),
    "er_sde": ("1 to 3", "always", "1", "Cui et al. 2023"),
    "heun": ("2", "eta, churn", "2", "Karras et al. 2022"),
    "ipndm": ("1 to 2", "none", "1", "Zhang and Chen 2023; Liu et al. 2022"),
    "lms": ("1 to 4", "none", "1", "Zhang and Chen 2023; k-diffusion"),
    "sa": ("1 to 4", "tau", "1", "Xue et al. 2023"),
    "unipc": ("2 to 4", "none", "1", "Zhao et al. 2023"),
}


def _facts(kind: str, name: str) -> dict[str, str]:
    names = ("order", "noise", "calls", "source")
    return dict(zip(names, _FACTS[name], strict=True)) if kind == "solver" else {}


@hookimpl
def polydiff_components() -> list[ComponentInfo]:
    return [
        ComponentInfo(kind, name, 1, f"{module}:{attribute}", summary, _facts(kind, name))
        for kind, (module, parts) in (*_PARTS.items(), ("guidance", _POSTERIOR))
        for name, (attribute, summary) in parts.items()
    ]


@hookimpl(trylast=True)
def polydiff_run(run: RunInfo) -> Any:
    return run.execute()
