"""Rotations, angles and categories in the loop: seeds, padding, resume, cost, tasks; any product of them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polydiff.engine.denoisers import precondition
from polydiff.engine.grids import karras
from polydiff.engine.guidance import cfg, inpaint
from polydiff.engine.loop import sample, start
from polydiff.engine.noise import noise
from polydiff.engine.ode.encoding import encode
from polydiff.engine.processes import Categorical, Fixed, Gaussian, Rotation, Torus
from polydiff.engine.processes.torus import wrap
from polydiff.engine.solvers import make_table
from polydiff.engine.table import Table
from polydiff.errors import UsageError
from polydiff.runtime.requests import Request, sample_requests
from polydiff.runtime.saved import load_run, save_run
from polydiff.testing.closed_forms import ALL_SCHEDULES, ALL_SOLVERS, finish, named
from polydiff.testing.curved import SHAPES
from tests.engine.test_sampling import Count, same_bits

EDM = ALL_SCHEDULES["edm"]
PROCESSES = {
    "place": Gaussian(),
    "angle": Torus(),
    "pose": Rotation(),
    "way": Rotation("geodesic"),
    "kind": Categorical(),
    "letter": Categorical("uniform"),
    "label": Fixed(),
}
DRAWN = [name for name in PROCESSES if name != "label"]
WIDTHS = {**SHAPES, "way": (3, 3)}
LEFT = Rotation().prior(noise(5, "left", 0, (1, 3)), EDM, None, None)[0, 0]  # a rotation


def network(x, c_noise, mask, cond):
    """A nonlinear network, element by element, so that its own bits do not depend on its company."""
    level = c_noise.reshape(-1, 1, 1)
    turn = torch.sin(2 * x["place"][..., :1]) * torch.ones(3)
    return {
        "place": torch.tanh(1.3 * x["place"] + 0.1 * level) + 0.05 * x["label"],
        "angle": torch.sin(2 * x["angle"]) * torch.sigmoid(level),
        "pose": turn * torch.tensor([0.3, -0.8, 0.5]),
        "way": turn * torch.tensor([1.3, 0.8, -0.5]),
        "kind": 2 * x["kind"] + 0.3 * level + torch.tensor([0.0, 0.5, 1.0, -1.0]),
        "letter": 2 * x["letter"] + torch.tensor([0.0, 0.7, -0.7]),
    }


def denoiser_for(schedule):
    return precondition(network, schedule, processes=PROCESSES)


def shapes(nodes):
    return {name: (nodes, *WIDTHS[name]) for name in DRAWN}


def example(seed, nodes):
    """A clean state, unbatched."""
    xi = {name: noise(seed, name, 7, (nodes, 4))[0] for name in DRAWN}
    nothing = torch.zeros(1, dtype=torch.float64)
    state = {"place": xi["place"][:, :2], "angle": wrap(xi["angle"][:, :2])}
    for name in ("pose", "way"):
        state[name] = Rotation().prior(xi[name][None, :, :3], EDM, nothing, None)[0]
    for name in ("kind", "letter"):
        width = WIDTHS[name][0]
        state[name] = torch.nn.functional.one_hot(xi[name][:, :width].argmax(-1), width).float()
    return state


def draw(table, lengths, seeds, batch_size, schedule=EDM):
    wanted = [
        Request(shapes(n), seed, init={"label": torch.full((n, 1), float(seed % 5))})
        for n, seed in zip(lengths, seeds, strict=True)
    ]
    return dict(sample_requests(denoiser_for(schedule), PROCESSES, schedule, table, wanted, batch_size))


def off(name, x):
    """How far a state is from its space, entry by entry."""
    if name in ("pose", "way"):
        return (x.mT @ x - torch.eye(3)).abs().amax((-1, -2)) + (torch.linalg.det(x) < 0)
    if name == "angle":
        return (x.abs() - math.pi).clamp(min=0).amax(-1)
    if name in ("kind", "letter"):
        return (x.amax(-1) - 1).abs() + (x.sum(-1) - 1).abs()
    return torch.zeros(x.shape[:-1])


@pytest.mark.parametrize("case", ALL_SOLVERS, ids=named)
def test_every_solver_ends_on_the_space_with_the_same_bits_in_any_company(case):
    table = make_table(case[0], EDM, 4, options=case[1])
    alone, together = (draw(table, [4, 7, 1], [3, 8, 5], size) for size in (1, 3))
    for i in alone:
        assert same_bits(alone[i], together[i])
        for name, x in alone[i].items():
            assert torch.isfinite(x).all()
            assert float(off(name, x).max()) < 1e-6, name


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
@settings(max_examples=5)
@given(data=st.data())
def test_company_never_changes_a_sample(schedule, data):
    lengths = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=5))
    seeds = data.draw(st.lists(st.integers(-(2**63), 2**63), min_size=len(lengths), max_size=len(lengths)))
    table = make_table("dpmpp", ALL_SCHEDULES[schedule], 3, options={"order": 2, "eta": 1.0})
    alone = draw(table, lengths, seeds, 1, ALL_SCHEDULES[schedule])
    together = draw(table, lengths, seeds, data.draw(st.integers(1, 5)), ALL_SCHEDULES[schedule])
    assert all(same_bits(alone[i], together[i]) for i in alone)


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
@pytest.mark.parametrize(
    "grid",
    [
        ("karras", {}),
        ("repaint", {}),
        ("restart", {}),
        ("repaint", {"jump": 1}),
        ("custom", {"times": [1.0, 0.5, 1.0, 0.5, 0.0]}),  # all noise again, to where the row began
    ],
)
def test_padding_stays_zero_and_grids_may_rise(schedule, grid):
    schedule = ALL_SCHEDULES[schedule]
    table = make_table("ddpm", schedule, 4, grid[0], grid_options=grid[1])
    mask = {name: torch.arange(5) < torch.tensor([[3], [5], [1]]) for name in DRAWN if name != "angle"}
    run = start(PROCESSES, schedule, table, [1, 2, 3], shapes(5), mask, {"label": torch.ones(3, 5, 1)})

    def polluted(x, t, m, c):
        answer = denoiser_for(schedule)(x, t, m, c)
        return {k: v.masked_fill(~m[k].reshape(3, 5, *[1] * (v.dim() - 2)), math.nan) if k in m else v
                for k, v in answer.items()}  # fmt: skip

    for run in [run, *sample(polluted, PROCESSES, table, run, mask)]:  # noqa: B020
        for name, real in mask.items():
            assert torch.isfinite(run.x[name]).all()
            assert (run.x[name][~real] == 0).all()
    for name, real in mask.items():
        assert float(off(name, run.x[name])[real].max()) < 1e-6


@pytest.mark.parametrize("case", [("adams", {}), ("heun", {"eta": 1.0}), ("dpmpp_singlestep", {"order": 3})])
def test_a_run_resumes_at_any_row_bit_for_bit(case, tmp_path):
    table = make_table(case[0], EDM, 3, options=case[1])
    run = start(PROCESSES, EDM, table, [3, 4], shapes(5), init={"label": torch.ones(2, 5, 1)})
    runs = list(sample(denoiser_for(EDM), PROCESSES, table, run))
    for paused in [run, *runs[:-1]]:
        save_run(paused, tmp_path / "run.safetensors")
        resumed = finish(denoiser_for(EDM), PROCESSES, table, load_run(tmp_path / "run.safetensors"))
        assert same_bits(resumed.x, runs[-1].x)


def test_another_seed_is_another_sample_of_every_component():
    table = make_table("adams", EDM, 4)
    one, other = (draw(table, [6], [seed], 1)[0] for seed in (1, 2))
    assert all(not torch.equal(one[name], other[name]) for name in DRAWN)


def whole_loop(device):
    """All that the engine does to these components on a device."""
    table = make_table("dpmpp", EDM, 4, options={"order": 2, "eta": 1.0})
    mask = {name: (torch.arange(5) < torch.tensor([[3], [5]])).to(device) for name in DRAWN}
    cond = {"any": torch.ones(2, 1, device=device)}
    guided = cfg(_on(device), 2.0, {"any": torch.zeros(1, 1, device=device)})
    known = {k: v[None].expand(2, *v.shape).to(device) for k, v in example(1, 5).items()}
    keep = {name: torch.zeros(2, 5, dtype=torch.bool, device=device) for name in DRAWN}
    denoiser = inpaint(guided, known, keep, PROCESSES, EDM)
    init = {"label": torch.ones(2, 5, 1, device=device)}
    run = start(PROCESSES, EDM, table, torch.tensor([1, 2], device=device), shapes(5), mask, init, device)
    return lambda: finish(denoiser, PROCESSES, table, run, mask, cond)


def _on(device):
    """The denoiser with its network's constants on a device."""
    constants = torch.rand(3, device=device), torch.rand(4, device=device)

    def there(x, c_noise, mask, cond):
        turn = torch.sin(2 * x["place"][..., :1])
        answer = {"place": 0.3 * x["place"], "angle": torch.sin(x["angle"]), "letter": x["letter"]}
        return answer | {k: turn * constants[0] for k in ("pose", "way")} | {"kind": turn * constants[1]}

    return precondition(there, EDM, processes=PROCESSES)


