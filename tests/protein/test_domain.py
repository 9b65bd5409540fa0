"""Tasks of the domain: lengths, contigs, loops, variations, rings; what stays, and what cannot be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from polydiff.errors import UsageError
from polydiff_protein.data import read_dataset
from polydiff_protein.domain import KEPT, MADE, Proteins
from polydiff_protein.geometry import rmsd
from polydiff_protein.resolved import along_chains, assembly_chains, resolve
from polydiff_protein.secondary import secondary_structure
from polydiff_protein.structure import Atom, Backbone
from polydiff_protein.training_view import UNKNOWN, draw_view

from .conftest import ARRAYS, DATA, request_of

QUICK = {"steps": 3, "seed": 0}


def made(model, **asked):
    return [sample.example for sample in model.sample(**{"n": 1, **QUICK, **asked})]


# --- lengths and folds --------------------------------------------------------------------------------------


def test_lengths_are_drawn_by_the_seed(model):
    designs = made(model, n=6, length="12-30")
    assert len({len(x) for x in designs}) > 2
    assert all(12 <= len(x) <= 30 for x in designs)
    assert [len(x) for x in made(model, n=6, length="12-30")] == [len(x) for x in designs]
    assert len(made(model)[0]) == 20


def test_designs_of_mixed_lengths_in_one_batch_are_those_alone(model):
    together = made(model, n=4, length="12-30", batch_size=4)
    alone = made(model, n=4, length="12-30", batch_size=1)
    for a, b in zip(together, alone, strict=True):
        assert np.allclose(a.coords, b.coords, atol=1e-2)


def test_a_secondary_structure_sets_the_length_and_reaches_the_network(model):
    asked = made(model, structure="LLHHHHHHHHLL--EEEEEL")[0]
    assert len(asked) == 20
    assert not np.array_equal(asked.coords, made(model)[0].coords)
    assert len(made(model, structure="cchhhh")[0]) == 6


def test_conditions_reach_the_network(model):
    one, other = (made(model, conditions={"helix": share})[0] for share in (0.1, 0.9))
    assert not np.array_equal(one.coords, other.coords)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"length": "0"}, "'0' is outside 4 to 1024 residues"),
        ({"length": "100000"}, "outside 4 to 1024"),
        ({"length": "90-80"}, "ends before it begins: write 80-90"),
        ({"length": "long"}, "no length: write 80, or 80-120"),
        ({"symmetry": "C9"}, "none of C2 to C8 and D2 to D4"),
        ({"symmetry": "C8", "length": "400"}, "has 3200 residues"),
        ({"structure": "HHHQ"}, "letter 4 is 'Q'"),
        ({"structure": "HHHHH", "length": "6"}, "5 letters and the design 6 residues"),
        ({"contigs": "10/A5-8"}, "no source to take it from"),
        ({"contigs": "ten"}, 'token 1 "ten"'),
        ({"contigs": "2-3"}, "a chain has at least 4"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(model, asked, words):
    with pytest.raises(UsageError, match=r"^[^\n]+$") as caught:
        model.sample(1, **QUICK, **asked)
    assert words in str(caught.value)


def test_longer_than_what_the_model_has_seen_is_said(model):
    assert "has seen chains of at most 69" in made(model, length="75")[0].notes[0]


# --- motifs -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(real) -> Backbone:
    """Protein G's domain, numbered from 101, with a side chain, far from the origin."""
    igd = real["1igd"]
    sides = {30: (Atom("CB", "C", tuple((igd.ca[30] + 1.5).tolist())),)}
    numbered = replace(igd, numbers=igd.numbers + 100, side_chains=sides)
    return numbered.moved(np.eye(3), (100.0, -50.0, 30.0))


