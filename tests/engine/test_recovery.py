"""Samples have the known law, and solvers their order, on rotations, angles, categories and products."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch

from polydiff.engine.loop import Run, start
from polydiff.engine.noise import noise
from polydiff.engine.processes import Categorical, Rotation, Torus
from polydiff.engine.processes.igso3 import angle_of
from polydiff.engine.solvers import SOLVERS, make_table
from polydiff.testing.closed_forms import ALL_SCHEDULES, finish
from polydiff.testing.curved import ANGLES, CHANCES, POSES, WEIGHTS, Law, chi_squared, part_of
from tests.engine.test_geometry import rotations

EDM = ALL_SCHEDULES["edm"]


def end_of(process, denoiser, solver, options, x, steps, high=3.0, low=0.3):
    """The state at sigma / alpha = low, from x at high."""
    levels = torch.linspace(math.log(high), math.log(low), steps + 1, dtype=torch.float64)
    table = SOLVERS[solver](EDM, EDM.t_of_log_snr(-2 * levels), **options)
    run = Run({"x": x}, {"x": ()}, {}, 0, torch.arange(len(x)))
    return finish(denoiser, {"x": process}, table, run).x["x"]


def test_ddim_follows_the_quantiles_of_a_single_rotation_and_angle():
    """The flow from one point keeps each sample's share of the law below it: in closed form."""
    lengths, axis = torch.linspace(0.3, 2.5, 8, dtype=torch.float64), torch.tensor([0.6, 0.0, 0.8]).double()
    turns = [angle_of(lengths, torch.full_like(lengths, ratio))[:, None] * axis for ratio in (3.0, 0.3)]
    identity = torch.eye(3, dtype=torch.float64).expand(1, 8, 3, 3)
    process = Rotation()
    begin, exact = (process.exp(identity, turn[None]) for turn in turns)

    def pointed(x, t, mask, cond):
        return {"x": process.target(identity, x["x"], t, EDM)}

    errors = [
        float(process.log(end_of(process, pointed, "ddim", {}, begin, n), exact).norm(dim=-1).max())
        for n in (20, 40)
    ]
    assert 0.8 < math.log2(errors[0] / errors[1]) < 1.4


ORDERS = [
    ("ddim", {}, 1),
    ("adams", {"order": 2}, 2),
    ("adams", {"order": 2, "readout": "x0"}, 2),
    ("heun", {}, 2),
    ("dpmpp_singlestep", {"order": 2}, 2),
]


@cache
def curved_flow(name):
    """A denoiser of three parts that turns lead to in different directions, so that turns do not commute;
    where to begin, and where many steps end."""
    law = Law((name,), 0.8)
    exact = law.denoiser(EDM)
    x = rotations(5, 6) if name == "pose" else noise(5, "x", 0, (6, 2), torch.float64)

    def denoiser(state, t, mask, cond):
        return {"x": exact({name: state["x"]}, t, mask, cond)[name]}

    best = end_of(law.processes[name], denoiser, "heun", {}, x, 100, 2.0, 0.5)
    return law.processes[name], denoiser, x, best


@pytest.mark.parametrize("name", ["pose", "angle"])
@pytest.mark.parametrize("case", ORDERS, ids=str)
@pytest.mark.slow
def test_solvers_keep_their_order_on_a_mixture(name, case):
    solver, options, order = case
    process, denoiser, x, best = curved_flow(name)
    ends = [end_of(process, denoiser, solver, options, x, steps, 2.0, 0.5) for steps in (12, 24)]
    errors = [float(process.log(value, best).square().mean().sqrt()) for value in ends]
    assert math.log2(errors[0] / errors[1]) > order - 0.35, errors


def recovered(law: Law, solver: str, options: dict, steps: int, nodes: int = 150):
    table = make_table(solver, EDM, steps, options=options)
    run = start(law.processes, EDM, table, list(range(8)), law.shapes(nodes))
    return finish(law.denoiser(EDM), law.processes, table, run).x


SAMPLERS = [("adams", {"order": 3}, 25), ("dpmpp", {"order": 2, "eta": 1.0}, 30)]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
@pytest.mark.parametrize("name", ["pose", "angle"])
@pytest.mark.slow
def test_a_mixture_is_recovered(name, sampler):
    x = recovered(Law((name,)), *sampler)[name]
    truth = Law((name,)).draw(list(range(100, 108)), 150)[0][name]
    counts = torch.bincount(part_of(name, x).flatten(), minlength=3).double()
    assert chi_squared(counts, WEIGHTS) < 13.8  # two degrees, 0.1 %
    spreads = [_spread(name, value) for value in (x, truth)]
    assert spreads[0] == pytest.approx(spreads[1], rel=0.1)


