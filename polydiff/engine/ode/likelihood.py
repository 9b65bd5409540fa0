r"""Log likelihoods: the density of data under a model, by the probability-flow ODE.

For y = x / alpha and tau = log(sigma / alpha) (Chen et al. 2018; Song et al. 2021, section 4.3)

    d y / d tau = y - x̂0,        log p(y at tau_0) = log N(y at tau_1; 0, e^{2 tau_1} I) + D (tau_1 - tau_0)
                                                     - ∫ tr(∂x̂0 / ∂y) d tau

with D the real numbers of a sample, over all components; padding is not counted, and a component that is
centred has fewer by the numbers of one node. The trace is exact, by D derivatives a call, or estimated by
probes v with E[v vᵀ] = I as vᵀ (∂x̂0 / ∂y) v (Hutchinson 1990; Grathwohl et al. 2019).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from polydiff.engine.denoisers import Cond, Denoiser, Mask, Processes, State, parts
from polydiff.engine.grids import SIGMA_MIN
from polydiff.engine.inverse.gradients import graph, leaves, pull
from polydiff.engine.nodes import LOWEST_LAMBDA
from polydiff.engine.noise import Seeds, as_seeds, noise
from polydiff.engine.ode.adaptive import RK45, Flow, integrate
from polydiff.engine.schedules import Schedule
from polydiff.engine.states import inner
from polydiff.errors import UsageError

__all__ = ["TRACE", "Likelihood", "log_likelihood"]

TRACE = "log_density/trace"


@dataclass(frozen=True, eq=False)
class Likelihood:
    """log_density: nats in the state's units, float64 (B,). dimensions: real numbers of a sample, (B,).
    spread: standard error of log_density from the probes, (B,); zero where the trace is exact, NaN for one
    probe. noise: the states at t = 1 over alpha there. nfe: network calls of the whole batch."""

    log_density: Tensor
    dimensions: Tensor
    spread: Tensor
    noise: State
    nfe: int


def log_likelihood(
    denoiser: Denoiser,
    processes: Processes,
    schedule: Schedule,
    state: State,
    mask: Mask | None = None,
    cond: Cond | None = None,
    *,
    probes: int | None = None,
    seeds: Seeds = 0,
    rtol: float = 1e-4,
    atol: float = 1e-4,
    max_calls: int = 10_000,
) -> Likelihood:
    """The log density of clean states (B, N, ...) under a model: of Gaussian components given Fixed ones.

    It is the density of what the sampler makes in infinitely many steps, smoothed by noise of sigma / alpha =
    0.002, below which no grid places a call.

    Args:
        probes: None for the exact trace, else the number of probes of ±1, which are drawn once a sample.
        seeds: of the probes, one a sample or one for all.
        rtol, atol, max_calls: as for `adaptive`; they hold for the integral of the trace too.

    Errors: UsageError for a process that is neither linear nor passive, or fewer than one probe;
    PolydiffError after `max_calls`.

    >>> from polydiff.engine.processes import Gaussian
    >>> from polydiff.engine.schedules import EDM
    >>> schedule = EDM()
    >>> def unit(x, t, mask, cond):                        # the denoiser of N(0, 1)
    ...     return {"x": x["x"] / (1 + schedule.sigma(t)[:, None, None] ** 2)}
    >>> found = log_likelihood(unit, {"x": Gaussian()}, schedule, {"x": torch.zeros(1, 2, 1)})
    >>> round(found.log_density.item(), 2), round(-math.log(2 * math.pi), 2)
    (-1.84, -1.84)
    """
    if probes is not None and probes < 1:
        raise UsageError(f"probes must be at least 1, got {probes}")
    with torch.no_grad():
        flow = _Density(denoiser, processes, schedule, state, mask or {}, cond or {}, max_calls)
        own = as_seeds(seeds, flow.device)
        flow.probes = list(flow.basis() if probes is None else flow.drawn(own.expand(flow.batch), probes))
        one = torch.ones(flow.batch, dtype=torch.float64, device=flow.device)
        first = math.log(SIGMA_MIN)
        last = -max(float(schedule.log_snr(one[:1]) / 2), LOWEST_LAMBDA)
        y = {name: p.project(flow.x[name], flow.mask.get(name)) for name, p in flow.moving.items()}
        y[TRACE] = torch.zeros(flow.batch, 1 if probes is None else probes, dtype=torch.float64).to(one)
        y, _, _ = integrate(flow, first * one, last, y, RK45, rtol, atol)
        traces, count = y.pop(TRACE), flow.dimensions()
        squares = sum(inner(value, value, flow.mask.get(name)) for name, value in y.items())
        prior = -0.5 * (squares * math.exp(-2 * last) + count * (math.log(2 * math.pi) + 2 * last))
    return Likelihood(
        log_density=prior + count * (last - first) - traces.mean(1),
        dimensions=count,
        spread=torch.zeros_like(prior) if probes is None else traces.std(1) / math.sqrt(probes),
        noise={**flow.carried, **y},
        nfe=flow.calls,
    )


class _Density(Flow):
    """The ODE from data to noise together with the trace, one column a probe or one for all of a basis."""

    probes: list[State]

    def slope(self, place: Tensor, y: State) -> State:
        with graph():
            here = leaves(parts(y))
            x0 = self.denoised(*self.at(-place, here))
        traces = []
        for probe in self.probes:
            turned = pull(x0, here, probe)
            parts_of = [inner(probe[k], v, self.mask.get(k)) for k, v in turned.items() if k in probe]
            traces.append(torch.stack([torch.zeros_like(place), *parts_of]).sum(0))
        columns = y[TRACE].shape[1]
        total = torch.stack(traces, 1)
        total = total.sum(1, keepdim=True) if columns == 1 else total
        return {**{name: value - x0[name].detach() for name, value in parts(y).items()}, TRACE: total}

    def error(self, error: State, scale: State) -> Tensor:
        """The larger of the state's and of the trace's, (B,)."""
        trace = (error[TRACE] / scale[TRACE]).square().mean(1).sqrt()
        return torch.maximum(super().error(parts(error), parts(scale)), trace)

    def dimensions(self) -> Tensor:
        counts = [self.moving[name].dimensions(x, self.mask.get(name)) for name, x in self.x.items()]
        return torch.stack(counts).sum(0)

    def basis(self) -> Iterator[State]:
        """A vector for each number of each component, projected: Σ v vᵀ is the projection."""
        for name, x in self.x.items():
            for index in range(x[0].numel()):
                v = torch.zeros_like(x).flatten(1)
                v[:, index] = 1
                yield {name: self.processes[name].project(v.reshape(x.shape), self.mask.get(name))}

    def drawn(self, seeds: Tensor, count: int) -> Iterator[State]:
        for k in range(count):
            yield {
                name: self.processes[name].project(
                    noise(seeds, f"probe {name}", k, tuple(x.shape[1:]), x.dtype).sign(), self.mask.get(name)
                )
                for name, x in self.x.items()
            }
