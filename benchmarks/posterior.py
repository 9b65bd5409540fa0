"""Distance to the exact posterior on closed forms: `python -m benchmarks.posterior`.

Four inverse problems whose posterior is a Gaussian or a mixture of Gaussians. Every method has the same
exact denoiser, the EDM process and a Karras grid; azula's run in the same process where it is installed. Also
how far the likelihood is from the closed form, and a state from itself there and back. See README.md.
"""

from __future__ import annotations

import json
import math
import types
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers import SIGMA_MAX, SIGMA_MIN
from benchmarks.problems import Mixture, problems
from polydiff.engine import posterior
from polydiff.engine.denoisers import Denoiser
from polydiff.engine.encoding import encode
from polydiff.engine.guidance import inpaint
from polydiff.engine.likelihood import log_likelihood
from polydiff.engine.noise import noise, uniform
from polydiff.engine.particles import measured, sample_particles, systematic
from polydiff.engine.posterior import Measurement
from polydiff.engine.processes import Gaussian
from polydiff.engine.sampling import sample, start
from polydiff.engine.schedules import EDM
from polydiff.engine.solvers import make_table

CALLS = (25, 100)
TRUTHS, DRAWS = 4, 256
SCHEDULE = EDM(SIGMA_MAX)
PROCESS = {"x": Gaussian()}


@dataclass(frozen=True, eq=False)
class Inverse:
    """y = A x0 + std noise of TRUTHS draws of a mixture; A (M, D) with orthonormal rows, y (TRUTHS, M)."""

    name: str
    prior: Mixture
    A: Tensor
    std: float

    @property
    def known(self) -> bool:
        """Whether A picks coordinates and there is no noise."""
        return self.std == 0

    @property
    def y(self) -> Tensor:
        clean = draws(self.prior, TRUTHS, 7) @ self.A.T
        return clean + self.std * noise(range(TRUTHS), "measured", 0, clean.shape[1:], torch.float64)

    def exact(self, y: Tensor, seed: int) -> Tensor:
        """DRAWS of the posterior, (DRAWS, D)."""
        p, spread = self.prior, self.A * self.prior.variances[:, None]  # (K, M, D)
        S = spread @ self.A.T + self.std**2 * torch.eye(len(y), dtype=torch.float64)
        law = torch.distributions.MultivariateNormal(p.means @ self.A.T, S)
        weights = (p.weights.log() + law.log_prob(y)).softmax(0)
        gain = torch.linalg.solve(S, spread).transpose(1, 2)  # (K, D, M)
        means = p.means + (gain @ (y - p.means @ self.A.T)[:, :, None])[:, :, 0]
        covariances = torch.diag_embed(p.variances) - gain @ spread
        values, vectors = torch.linalg.eigh(covariances)
        roots = vectors * values.clamp(min=0).sqrt()[:, None]
        random = torch.Generator().manual_seed(seed)
        k = torch.multinomial(weights, DRAWS, replacement=True, generator=random)
        xi = torch.randn(DRAWS, p.dimension, 1, generator=random, dtype=torch.float64)
        return means[k] + (roots[k] @ xi)[:, :, 0]


def draws(prior: Mixture, count: int, seed: int) -> Tensor:
    """(count, D) of a mixture."""
    random = torch.Generator().manual_seed(seed)
    k = torch.multinomial(prior.weights, count, replacement=True, generator=random)
    xi = torch.randn(count, prior.dimension, generator=random, dtype=torch.float64)
    return prior.means[k] + prior.variances[k].sqrt() * xi


@lru_cache
def inverses() -> tuple[Inverse, ...]:
    _, gaussian, ring, mixture, _ = problems()

    def rows(count: int, dimension: int) -> Tensor:
        full = noise(0, f"operator {dimension}", 0, (dimension, count), torch.float64)[0]
        return torch.linalg.qr(full).Q.T

    return (
        Inverse("gaussian-64, 16 seen", gaussian, rows(16, 64), 0.1),
        Inverse("mixture-2, 1 seen", ring, torch.eye(2, dtype=torch.float64)[:1], 0.1),
        Inverse("mixture-16, 4 seen", mixture, rows(4, 16), 0.1),
        Inverse("mixture-16, 8 known", mixture, torch.eye(16, dtype=torch.float64)[:8], 0.0),
    )


def distance(a: Tensor, b: Tensor) -> float:
    """Sliced Wasserstein-2 of two sets (DRAWS, D), over 128 directions."""
    w = torch.nn.functional.normalize(noise(range(128), "slices", 0, (a.shape[1],), torch.float64), dim=1)
    gap = (a @ w.T).sort(0).values - (b @ w.T).sort(0).values
    return float(gap.square().mean().sqrt())


