"""Residues that overlap are moved apart, and nothing else is moved."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polydiff.engine.noise import noise
from polydiff.engine.schedules import EDM
from polydiff_protein.context import CONTEXT, Context
from polydiff_protein.symmetry import rotations
from polydiff_protein.volume import NEAREST, separated, side_by_side, with_excluded_volume

SCALE = 7.7


def alone(length: int) -> dict[str, torch.Tensor]:
    context = torch.zeros(1, length, CONTEXT)
    Context.unpack(context).place[:] = torch.arange(length)
    real = torch.ones(1, length, dtype=torch.bool)
    return {"context": context, "real": real, "copies": torch.eye(3).reshape(1, 1, 9)}


def overlaps(atoms: torch.Tensor) -> int:
    ca = atoms[0, :, 1].double() * SCALE
    return int(np.triu((torch.cdist(ca, ca) < 3.6).numpy(), 3).sum())


def test_a_real_backbone_hardly_moves(domain, igd):
    atoms = domain.encode([igd])[0]["atoms"]
    apart = separated(atoms, **alone(len(igd)), nearest=NEAREST / domain.config.scale)
    assert (apart - atoms).abs().max() * domain.config.scale < 0.4


def test_overlaps_go_and_residues_stay_rigid():
    atoms = 0.6 * noise(0, "atoms", 0, (60, 1, 3)) + 0.15 * noise(1, "atoms", 0, (60, 3, 3))
    apart = separated(atoms, **alone(60), nearest=NEAREST / SCALE)
    assert overlaps(apart) < overlaps(atoms) / 2
    assert torch.allclose(apart - apart[:, :, :1], atoms - atoms[:, :, :1], atol=1e-5)
    assert torch.allclose(apart.mean((1, 2)), atoms.mean((1, 2)), atol=1e-5)


def test_padding_pushes_nothing_away():
    atoms = noise(0, "atoms", 0, (20, 3, 3))
    state = alone(20)
    state["real"][:, 12:] = False
    atoms[:, 12:] = 0
    apart = separated(atoms, **state, nearest=1.0)
    short = separated(atoms[:, :12], **alone(12), nearest=1.0)
    assert torch.allclose(apart[:, :12], short, atol=1e-6)
    assert not apart[:, 12:].any()


def test_copies_of_an_assembly_are_kept_apart():
    state = {**alone(1), "copies": torch.from_numpy(rotations("C3")).reshape(1, -1, 9)}
    atoms = torch.zeros(1, 1, 3, 3)
    atoms[..., 0] = 0.1
    apart = separated(atoms, **state, nearest=1.0)
    assert apart[0, 0, 1, 0] > 0.4
    assert apart[0, 0, 1, 1:].abs().max() < 1e-6


@pytest.mark.parametrize(("sigma", "moves"), [(0.3, True), (1.0, False)])
def test_a_blur_is_left_alone(sigma, moves):
    schedule, atoms = EDM(), 0.3 * noise(0, "atoms", 0, (20, 3, 3))
    t = schedule.t_of_log_snr(torch.tensor([-2 * np.log(sigma)], dtype=torch.float64))
    state = alone(20)
    x = {"atoms": atoms, "context": state["context"], "copies": state["copies"]}
    made = with_excluded_volume(lambda x, t, mask, cond: x, schedule, SCALE)(x, t, {}, {})
    assert torch.equal(made["atoms"], atoms) is not moves


@pytest.mark.parametrize("group", ["C2", "C4", "D2"])
def test_copies_stand_side_by_side_and_one_chain_stays(group):
    copies = torch.from_numpy(rotations(group)).reshape(1, -1, 9)
    atoms = 0.5 * noise(0, "atoms", 0, (30, 3, 3)) + torch.tensor([0.05, 0.02, 0.01])
    real = torch.ones(1, 30, dtype=torch.bool)
    moved = side_by_side(atoms, real, copies, SCALE)
    assert torch.allclose(moved - moved[:, :1, :1], atoms - atoms[:, :1, :1], atol=1e-5)
    middle = moved[0, :, 1].mean(0)
    away = (middle - copies.reshape(-1, 3, 3)[1:] @ middle).norm(dim=-1).min() * SCALE
    assert away == pytest.approx(2 * 2.2 * 30**0.38, rel=1e-3)
    assert torch.equal(side_by_side(atoms, real, copies[:, :1], SCALE), atoms)
