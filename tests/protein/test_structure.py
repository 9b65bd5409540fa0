"""Backbones that never change, and the geometry that is read off them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from polydiff.errors import UsageError
from polydiff_protein import geometry as g
from polydiff_protein.structure import Atom, Backbone

SIDE = {0: (Atom("CB", "C", (1.0, 2.0, 3.0)),), 2: (Atom("CB", "C", (4.0, 5.0, 6.0)),)}


def _rotation(seed: int) -> np.ndarray:
    return Rotation.random(rng=np.random.default_rng(seed)).as_matrix()


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"coords": np.zeros((0, 4, 3))}, "at least one residue"),
        ({"coords": np.zeros((3, 3, 3))}, "shape (residues, 4, 3)"),
        ({"coords": np.full((3, 4, 3), np.nan)}, "3 of 3 residues have NaN"),
        ({"sequence": "AC"}, "2 sequence for 3 residues"),
        ({"sequence": "AC*"}, "'*'"),
        ({"chains": "A "}, "2 chains for 3 residues"),
        ({"chains": "A A"}, "none of them a space"),
        ({"numbers": [1, 2, 1]}, "Residue A1 is there twice"),
        ({"insertions": ("", "ab", "")}, "insertion code"),
        ({"scores": [0, 1, 101]}, "between 0 and 100"),
        ({"scores": [0, 1, np.nan]}, "between 0 and 100"),
        ({"side_chains": {3: ()}}, "residue 3 of 3"),
        ({"side_chains": {1: (Atom("CB", "C", (0, np.nan, 0)),)}}, "side chain of residue 1"),
    ],
)
def test_what_is_no_backbone_is_refused_in_a_line(fields, line):
    with pytest.raises(UsageError) as caught:
        Backbone(**{"coords": np.zeros((3, 4, 3)), **fields})
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_backbone_never_changes(igd):
    with pytest.raises(ValueError, match="read-only"):
        igd.coords[0] = 1
    assert igd == replace(igd, name="other", notes=("n",), provenance=("p",))
    assert hash(igd) == hash(replace(igd))
    for other in (replace(igd, sequence=""), replace(igd, chains="B" * len(igd)), igd[1:]):
        assert igd != other


def test_selection_keeps_all_that_is_known():
    whole = Backbone(
        np.arange(36).reshape(3, 4, 3), "ACD", "AAB", np.array([7, 7, 1]), ("", "A", ""), [1, 2, 3], SIDE
    )
    part = whole[[2, 0]]
    assert (part.sequence, part.chains, part.insertions) == ("DA", ("B", "A"), ("", ""))
    assert part.scores.tolist() == [3, 1]
    assert part.side_chains == {0: SIDE[2], 1: SIDE[0]}
    assert list(whole.labels()) == ["A7", "A7A", "B1"]
    assert whole[np.array([True, False, True])] == whole[[0, 2]]
    assert len(whole[1]) == 1


@given(st.integers(0, 10**6))
def test_what_is_moved_keeps_its_shape(seed):
    rng = np.random.default_rng(seed)
    backbone = Backbone(rng.normal(size=(4, 4, 3)) * 5, side_chains=SIDE)
    rotation, shift = _rotation(seed), rng.normal(size=3)
    moved = backbone.moved(rotation, shift)
    assert np.allclose(moved.coords, backbone.coords @ rotation.T + shift, atol=1e-4)
    assert np.allclose(moved.side_chains[2][0].xyz, rotation @ [4.0, 5.0, 6.0] + shift)
    back = moved.moved(rotation.T, -rotation.T @ shift)
    assert np.allclose(back.coords, backbone.coords, atol=1e-4)
    found, offset = g.superpose(backbone.ca, moved.ca)
    assert np.allclose(found, rotation, atol=1e-4)
    assert np.allclose(offset, shift, atol=1e-3)
    assert g.rmsd(backbone.ca, moved.ca) < 1e-4


def test_superposition_never_mirrors(igd):
    mirrored = igd.ca * [1, 1, -1]
    assert g.rmsd(igd.ca, mirrored) > 3
    rotation, _ = g.superpose(igd.ca, mirrored)
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_breaks_are_where_a_chain_goes_on_without_a_bond(igd):
    assert igd.chain_breaks == ()
    assert igd.pieces == (slice(0, 61),)
    gap = igd[np.r_[0:20, 23:61]]
    assert gap.chain_breaks == (19,)
    two = replace(gap, chains="A" * 20 + "B" * 38)
    assert two.chain_breaks == ()
    assert two.pieces == (slice(0, 20), slice(20, 58))


@given(st.floats(0.5, 3), st.floats(20, 160), st.floats(-179, 179), st.integers(0, 1000))
def test_a_placed_atom_has_the_length_angle_and_turn_it_was_given(length, bend, turn, seed):
    a, b, c = np.random.default_rng(seed).normal(size=(3, 3)) * 3
    d = g.place(a, b, c, length, bend, turn)
    assert g.distance(c, d) == pytest.approx(length)
    assert g.angle(b, c, d) == pytest.approx(bend)
    assert g.dihedral(a, b, c, d) == pytest.approx(turn, abs=1e-6)
    assert g.dihedral(d, c, b, a) == pytest.approx(turn, abs=1e-6)


def test_atoms_that_follow_from_others_lie_where_crystals_have_them(real):
    for backbone in real.values():
        off = g.distance(g.ideal_o(backbone.coords), backbone.coords[:, 3])
        assert np.median(off[:-1]) < 0.1  # Å
        cb = g.ideal_cb(backbone.coords)
        chirality = g.dihedral(backbone.coords[:, 2], backbone.coords[:, 0], backbone.ca, cb)
        assert np.allclose(chirality, -122.6)  # L
        assert np.allclose(g.distance(backbone.ca, cb), 1.53)


def test_helices_of_crystals_turn_right(real):
    phi, psi, omega = g.torsions(real["1ig5"].coords)
    helix = slice(5, 14)
    assert np.median(phi[helix]) == pytest.approx(-63, abs=8)
    assert np.median(psi[helix]) == pytest.approx(-42, abs=8)
    assert (np.abs(omega[1:]) > 150).all()
    assert np.isnan([phi[0], psi[-1], omega[0]]).all()
    mirrored = g.torsions(real["1ig5"].coords * [1, 1, -1])
    assert np.allclose(mirrored.phi[1:], -phi[1:])
