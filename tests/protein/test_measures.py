"""What is measured: ideal chains against the numbers that they were built from, real ones against DOMAINS."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from polydiff_protein import geometry as g
from polydiff_protein.gates import GATES
from polydiff_protein.measures import CLASH, CONTACT, expected_gyration, figures, measure
from polydiff_protein.ramachandran import ALLOWED, SHARE, allowed, cells, densest
from polydiff_protein.secondary import fractions, secondary_structure
from polydiff_protein.structure import Backbone

HELIX, STRAND = (-60.0, -45.0), (-120.0, 130.0)


def built(torsions: list[tuple[float, float]], omega: float = 180.0) -> Backbone:
    """A chain of ideal bonds with given phi and psi of each residue."""
    atoms = [
        np.zeros(3),
        np.array([1.46, 0, 0]),
        g.place([0, 1, 0], [0, 0, 0], [1.46, 0, 0], 1.524, 110.9, 0),
    ]
    for (_, psi), (phi, _) in pairwise(torsions):
        for length, bend, turn in ((1.33, 116.6, psi), (1.46, 121.6, omega), (1.524, 110.9, phi)):
            atoms.append(g.place(*atoms[-3:], length, bend, turn))
    coords = np.array(atoms).reshape(-1, 3, 3)
    return Backbone(np.concatenate([coords, g.ideal_o(coords)[:, None]], axis=1))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.floats(-179, 179), st.floats(-179, 179)), min_size=5, max_size=12))
def test_an_ideal_chain_measures_what_it_was_built_from(torsions):
    m = measure(built(torsions))
    assert np.allclose(m.phi, [phi for phi, _ in torsions[1:-1]], atol=0.02)
    assert np.allclose(m.psi, [psi for _, psi in torsions[1:-1]], atol=0.02)
    assert np.allclose(np.abs(m.omega), 180, atol=0.02)
    found = figures([m])
    for name, value in (("n_ca", 1.46), ("ca_c", 1.524), ("c_n", 1.33), ("c_o", g.C_O)):
        assert found[name] == pytest.approx(value, abs=1e-4)
    for name, value in (("angle_n_ca_c", 110.9), ("angle_ca_c_n", 116.6), ("angle_c_n_ca", 121.6)):
        assert found[name] == pytest.approx(value, abs=0.02)
    assert found["ca_step"] == pytest.approx(3.80, abs=0.02)
    assert found["omega_trans"] == found["ca_step_share"] == 1
    assert found["breaks"] == 0


def test_helices_are_told_from_their_mirror_images():
    helix = built([HELIX] * 20)
    assert secondary_structure(helix).count("H") >= 16
    found = figures([measure(helix)])
    assert found["helix_turn"] == pytest.approx(50, abs=6)
    assert found["right_handed"] == found["phi_psi_allowed"] == 1
    left = figures([measure(replace(helix, coords=helix.coords * [1, 1, -1]))])
    assert left["helix_turn"] == pytest.approx(-found["helix_turn"], abs=1e-3)
    assert (left["right_handed"], left["phi_positive"]) == (0, 1)
    assert math.isnan(figures([measure(built([STRAND] * 9))])["right_handed"])  # no helix, no figure


def test_cis_bonds_are_counted_and_take_no_part_in_the_step():
    m = measure(built([STRAND] * 6, omega=0.0))
    found = figures([m])
    assert found["omega_trans"] == found["ca_step_share"] == 0
    assert math.isnan(found["ca_step"])
    assert m.steps.max() < 3.1


def test_a_break_shows_and_a_gap_in_the_numbers_is_none(igd):
    pulled = igd.coords.copy()
    pulled[30:] += [0, 0, 9]
    m = measure(replace(igd, coords=pulled))
    assert m.breaks == 1
    assert m.bonds["c_n"].max() > 8
    gap = measure(igd[np.r_[0:20, 23:61]])
    assert gap.breaks == 0
    assert gap.bonds["c_n"].max() < 1.4


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6))
def test_contacts_and_clashes_are_their_definitions(seed):
    rng = np.random.default_rng(seed)
    chains = "A" * 9 + "B" * 6
    backbone = Backbone(rng.normal(size=(15, 4, 3)) * 4, chains=chains)
    contacts, clashes = np.zeros(15, int), 0
    for i in range(15):
        for j in range(i):
            d = float(np.linalg.norm(backbone.ca[i].astype(float) - backbone.ca[j]))
            other = chains[i] != chains[j]
            contacts[[i, j]] += d <= CONTACT and (other or i - j >= 4)
            clashes += d < CLASH and (other or i - j > 1)
    m = measure(backbone)
    assert m.contacts.tolist() == contacts.tolist()
    assert m.clashes == clashes
    moved = backbone.moved(Rotation.random(rng=rng).as_matrix(), rng.normal(size=3) * 5)
    assert figures([measure(moved)]) == pytest.approx(figures([m]), abs=0.02, nan_ok=True)


def test_real_domains_pass_every_gate_of_geometry(real):
    found = figures([measure(x) for x in real.values()])
    failed = {k: v for k, v in found.items() if math.isfinite(v) and not GATES[k].passed(v)}
    assert not failed
    assert set(found) <= set(GATES)
    shares = {name: fractions(secondary_structure(x)) for name, x in real.items()}
    assert shares["1ig5"].helix > 0.5
    assert shares["1shg"].strand > 0.4
    assert all(sum(x) == pytest.approx(1) for x in shares.values())


def test_noise_passes_no_gate_of_geometry():
    rng = np.random.default_rng(0)
    found = figures([measure(Backbone(rng.normal(size=(60, 4, 3)) * 10)) for _ in range(5)])
    gated = [k for k in found if GATES[k].bounded and math.isfinite(found[k])]
    passed = {k for k in gated if GATES[k].passed(found[k])}
    assert passed <= {"contacts", "loop", "gyration_share"}


def test_one_residue_and_several_chains_can_be_measured(igd):
    assert len(measure(Backbone(np.arange(12).reshape(1, 4, 3))).structure) == 1
    two = replace(igd, chains="A" * 30 + "B" * 31)
    m = measure(two)
    assert [n for n, _ in m.chains] == [30, 31]
    assert len(m.steps) == 59
    assert expected_gyration(100) == pytest.approx(12.66, abs=0.01)


def test_a_short_piece_is_loop(igd):
    assert secondary_structure(igd[:5]) == "-----"
    whole, cut = secondary_structure(igd), secondary_structure(igd[np.r_[0:14, 18:61]])
    helix = whole.index("HHHHHHHH")
    assert cut[helix - 4 :][:8] == "HHHHHHHH"  # a helix is one whatever is missing before it


def test_the_densest_cells_hold_the_share_that_was_asked_for():
    rng = np.random.default_rng(0)
    phi, psi = rng.normal(-60, 30, 5000), rng.normal(-45, 30, 5000)
    for share in (0.5, 0.9, 0.99):
        chosen = densest(phi, psi, share)
        held = chosen[cells(phi, psi)].mean()
        assert share <= held < share + 0.03
    counts = np.zeros((36, 36))
    np.add.at(counts, cells(phi, psi), 1)
    assert counts[chosen].min() >= counts[~chosen].max()
    assert ALLOWED.mean() < 0.25
    assert SHARE == 0.96
    assert allowed([-179.9, 180.0], [179.9, 180.0]).tolist() == [True, ALLOWED[0, 0]]  # wraps


def test_real_angles_lie_in_the_allowed_cells(real):
    m = [measure(x) for x in real.values()]
    assert np.mean(np.concatenate([allowed(x.phi, x.psi) for x in m])) > 0.93
