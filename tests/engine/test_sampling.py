"""The loop: seeds, resume, padding, threads, precision and cost."""

from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from polydiff.engine.denoisers import coefficients, precondition
from polydiff.engine.grids import karras
from polydiff.engine.guidance import cfg, inpaint
from polydiff.engine.loop import Run, sample, start, step
from polydiff.engine.noise import noise
from polydiff.engine.processes import Fixed, Gaussian
from polydiff.engine.solvers import make_table
from polydiff.engine.states import linear_combination
from polydiff.errors import UsageError
from polydiff.runtime.requests import Request, sample_requests
from polydiff.runtime.saved import load_run, save_run
from polydiff.testing.closed_forms import ALL_SCHEDULES, ALL_SOLVERS, SINGLESTEP, finish, named

PROCESSES = {"coords": Gaussian(centre=True), "wave": Gaussian(), "label": Fixed()}
EDM = ALL_SCHEDULES["edm"]


def network(x, c_noise, mask, cond):
    """A nonlinear network, element by element, so that its own bits do not depend on its company."""
    level = c_noise.reshape(-1, 1, 1)
    drive = cond["strength"].reshape(-1, 1, 1) if "strength" in cond else 0.0
    return {
        "coords": torch.tanh(1.3 * x["coords"] + 0.1 * level) + 0.05 * x["label"],
        "wave": torch.sin(x["wave"] * 2 + drive) * torch.sigmoid(level),
    }


def denoiser_for(schedule):
    return precondition(network, schedule, processes=PROCESSES)


def requests(lengths, seeds):
    return [
        Request(
            shapes={"coords": (n, 3), "wave": (2 * n + 1, 1)},
            seed=seed,
            cond={"strength": torch.tensor([0.1 * (seed % 7)])},
            init={"label": torch.full((n, 1), float(seed % 5))},
        )
        for n, seed in zip(lengths, seeds, strict=True)
    ]


def draw(table, wanted, batch_size, schedule=EDM):
    return dict(sample_requests(denoiser_for(schedule), PROCESSES, schedule, table, wanted, batch_size))


def same_bits(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("case", ALL_SOLVERS, ids=named)
def test_a_sample_is_the_same_alone_in_company_permuted_and_sharded(case):
    table = make_table(case[0], EDM, 5, options=case[1])
    wanted = requests([5, 9, 2, 9, 7], [11, 2, 33, 4, 55])
    alone = draw(table, wanted, 1)
    assert [len(alone[i]["wave"]) for i in range(5)] == [11, 19, 5, 19, 15]
    for size in (2, 5):
        together = draw(table, wanted, size)
        assert all(same_bits(alone[i], together[i]) for i in alone)
    order = [3, 0, 4, 2, 1]
    permuted = draw(table, [wanted[i] for i in order], 5)
    assert all(same_bits(alone[i], permuted[k]) for k, i in enumerate(order))
    shard = draw(table, wanted[1::2], 16)
    assert all(same_bits(alone[i], shard[k]) for k, i in enumerate((1, 3)))


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
@settings(max_examples=10)
@given(data=st.data())
def test_company_never_changes_a_sample(schedule, data):
    lengths = data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=6))
    seeds = data.draw(st.lists(st.integers(-(2**63), 2**63), min_size=len(lengths), max_size=len(lengths)))
    size = data.draw(st.integers(1, 6))
    table = make_table("dpmpp", ALL_SCHEDULES[schedule], 3, options={"order": 3, "eta": 1.0})
    wanted = requests(lengths, seeds)
    alone = draw(table, wanted, 1, ALL_SCHEDULES[schedule])
    together = draw(table, wanted, size, ALL_SCHEDULES[schedule])
    assert all(same_bits(alone[i], together[i]) for i in alone)


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
def test_padding_and_centre_of_mass_stay_zero(schedule):
    schedule = ALL_SCHEDULES[schedule]
    for case in ALL_SOLVERS:
        table = make_table(case[0], schedule, 4, options=case[1])
        mask = {"coords": torch.arange(6) < torch.tensor([[4], [6], [1]])}
        init = {"label": torch.ones(3, 6, 1)}
        shapes = {"coords": (6, 3), "wave": (5, 1)}
        run = start(PROCESSES, schedule, table, [1, 2, 3], shapes, mask, init)
        # read-outs may be x / alpha
        largest, rounding = 1.0, 1e-6 * max(1, *(abs(row.p) for row in table.rows))
        for run in [run, *sample(denoiser_for(schedule), PROCESSES, table, run, mask)]:  # noqa: B020
            coords = run.x["coords"]
            assert torch.isfinite(coords).all(), named(case)
            assert (coords[~mask["coords"]] == 0).all(), named(case)
            largest = max(largest, float(coords.abs().max()))  # what was rounded on the way
            assert coords.mean(1).abs().max() < rounding * largest, named(case)
            assert torch.equal(run.x["label"], init["label"])