def test_a_scaffold_holds_its_motif_atom_by_atom(model, source):
    design = made(model, source=source, contigs="5-8/A125-136/6/A150-155/3")[0]
    texts = [note for note in design.notes if note.startswith("contigs")]
    first = int(texts[0].split()[1].split("-")[0])
    assert texts == [f"contigs {first}-{first}/A125-136/6-6/A150-155/3-3"]
    here = np.r_[first : first + 12, first + 18 : first + 24]
    there = np.r_[24:36, 49:55]
    assert np.array_equal(design.coords[here], source.coords[there])
    assert design.side_chains == {first + 6: source.side_chains[30]}
    assert [design.sequence[i] for i in here] == [source.sequence[i] for i in there]
    assert set(np.delete(np.array(list(design.sequence)), here)) == {"X"}
    assert design.scores.tolist() == [KEPT if i in here else MADE for i in range(len(design))]
    assert design.numbers.tolist() == list(range(1, len(design) + 1))
    assert design.linked.all()


def test_a_chain_break_in_the_contigs_ends_a_chain(model, source):
    design = made(model, source=source, contigs="A101-110/4/0 9")[0]
    assert design.chain_ids == ("A", "B")
    assert design.chains.count("B") == 9
    assert design.numbers[14:].tolist() == list(range(1, 10))


def test_total_lengths_of_contigs_are_kept(model, source):
    designs = made(model, n=4, source=source, contigs="2-30/A110-120/2-30", length="35-40")
    assert all(35 <= len(x) <= 40 for x in designs)


def test_a_loop_is_made_anew_and_the_rest_stays(model, source):
    for region in ({"redo": "A110-115"}, {"keep": "A101-109,A116-161"}):
        design = made(model, source=source, **region)[0]
        again = np.zeros(len(source), bool)
        again[9:15] = True
        assert np.array_equal(design.coords[~again], source.coords[~again])
        assert not np.allclose(design.coords[again], source.coords[again], atol=0.5)
        assert design.numbers.tolist() == source.numbers.tolist()
        assert design.linked.all()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"contigs": "10/A4562"}, 'token 2 "A4562": chain A has no residue 4562. It has'),
        ({"contigs": "10/B5"}, "the source has no chain B"),
        ({"contigs": "A101-161"}, "leave nothing to be made"),
        ({"contigs": "30"}, "take nothing from the source"),
        ({"contigs": "10/A105", "keep": "A110"}, "leave keep and redo out"),
        ({"keep": "A101-161"}, "Everything of the source's 61 residues is kept"),
        ({"redo": "A1"}, "chain A has no residue 1"),
        ({"redo": "10"}, "a region is residues of the source"),
        ({"symmetry": "C3", "strength": 0.3}, "leave the source out"),
        ({"length": "80", "strength": 0.3}, "The source has 61 residues and 80 are asked for"),
    ],
)
def test_a_source_that_does_not_fit_is_refused_in_a_line(model, source, asked, words):
    with pytest.raises(UsageError, match=r"^[^\n]+$") as caught:
        model.sample(1, source=source, **QUICK, **asked)
    assert words in str(caught.value)


# --- variations, ways and rings -----------------------------------------------------------------------------


def test_a_slight_variation_stays_where_the_source_lies(model, source):
    design = made(model, source=source, strength=0.02)[0]
    assert rmsd(design.ca, source.ca) < 2
    assert np.abs(design.ca.mean(0) - source.ca.mean(0)).max() < 0.5
    assert design.numbers.tolist() == source.numbers.tolist()


def test_a_way_between_two_of_one_length(model, source):
    other = source.moved(np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]), (5.0, 5.0, 5.0))
    designs = made(model, n=3, source=source, target=other, steps=20)
    assert [len(x) for x in designs] == [len(source)] * 3
    assert rmsd(designs[0].ca, designs[2].ca) < 0.5  # one backbone, turned: nothing lies between


