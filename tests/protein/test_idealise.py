"""Bonds become ideal, and little else changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polydiff_protein.geometry import angle, dihedral, distance, rmsd, torsions
from polydiff_protein.idealise import APART, NEAREST, TRANS, idealised

from .conftest import REAL, read

BACKBONES = [read(path) for path in REAL.values()]


def chained(backbone):
    return np.ones(len(backbone) - 1, bool)


@pytest.mark.parametrize("backbone", BACKBONES, ids=list(REAL))
def test_real_backbones_hardly_move(backbone):
    made = idealised(backbone.coords[:, :3], chained(backbone))
    apart = np.sqrt(((made - backbone.coords)[:, :3] ** 2).sum(-1).mean())
    assert apart < 0.1
    oxygens = distance(made[:-1, 3].astype(float), backbone.coords[:-1, 3].astype(float))
    assert oxygens.max() < 1.5  # on the other side of the chain one would be 3.5 Å away


@given(st.integers(0, 4), st.floats(0.05, 0.4), st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_bonds_angles_and_peptides_are_ideal_after_noise(number, size, seed):
    backbone = BACKBONES[number]
    noisy = backbone.coords[:, :3] + size * np.random.default_rng(seed).normal(size=(len(backbone), 3, 3))
    made = idealised(noisy, chained(backbone)).astype(float)
    n, ca, c = made[:, 0], made[:, 1], made[:, 2]
    assert distance(n, ca).mean() == pytest.approx(1.460, abs=0.01)
    assert distance(ca, c).mean() == pytest.approx(1.524, abs=0.01)
    assert distance(c[:-1], n[1:]).mean() == pytest.approx(1.330, abs=0.01)
    assert distance(c, made[:, 3]).mean() == pytest.approx(1.233, abs=0.01)
    assert angle(n, ca, c).mean() == pytest.approx(111, abs=1)
    assert angle(ca[:-1], c[:-1], n[1:]).mean() == pytest.approx(116.6, abs=1)
    assert angle(c[:-1], n[1:], ca[1:]).mean() == pytest.approx(121.6, abs=1)
    trans = np.abs(distance(ca[:-1], ca[1:]) - TRANS) < 0.1
    assert trans.mean() > 0.9
    omega = dihedral(ca[:-1], c[:-1], n[1:], ca[1:])
    assert (np.abs(omega[trans]) > 150).all()


def test_the_ramachandran_angles_stay_about_as_they_were():
    backbone = BACKBONES[2]
    made = idealised(backbone.coords[:, :3], chained(backbone))
    for before, after in zip(torsions(backbone.coords)[:2], torsions(made)[:2], strict=True):
        apart = (before - after + 180) % 360 - 180
        assert np.nanmedian(np.abs(apart)) < 8


def test_fixed_residues_do_not_move_and_others_join_them():
    backbone = BACKBONES[0]
    noisy = backbone.coords[:, :3] + 0.3 * np.random.default_rng(0).normal(size=(len(backbone), 3, 3))
    fixed = np.arange(len(backbone)) // 10 == 2
    noisy[fixed] = backbone.coords[fixed, :3]
    made = idealised(noisy, chained(backbone), fixed)
    assert np.array_equal(made[fixed, :3], backbone.coords[fixed, :3])
    assert np.abs(distance(made[:-1, 2], made[1:, 0]) - 1.33).max() < 0.05


def test_chains_are_not_joined():
    backbone = BACKBONES[1]
    apart = backbone.coords[:, :3].copy()
    apart[40:] += 30
    linked = chained(backbone)
    linked[39] = False
    made = idealised(apart, linked)
    assert rmsd(made[:40, 1], backbone.coords[:40, 1]) < 0.1
    assert distance(made[39, 2], made[40, 0]) > 20


def test_atoms_in_one_place_still_become_a_chain():
    made = idealised(np.zeros((6, 3, 3)), np.ones(5, bool))
    assert np.isfinite(made).all()
    assert distance(made[:, 0].astype(float), made[:, 1].astype(float)).mean() == pytest.approx(1.46, abs=0.2)


def test_residues_that_overlap_are_moved_apart_and_the_bonds_stay_ideal():
    backbone = BACKBONES[0]
    folded = backbone.coords[:, :3].astype(float)
    folded[30:] += folded[10, 1] - folded[40, 1]  # the fortieth Cα onto the tenth
    made = idealised(folded, chained(backbone)).astype(float)
    apart = np.linalg.norm(made[:, None, 1] - made[None, :, 1], axis=-1)
    far = np.abs(np.subtract.outer(np.arange(len(made)), np.arange(len(made)))) >= APART
    assert apart[far].min() > NEAREST - 0.1
    assert distance(made[:, 0], made[:, 1]).mean() == pytest.approx(1.460, abs=0.01)
    assert np.abs(distance(made[:-1, 2], made[1:, 0]) - 1.33).max() < 0.1


def test_overlaps_with_what_is_fixed_move_the_rest_alone():
    backbone = BACKBONES[0]
    folded = backbone.coords[:, :3].copy()
    fixed = np.arange(len(backbone)) < 20
    folded[30:] += folded[10, 1] - folded[40, 1] + np.float32(0.5)
    made = idealised(folded, chained(backbone), fixed)
    assert np.array_equal(made[fixed, :3], folded[fixed])
    assert np.linalg.norm(made[10, 1] - made[40, 1]) > NEAREST - 0.1
