"""Keeping what is known: a denoiser that has been told part of the answer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from polydiff.engine.denoisers import Cond, Denoiser, Mask, Processes, State
from polydiff.engine.noise import noise
from polydiff.engine.schedules import Schedule
from polydiff.errors import UsageError

__all__ = ["inpaint", "keep_exactly", "keeping", "kept_conditions", "overlay"]


def inpaint(
    denoiser: Denoiser,
    known: State,
    keep: Mapping[str, Tensor],
    processes: Processes | None = None,
    schedule: Schedule | None = None,
    noises: State | None = None,
) -> Denoiser:
    """A denoiser that knows part of the answer: x̂0 is `known` wherever `keep` is True.

    Args:
        known: clean values, name to (B, N, ...) or (1, N, ...).
        keep: bool, name to (B, N) or of the full shape of the component.
        processes: those of the state; one whose data has no pose of its own has `known` placed by x̂0, and
            with `schedule` one on a curved or periodic space answers as one that knew x0 would at the state
            (`Process.target`).
        noises: standard normals of `noise_shape` for components that long steps lead astray
            (`Process.strays`): the network sees their kept values with this noise, at the level of t.

    On a vector space the state follows the exact path to the known values there by every solver but those on
    v, so that the network sees them at the right noise level without `noises` too. Overlay `known` on the
    result to make it exact to the last bit (`overlay`).
    """
    _check(known, keep)

    def informed(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
        seen, answer = x, known
        if processes is not None and schedule is not None:
            x0 = {name: known[name].to(x[name]) for name in keep}
            told = {
                name: processes[name].corrupt(x0[name], xi, t, schedule, mask.get(name))
                for name, xi in (noises or {}).items()
            }
            seen = overlay(x, told, {name: keep[name] for name in told})
            answer = {name: processes[name].target(x0[name], x[name], t, schedule) for name in keep}
        return overlay(denoiser(seen, t, mask, cond), answer, keep, processes)

    return informed


_PARTS = ("known/", "keep/", "noise/")


def kept_conditions(
    known: State, keep: Mapping[str, Tensor], processes: Processes, seeds: Tensor
) -> dict[str, Tensor]:
    """What is kept of a micro-batch, as conditions that `keeping` reads. seeds: of the run, int64 (B,)."""
    _check(known, keep)
    cond: dict[str, Tensor] = {}
    for name, chosen in keep.items():
        cond |= {f"known/{name}": known[name], f"keep/{name}": chosen.bool()}
        if processes[name].strays:
            shape = processes[name].noise_shape(tuple(known[name].shape[1:]))
            cond[f"noise/{name}"] = noise(seeds, name, 0, shape, known[name].dtype)
    return cond


def keeping(denoiser: Denoiser, processes: Processes, schedule: Schedule) -> Denoiser:
    """`inpaint` by what the conditions hold (`kept_conditions`): one denoiser for all that is to be kept, so
    that runs which keep different things can share a call, and batches a graph."""

    def informed(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
        known, keep, noises = _kept(cond)
        if not keep:
            return denoiser(x, t, mask, cond)
        own = {name: value for name, value in cond.items() if not name.startswith(_PARTS)}
        return inpaint(denoiser, known, keep, processes, schedule, noises)(x, t, mask, own)

    return informed


def keep_exactly(x: State, cond: Cond, processes: Processes) -> State:
    """x with what `kept_conditions` holds put in to the bit."""
    known, keep, _ = _kept(cond)
    return overlay(x, known, keep, processes)


def _check(known: State, keep: Mapping[str, Tensor]) -> None:
    for name in keep:
        if name not in known:
            raise UsageError(f"part of {name!r} is to be kept, but its known values are not given")


def _kept(cond: Cond) -> tuple[dict[str, Tensor], ...]:
    return tuple(
        {name.removeprefix(part): value for name, value in cond.items() if name.startswith(part)}
        for part in _PARTS
    )


def overlay(
    state: State,
    known: State,
    keep: Mapping[str, Tensor],
    processes: Processes | None = None,
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
