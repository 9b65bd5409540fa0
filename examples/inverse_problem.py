"""An inverse problem: a path that was seen through noise at every eighth moment only.

    python examples/inverse_problem.py            a few seconds

The prior is a Gaussian process, whose denoiser is known in closed form, so the exact posterior is known
too and the answer can be checked. With a model of your own only `denoiser` changes:
`polydiff.load(...).denoiser()`.
"""

import torch

from polydiff.engine.inverse.posterior import Measurement, mmps
from polydiff.engine.loop import finish, start
from polydiff.engine.noise import noise
from polydiff.engine.processes import Gaussian
from polydiff.engine.schedules import EDM
from polydiff.engine.solvers import make_table

LENGTH, EVERY, STD = 64, 8, 0.1
schedule, processes = EDM(), {"path": Gaussian()}

place = torch.arange(LENGTH, dtype=torch.float64)
prior = torch.exp(-0.5 * ((place[:, None] - place) / 6) ** 2) + 1e-6 * torch.eye(LENGTH)
values, vectors = torch.linalg.eigh(prior)


def denoiser(x, t, mask, cond):
    """E[x0 | x] of the Gaussian process: alpha K (alpha² K + sigma²)⁻¹ x, in the eigenvectors of K."""
    alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
    shrink = alpha * values / (alpha**2 * values + sigma**2)
    return {"path": ((x["path"][..., 0] @ vectors * shrink) @ vectors.T)[..., None]}


def every_eighth(x0, mask):
    """What the instrument sees of a clean path: (B, 8)."""
    return x0["path"][:, ::EVERY, 0]


def posterior(seen: torch.Tensor, draws: int, steps: int = 60) -> torch.Tensor:
    """Paths (draws, LENGTH) that fit what was seen."""
    measurement = Measurement(every_eighth, seen[None], std=STD)
    informed = mmps(denoiser, measurement, schedule, iterations=8, jacobian_below=float("inf"))
    table = make_table("ddpm", schedule, steps)
    run = start(
        processes, schedule, table, list(range(draws)), shapes={"path": (LENGTH, 1)}, dtype=torch.float64
    )
    return finish(informed, processes, table, run).x["path"][..., 0]


def exact(seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of the posterior, by linear algebra."""
    gain = prior[:, ::EVERY] @ torch.linalg.inv(prior[::EVERY, ::EVERY] + STD**2 * torch.eye(len(seen)))
    return gain @ seen, (prior - gain @ prior[::EVERY]).diagonal().sqrt()


def problem(seed: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """A path of the prior, and what is seen of it."""
    white = noise(seed, "truth", 0, (LENGTH,), torch.float64)[0]
    truth = vectors @ (values.clamp(min=0).sqrt() * white)
    return truth, truth[::EVERY] + STD * noise(seed, "seen", 0, (LENGTH // EVERY,), torch.float64)[0]


if __name__ == "__main__":
    truth, seen = problem()
    paths = posterior(seen, draws=64)
    mean, deviation = exact(seen)
    print(f"{'place':>6}{'truth':>9}{'seen':>9}{'64 draws':>18}{'exact':>18}")
    for i in range(0, LENGTH, 4):
        what = f"{seen[i // EVERY]:9.2f}" if i % EVERY == 0 else " " * 9
        drawn = f"{paths[:, i].mean():10.2f} ± {paths[:, i].std():.2f}"
        print(f"{i:>6}{truth[i]:9.2f}{what}{drawn:>18}{f'{mean[i]:10.2f} ± {deviation[i]:.2f}':>18}")
