"""Excluded volume: no two Cα of a folded chain are in one place, which a small network does not always see.

At low noise, where x̂0 is a chain and no longer a blur, residues whose Cα overlap are moved apart, and the
network answers at the next step to what that made.
"""

from __future__ import annotations

import torch
from torch import Tensor

from polydiff.engine.denoisers import Cond, Denoiser, Mask, State
from polydiff.engine.schedules import Schedule
from polydiff_protein.context import Context
from polydiff_protein.idealise import APART

NEAREST = 4.2  # Å: of real pairs of Cα three or more apart in the chain one in 2,700 is nearer
LOWEST = 0.6  # sigma / alpha, in deviations of the coordinates, below which residues are moved
ROUNDS = 3


def with_excluded_volume(denoiser: Denoiser, schedule: Schedule, scale: float) -> Denoiser:
    """A denoiser of "atoms" (B, N, A, 3) whose x̂0 has no overlaps at low noise; `scale` is Å a unit."""

    def informed(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
        x0_hat = denoiser(x, t, mask, cond)
        low = torch.exp(-schedule.log_snr(t) / 2) < LOWEST
        real = mask.get("context", torch.ones_like(x["context"][..., 0], dtype=torch.bool))
        atoms = side_by_side(x0_hat["atoms"], real, x["copies"], scale)
        apart = separated(atoms, x["context"], real, x["copies"], NEAREST / scale)
        return {**x0_hat, "atoms": torch.where(low.to(apart.device)[:, None, None, None], apart, atoms)}

    return informed


def side_by_side(atoms: Tensor, real: Tensor, copies: Tensor, scale: float) -> Tensor:
    """Atoms (B, N, A, 3) moved away from the axis as a whole until the middles of the copies are two radii of
    gyration apart (2.2 N^0.38 Å, as folded chains have): a network that has seen single chains alone would
    lay all copies into one. One copy stays where it is."""
    turns = copies.reshape(len(copies), -1, 3, 3)
    if turns.shape[1] == 1:
        return atoms
    there = real[..., None].to(atoms.dtype)
    middle = (atoms[:, :, 1] * there).sum(1) / there.sum(1)
    others = torch.einsum("bkcd,bd->bkc", turns[:, 1:], middle)
    nearest = (middle[:, None] - others).norm(dim=-1).amin(1).clamp(min=1e-6)
    wanted = 2 * 2.2 * real.sum(1) ** 0.38 / scale
    shift = middle * ((wanted / nearest).clamp(min=1) - 1)[:, None]
    result: Tensor = atoms + shift[:, None, None] * there[..., None]
    return result


def separated(atoms: Tensor, context: Tensor, real: Tensor, copies: Tensor, nearest: float) -> Tensor:
    """Atoms (B, N, A, 3) with each residue moved as a whole away from those whose Cα is nearer than `nearest`
    to its own, those of other copies of an assembly included."""
    turns = copies.reshape(len(copies), -1, 3, 3)
    count, length = turns.shape[1], atoms.shape[1]
    place, chain, *_ = Context.unpack(context)
    along = (place[:, :, None] - place[:, None]).abs()
    close_by = (chain[:, :, None] == chain[:, None]) & (along < APART)
    first = torch.arange(count, device=atoms.device).repeat_interleave(length) == 0
    others = ~(close_by.repeat(1, 1, count) & first)
    others = others & real[:, :, None] & real.repeat(1, count)[:, None]
    for _ in range(ROUNDS):
        ca = atoms[:, :, 1]
        every = torch.einsum("bkcd,bnd->bknc", turns, ca).flatten(1, 2)
        away = ca[:, :, None] - every[:, None]
        distance = (away.square().sum(-1) + 1e-9).sqrt()
        lacking = torch.where(others & (distance < nearest), (nearest - distance) / 2, 0.0)
        atoms = atoms + (away * (lacking / distance)[..., None]).sum(2)[:, :, None]
    return atoms