def test_what_a_network_leaves_in_padding_never_matters():
    table = make_table("adams", EDM, 4)
    mask = {"x": torch.tensor([[True, True, False]])}

    def polluted(x, t, m, cond):
        return {"x": torch.where(m["x"][..., None], x["x"] * 0.1, torch.nan)}

    run = start({"x": Gaussian(centre=True)}, EDM, table, 1, {"x": (3, 2)}, mask)
    x = finish(polluted, {"x": Gaussian(centre=True)}, table, run, mask).x["x"]
    assert torch.isfinite(x).all()
    assert (x[0, 2] == 0).all()


@pytest.mark.parametrize("case", ALL_SOLVERS, ids=named)
def test_a_run_resumes_at_any_row_bit_for_bit(case, tmp_path):
    table = make_table(case[0], EDM, 4, options=case[1])
    shapes, init = {"coords": (5, 3), "wave": (7, 1)}, {"label": torch.ones(2, 5, 1)}
    denoiser = denoiser_for(EDM)
    run = start(PROCESSES, EDM, table, [3, 4], shapes, init=init)
    whole = finish(denoiser, PROCESSES, table, run)
    for paused in [run, *list(sample(denoiser, PROCESSES, table, run))[:-1]]:
        save_run(paused, tmp_path / "run.safetensors")
        resumed = load_run(tmp_path / "run.safetensors")
        assert resumed.row == paused.row
        assert same_bits(finish(denoiser, PROCESSES, table, resumed).x, whole.x)
    assert [path.name for path in tmp_path.iterdir()] == ["run.safetensors"]


def test_a_step_changes_nothing_that_it_was_given():
    table = make_table("heun", EDM, 3)
    run = start({"x": Gaussian()}, EDM, table, [1], {"x": (4, 2)})
    runs = [run, *sample(lambda x, t, m, c: {"x": x["x"] * 0.3}, {"x": Gaussian()}, table, run)]
    copies = [run.x["x"].clone() for run in runs]
    list(sample(lambda x, t, m, c: {"x": x["x"] * 0.3}, {"x": Gaussian()}, table, runs[1]))
    assert all(torch.equal(run.x["x"], copy) for run, copy in zip(runs, copies, strict=True))