@pytest.mark.parametrize(("group", "order"), [("C2", 2), ("c3", 3), ("D2", 4)])
@pytest.mark.parametrize("solver", ["adams", "ddpm"])
def test_assemblies_are_exact_whatever_the_solver(model, group, order, solver):
    design = made(model, symmetry=group, length="10-14", solver=solver)[0]
    assert len(design.chain_ids) == order
    chains = [design.select([c == name for c in design.chains]) for name in design.chain_ids]
    assert len({len(chain) for chain in chains}) == 1
    for chain in chains[1:]:
        assert rmsd(chain.coords.reshape(-1, 3), chains[0].coords.reshape(-1, 3)) < 1e-3
    together = design.coords[:, :3].reshape(-1, 3)
    assert np.abs(together.mean(0)).max() < 0.05


def test_copies_take_the_letters_that_follow():
    assert assembly_chains(("A", "A", "B"), 2) == ("A", "A", "B", "C", "C", "D")


# --- training views and data ------------------------------------------------------------------------------


def test_training_views_show_now_and_then(igd):
    structure = np.array(["LHE".index(letter.replace("-", "L")) for letter in secondary_structure(igd)])
    views = [draw_view(igd, structure, np.random.default_rng(k), 0.2, 0.3) for k in range(400)]
    shown = np.mean([(view.structure != UNKNOWN).any() for view in views])
    motif = np.mean([view.motif.any() for view in views])
    assert 0.12 < shown < 0.28
    assert 0.2 < motif < 0.38
    for view in views:
        known = view.structure != UNKNOWN
        assert (view.structure[known] == structure[known]).all()
        assert not view.motif.any() or (view.motif.sum() >= 4 and view.motif.mean() <= 0.8)


def test_a_gap_in_the_numbering_is_a_gap_along_the_chain(igd):
    cut = igd.select([*range(10), *range(15, 30)])
    assert along_chains(cut).tolist() == [*range(1, 11), *range(16, 31)]


def test_arrays_give_backbones_with_their_fractions():
    data, held_out = read_dataset(ARRAYS), read_dataset(ARRAYS, split="test")
    assert (len(data), len(held_out)) == (10, 4)
    assert all(abs(sum(item.conditions.values()) - 1) < 1e-3 for item in data)
    assert held_out[0].record == {"held_out": True}
    assert len(read_dataset(ARRAYS, whole=True)) == 9
    assert all(len(x) <= 60 for x in read_dataset(ARRAYS, longest=60).examples())


def test_a_folder_gives_a_chain_an_example_and_names_what_it_cannot_read(tmp_path, igd, real):
    other = replace(real["1ig5"], chains=("B",) * len(real["1ig5"]))
    both = Backbone(np.concatenate([igd.coords, other.coords + 40]), chains=(*igd.chains, *other.chains))
    both.save(tmp_path / "two.cif")
    igd.save(tmp_path / "one.pdb")
    (tmp_path / "bad.pdb").write_text("nothing of the kind\n")
    data = Proteins.dataset(tmp_path)
    assert [len(x) for x in data.examples()] == [len(igd), len(igd), len(other)]
    assert "bad.pdb" in data.report.skipped[0][0]


@pytest.mark.parametrize(
    ("asked", "words"), [({"split": "tests"}, "Did you mean"), ({"shortest": 500}, "none of 10 backbones")]
)
def test_data_that_is_not_there_is_said(asked, words):
    with pytest.raises(UsageError, match=words):
        read_dataset(ARRAYS, **asked)


def test_no_arrays_no_data(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"no")
    with pytest.raises(UsageError, match=r"not a \.npz file"):
        read_dataset(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", coords=np.zeros((5, 4)))
    with pytest.raises(UsageError, match="needs arrays"):
        read_dataset(tmp_path / "b.npz")


def test_the_model_does_not_know_where_a_motif_lies(domain, source):
    turned = source.moved(np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]), (5.0, 5.0, 5.0))
    asked = [request_of(source=x, contigs="5/A125-136/6") for x in (source, turned)]
    assert len(resolve(asked[0], domain.config)) == 23
    (known, keep), (_, _) = (domain.known(x) for x in asked)
    assert keep["atoms"].sum() == 12
    assert torch.allclose(known["atoms"][keep["atoms"]].mean((0, 1)), torch.zeros(3), atol=1e-4)
    assert DATA.is_dir()