def test_the_loop_never_asks_the_host():
    go = whole_loop("cpu")
    go()  # which makes the table of angles
    with Count() as count:
        go()
    assert not {"_local_scalar_dense", "item", "nonzero", "is_nonzero", "equal"} & set(count.names)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_loop_never_waits_for_the_gpu():
    go = whole_loop("cuda")
    go()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run = go()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.isfinite(x).all() for x in run.x.values())


@pytest.mark.parametrize("solver", ["adams", "ddpm"])
def test_turning_everything_turns_the_sample(solver):
    """The network above says the turn of a pose in the pose's own frame."""
    table = make_table(solver, EDM, 8)
    run = start(PROCESSES, EDM, table, [3, 4], shapes(5), init={"label": torch.ones(2, 5, 1)})
    turned = {**run.x, "pose": LEFT @ run.x["pose"], "way": LEFT @ run.x["way"]}
    again = start(PROCESSES, EDM, table, [3, 4], noisy=turned)
    plain, moved = (finish(denoiser_for(EDM), PROCESSES, table, r).x for r in (run, again))
    for name in ("pose", "way"):
        assert float((moved[name] - LEFT @ plain[name]).abs().max()) < 2e-5
    assert all(torch.equal(moved[name], plain[name]) for name in ("place", "angle", "kind", "letter"))


