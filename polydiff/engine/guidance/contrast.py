"""Guidance by contrast: extrapolate from one answer of a network through another, by a scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from polydiff.engine.denoisers import Cond, Denoiser, Mask, State, parts
from polydiff.engine.schedules import Schedule
from polydiff.engine.states import inner, masked, per_sample, real_count
from polydiff.errors import UsageError

__all__ = [
    "SUFFIX",
    "Interval",
    "WithAndWithout",
    "apg",
    "autoguidance",
    "cfg",
    "cfg_zero",
    "inner",
    "scale_at",
    "with_and_without",
]

Interval = tuple[float, float]
WithAndWithout = Callable[[State, Tensor, Mask, Cond], tuple[State, State]]

#: ends the name under which `apg` keeps its last difference in the Run
SUFFIX = "/momentum"


def cfg(
    denoiser: Denoiser,
    scale: float,
    null: Cond,
    rescale: float = 0.0,
    interval: Interval | None = None,
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

    Errors: UsageError for a rescale out of range, or an interval without a schedule.
    """
    if not 0 <= rescale <= 1:
        raise UsageError(f"rescale must lie between 0 and 1, got {rescale!r}")
    weight = scale_at(scale, interval, schedule)
    if scale == 1 or not null:
        return denoiser
    both = with_and_without(denoiser, null)

    def guided(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
        with_cond, without = both(x, t, mask, cond)
        answer = _beyond(without, with_cond, weight(t))
        return _rescaled(answer, with_cond, mask, rescale) if rescale else answer

    return guided


def cfg_zero(
    denoiser: Denoiser,
    scale: float,
    null: Cond,
    schedule: Schedule,
    interval: Interval | None = None,
    zero_from: float | None = 1.0,
) -> Denoiser:
    """CFG-Zero* (Fan et al. 2025, eq. 8 and algorithm 1): the unconditioned flow is first scaled so that it
    fits the conditioned one best, and the flow of the first call is zero.

    The flow of any schedule is that of the rectified flow through the same noise levels: at y = x / (alpha +
    sigma) it points along r = y - x̂0. With r of either answer and s = <r_cond, r_null> / |r_null|²

        y - x̂0 = s r_null + scale (r_cond - s r_null)

    Args:
        scale, null, interval: as in `cfg`.
        zero_from: the flow is zero (x̂0 = y) at this t and above; None is never. 1 is the paper's single first
            step. Made for first-order solvers: a multistep solver goes on using the read-out.
    """
    weight = scale_at(scale, interval, schedule)
    if scale == 1 or not null:
        return denoiser
    both = with_and_without(denoiser, null)

    def guided(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
        with_cond, without = both(x, t, mask, cond)
        factor, size = weight(t), 1 / (schedule.alpha(t) + schedule.sigma(t))
        result = dict(with_cond)
        for name, positive in with_cond.items():
            real = mask.get(name)
            y = x[name] * per_sample(size, positive)
            r_cond, r_null = y - positive, y - without[name]
            fit = inner(r_cond, r_null, real) / inner(r_null, r_null, real).clamp(min=1e-12)
            r_null = r_null * per_sample(fit, r_null)
            flow = torch.lerp(r_null, r_cond, per_sample(factor, y))
            if zero_from is not None:
                flow = flow * per_sample(t < zero_from, y)
            result[name] = y - flow
        return result

    return guided


def apg(
    denoiser: Denoiser,
    scale: float,
    null: Cond,
    eta: float = 0.0,
    norm: float = 0.0,
    momentum: float = -0.5,
    interval: Interval | None = None,
    schedule: Schedule | None = None,
) -> Denoiser:
    """Adaptive projected guidance (Sadat et al. 2024, section 4, algorithm 1).

    The difference d = cond - null is modified in three steps before it is added, for each component:

        d ← d + momentum · (d of the call before)             a negative momentum damps what repeats itself
        d ← d · min(1, norm / |d|)                            no step is too long
        d ← d - (1 - eta) (d's part along x̂0 of cond)         that part only saturates
        x̂0 = cond + (scale - 1) d

    The d of the call before is remembered in the Run, so that a resumed run goes on bit for bit; steps of
    `adaptive`, which keep no memory, go without momentum.

    Args:
        scale, null, interval, schedule: as in `cfg`.
        eta: how much of the parallel part stays; 1 keeps all of it.
        norm: the largest root mean square of d over a sample's real entries, 0 for no limit. (The paper's
            radius, over the root of the number of entries: so it means the same at any size.)

    Errors: UsageError for a negative norm, |momentum| of 1 or more, or an interval without a schedule.
    """
    if norm < 0:
        raise UsageError(f"norm must be 0 or more, got {norm!r}")
    if not -1 < momentum < 1:
        raise UsageError(f"momentum must lie between -1 and 1, got {momentum!r}")
    weight = scale_at(scale, interval, schedule)
    if scale == 1 or not null:
        return denoiser
    both = with_and_without(denoiser, null)

    def guided(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
        with_cond, without = both(parts(x), t, mask, cond)
        factor = weight(t) - 1
        result: State = {}
        for name, positive in with_cond.items():
            real, memory = mask.get(name), x.get(name + SUFFIX)
            d = masked(positive - without[name], real)
            if momentum:
                d = d if memory is None else torch.add(d, memory, alpha=momentum)
                result[name + SUFFIX] = d
            if norm:
                rms = (inner(d, d, real) / real_count(d, real)).sqrt()
                d = d * per_sample((norm / rms.clamp(min=1e-12)).clamp(max=1), d)
            if eta != 1:
                share = inner(d, positive, real) / inner(positive, positive, real).clamp(min=1e-12)
                d = d - per_sample((1 - eta) * share, d) * positive
            result[name] = positive + per_sample(factor, d) * d
        return result

    return guided


def autoguidance(denoiser: Denoiser, weaker: Denoiser, scale: float) -> Denoiser:
    """Autoguidance (Karras et al. 2024, eq. 3): away from the errors of a weaker model of the same data and
    conditions, one that is smaller or less trained: x̂0 = weaker + scale (denoiser - weaker).

    Args:
        scale: 1 is no guidance.
    """

    def guided(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
        factor = torch.full_like(t, scale)
        return _beyond(weaker(x, t, mask, cond), denoiser(x, t, mask, cond), factor)

    return denoiser if scale == 1 else guided


def with_and_without(denoiser: Denoiser, null: Cond) -> WithAndWithout:
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
        if len(parts(answer)) < len(answer):
            raise UsageError("a denoiser that remembers, as that of apg does, cannot be guided again")
        size = len(t)
        return {k: v[:size] for k, v in answer.items()}, {k: v[size:] for k, v in answer.items()}

    return both


def _twice(tensors: Mapping[str, Tensor]) -> State:
    return {name: torch.cat([value, value]) for name, value in tensors.items()}


def scale_at(
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


def _beyond(start: State, through: State, factor: Tensor) -> State:
    return {name: torch.lerp(start[name], x, per_sample(factor, x)) for name, x in through.items()}


def _rescaled(answer: State, reference: State, mask: Mask, share: float) -> State:
    result = {}
    for name, value in answer.items():
        real = mask.get(name)
        ratio = _deviation(reference[name], real) / _deviation(value, real).clamp(min=1e-12)
        result[name] = value * per_sample(1 + share * (ratio - 1), value)
    return result


def _deviation(x: Tensor, mask: Tensor | None) -> Tensor:
    """Root mean square about the mean over a sample's real entries, (B,) float64."""
    x = masked(x, mask)
    count = real_count(x, mask)
    mean = x.double().flatten(1).sum(1) / count
    return (inner(x, x, None) / count - mean**2).clamp(min=0).sqrt()
