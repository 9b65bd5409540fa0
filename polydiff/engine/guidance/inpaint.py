"""Inpainting: part of a sample is known and stays, the denoiser makes the rest.

inpaint               with the known values as arguments
inpaint_from_cond     with the known values among the conditions, where `pack_known` put them: samples of
                      one batch may keep different parts
paste_known           the known values put into a state, exact to the last bit
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from polydiff.engine.denoisers import Cond, Denoiser, Mask, Processes, State
from polydiff.engine.noise import noise
from polydiff.engine.schedules import Schedule
from polydiff.errors import UsageError

__all__ = ["inpaint", "inpaint_from_cond", "pack_known", "paste_known", "unpack_known"]


def inpaint(
    denoiser: Denoiser,
    known: State,
    keep: Mapping[str, Tensor],
    processes: Processes | None = None,
    schedule: Schedule | None = None,
    noises: State | None = None,
) -> Denoiser:
    """A denoiser for inpainting: x̂0 is `known` wherever `keep` is True.

    Args:
        known: clean values, name to (B, N, ...) or (1, N, ...).
        keep: bool, name to (B, N) or of the full shape of the component.
        processes: those of the state; one whose data has no pose of its own has `known` placed by x̂0, and
            with `schedule` one on a curved or periodic space answers as one that knew x0 would at the state
            (`Process.target`).
        noises: standard normals of `noise_shape` for components that need it
            (`Process.needs_noised_known`): the network sees their known values with this noise, at the level
            of t.

    On a vector space the state follows the exact path to the known values with every solver but those on v,
    so that the network sees them at the right noise level without `noises` too. `paste_known` makes the
    result exact to the last bit.
    """
    _check(known, keep)

    def inpainted(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
        seen, answer = x, known
        if processes is not None and schedule is not None:
            x0 = {name: known[name].to(x[name]) for name in keep}
            told = {
                name: processes[name].corrupt(x0[name], xi, t, schedule, mask.get(name))
                for name, xi in (noises or {}).items()
            }
            seen = paste_known(x, told, {name: keep[name] for name in told})
            answer = {name: processes[name].target(x0[name], x[name], t, schedule) for name in keep}
        return paste_known(denoiser(seen, t, mask, cond), answer, keep, processes)

    return inpainted


_PARTS = ("known/", "keep/", "noise/")


def pack_known(
    known: State, keep: Mapping[str, Tensor], processes: Processes, seeds: Tensor
) -> dict[str, Tensor]:
    """The known part of a micro-batch as conditions, (B, N, ...), which `inpaint_from_cond` reads.

    Args:
        known, keep: as in `inpaint`.
        seeds: of the run, int64 (B,).

    Errors: UsageError for a component to keep without known values.
    """
    _check(known, keep)
    cond: dict[str, Tensor] = {}
    for name, chosen in keep.items():
        cond |= {f"known/{name}": known[name], f"keep/{name}": chosen.bool()}
        if processes[name].needs_noised_known:
            shape = processes[name].noise_shape(tuple(known[name].shape[1:]))
            cond[f"noise/{name}"] = noise(seeds, name, 0, shape, known[name].dtype)
    return cond


def inpaint_from_cond(denoiser: Denoiser, processes: Processes, schedule: Schedule) -> Denoiser:
    """`inpaint` with the known part read from the conditions (`pack_known`): one denoiser for all requests,
    so that samples which keep different parts can share a network call, and batches a CUDA graph."""

    def inpainted(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
        known, keep, noises = unpack_known(cond)
        if not keep:
            return denoiser(x, t, mask, cond)
        own = {name: value for name, value in cond.items() if not name.startswith(_PARTS)}
        return inpaint(denoiser, known, keep, processes, schedule, noises)(x, t, mask, own)

    return inpainted


def _check(known: State, keep: Mapping[str, Tensor]) -> None:
    for name in keep:
        if name not in known:
            raise UsageError(f"part of {name!r} is to be kept, but its known values are not given")


def unpack_known(cond: Cond) -> tuple[dict[str, Tensor], ...]:
    """known, keep and noises of `pack_known`, each by the name of the component."""
    return tuple(
        {name.removeprefix(part): value for name, value in cond.items() if name.startswith(part)}
        for part in _PARTS
    )


def paste_known(
    state: State,
    known: State,
    keep: Mapping[str, Tensor],
    processes: Processes | None = None,
) -> State:
    """`state` with `known` put in wherever `keep` is True; components without a `keep` pass through. With
    `processes`, the known values of a component without a pose of its own are placed first, as in
    `inpaint`."""
    result = dict(state)
    for name in keep.keys() & state.keys():
        value, given = state[name], known[name].to(state[name])
        if processes is not None:
            given = processes[name].placed(given, value, keep[name])
        result[name] = torch.where(_like(keep[name], value), given, value)
    return result


def _like(keep: Tensor, value: Tensor) -> Tensor:
    return keep.reshape(*keep.shape, *[1] * (value.dim() - keep.dim()))