def test_four_threads_sharing_everything_agree_with_one():
    table, denoiser = make_table("dpmpp", EDM, 6, options={"order": 2, "eta": 1.0}), denoiser_for(EDM)
    shapes, init = {"coords": (5, 3), "wave": (7, 1)}, {"label": torch.ones(1, 5, 1)}
    first = start(PROCESSES, EDM, table, 9, shapes, init=init)
    expected = finish(denoiser, PROCESSES, table, first).x
    got: dict[int, dict] = {}

    def work(index):
        got[index] = finish(denoiser, PROCESSES, table, first).x

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same_bits(got[index], expected) for index in range(4))


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
def test_a_perfect_bfloat16_network_returns_coordinates_to_a_thousandth(schedule):
    """In Å with 10 Å to a unit, 20 steps of the default solver."""
    schedule, unit = ALL_SCHEDULES[schedule], 10.0
    truth = noise(0, "truth", 0, (64, 3))
    eye = torch.eye(3)

    def perfect(x, c_noise, mask, cond):
        log_snr = c_noise.double() * -8
        t = schedule.t_of_log_snr(log_snr)
        c_skip, c_out, c_in = (float(c) for c in coefficients(schedule, t))
        target = (truth - c_skip * (x["x"] / c_in)) / c_out if c_out else x["x"]
        output = torch.nn.functional.linear(target.float(), eye)
        assert output.dtype == torch.bfloat16
        return {"x": output}

    denoiser = precondition(perfect, schedule, autocast=torch.bfloat16)
    table = make_table(schedule=schedule, steps=20)
    run = start({"x": Gaussian()}, schedule, table, 1, {"x": (64, 3)})
    result = finish(denoiser, {"x": Gaussian()}, table, run).x["x"]
    assert result.dtype == torch.float32
    assert unit * (result - truth).abs().max() < 1e-3


class Count(TorchDispatchMode):
    """Names of the ATen operations that were run."""

    def __init__(self):
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


def operations(row):
    """Tensor operations of a row's arithmetic, one component: the read-out, then a term each."""
    weights = [value for value in (row.a, *row.b, row.base, row.c) if value != 0] or [0.0]
    # a first weight of one needs no product of its own
    move = len(weights) - (weights[0] == 1 and len(weights) > 1)
    return (row.p != 0) + (row.q != 1) + move


@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
def test_the_arithmetic_of_a_step_is_a_handful_of_operations(schedule):
    for case in ALL_SOLVERS:
        table = make_table(case[0], ALL_SCHEDULES[schedule], 8, options=case[1])
        process, x, xi = Gaussian(), torch.randn(2, 4, 3), torch.randn(2, 4, 3)
        past: tuple = ()
        for row in table.rows:
            process.move(x, (xi,), row, xi, xi, None)  # makes the row's weights, which are kept
            with Count() as count:
                newest = process.read(x, torch.tanh(x), row, None)
                past = (newest, *past)[: table.history]
                moved = process.move(x, past, row, x if row.base else None, xi if row.c else None, None)
            assert len(count.names) - 1 == operations(row), named(case)  # less the stand-in for a network
            assert torch.isfinite(moved).all(), named(case)
        order = case[1].get("order", 3 if case[0] in ("adams", "sa") else 2)
        # noise on top of a step that is no plain combination
        extra = table.stochastic and case[0] in SINGLESTEP
        assert max(map(operations, table.rows)) <= max(4, order + 2) + extra + (case[0] == "sa"), named(case)


def test_a_weight_that_was_kept_knows_nothing_of_where_it_was_made():
    """Weights are kept as tensors: not one that a fake mode or another default device made."""
    with FakeTensorMode():
        linear_combination([(0.7310585, torch.zeros(3)), (0.5, torch.ones(3))])
    with torch.device("meta"):
        linear_combination([(0.7310586, torch.zeros(3)), (0.5, torch.ones(3))])
    for weight in (0.7310585, 0.7310586):
        made = linear_combination([(weight, torch.ones(3)), (0.5, torch.ones(3))])
        assert torch.equal(made, torch.full((3,), weight) + 0.5)


@pytest.mark.parametrize("schedule", ["edm", "ve"])
def test_the_default_solver_takes_four_operations_a_component(schedule):
    table = make_table(schedule=ALL_SCHEDULES[schedule], steps=20)
    assert max(map(operations, table.rows)) <= 4


def test_a_whole_step_of_the_loop_adds_nothing_but_the_time():
    table = make_table("adams", EDM, 8)
    run = start({"x": Gaussian(), "y": Gaussian()}, EDM, table, [1, 2], {"x": (4, 3), "y": (5, 1)})
    answer = {"x": torch.zeros(2, 4, 3), "y": torch.zeros(2, 5, 1)}
    for _ in range(4):
        run = step(run, table, lambda *_: answer, {"x": Gaussian(), "y": Gaussian()})
    with Count() as count:
        step(run, table, lambda *_: answer, {"x": Gaussian(), "y": Gaussian()})
    assert len(count.names) <= 2 * 4 + 1, count.names


