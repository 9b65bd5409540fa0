"""azula's methods on the inverse problems."""

from __future__ import annotations

import types
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers import SIGMA_MAX, SIGMA_MIN
from benchmarks.posterior.inverses import DRAWS, TRUTHS, Inverse, Method
from benchmarks.problems import Mixture


def azulas(kind: str, base: str = "DDPMSampler", **options: Any) -> Method:
    import azula.guidance as guidance
    import azula.sample as samplers
    from azula.denoise import Denoiser as AzulaDenoiser
    from azula.linalg.covariance import IsotropicCovariance
    from azula.noise import Schedule

    class Grid(Schedule):
        def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
            low, high = SIGMA_MIN ** (1 / 7), SIGMA_MAX ** (1 / 7)
            return torch.ones_like(t), (low + t * (high - low)) ** 7

    class Exact(AzulaDenoiser):
        def __init__(self, prior: Mixture) -> None:
            super().__init__()
            self.schedule, self.prior = Grid(), prior

        def forward(self, x: Tensor, t: Tensor, **_: Any) -> Any:
            return types.SimpleNamespace(mean=self.prior.denoise(x, 1.0, self.schedule(t)[1]))

    def run(problem: Inverse, calls: int) -> Tensor:
        torch.manual_seed(0)
        A, variance = (lambda x: x @ problem.A.T), max(problem.std, 1e-3) ** 2
        exact, common = Exact(problem.prior), {"steps": calls, "silent": True, "dtype": torch.float64}
        start = lambda rows: SIGMA_MAX * torch.randn(rows, problem.prior.dimension).double()  # noqa: E731
        y = problem.y.repeat_interleave(DRAWS, 0)
        if kind == "TDSSampler":
            ends = []
            for one in problem.y:
                twist = lambda x, rho, one=one: (  # noqa: E731
                    -0.5 * (one - A(x)) ** 2 / (variance + rho**2 / (1 + rho**2))
                )
                ends.append(guidance.TDSSampler(exact, twist, **common)(start(DRAWS)))
            return torch.stack(ends)
        cov = IsotropicCovariance(torch.tensor(variance, dtype=torch.float64))
        if kind == "DPSSampler":
            sampler = guidance.DPSSampler(exact, y, A, **options, **common)
        elif kind == "PGDMSampler":
            sampler = guidance.PGDMSampler(exact, y, A, lambda v: v @ problem.A, eta=1.0, **common)
        elif kind == "RePaintSampler":
            keep = problem.A.sum(0).bool().expand(len(y), -1)
            common["steps"] = calls // options["iterations"]
            sampler = guidance.RePaintSampler(exact, y @ problem.A, keep, eta=1.0, **options, **common)
        else:
            noise_of = {"cov_y": cov} if kind == "MMPSDenoiser" else {"var_y": variance}
            wrapped = getattr(guidance, kind)(exact, y, A, **noise_of, **options)
            sampler = getattr(samplers, base)(wrapped, **common)
        return sampler(start(len(y))).reshape(TRUTHS, DRAWS, -1)

    return run


def methods() -> dict[str, Method]:
    return {
        "azula MMPS 16, DDPM": azulas("MMPSDenoiser", iterations=16),
        "azula MMPS 1, DDPM": azulas("MMPSDenoiser"),
        "azula TMPD, DDPM": azulas("TMPDenoiser"),
        "azula DiffPIR 1, DDPM": azulas("DiffPIRDenoiser", lmbda=1.0),
        "azula DiffPIR 10, DDPM": azulas("DiffPIRDenoiser"),
        "azula DPS 1": azulas("DPSSampler"),
        "azula DPS 0.1": azulas("DPSSampler", zeta=0.1),
        "azula PGDM": azulas("PGDMSampler"),
        "azula TDS": azulas("TDSSampler"),
        "azula RePaint 2": azulas("RePaintSampler", iterations=2),
        "azula RePaint 4": azulas("RePaintSampler", iterations=4),
    }
