"""Data without a pose of its own: what is known is placed where the model draws it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from polydiff.engine.guidance import inpaint, paste_known
from polydiff.engine.noise import noise
from polydiff.engine.processes import Gaussian
from polydiff.engine.schedules import EDM
from polydiff.engine.solvers import ddim
from polydiff.engine.states import superposed
from polydiff.runtime.requests import Request, sample_requests

SCHEDULE = EDM()
TABLE = ddim(SCHEDULE, torch.linspace(1, 0, 9, dtype=torch.float64))


def turned(points, seed):
    turn = torch.tensor(Rotation.random(random_state=seed).as_matrix(), dtype=torch.float64)
    shift = 5 * noise(seed, "shift", 0, (1, 3), torch.float64)[0]
    return (points.double() @ turn.T + shift).float()


@given(st.integers(0, 2**31), st.integers(3, 12))
@settings(max_examples=40, deadline=None)
def test_points_are_brought_back_onto_themselves(seed, count):
    points = noise([seed, seed + 1], "points", 0, (count, 3))
    moved = torch.stack([turned(points[0], seed), turned(points[1], seed + 7)])
    chosen = torch.ones(2, count, dtype=torch.bool)
    assert torch.allclose(superposed(moved, points, chosen), points, atol=1e-4)


def test_only_the_chosen_points_decide_and_all_of_them_move():
    points = noise(0, "points", 0, (9, 3))
    target = points.clone()
    target[:, 5:] = 100.0  # nonsense, and not chosen
    chosen = torch.arange(9)[None] < 5
    assert torch.allclose(superposed(turned(points[0], 3)[None], target, chosen), points, atol=1e-4)


def test_a_mirror_image_is_not_mirrored_back():
    points = noise(0, "points", 0, (9, 3))
    mirrored = points * torch.tensor([-1.0, 1, 1])
    apart = superposed(mirrored, points, torch.ones(1, 9, dtype=torch.bool)) - points
    assert apart.square().mean().sqrt() > 0.1


def test_nothing_chosen_moves_nothing():
    points = noise(0, "points", 0, (9, 3))
    assert torch.equal(superposed(points, points + 1, torch.zeros(1, 9, dtype=torch.bool)), points)


@pytest.mark.parametrize("pose_free", [True, False])
def test_the_known_part_follows_the_prediction_where_pose_means_nothing(pose_free):
    processes = {"points": Gaussian(pose_free=pose_free)}
    points = noise(0, "points", 0, (9, 3))
    known = {"points": turned(points[0], 1)[None]}
    keep = {"points": torch.arange(9)[None] < 5}
    t = torch.full((1,), 0.5, dtype=torch.float64)
    answer = inpaint(lambda x, t, mask, cond: x, known, keep, processes)({"points": points}, t, {}, {})
    expected = points if pose_free else paste_known({"points": points}, known, keep)["points"]
    assert torch.allclose(answer["points"], expected, atol=1e-4)


def test_a_sample_holds_the_known_part_rigidly_beside_others_of_other_sizes():
    processes = {"points": Gaussian(pose_free=True)}
    goal = noise(3, "goal", 0, (12, 3))[0]
    known = turned(goal[:6], 4)

    def denoiser(x, t, mask, cond):
        return {"points": goal.expand(len(t), -1, -1)[:, : x["points"].shape[1]]}

    def request(length):
        rows = torch.cat([known, torch.zeros(length - 6, 3)])
        return Request(
            {"points": (length, 3)}, 0, known={"points": rows}, keep={"points": torch.arange(length) < 6}
        )

    run = (denoiser, processes, SCHEDULE, TABLE)
    together = dict(sample_requests(*run, [request(12), request(8)], batch_size=2))
    [(_, alone)] = sample_requests(*run, [request(8)], batch_size=1)
    made = together[0]["points"]
    assert torch.allclose(torch.cdist(made[:6], made[:6]), torch.cdist(known, known), atol=1e-4)
    assert torch.allclose(made, goal, atol=1e-3)  # all went where the denoiser says
    assert torch.allclose(together[1]["points"], alone["points"], atol=1e-6)