@pytest.mark.parametrize("path", ["igso3", "geodesic"])
@pytest.mark.slow
def test_rotations_are_rotations_after_a_thousand_steps(path):
    processes = {"pose": Rotation(path)}

    def drifting(x, t, mask, cond):
        v = torch.sin(torch.arange(12.0)).reshape(1, 4, 3) + x["pose"][..., 0]
        return {"pose": processes["pose"].exp(x["pose"], 0.5 * v)}

    table = make_table("ddpm", EDM, 1000, "uniform_log_snr")
    run = start(processes, EDM, table, [1, 2], {"pose": (4, 3, 3)})
    x = finish(drifting, processes, table, run).x["pose"]
    assert float((x.mT @ x - torch.eye(3)).abs().max()) < 1e-6
    assert float((torch.linalg.det(x) - 1).abs().max()) < 1e-6


def test_a_variation_starts_from_the_noised_example():
    table = make_table("adams", EDM, 6, karras(EDM, 15)[9:])
    clean = example(2, 40)
    init = {name: value[None] for name, value in clean.items()} | {"label": torch.ones(1, 40, 1)}
    run = start(PROCESSES, EDM, table, 7, init=init)
    ratio = float(EDM.sigma(torch.tensor(table.rows[0].t).double()))
    assert 0.1 < ratio < 3
    for name, process in PROCESSES.items():
        t = torch.tensor([table.rows[0].t], dtype=torch.float64)
        xi = noise(7, name, 0, process.noise_shape((40, *init[name].shape[2:])))
        assert torch.equal(run.x[name], process.corrupt(init[name], xi, t, EDM, None))
        assert name == "label" or not torch.equal(run.x[name], init[name])


