"""The network turns with its input, knows left from right, and ignores padding and where a motif lies."""

from __future__ import annotations

import pytest
import torch
from scipy.spatial.transform import Rotation

from polydiff.engine.denoisers import c_noise, precondition
from polydiff.engine.noise import noise
from polydiff.engine.processes import Fixed
from polydiff.engine.schedules import EDM
from polydiff_protein.context import Context
from polydiff_protein.network import BackboneNetwork, local_vectors
from polydiff_protein.pairs import pair_features
from polydiff_protein.symmetry import rotations


def turn(seed: int) -> torch.Tensor:
    return torch.tensor(Rotation.random(random_state=seed).as_matrix(), dtype=torch.float32)


@pytest.fixture(scope="module")
def network() -> BackboneNetwork:
    torch.manual_seed(0)
    network = BackboneNetwork({}, width=32, vectors=16, depth=2, heads=4, pairs=16)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return network.eval()


@pytest.fixture
def state(domain, igd) -> dict[str, torch.Tensor]:
    """A real backbone with noise, about the size that is hard to see through."""
    x, _ = domain.encode([igd])
    x["atoms"] = x["atoms"] + 0.3 * noise(0, "atoms", 0, tuple(x["atoms"].shape[1:]))
    return x


def answer(network, x, mask=None, level: float = 0.0):
    with torch.no_grad():
        return network(x, torch.full((len(x["atoms"]),), level), mask or {}, {})["atoms"]


@pytest.mark.parametrize("seed", range(3))
def test_the_answer_turns_with_the_input(network, state, seed):
    turned = {**state, "atoms": state["atoms"] @ turn(seed).T}
    expected = answer(network, state) @ turn(seed).T
    assert torch.allclose(answer(network, turned), expected, atol=1e-4)
    assert expected.abs().mean() > 0.1


def test_a_mirror_image_is_another_backbone(network, state):
    mirrored = answer(network, {**state, "atoms": -state["atoms"]})
    assert (mirrored + answer(network, state)).abs().mean() > 0.01


def test_features_of_pairs_know_neither_turn_nor_shift_but_the_hand(state):
    atoms = state["atoms"]
    seen = pair_features(atoms)
    assert torch.allclose(pair_features(atoms @ turn(1).T + 3.0), seen, atol=1e-4)
    assert (pair_features(-atoms) - seen).abs().max() > 0.1


@pytest.mark.parametrize("level", [-0.5, 0.0, 0.5])
def test_what_is_drawn_has_its_centre_at_zero_wherever_the_input_lies(network, state, level):
    schedule = EDM()
    t = schedule.t_of_log_snr(torch.tensor([-8 * level], dtype=torch.float64))
    denoiser = precondition(network, schedule, processes={"context": Fixed(), "copies": Fixed()})
    moved = {**state, "atoms": state["atoms"] + torch.tensor([0.5, -1.0, 2.0])}
    assert c_noise(schedule, t).item() == pytest.approx(level, abs=1e-5)
    with torch.no_grad():
        drawn = denoiser(moved, t, {}, {})["atoms"]
        here = denoiser(state, t, {}, {})["atoms"]
    assert drawn.mean((1, 2)).abs().max() < 1e-4
    assert torch.allclose(drawn, here, atol=1e-3)


def test_padding_changes_nothing(network, state, domain, igd, real):
    x, mask = domain.encode([igd, real["1ig5"]])
    x["atoms"][0, : len(igd)] = state["atoms"][0]
    together = answer(network, x, mask)
    assert torch.allclose(together[0, : len(igd)], answer(network, state)[0], atol=1e-5)
    assert not together[0, len(igd) :].any()


def test_where_and_how_a_motif_lies_does_not_matter(network, state):
    context = Context.unpack(state["context"].clone())
    context.motif[:, 10:20] = 1
    motif = state["atoms"][:, 10:20] - state["atoms"][:, 10:20].mean((1, 2), keepdim=True)
    context.atoms[:, 10:20] = motif
    turned = context._replace(atoms=context.atoms.clone())
    turned.atoms[:, 10:20] = motif @ turn(5).T + 1.0
    shown = answer(network, {**state, "context": context.pack()})
    assert torch.allclose(shown, answer(network, {**state, "context": turned.pack()}), atol=1e-4)
    assert (shown - answer(network, state)).abs().mean() > 1e-3


@pytest.mark.parametrize("group", ["C2", "C5", "D3"])
def test_an_assembly_is_seen_whole(network, state, group):
    """The first copy's answer is that of any other, turned; and it is not that of one alone."""
    turns = torch.from_numpy(rotations(group))
    x = {**state, "copies": turns.reshape(1, -1, 9), "atoms": state["atoms"] + torch.tensor([1.0, 0, 0.4])}
    drawn = answer(network, x)
    other = answer(network, {**x, "atoms": x["atoms"] @ turns[1].T})
    assert torch.allclose(other, drawn @ turns[1].T, atol=1e-4)
    assert (drawn - answer(network, {**x, "copies": x["copies"][:, :1]})).abs().mean() > 1e-3


def test_neighbours_end_with_the_chain(state):
    near = torch.ones(1, 61, 61, dtype=torch.bool)
    near[:, :30, 30:] = near[:, 30:, :30] = False
    seen = local_vectors(state["atoms"], near)[0]
    following = seen[:, :, 3 + 4]  # the way to the next residue
    assert not following[29].any()
    assert not following[60].any()
    assert following[28].any()
    assert following[30].any()
