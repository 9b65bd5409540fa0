"""What guidance by contrast shares: two answers of a network, and how far to go beyond the second."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from polydiff.engine.denoisers import Cond, Denoiser, Mask, State
from polydiff.engine.processes.base import masked
from polydiff.engine.schedules import Schedule
from polydiff.errors import UsageError

Interval = tuple[float, float]
Halves = Callable[[State, Tensor, Mask, Cond], tuple[State, State]]


def halves(denoiser: Denoiser, null: Cond) -> Halves:
    """The answer with the conditions and the one without, of one call on a doubled batch.

    null: what "any" looks like, name to (1, width) or (B, width). A condition that it does not name is never
    dropped.
    """

    def both(x: State, t: Tensor, mask: Mask, cond: Cond) -> tuple[State, State]:
        missing = null.keys() - cond.keys()
        if missing:
            raise UsageError(f"guidance needs the condition {', '.join(sorted(missing))}, which is not given")
        dropped = {name: null.get(name, value).to(value).expand_as(value) for name, value in cond.items()}
        answer = denoiser(
            _twice(x), torch.cat([t, t]), _twice(mask), {k: torch.cat([cond[k], dropped[k]]) for k in cond}
        )
        size = len(t)
        return {k: v[:size] for k, v in answer.items()}, {k: v[size:] for k, v in answer.items()}

    return both


def _twice(tensors: Mapping[str, Tensor]) -> State:
    return {name: torch.cat([value, value]) for name, value in tensors.items()}


def strength(
    scale: float, interval: Interval | None, schedule: Schedule | None
) -> Callable[[Tensor], Tensor]:
    """The scale at t (B,): 1 where log_snr lies outside the interval (Kynkäänniemi et al. 2024)."""
    if interval is None:
        return lambda t: torch.full_like(t, scale)
    if schedule is None:
        raise UsageError("a guidance interval is in log_snr and needs the schedule")
    (low, high), known = interval, schedule

    def at(t: Tensor) -> Tensor:
        log_snr = known.log_snr(t)
        return torch.where((log_snr >= low) & (log_snr <= high), scale, 1.0).double()

    return at


def inner(a: Tensor, b: Tensor, mask: Tensor | None) -> Tensor:
    """The inner product over a sample's real entries, (B,) float64."""
    return (masked(a, mask).double() * masked(b, mask).double()).flatten(1).sum(1)


def entries(x: Tensor, mask: Tensor | None) -> Tensor | int:
    """How many real numbers a sample of x (B, N, ...) has, at least one."""
    return x[0].numel() if mask is None else mask.sum(1).clamp(min=1) * x[0, 0].numel()