@pytest.mark.parametrize("steps", [4, 16])
@pytest.mark.parametrize("solver", ["adams", "heun", "ddpm"])
def test_what_is_kept_is_in_the_sample_and_seen_at_the_right_noise(solver, steps):
    table, known = make_table(solver, EDM, steps), example(4, 30)
    keep = {name: torch.arange(30) < 20 for name in DRAWN}
    wanted = Request(
        shapes(30), 3, init={"label": torch.ones(30, 1)}, known={k: known[k] for k in DRAWN}, keep=keep
    )
    seen = []

    def watching(x, t, m, c):
        ratio = float(EDM.sigma(t[0]))
        apart = Rotation().log(known["pose"][None], x["pose"])[0, :20].norm(dim=-1).mean()
        away = wrap(x["angle"][0, :20] - known["angle"][:20]).abs().mean()
        seen.append((ratio, float(apart), float(away)))
        return denoiser_for(EDM)(x, t, m, c)

    [(_, state)] = sample_requests(watching, PROCESSES, EDM, table, [wanted])
    assert all(torch.equal(state[name][:20], known[name][:20]) for name in DRAWN)
    # the mean length of three normals is 1.596, of one 0.798; 20 and 40 of them are here
    assert any(ratio < 0.5 for ratio, _, _ in seen)
    for ratio, apart, away in seen:
        if ratio < 0.5:
            assert 0.7 < apart / (1.596 * ratio) < 1.3
            assert 0.7 < away / (0.798 * ratio) < 1.3
        if ratio > 6:  # uniform: π/2 + 2/π, and π/2
            assert 1.7 < apart < 2.7
            assert 1.1 < away < 2.1


@pytest.mark.parametrize("name", ["angle", "pose", "way"])
def test_encoding_leads_back_and_lies_between(name):
    def smooth(x, t, m, c):
        others = {k: torch.full((1, 6, *WIDTHS[k]), 0.5) for k in DRAWN}
        answer = precondition(network, EDM, processes=PROCESSES)(
            {**others, "label": torch.zeros(1, 6, 1), **x}, t, m, c
        )
        return {name: answer[name]}  # what is not drawn would be kept as memory

    processes = {name: PROCESSES[name]}
    clean = example(3, 6)[name][None]
    noisy = encode(smooth, processes, EDM, {name: clean}, steps=30)[name]
    table = make_table("heun", EDM, 30, "exponential")
    run = start(processes, EDM, table, [0], noisy={name: noisy})
    last = finish(smooth, processes, table, run).x[name]
    assert float(processes[name].log(clean, last).abs().max()) < 0.05
    a, b = noisy[0, :3], noisy[0, 3:]
    half = processes[name].between(a, b, 0.5)
    assert torch.allclose(processes[name].log(a, half), processes[name].log(half, b), atol=1e-5)
    assert torch.allclose(processes[name].between(a, b, 1.0), b, atol=1e-5)


@pytest.mark.parametrize("name", ["kind", "letter"])
def test_categories_have_no_encoding(name):
    with pytest.raises(UsageError, match="the steps of Categorical are random"):
        encode(network, {name: PROCESSES[name]}, EDM, {name: example(1, 3)[name][None]})


@pytest.mark.parametrize("name", ["angle", "pose", "way", "kind", "letter"])
def test_a_table_that_does_not_know_its_levels_is_refused(name):
    made = make_table("adams", EDM, 3)
    bare = Table.from_json(made.to_json())
    assert bare == made
    run = start({name: PROCESSES[name]}, EDM, bare, 1, {name: (2, *WIDTHS[name])})
    with pytest.raises(UsageError, match="with_levels"):
        finish(lambda x, t, m, c: x, {name: PROCESSES[name]}, bare, run)
    wanted = [Request({name: (2, *WIDTHS[name])}, 1)]  # which works them out
    [(_, one)], [(_, two)] = (
        sample_requests(lambda x, t, m, c: x, {name: PROCESSES[name]}, EDM, table, wanted)
        for table in (bare, made)
    )
    assert same_bits(one, two)


def test_guidance_goes_further_along_angles_and_keeps_to_the_spaces():
    def conditional(x, c_noise, mask, cond):
        return {"angle": 0.3 * cond["any"][..., None] * torch.ones_like(x["angle"])}

    cond, null = {"any": torch.ones(1, 1)}, {"any": torch.zeros(1, 1)}
    processes = {"angle": Torus()}
    plain = precondition(conditional, EDM, processes=processes)
    x, t = {"angle": torch.full((1, 2, 1), 3.1)}, torch.tensor([1 / 80], dtype=torch.float64)
    once, thrice = (cfg(plain, scale, null)(x, t, {}, cond)["angle"] for scale in (1.0, 3.0))
    assert torch.allclose(wrap(thrice - x["angle"]), 3 * wrap(once - x["angle"]), atol=1e-5)