def whole_loop(device):
    """Everything the engine does on a device: guidance, inpainting, masks, noise, several components."""
    table = make_table("dpmpp", EDM, 4, options={"order": 2, "eta": 1.0})
    shapes = {"coords": (5, 3), "wave": (7, 1)}
    seeds = torch.tensor([1, 2], device=device)
    mask = {"coords": (torch.arange(5) < torch.tensor([[3], [5]])).to(device)}
    init = {"label": torch.ones(2, 5, 1, device=device)}
    cond = {"strength": torch.ones(2, 1, device=device)}
    guided = cfg(
        denoiser_for(EDM),
        2.0,
        {"strength": torch.zeros(1, 1, device=device)},
        rescale=0.5,
        interval=(-4.0, 6.0),
        schedule=EDM,
    )
    keep = {"wave": torch.zeros(2, 7, dtype=torch.bool, device=device)}
    denoiser = inpaint(guided, {"wave": torch.zeros(2, 7, 1, device=device)}, keep)
    run = start(PROCESSES, EDM, table, seeds, shapes, mask, init, device)

    def go():
        return finish(denoiser, PROCESSES, table, run, mask, cond)

    return go


def test_the_loop_never_asks_the_host():
    go = whole_loop("cpu")
    with Count() as count:
        go()
    asked = {"_local_scalar_dense", "item", "nonzero", "is_nonzero", "equal"} & set(count.names)
    assert not asked


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_loop_never_waits_for_the_gpu():
    go = whole_loop("cuda")
    go()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run = go()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(run.x["wave"]).all()


def test_progress_is_iterating_and_cancelling_is_stopping():
    table = make_table("ddim", EDM, 5)
    calls, rows = [], []

    def denoiser(x, t, mask, cond):
        calls.append(float(t[0]))
        return {"x": x["x"] * 0.1}

    run = start({"x": Gaussian()}, EDM, table, 0, {"x": (2, 1)})
    for run in sample(denoiser, {"x": Gaussian()}, table, run, callbacks=[lambda r: rows.append(r.row)]):  # noqa: B020
        if run.row == 3:
            break
    assert rows == [1, 2, 3]
    assert calls == [row.t for row in table.rows[:3]]
    rest = list(sample(denoiser, {"x": Gaussian()}, table, run))
    assert [run.row for run in rest] == [4, 5]
    assert list(sample(denoiser, {"x": Gaussian()}, table, rest[-1])) == []


def test_a_variation_starts_from_the_noised_example():
    table = make_table("ddim", EDM, 5, karras(EDM, 10)[5:])
    clean = torch.ones(1, 4, 2)
    run = start({"x": Gaussian()}, EDM, table, 7, init={"x": clean})
    sigma = float(EDM.sigma(torch.tensor(table.rows[0].t).double()))
    expected = clean + sigma * noise(7, "x", 0, (4, 2))
    assert torch.allclose(run.x["x"], expected, atol=1e-6)
    assert 0 < sigma < 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shapes": {}}, "component 'x' needs a shape"),
        ({"shapes": {"x": (2, 1), "y": (2, 1)}}, "no process for component 'y'"),
        ({"init": {"x": torch.zeros(3, 2, 1)}}, "init 'x' holds 3 samples for 1 seeds"),
    ],
)
def test_a_run_that_cannot_start_says_why(arguments, message):
    with pytest.raises(UsageError, match=message):
        start({"x": Gaussian()}, EDM, make_table("ddim", EDM, 2), 0, **arguments)


def test_a_run_compares_by_identity():
    run = Run(x={}, h={}, anchor={}, row=0, seeds=torch.zeros(1))
    assert run == run
    assert run != Run(x={}, h={}, anchor={}, row=0, seeds=torch.zeros(1))
