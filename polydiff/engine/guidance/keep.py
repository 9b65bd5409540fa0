"""Keeping what is known: a denoiser that has been told part of the answer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from polydiff.engine.denoisers import Cond, Denoiser, Mask, State
from polydiff.engine.noise import noise
from polydiff.engine.processes.base import Process
from polydiff.engine.schedules import Schedule
from polydiff.errors import UsageError


def inpaint(
    denoiser: Denoiser,
    known: State,
    keep: Mapping[str, Tensor],
    processes: Mapping[str, Process] | None = None,
    schedule: Schedule | None = None,
    seeds: Tensor | None = None,
) -> Denoiser:
    """A denoiser that knows part of the answer: x̂0 is `known` wherever `keep` is True.

    Args:
        known: clean values, name to (B, N, ...) or (1, N, ...).
        keep: bool, name to (B, N) or of the full shape of the component.
        processes: those of the state; one whose data has no pose of its own has `known` placed by x̂0, and
            with `schedule` one on a curved or periodic space answers as one that knew x0 would at the state
            (`Process.target`).
        seeds: those of the run, int64 (B,); with them and `schedule` the network sees what is kept at the
            noise of t on every space (`Process.shown`).

    The state follows the exact path to the known values there on a vector space, so that the network sees
    them at the right noise level. Overlay `known` on the result to make it exact to the last bit (`overlay`).
    """
    for name in keep:
        if name not in known:
            raise UsageError(f"part of {name!r} is to be kept, but its known values are not given")

    noises = {}
    if processes is not None and seeds is not None:
        for name in keep:
            shape = processes[name].noise_shape(tuple(known[name].shape[1:]))
            noises[name] = noise(seeds, name, 0, shape, known[name].dtype)

    def informed(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
        seen, answer = x, known
        if processes is not None and schedule is not None:
            x0 = {name: known[name].to(x[name]) for name in keep}
            told = {
                name: processes[name].shown(x[name], x0[name], xi, t, schedule, mask.get(name))
                for name, xi in noises.items()
            }
            seen = overlay(x, told, {name: keep[name] for name in told if told[name] is not x[name]})
            answer = {name: processes[name].target(x0[name], x[name], t, schedule) for name in keep}
        return overlay(denoiser(seen, t, mask, cond), answer, keep, processes)

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
