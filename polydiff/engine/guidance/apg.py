"""Adaptive projected guidance: strong guidance without the glare."""

from __future__ import annotations

import torch
from torch import Tensor

from polydiff.engine.denoisers import Cond, Denoiser, Mask, State, parts
from polydiff.engine.guidance.contrast import Interval, entries, halves, inner, strength
from polydiff.engine.processes.base import masked, per_sample
from polydiff.engine.schedules import Schedule
from polydiff.errors import UsageError

SUFFIX = "/momentum"


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

    The difference d = cond - null goes through three mends before it is added, for each component:

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
    weight = strength(scale, interval, schedule)
    if scale == 1 or not null:
        return denoiser
    both = halves(denoiser, null)

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
                rms = (inner(d, d, real) / entries(d, real)).sqrt()
                d = d * per_sample((norm / rms.clamp(min=1e-12)).clamp(max=1), d)
            if eta != 1:
                share = inner(d, positive, real) / inner(positive, positive, real).clamp(min=1e-12)
                d = d - per_sample((1 - eta) * share, d) * positive
            result[name] = positive + per_sample(factor, d) * d
        return result

    return guided
