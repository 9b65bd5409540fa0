r"""Adaptive Runge-Kutta solvers: the step size follows an error estimate.

The probability-flow ODE in lambda = log(alpha / sigma) is, for y = x / alpha (Lu et al. 2022, section 3.1),

    d y / d lambda = x̂0(alpha y, t) - y

Each sample has steps of its own: all of a batch share a network call, at different times, so a sample does
not depend on the batch it is in. The error is estimated by an embedded formula of the order
below, and the next step follows from the last three errors (Söderlind 2003, PID control).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from polydiff.engine.denoisers import Cond, Denoiser, Mask, Processes, State
from polydiff.engine.grids import SIGMA_MIN
from polydiff.engine.inverse.gradients import scaled
from polydiff.engine.loop import Run
from polydiff.engine.nodes import LOWEST_LAMBDA, nodes_at
from polydiff.engine.schedules import Schedule
from polydiff.engine.solvers.rows import ddim_row
from polydiff.engine.states import inner, per_sample, real_count
from polydiff.errors import PolydiffError, UsageError

__all__ = ["FORMULAS", "PID", "RK23", "RK45", "Adaptive", "Flow", "Formula", "adaptive", "integrate"]


@dataclass(frozen=True)
class Formula:
    """An embedded pair whose last stage is the first of the next step. a: weights of earlier slopes at each
    stage, the last row being the step itself; their sum is where the stage lies in the step. error: the step
    minus the formula of lower order."""

    order: int
    a: tuple[tuple[float, ...], ...]
    error: tuple[float, ...]


#: Bogacki and Shampine 1989
RK23 = Formula(
    3,
    ((1 / 2,), (0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
    (2 / 9 - 7 / 24, 1 / 3 - 1 / 4, 4 / 9 - 1 / 3, -1 / 8),
)

#: Dormand and Prince 1980
RK45 = Formula(
    5,
    (
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    (71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
)

FORMULAS = {3: RK23, 5: RK45}

#: proportional, integral and derivative coefficients of the step control
PID = (0.4, 0.3, 0.0)


@dataclass(frozen=True)
class Adaptive:
    """The result: the state at t = 0, network calls of the whole batch, and for each sample the steps
    that were taken and those that were refused, int64 (B,)."""

    x: State
    nfe: int
    accepted: Tensor
    rejected: Tensor


def adaptive(
    denoiser: Denoiser,
    processes: Processes,
    schedule: Schedule,
    run: Run,
    mask: Mask | None = None,
    cond: Cond | None = None,
    *,
    order: int = 5,
    rtol: float = 1e-3,
    atol: float = 1e-3,
    pid: tuple[float, float, float] = PID,
    max_calls: int = 10_000,
) -> Adaptive:
    """Follow the ODE from the start of a run, at t = 1, to t = 0.

    Args:
        run: as `start` makes it for a table that begins at t = 1; only its x and seeds are read.
        order: 3, of Bogacki and Shampine's pair 2(3), or 5, of Dormand and Prince's pair 4(5).
        rtol, atol: what the root mean square, over real entries of all components together, of each step's
            error in y / (atol + rtol |y|) may be.
        pid: proportional, integral and derivative coefficients of the step control.
        max_calls: network calls after which to give up.

    The first step, where alpha = 0, and the last, to sigma = 0, are DDIM steps.

    Errors: UsageError for another order, tolerances that are not positive, or a process that is neither
    linear nor passive; PolydiffError after `max_calls`.
    """
    if order not in FORMULAS:
        raise UsageError(f"order must be 3 or 5, got {order!r}")
    with torch.no_grad():
        flow = Flow(denoiser, processes, schedule, run.x, mask or {}, cond or {}, max_calls)
        lam, y = flow.begin()
        end = -math.log(SIGMA_MIN)
        y, accepted, rejected = integrate(flow, lam, end, y, FORMULAS[order], rtol, atol, pid)
        last = flow.denoised(*flow.at(torch.full_like(lam, end), y))
        return Adaptive({**flow.carried, **last}, flow.calls, accepted, rejected)


@dataclass
class Flow:
    """The ODE of one batch: slopes of y at lambda (B,), and what lies at its ends.

    Errors: UsageError for a process that is neither linear nor passive.
    """

    denoiser: Denoiser
    processes: Processes
    schedule: Schedule
    state: State
    mask: Mask
    cond: Cond
    max_calls: int
    calls: int = 0

    def __post_init__(self) -> None:
        for name, process in self.processes.items():
            if not (process.linear or process.passive):
                raise UsageError(
                    f"adaptive steps need Gaussian components, and {name!r} is {type(process).__name__}"
                )
        self.moving = {name: p for name, p in self.processes.items() if p.linear}
        self.carried = {name: value for name, value in self.state.items() if name not in self.moving}
        self.x = {name: self.state[name] for name in self.moving}
        some = next(iter(self.x.values()))
        self.batch, self.device = len(some), some.device

    def denoised(self, x: State, t: Tensor) -> State:
        """x̂0 of the moving components."""
        self.calls += 1
        found = self.denoiser({**x, **self.carried}, t, self.mask, self.cond)
        return {name: p.project(found[name], self.mask.get(name)) for name, p in self.moving.items()}

    def at(self, lam: Tensor, y: State) -> tuple[State, Tensor]:
        """x and t of y at lambda."""
        t = self.schedule.t_of_log_snr(2 * lam)
        alpha = self.schedule.alpha(t)
        return scaled(y, alpha), t

    def slope(self, lam: Tensor, y: State) -> State:
        x0 = self.denoised(*self.at(lam, y))
        return {name: x0[name] - y[name] for name in y}

    def begin(self) -> tuple[Tensor, State]:
        """lambda and y where the ODE can begin: at t = 1, or after a DDIM step away from alpha = 0."""
        one = torch.ones(self.batch, dtype=torch.float64, device=self.device)
        lowest = float(self.schedule.t_of_log_snr(2 * LOWEST_LAMBDA * one)[0])
        node, target = nodes_at(self.schedule, [1.0, lowest])
        if node.lam > LOWEST_LAMBDA:
            return node.lam * one, {name: x / node.alpha for name, x in self.x.items()}
        row, x0 = ddim_row(node, target), self.denoised(self.x, one)
        moved = {name: row.a * x + row.b[0] * x0[name] for name, x in self.x.items()}
        return target.lam * one, {name: x / target.alpha for name, x in moved.items()}

    def error(self, error: State, scale: State) -> Tensor:
        """Root mean square (B,) over the real entries of all components."""
        total, count = torch.zeros(2, self.batch, dtype=torch.float64, device=self.device)
        for name, value in error.items():
            relative, real = value / scale[name], self.mask.get(name)
            total += inner(relative, relative, real)
            count += real_count(value, real)
        result: Tensor = (total / count).sqrt()
        return result


def integrate(
    flow: Flow,
    place: Tensor,
    end: float,
    y: State,
    formula: Formula,
    rtol: float,
    atol: float,
    pid: tuple[float, float, float] = PID,
) -> tuple[State, Tensor, Tensor]:
    """y at `end`, from y at `place` (B,) below it, and for each sample the steps taken and refused."""
    if not (rtol > 0 and atol > 0):
        raise UsageError(f"rtol and atol must be positive, got {rtol:g} and {atol:g}")
    (p, i, d), order = pid, formula.order
    step, past = ((end - place) / 20).clamp(min=1e-3), torch.ones(2, *place.shape).to(place)
    accepted = torch.zeros_like(place, dtype=torch.int64)
    rejected = torch.zeros_like(accepted)
    slope = flow.slope(place, y)
    while True:
        todo = place < end - 1e-9
        if not bool(todo.any()):
            break
        if flow.calls > flow.max_calls:
            raise PolydiffError(
                f"No end after {flow.calls} network calls: raise rtol and atol, or max_calls."
            )
        h = torch.minimum(step, end - place)
        slopes, target = [slope], y
        for weights in formula.a:
            target = _combined(y, slopes, weights, h)
            slopes.append(flow.slope(place + sum(weights) * h, target))
        scale = {k: atol + rtol * torch.maximum(y[k].abs(), target[k].abs()) for k in y}
        zero = {name: torch.zeros_like(value) for name, value in y.items()}
        error = flow.error(_combined(zero, slopes, formula.error, h), scale).clamp(min=1e-10)
        good = todo & (error <= 1)
        factor = error ** (-(p + i + d) / order) * past[0] ** ((p + 2 * d) / order) * past[1] ** (-d / order)
        factor = (0.9 * factor).clamp(0.2, 5.0)
        step = torch.where(todo, h * torch.where(good, factor, factor.clamp(max=0.9)), step)
        past = torch.where(good, torch.stack([error, past[0]]), past)
        place = torch.where(good, place + h, place)
        y = {name: _where(good, target[name], value) for name, value in y.items()}
        slope = {name: _where(good, slopes[-1][name], value) for name, value in slope.items()}
        accepted += good
        rejected += todo & ~good
    return y, accepted, rejected


def _where(good: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(good.reshape(-1, *[1] * (old.dim() - 1)), new, old)


def _combined(y: State, slopes: Sequence[State], weights: Sequence[float], h: Tensor) -> State:
    """y + h Σ weights slopes."""
    result = {}
    for name, value in y.items():
        total = sum(w * slope[name] for w, slope in zip(weights, slopes, strict=False) if w)
        result[name] = value + per_sample(h, value) * total
    return result
