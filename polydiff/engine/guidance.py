"""Guidance: a denoiser that wraps a denoiser, and holds nothing that changes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from polydiff.engine.denoisers import Cond, Denoiser, Mask, State
from polydiff.engine.processes.base import Process, masked, per_sample
from polydiff.engine.schedules import Schedule
from polydiff.errors import UsageError


def _deviation(x: Tensor, mask: Tensor | None) -> Tensor:
    """Root mean square about the mean over a sample's real entries, (B,) float64."""
    x = masked(x, mask).double().flatten(1)
    count = x.shape[1] if mask is None else mask.sum(1).clamp(min=1) * (x.shape[1] / mask.shape[1])
    mean = x.sum(1) / count
    return (x.square().sum(1) / count - mean**2).clamp(min=0).sqrt()


def cfg(
    denoiser: Denoiser,
    scale: float,
    null: Cond,
    rescale: float = 0.0,
    interval: tuple[float, float] | None = None,
    schedule: Schedule | None = None,
) -> Denoiser:
    """Classifier-free guidance (Ho and Salimans 2022): x̂0 = null + scale (cond - null).

    Conditioned and unconditioned samples go through the network in one call on a doubled batch.

    Args:
        scale: 1 is no guidance, 0 the unconditioned model.
        null: what "any" looks like, name to (1, width) or (B, width). A condition that it does not name is
            never dropped.
        rescale: how much of the guided x̂0's deviation is set back to the conditioned one's, 0 to 1 (Lin et
            al. 2024, section 3.4).
        interval: (low, high) of log_snr outside which the conditioned answer is used alone (Kynkäänniemi et
            al. 2024); needs `schedule`.
    """
    if interval is not None and schedule is None:
        raise UsageError("a guidance interval is in log_snr and needs the schedule")
    if not 0 <= rescale <= 1:
        raise UsageError(f"rescale must lie between 0 and 1, got {rescale!r}")
    if scale == 1 or not null:
        return denoiser

    def guided(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
        size = len(t)
        missing = null.keys() - cond.keys()
        if missing:
            raise UsageError(f"guidance needs the condition {', '.join(sorted(missing))}, which is not given")
        dropped = {name: null.get(name, value).to(value).expand_as(value) for name, value in cond.items()}
        both = denoiser(
            _twice(x), torch.cat([t, t]), _twice(mask), {k: torch.cat([cond[k], dropped[k]]) for k in cond}
        )
        weight: Tensor | float = scale
        if interval is not None and schedule is not None:
            log_snr = schedule.log_snr(t)
            inside = (log_snr >= interval[0]) & (log_snr <= interval[1])
            weight = torch.where(inside, scale, 1.0)
        result = {}
        for name, value in both.items():
            with_cond, without = value[:size], value[size:]
            factor = per_sample(weight, value) if isinstance(weight, Tensor) else weight
            answer = torch.lerp(without, with_cond, factor)
            if rescale:
                real = mask.get(name)
                ratio = _deviation(with_cond, real) / _deviation(answer, real).clamp(min=1e-12)
                answer = answer * per_sample(1 + rescale * (ratio - 1), answer)
            result[name] = answer
        return result

    return guided


def _twice(tensors: Mapping[str, Tensor]) -> State:
    return {name: torch.cat([value, value]) for name, value in tensors.items()}


def inpaint(
    denoiser: Denoiser,
    known: State,
    keep: Mapping[str, Tensor],
    processes: Mapping[str, Process] | None = None,
    schedule: Schedule | None = None,
) -> Denoiser:
    """A denoiser that knows part of the answer: x̂0 is `known` wherever `keep` is True.

    Args:
        known: clean values, name to (B, N, ...) or (1, N, ...).
        keep: bool, name to (B, N) or of the full shape of the component.
        processes: those of the state; one whose data has no pose of its own has `known` placed by x̂0, and
            with `schedule` one on a curved or periodic space answers as one that knew x0 would at the state
            (`Process.target`).

    The state then follows the exact path to the known values there, and the network sees them at the
    right noise level. Overlay `known` on the result to make it exact to the last bit (`overlay`).
    """
    for name in keep:
        if name not in known:
            raise UsageError(f"part of {name!r} is to be kept, but its known values are not given")

    def informed(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
        answer = known
        if processes is not None and schedule is not None:
            answer = {
                name: processes[name].target(known[name].to(x[name]), x[name], t, schedule) for name in keep
            }
        return overlay(denoiser(x, t, mask, cond), answer, keep, processes)

    return informed


def overlay(
    state: State,
    known: State,
    keep: Mapping[str, Tensor],
    processes: Mapping[str, Process] | None = None,
) -> State:
    """`state` with `known` put in wherever `keep` is True; components without a `keep` pass through. With
    `processes`, known values are placed as those of `inpaint`."""
    result = dict(state)
    for name in keep.keys() & state.keys():
        value, given = state[name], known[name].to(state[name])
        if processes is not None:
            given = processes[name].placed(given, value, keep[name])
        result[name] = torch.where(_like(keep[name], value), given, value)
    return result


def _like(keep: Tensor, value: Tensor) -> Tensor:
    return keep.reshape(*keep.shape, *[1] * (value.dim() - keep.dim()))