Method = Callable[[Inverse, int], Tensor]  # problem, calls -> (TRUTHS, DRAWS, D)


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
        steps, options = (calls // 2 + 1, {"rounds": 2}) if grid == "repaint" else (calls, {})
        table = make_table(solver, SCHEDULE, steps, grid, grid_options=options)
        denoiser = wrap(denoiser_of(problem.prior), problem, y)
        shape = {"x": (1, problem.prior.dimension)}
        run = start(PROCESS, SCHEDULE, table, range(len(y)), shape, dtype=torch.float64)
        x = deque(sample(denoiser, PROCESS, table, run), maxlen=1).pop().x["x"]
        return x.reshape(TRUTHS, DRAWS, -1)

    return run


def linear(name: str, **options: Any) -> Callable[[Denoiser, Inverse, Tensor], Denoiser]:
    method = getattr(posterior, name)
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
            common["steps"] = calls // 2
            sampler = guidance.RePaintSampler(exact, y @ problem.A, keep, iterations=2, eta=1.0, **common)
        else:
            noise_of = {"cov_y": cov} if kind == "MMPSDenoiser" else {"var_y": variance}
            wrapped = getattr(guidance, kind)(exact, y, A, **noise_of, **options)
            sampler = getattr(samplers, base)(wrapped, **common)
        return sampler(start(len(y))).reshape(TRUTHS, DRAWS, -1)

    return run


def methods() -> dict[str, Method]:
    """Every row of the comparison whose library is installed."""
    rows: dict[str, Method] = {
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
    wanted: dict[str, Callable[[], Method]] = {
        "azula MMPS 16, DDPM": lambda: azulas("MMPSDenoiser", iterations=16),
        "azula MMPS 1, DDPM": lambda: azulas("MMPSDenoiser"),
        "azula TMPD, DDPM": lambda: azulas("TMPDenoiser"),
        "azula DiffPIR 1, DDPM": lambda: azulas("DiffPIRDenoiser", lmbda=1.0),
        "azula DiffPIR 10, DDPM": lambda: azulas("DiffPIRDenoiser"),
        "azula DPS 1": lambda: azulas("DPSSampler"),
        "azula DPS 0.1": lambda: azulas("DPSSampler", zeta=0.1),
        "azula PGDM": lambda: azulas("PGDMSampler"),
        "azula TDS": lambda: azulas("TDSSampler"),
        "azula RePaint": lambda: azulas("RePaintSampler"),
    }
    for name, make in wanted.items():
        try:
            rows[name] = make()
        except ImportError as error:
            print(f"left out: {name} ({error})")
    return rows


def fits(name: str, problem: Inverse) -> bool:
    """Replacing needs known coordinates; the others that cannot do without noise are left out there."""
    if any(word in name for word in ("inpaint", "RePaint")):
        return problem.known
    return not (problem.known and any(word in name for word in ("dps", "particles", "TDS")))


def posteriors() -> dict[str, dict[str, list[float | None]]]:
    truth = {p.name: [p.exact(y, 1 + i) for i, y in enumerate(p.y)] for p in inverses()}
    again = {p.name: [p.exact(y, 101 + i) for i, y in enumerate(p.y)] for p in inverses()}
    floor = {k: sum(map(distance, truth[k], again[k])) / TRUTHS for k in truth}
    found: dict[str, dict[str, list[float | None]]] = {"exact draws": {k: [v] for k, v in floor.items()}}
    for name, method in methods().items():
        found[name] = {}
        for problem in inverses():
            values: list[float | None] = []
            for calls in CALLS if fits(name, problem) else ():
                ends = method(problem, calls)
                gaps = [distance(a, b) for a, b in zip(ends, truth[problem.name], strict=True)]
                values.append(sum(gaps) / TRUTHS if all(map(math.isfinite, gaps)) else None)
            found[name][problem.name] = values
        print(name, found[name], flush=True)
    return found


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


def table(found: dict[str, dict[str, list[float | None]]]) -> str:
    """Markdown: a column a problem, the distance at each number of calls in it."""
    names = [problem.name for problem in inverses()]
    lines = ["| method | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for method, values in found.items():
        cells = [" ".join("–" if v is None else f"{v:.3f}" for v in values[name]) or " " for name in names]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    torch.set_num_threads(1)
    likelihood, trips = likelihoods(), round_trips()
    print(json.dumps(likelihood, indent=1), json.dumps(trips, indent=1), flush=True)
    found = posteriors()
    print(table(found))
    result = {
        "calls": CALLS,
        "sliced_wasserstein": found,
        "log_density_relative_error": likelihood,
        "round_trip_rms": trips,
    }
    Path(__file__).with_name("posterior.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
