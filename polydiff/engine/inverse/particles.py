r"""Particles: many weighted runs of one sample; the error falls as their number grows.

    for each row:    twist(x̂0, t)  ──▶  weights  ──▶  resample, where few carry all the weight
                     x̂0 + (sigma² / alpha) ∇ twist  ──▶  step  ──▶  weights: chance under the model
                                                                     over chance under the twisted step

This is the twisted diffusion sampler (Wu et al. 2023, algorithm 1): the target at time t is p(x_t)
exp(twist), and as the twist at the end is the log-likelihood itself, the weighted particles are samples of
p(x0) exp(log-likelihood) as their number grows, however poor the twists on the way (for the model with its
discrete steps). Rows without noise cannot be twisted; they are the model's own steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from polydiff.engine.denoisers import Cond, Denoiser, Mask, Processes, State, parts
from polydiff.engine.inverse.gradients import added, graph, leaves, pull, scaled, tweedie_factor
from polydiff.engine.inverse.posterior import Measurement, remaining_variance
from polydiff.engine.loop import Run, start, step
from polydiff.engine.noise import Seeds, as_seeds, noise, uniform
from polydiff.engine.schedules import Schedule
from polydiff.engine.states import filled, inner, masked
from polydiff.engine.table import Row, Table
from polydiff.errors import UsageError

__all__ = ["Particles", "Twist", "measured", "particle_seeds", "sample_particles", "systematic"]

Twist = Callable[[State, Tensor, Mask], Tensor]


@dataclass(frozen=True, eq=False)
class Particles:
    """K particles of each of B samples, between two rows.

    run: all of them, B·K rows, those of a sample together. log_weights: (B, K), since the last resampling.
    twist: (B, K), the twist that the weights hold already.
    """

    run: Run
    log_weights: Tensor
    twist: Tensor

    @property
    def effective(self) -> Tensor:
        """The effective number of particles, 1 / Σ weight², (B,), from 1 to K."""
        return 1 / self.weights.square().sum(1)

    @property
    def weights(self) -> Tensor:
        """(B, K), one in sum."""
        return self.log_weights.softmax(1)

    @property
    def x(self) -> State:
        """Name to (B, K, N, ...)."""
        return {k: v.unflatten(0, tuple(self.log_weights.shape)) for k, v in self.run.x.items()}

    def drawn(self, seeds: Seeds) -> State:
        """One particle of each sample, drawn by weight: name to (B, N, ...)."""
        seeds = as_seeds(seeds, self.log_weights.device)
        chosen = systematic(self.weights, uniform(seeds, "drawn", 0, (1,)), 1)
        return {
            name: value[torch.arange(len(value), device=value.device), chosen[:, 0]]
            for name, value in self.x.items()
        }


def measured(measurement: Measurement, schedule: Schedule, sigma_data: float = 1.0) -> Twist:
    """The twist of a linear measurement: log p(y | x̂0), its noise widened by what data of that deviation can
    still be, so that early weights are gentle; the likelihood itself at t = 0. For an operator whose rows
    have about unit length. Errors: UsageError for a std of 0, which no particle can meet."""
    if bool((torch.as_tensor(measurement.std) == 0).any()):
        raise UsageError("particles need a measurement with a std above 0")

    def twist(x0_hat: State, t: Tensor, mask: Mask) -> Tensor:
        return measurement.log_likelihood(x0_hat, mask, remaining_variance(schedule, t, sigma_data))

    return twist


def particle_seeds(seeds: Seeds, count: int) -> Tensor:
    """Seeds (B · count,) of each sample's particles; more particles begin with the same ones.

    >>> torch.equal(particle_seeds([3, 7], 4)[4:6], particle_seeds(7, 2))
    True
    """
    return (uniform(as_seeds(seeds), "particles", 0, (count,)) * 2**53).long().flatten()


def systematic(weights: Tensor, offset: Tensor, count: int) -> Tensor:
    """Systematic resampling (Kitagawa 1996): the indices int64 (B, count) of the particles to keep, given
    weights (B, K); each as often as `count` times its weight, rounded up or down. offset: uniform (B, 1).

    >>> systematic(torch.tensor([[0.5, 0.1, 0.4]]), torch.tensor([[0.5]]), 4).tolist()
    [[0, 0, 2, 2]]
    """
    edges = weights.double().cumsum(1)
    places = (torch.arange(count, device=weights.device) + offset.double()) / count * edges[:, -1:]
    return torch.searchsorted(edges, places).clamp(max=weights.shape[1] - 1)


def sample_particles(
    denoiser: Denoiser,
    processes: Processes,
    schedule: Schedule,
    table: Table,
    twist: Twist,
    seeds: Seeds,
    count: int,
    shapes: Mapping[str, tuple[int, ...]],
    mask: Mask | None = None,
    cond: Cond | None = None,
    init: State | None = None,
    *,
    bend: float = 1.0,
    resample_below: float = 0.5,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Particles]:
    """The particles after each row; those of the last one are the weighted samples.

    Args:
        table: of a solver with noise in its rows, such as ddpm.
        twist: from x̂0 (name to (B·K, N, ...), padding zero), t (B·K,) and masks to (B·K,), differentiable; at
            t = 0 it is the log-likelihood or the reward, and x̂0 the sample.
        seeds: one a sample; count: particles of each.
        shapes, mask, cond, init: as for `start` and `sample`, of the B samples.
        bend: how far steps follow the twist's gradient; 0 leaves it to the weights alone (a bootstrap
            filter), and asks for no derivative.
        resample_below: share of K to which the effective number may fall before a sample's particles are
            resampled (`systematic`).

    Errors: UsageError for a component that is neither linear nor passive, a count below 1, or a twist that is
    no (B·K,).
    """
    if count < 1:
        raise UsageError(f"count must be at least 1, got {count}")
    for name, process in processes.items():
        if not (process.linear or process.passive):
            raise UsageError(f"particles need Gaussian components, and {name!r} is {type(process).__name__}")
    own = as_seeds(seeds, device)
    mask, cond = _repeated(mask, count), _repeated(cond, count)
    init, many = _repeated(init, count), particle_seeds(own, count)
    run = start(processes, schedule, table, many, shapes, mask, init, device, dtype)
    flat = torch.zeros(len(own), count, dtype=torch.float64, device=own.device)
    state = Particles(run, flat, flat)

    def value_of(x0: State, t: Tensor) -> Tensor:
        value = twist({k: masked(v, mask.get(k)) for k, v in parts(x0).items()}, t, mask)
        if value.shape != t.shape:
            raise UsageError(
                f"the twist must be one number a particle, ({len(t)},), and is {tuple(value.shape)}"
            )
        return value

    def look(run: Run, row: Row) -> tuple[State, State, Tensor]:
        """x̂0, by how much the twist moves it, and the twist."""
        t, bent = filled(row.t, len(run.seeds), own.device), bool(row.c and bend)
        with graph() if bent else torch.no_grad():
            here = leaves(run.seen) if bent else run.seen
            x0_hat = denoiser(here, t, mask, cond)
            value = value_of(x0_hat, t)
            slope = pull({"twist": value}, here, {"twist": torch.ones_like(value)})
        drawn = {name for name in x0_hat if name in processes and processes[name].linear}
        slope = {name: change for name, change in slope.items() if name in drawn}
        shift = scaled(slope, bend * tweedie_factor(schedule, t))
        return {name: x0.detach() for name, x0 in x0_hat.items()}, shift, value.detach()

    while state.run.row < table.nfe:
        row = table.rows[state.run.row]
        x0_hat, shift, value = look(state.run, row)
        state, chosen = _resampled(_weighed(state, value), own, resample_below * count)
        x0_hat, shift = _chosen(x0_hat, chosen), _chosen(shift, chosen)
        state = _moved(state, x0_hat, shift, table, row, processes, mask)
        if state.run.row == table.nfe:
            state = _weighed(state, value_of(state.run.x, filled(table.end, len(many), own.device)))
        yield state


def _weighed(state: Particles, twist: Tensor) -> Particles:
    twist = twist.reshape(state.twist.shape).double()
    return replace(state, log_weights=state.log_weights + twist - state.twist, twist=twist)


def _resampled(state: Particles, seeds: Tensor, least: float) -> tuple[Particles, Tensor]:
    """Resample the samples whose effective number is below `least`; also the index (B·K,) that each particle
    was copied from. Seeds stay with the places, so that two copies of a particle diverge."""
    count = state.log_weights.shape[1]
    few = (state.effective < least)[:, None]
    offset = uniform(seeds, "resample", state.run.row, (1,))
    chosen = torch.where(
        few, systematic(state.weights, offset, count), torch.arange(count, device=seeds.device)
    )
    flat = (chosen + torch.arange(len(chosen), device=seeds.device)[:, None] * count).flatten()
    run = replace(
        state.run,
        x=_chosen(state.run.x, flat),
        h={name: tuple(past[flat] for past in values) for name, values in state.run.h.items()},
        anchor=_chosen(state.run.anchor, flat),
        memory=_chosen(state.run.memory, flat),
    )
    weights = torch.where(few, 0.0, state.log_weights)
    return Particles(run, weights, state.twist.gather(1, chosen)), flat


def _moved(
    state: Particles,
    x0_hat: State,
    shift: State,
    table: Table,
    row: Row,
    processes: Processes,
    mask: Mask,
) -> Particles:
    """After the row, with log p(x⁺ | x) - log q(x⁺ | x) on the weights: the twist moved the mean of the step
    by d, so that the noise c ξ is, under the model, c ξ + d."""
    change = torch.zeros_like(state.twist).flatten()
    bent = added(x0_hat, shift, torch.ones_like(change))
    run = step(state.run, table, lambda *_: bent, processes, mask)
    for name, moved in shift.items():
        process = processes[name]
        d = process.project(moved, mask.get(name)) * (row.b[0] * row.q / row.c)
        shape = process.noise_shape(tuple(moved.shape[1:]))
        xi = process.project(noise(run.seeds, name, run.row, shape, moved.dtype), mask.get(name))
        change -= 0.5 * inner(d, d, None) + inner(d, xi, None)
    return Particles(run, state.log_weights + change.reshape(state.twist.shape), state.twist)


def _chosen(state: State, places: Tensor) -> State:
    return {name: value[places] for name, value in state.items()}


def _repeated(tensors: Mapping[str, Tensor] | None, count: int) -> State:
    return {name: value.repeat_interleave(count, dim=0) for name, value in (tensors or {}).items()}