def _spread(name, x):
    """Mean distance from the nearest part."""
    if name == "pose":
        return float(Rotation().log(POSES.float()[part_of(name, x)], x).norm(dim=-1).mean())
    return float(Torus().log(ANGLES.float()[part_of(name, x)], x).norm(dim=-1).mean())


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
@pytest.mark.slow
def test_a_mixture_on_a_product_of_all_spaces_is_recovered(sampler):
    names = ("place", "angle", "pose", "kind", "letter")
    x = recovered(Law(names), *sampler)
    parts = {name: part_of(name, x[name]) for name in names[:3]}
    counts = torch.bincount(parts["pose"].flatten(), minlength=3).double()
    assert chi_squared(counts, WEIGHTS) < 13.8
    assert all(float((part != parts["pose"]).double().mean()) < 0.01 for part in parts.values())
    for name in ("kind", "letter"):
        for part in range(3):
            found = x[name][parts["pose"] == part].sum(0).double()
            assert chi_squared(found, CHANCES[name][part]) < 25  # 0.1 % is 16.3; a token is a step behind


@pytest.mark.slow
def test_geodesics_recover_a_set_of_rotations():
    """The flow to three rotations in closed form. What comes from a rotation lies within the angle π s of it
    (s the share of the way), with a density that depends on the angle at which its way began. Steps of finite
    length lead some points just outside all three of these balls, where there is no density to go by: they
    belong to the ball that they are the least outside of."""
    process = Rotation("geodesic")

    def exact(x, t, mask, cond):
        share = float(EDM.sigma(t[0]) / (1 + EDM.sigma(t[0])))
        turns = [process.log(x["x"], pose.float().expand_as(x["x"])) for pose in POSES]
        angles = torch.stack([turn.double().norm(dim=-1) for turn in turns], -1)
        begun = angles / share
        nearest = torch.nn.functional.one_hot(begun.argmin(-1), 3)
        density = WEIGHTS * torch.where(begun < math.pi, (1 - torch.cos(begun)) / (1 - torch.cos(angles)), 0)
        gamma = torch.where((begun < math.pi).any(-1, keepdim=True), density, nearest)
        gamma = (gamma / gamma.sum(-1, keepdim=True)).float()
        return {"x": process.exp(x["x"], sum(gamma[..., j, None] * turn for j, turn in enumerate(turns)))}

    table = make_table("adams", EDM, 30, "uniform_log_snr", {"order": 2})
    run = start({"x": process}, EDM, table, list(range(8)), {"x": (200, 3, 3)})
    x = finish(exact, {"x": process}, table, run).x["x"]
    apart = torch.stack([process.log(pose.float().expand_as(x), x).norm(dim=-1) for pose in POSES], -1)
    # the balls of the last call are 0.006 wide and more than one apart: it leads each to its centre
    assert float(apart.amin(-1).max()) < 1e-3
    assert chi_squared(torch.bincount(apart.argmin(-1).flatten(), minlength=3).double(), WEIGHTS) < 13.8


@pytest.mark.parametrize("transition", ["absorbing", "uniform"])
@pytest.mark.parametrize("solver", ["adams", "heun", "ddpm"])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_law_of_a_token_is_exact_in_however_few_steps(transition, solver, steps):
    """And on a grid that rises again."""
    law = Law(("letter",) if transition == "uniform" else ("kind",))
    name, n = law.names[0], 3000
    for grid in ("karras", "repaint"):
        table = make_table(solver, EDM, steps, grid)
        run = start(law.processes, EDM, table, [1], law.shapes(n))
        found = finish(law.denoiser(EDM), law.processes, table, run).x[name].sum((0, 1)).double()
        assert chi_squared(found, WEIGHTS @ CHANCES[name]) < 16.3


@pytest.mark.parametrize("transition", ["absorbing", "uniform"])
@pytest.mark.slow
def test_tokens_that_hang_together_come_together_as_steps_grow(transition):
    """Two tokens that are always equal: steps that draw both at once are the only error."""
    process = Categorical(transition)

    def exact(x, t, mask, cond):
        keep = float(torch.sigmoid(EDM.log_snr(t[0])))
        if transition == "absorbing":
            chance = (x["x"] + (1 - x["x"].sum(-1, keepdim=True))).prod(2, keepdim=True)
        else:
            chance = (keep * x["x"] + (1 - keep) / 3).prod(2, keepdim=True)
        return {"x": (chance / chance.sum(-1, keepdim=True).clamp(min=1e-9)).expand_as(x["x"])}

    unequal = []
    for steps in (4, 16, 64):
        table = make_table("ddim", EDM, steps, "uniform_log_snr")
        x = process.prior(noise([1], "x", 0, (4000, 2, 4)), EDM, None, None)
        run = start({"x": process}, EDM, table, [1], noisy={"x": x})
        x = finish(exact, {"x": process}, table, run).x["x"]
        unequal.append(float((x.argmax(-1)[..., 0] != x.argmax(-1)[..., 1]).double().mean()))
    assert unequal[0] > 2 * unequal[1] > 4 * unequal[2]
    assert unequal[2] < 0.05
