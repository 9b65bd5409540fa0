r"""Posterior sampling: what the data is, given a linear measurement of it.

    y = A x0 + std · noise

Each method is a denoiser around a denoiser, for any schedule, solver and grid, and adds to x̂0 an estimate of

    Cov[x0 | x] Aᵀ (std² + A Cov[x0 | x] Aᵀ)⁻¹ (y - A x̂0)

which is exact where x0 given x is Gaussian with mean x̂0. They differ in what stands for the covariance,
within the brackets (V) and before them (K); (sigma² / alpha) Jᵀ, J the network's Jacobian, is the true one:

                V                              K                       differentiates the network
    dps         0, and a step length           (sigma² / alpha) Jᵀ     once a call
    pigdm       r² I                           (sigma² / alpha) Jᵀ     once a call
    mmps        (sigma² / alpha) Jᵀ            (sigma² / alpha) Jᵀ     1 + iterations times
    diffpir     sigma² / (alpha² lambda) I     the same                never

A trained network's J is mostly error where noise is many times larger than data, and is multiplied by that
noise (docs/guidance.md has figures). `jacobian_below` is the sigma / alpha from which on r² I, what data of
N(0, I) can still be, stands in its place: 3 by default, `math.inf` for an exact denoiser, whose J is right.

Aᵀ comes from A by automatic differentiation, the inverse is applied by conjugate gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from polydiff.engine.denoisers import Cond, Denoiser, Mask, State, parts
from polydiff.engine.inverse.gradients import added, graph, leaves, pull, scaled, tweedie_factor
from polydiff.engine.processes.base import noise_ratio
from polydiff.engine.schedules import Schedule
from polydiff.engine.states import inner, masked, per_sample
from polydiff.errors import UsageError

__all__ = [
    "BELIEVED_BELOW",
    "LARGEST_VARIANCE",
    "Measurement",
    "Operator",
    "Product",
    "Solve",
    "Variance",
    "conjugate_gradients",
    "diffpir",
    "dps",
    "mmps",
    "pigdm",
    "remaining_variance",
]

Operator = Callable[[State, Mask], Tensor]
Product = Callable[[Tensor], Tensor]
Solve = Callable[[Tensor, Tensor, Product], Tensor]
Variance = Callable[[Tensor], Tensor]

#: sigma / alpha above which a network's Jacobian was found to be mostly error, see docs/guidance.md
BELIEVED_BELOW = 3.0
#: the variance of a prior, in units of data, that counts as no prior at all
LARGEST_VARIANCE = 1e8


@dataclass(frozen=True, eq=False)
class Measurement:
    """y = A x0 + std · noise.

    operator: A, linear and differentiable, from clean states (B, N, ...), padding zero, and masks to (B,
    ...); each sample's row depends on that sample alone. y: (B, ...), or (1, ...) for all samples the same.
    std: deviation of the noise, 0 or more, a number or a tensor that fits y.

    >>> seen = Measurement(lambda x0, mask: x0["x"][:, :2], torch.ones(1, 2, 1), 0.5)
    >>> seen.log_likelihood({"x": torch.zeros(3, 4, 1)}).tolist()      # -1 / (2 · 0.5²) for each of two
    [-4.0, -4.0, -4.0]
    """

    operator: Operator
    y: Tensor
    std: float | Tensor = 0.0

    def __post_init__(self) -> None:
        if bool((torch.as_tensor(self.std) < 0).any()):
            raise UsageError(f"std must be 0 or more, got {self.std}")

    def made(self, x0: State, mask: Mask) -> Tensor:
        """A x0, (B, ...)."""
        return self.operator({k: masked(v, mask.get(k)) for k, v in parts(x0).items()}, mask)

    def residual(self, x0: State, mask: Mask) -> Tensor:
        """y - A x0, (B, ...)."""
        made = self.made(x0, mask)
        if made.shape[1:] != self.y.shape[1:] or len(self.y) not in (1, len(made)):
            shapes = f"{tuple(made.shape)}, and y is {tuple(self.y.shape)}"
            raise UsageError(f"the operator gives {shapes}: both must have one shape a sample")
        return self.y.to(made) - made

    def log_likelihood(self, x0: State, mask: Mask | None = None, variance: Tensor | float = 0.0) -> Tensor:
        """log p(y | x0) but for a constant, (B,) float64; `variance` (B,) widens the noise."""
        r = self.residual(x0, mask or {})
        wide = variance if isinstance(variance, float) else per_sample(variance, r.double())
        return -0.5 * (r.double() ** 2 / (self.variance(r.double()) + wide)).flatten(1).sum(1)

    def variance(self, like: Tensor) -> Tensor:
        """std² on the device and in the dtype of another tensor."""
        return torch.as_tensor(self.std).to(like) ** 2


def conjugate_gradients(matrix: Product, b: Tensor, iterations: int) -> Tensor:
    """matrix⁻¹ b for each sample of b (B, ...), from zero (Hestenes and Stiefel 1952). A sample for which a
    direction has no positive curvature, or nothing is left to do, stays where it is."""
    x, r, p = torch.zeros_like(b), b, b
    size = start = inner(r, r, None)
    for _ in range(iterations):
        turned = matrix(p)
        curvature = inner(p, turned, None)
        go = (curvature > 0) & (size > 1e-14 * start)
        length = per_sample(torch.where(go, size / curvature, 0.0), b)
        x, r = x + length * p, r - length * turned
        left = inner(r, r, None)
        p = r + per_sample(torch.where(go, left / size, 0.0), b) * p
        size = left
    return x


def _solver(iterations: int) -> Solve:
    """By conjugate gradients."""
    return lambda r, noise, product: conjugate_gradients(product, r, iterations)


def _posterior(
    denoiser: Denoiser,
    measurement: Measurement,
    schedule: Schedule,
    solve: Solve,
    jacobian_below: float,
    within: Variance | None = None,
    before: Variance | None = None,
    sigma_data: float = 1.0,
) -> Denoiser:
    """x̂0 + K Aᵀ solve(r, std², v ↦ (std² + A V Aᵀ) v) with r = y - A x̂0. within, before: the variances V and
    K at t (B,), where they are not the network's. sigma_data: of the data whose r² stands for those."""

    def informed(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
        with graph() if jacobian_below else torch.no_grad():
            here = leaves(x) if jacobian_below else x
            x0 = denoiser(here, t, mask, cond)
        with graph():
            clean = leaves(parts(x0))
            residual = measurement.residual(clean, mask)
        r = residual.detach()
        noise, factor = measurement.variance(r), tweedie_factor(schedule, t)
        near = noise_ratio(schedule, t) < jacobian_below
        left = remaining_variance(schedule, t, sigma_data)
        own = None if jacobian_below else left
        v_given, k_given = (own if given is None else given(t) for given in (within, before))

        def adjoint(v: Tensor) -> State:
            return pull({"y": residual}, clean, {"y": -v})

        def covariance(change: State, given: Tensor | None) -> State:
            """The variance given, or (sigma² / alpha) Jᵀ, the network's own, and r² I where that is not
            trusted."""
            if given is not None:
                return scaled(change, given)
            slope = scaled(pull(x0, here, change), torch.where(near, factor, 0.0))
            return added(slope, change, torch.where(near, 0.0, left))

        def product(v: Tensor) -> Tensor:
            change = covariance(adjoint(v), v_given)
            whole = {k: change.get(k, torch.zeros_like(value)) for k, value in clean.items()}
            return noise * v + measurement.made(whole, mask).detach()

        change = covariance(adjoint(solve(r, noise, product)), k_given)
        return added(x0, change, torch.ones_like(t))

    return informed


def dps(
    denoiser: Denoiser,
    measurement: Measurement,
    schedule: Schedule,
    scale: float = 1.0,
    jacobian_below: float = BELIEVED_BELOW,
) -> Denoiser:
    """Diffusion posterior sampling (Chung et al. 2023, eq. 16): x̂0 is taken for x0, without uncertainty.

    As in the paper the gradient is that of |r| and not of its square, here in units in which `scale` = 1 is
    the likelihood's own gradient once the residual is as large as the noise. Many small steps are needed.

    Errors: UsageError for a std of 0.
    """
    if bool((torch.as_tensor(measurement.std) == 0).any()):
        raise UsageError("dps needs a std above 0; mmps, pigdm and diffpir do without")

    def weighted(r: Tensor, noise: Tensor, product: Product) -> Tensor:
        units = r / noise.sqrt()
        rms = (inner(units, units, None) / (r != 0).flatten(1).sum(1).clamp(min=1)).sqrt()
        return scale * (units / noise.sqrt() / per_sample(rms.clamp(min=1e-12), r))

    return _posterior(denoiser, measurement, schedule, weighted, jacobian_below)


def pigdm(
    denoiser: Denoiser,
    measurement: Measurement,
    schedule: Schedule,
    sigma_data: float = 1.0,
    iterations: int = 20,
    jacobian_below: float = BELIEVED_BELOW,
) -> Denoiser:
    """Pseudoinverse-guided diffusion (Song et al. 2023, eq. 7 and 8): V = r² I, where
    r² = sigma² s² / (alpha² s² + sigma²) is the covariance of what data N(0, s² I) can still be. Exact for
    such data.

    Args:
        sigma_data: s.
        iterations: most steps of conjugate gradients, each one A and one Aᵀ.
    """

    def r2(t: Tensor) -> Tensor:
        return remaining_variance(schedule, t, sigma_data)

    solve = _solver(iterations)
    return _posterior(
        denoiser, measurement, schedule, solve, jacobian_below, within=r2, sigma_data=sigma_data
    )


def mmps(
    denoiser: Denoiser,
    measurement: Measurement,
    schedule: Schedule,
    iterations: int = 3,
    jacobian_below: float = BELIEVED_BELOW,
) -> Denoiser:
    """Moment matching posterior sampling (Rozet et al. 2024, eq. 15 and 17): V is the network's own.
    Exact for Gaussian data of any covariance, with as many iterations as y has entries and the Jacobian
    trusted at every noise level.

    Args:
        iterations: most steps of conjugate gradients, each one more derivative of the network.
        jacobian_below: see the module; 0 differentiates nothing.
    """
    return _posterior(denoiser, measurement, schedule, _solver(iterations), jacobian_below)


def diffpir(
    denoiser: Denoiser,
    measurement: Measurement,
    schedule: Schedule,
    strength: float = 1.0,
    iterations: int = 20,
) -> Denoiser:
    """DiffPIR (Zhu et al. 2023, eq. 13): x̂0 ← argmin |y - A x|² / std² + strength (alpha / sigma)² |x - x̂0|².
    It never differentiates the network.

    Args:
        strength: lambda, how much x̂0 is trusted.
        iterations: most steps of conjugate gradients, each one A and one Aᵀ.

    Errors: UsageError for a strength that is not positive.
    """
    if not strength > 0:
        raise UsageError(f"strength must be above 0, got {strength!r}")

    def trusted(t: Tensor) -> Tensor:
        return (torch.exp(-schedule.log_snr(t)) / strength).clamp(max=LARGEST_VARIANCE)

    return _posterior(denoiser, measurement, schedule, _solver(iterations), 0.0, trusted, trusted)


def remaining_variance(schedule: Schedule, t: Tensor, sigma_data: float = 1.0) -> Tensor:
    """Var[x0 | x] of data N(0, sigma_data²), at t (B,)."""
    signal, noise = (schedule.alpha(t) * sigma_data) ** 2, schedule.sigma(t) ** 2
    return noise * sigma_data**2 / (signal + noise)
