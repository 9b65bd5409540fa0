"""The step whose row is a tensor, and the loop that writes over its own states: the same samples, faster."""

from __future__ import annotations

import shutil
import warnings

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from polydiff.engine.denoisers import precondition
from polydiff.engine.guidance import apg, cfg, steer
from polydiff.engine.loop import finish, sample, start
from polydiff.engine.noise import noise
from polydiff.engine.processes import Fixed, Gaussian, Rotation
from polydiff.engine.solvers import SOLVERS, make_table
from polydiff.engine.table import Row, Table
from polydiff.runtime.captured import DEPTH, Captured, finish_for
from polydiff.testing.closed_forms import ALL_SCHEDULES, ALL_SOLVERS, named
from polydiff.testing.curved import SHAPES, SPACES

EDM = ALL_SCHEDULES["edm"]
PROCESSES = {**SPACES, "way": Rotation("geodesic"), "coords": Gaussian(centre=True), "label": Fixed()}
SIZES = {name: (5, *shape) for name, shape in SHAPES.items()} | {"way": (5, 3, 3), "coords": (5, 3)}
GAUSSIAN = {"x": Gaussian(), "label": Fixed()}

on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def everywhere(x, c_noise, mask, cond):
    """A network for each of PROCESSES, with no constant that lies on a device."""
    turn, level = torch.sin(2 * x["place"][..., :1]), c_noise.reshape(-1, 1, 1)
    axis = torch.cat([turn, turn.cos(), turn * level], -1)
    kinds = torch.cat([axis, turn.exp()], -1)
    return {
        "place": torch.tanh(x["place"] + 0.1 * level),
        "coords": torch.tanh(x["coords"]) + 0.1 * x["label"],
        "angle": torch.sin(x["angle"]),
        "letter": axis,
        "kind": kinds,
        "pose": 0.3 * axis,
        "way": 0.3 * axis,
    }


EVERYWHERE = precondition(everywhere, EDM, processes=PROCESSES)


def begin_everywhere(table, seeds=(1, 2), device="cpu"):
    """A run of all processes at once, and its mask."""
    real = (torch.arange(5) < torch.tensor([[3], [5]])).to(device)
    init = {"label": torch.ones(2, 5, 1, device=device)}
    mask = {name: real for name in ("place", "pose", "kind", "coords")}
    return start(PROCESSES, EDM, table, list(seeds), SIZES, mask, init, device), mask


def plain(x, t, mask, cond):
    level = EDM.sigma(t).float().reshape(-1, 1, 1)
    drive = cond["drive"].reshape(-1, 1, 1) if "drive" in cond else 0.0
    return {**x, "x": torch.tanh(x["x"] / (1 + level) + drive)}


def begin(table, seeds=(1, 2), device="cpu", size=6):
    init = {"label": torch.ones(len(seeds), size, 1, device=device)}
    return start(GAUSSIAN, EDM, table, list(seeds), {"x": (size, 2)}, init=init, device=device)


def assert_near(one, other, share=1e-5):
    assert one.keys() == other.keys()
    for name in one:
        assert (one[name] - other[name]).abs().max() <= share * other[name].abs().max(), name


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_solvers_below_are_all_that_there_are():
    assert {name for name, _ in ALL_SOLVERS} == SOLVERS.keys()


@pytest.mark.parametrize("case", ALL_SOLVERS, ids=named)
def test_a_row_of_tensors_does_what_the_row_does(case):
    """On every process, with masks, twice with one step: other steps and seeds need no other."""
    captured = Captured()
    for steps, seeds in ((3, (1, 2)), (4, (8, 9))):
        table = make_table(case[0], EDM, steps, options=case[1])
        run, mask = begin_everywhere(table, seeds)
        *_, last = sample(EVERYWHERE, PROCESSES, table, run, mask)
        assert_near(captured(EVERYWHERE, PROCESSES, table, run, mask).x, last.x)
    assert len(captured._steps) == 1


@pytest.mark.parametrize("case", ALL_SOLVERS, ids=named)
def test_writing_over_states_changes_no_bit(case):
    table = make_table(case[0], EDM, 4, options=case[1])
    run, mask = begin_everywhere(table)
    before = {name: value.clone() for name, value in run.x.items()}
    *_, last = sample(EVERYWHERE, PROCESSES, table, run, mask)
    assert_same(finish(EVERYWHERE, PROCESSES, table, run, mask).x, last.x)
    assert_same(run.x, before)


@pytest.mark.parametrize("loop", [finish, Captured()], ids=["finish", "captured"])
@pytest.mark.parametrize("solver", ["adams", "heun"])
def test_an_answer_that_is_the_state_itself_is_not_written_over(solver, loop):
    table = make_table(solver, EDM, 4)
    kept = torch.randn(2, 6, 2)
    processes = {"x": Gaussian(), "y": Gaussian(), "z": Gaussian()}

    def denoiser(x, t, mask, cond):
        return {"x": x["x"], "y": x["x"].mT.mT, "z": kept}  # itself, a view of another, and one of its own

    before = kept.clone()
    run = start(processes, EDM, table, [1, 2], {name: (6, 2) for name in processes})
    *_, last = sample(denoiser, processes, table, run)
    assert_near(loop(denoiser, processes, table, run).x, last.x)
    assert torch.equal(kept, before)


class Storages(TorchDispatchMode):
    """How much memory was asked for, in bytes, for tensors as large as a state."""

    def __init__(self, least):
        super().__init__()
        self.least, self.known, self.fresh = least, {}, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, torch.Tensor):
                storage = value.untyped_storage()
                if storage.nbytes() >= self.least and storage.data_ptr() not in self.known:
                    self.known[storage.data_ptr()] = storage  # held, so that no other gets its address
                    self.fresh += 1
        return result


@pytest.mark.parametrize("solver", ["adams", "ddim", "dpmpp", "unipc", "heun"])
def test_more_steps_ask_for_no_more_memory(solver):
    answer = {"x": torch.randn(1, 512, 2)}
    fresh = []
    for steps in (8, 16):
        table = make_table(solver, EDM, steps)
        run = start({"x": Gaussian()}, EDM, table, 3, {"x": (512, 2)})
        with Storages(512 * 2 * 4) as storages:
            finish(lambda *_: answer, {"x": Gaussian()}, table, run)
        fresh.append(storages.fresh)
    assert fresh[0] == fresh[1] <= table.history + 2


@pytest.mark.parametrize("loop", [finish, Captured()], ids=["finish", "captured"])
def test_callbacks_see_runs_that_stay_and_can_be_gone_on_from(loop):
    table = make_table("unipc", EDM, 5, options={"order": 3})
    seen = []
    run, mask = begin_everywhere(table)
    last = loop(EVERYWHERE, PROCESSES, table, run, mask, callbacks=[seen.append])
    expected = list(sample(EVERYWHERE, PROCESSES, table, run, mask))
    assert [run.row for run in seen] == [1, 2, 3, 4, 5]
    for one, other in zip(seen, expected, strict=True):
        assert_near(one.x, other.x)
        assert_near(finish(EVERYWHERE, PROCESSES, table, one, mask).x, last.x)
        assert_near(loop(EVERYWHERE, PROCESSES, table, one, mask).x, last.x)


def test_a_run_that_is_done_stays_what_it_is():
    table = make_table("ddim", EDM, 2)
    last = finish(plain, GAUSSIAN, table, begin(table))
    for loop in (finish, Captured()):
        assert_same(loop(plain, GAUSSIAN, table, last).x, last.x)


def test_memory_of_a_denoiser_goes_with_the_run():
    """APG has its momentum from the second call on; a new micro-batch begins without."""
    guided = apg(plain, 3.0, {"drive": torch.zeros(1, 1)}, norm=0.5, momentum=-0.5)
    captured = Captured()
    table = make_table("adams", EDM, 6)
    for seeds in ((1, 2), (3, 4), (5, 6)):
        run, cond = begin(table, seeds), {"drive": torch.tensor([[0.3], [0.1 * seeds[0]]])}
        *_, last = sample(guided, GAUSSIAN, table, run, cond=cond)
        found = captured(guided, GAUSSIAN, table, run, cond=cond)
        assert_near(found.x, last.x)
        assert_near(found.memory, last.memory)
    assert len(captured._steps) == 2


def test_a_table_may_look_further_back_than_there_is_room():
    rows = tuple(
        Row(t=1 - i / 8, a=0.5, b=(0.1,) * min(i + 1, DEPTH + 2), anchor=i == 2, base=0.1 * (i > 2))
        for i in range(8)
    )
    table = Table(rows)
    run = begin(table)
    *_, last = sample(plain, GAUSSIAN, table, run)
    assert_near(Captured()(plain, GAUSSIAN, table, run).x, last.x)
    assert_near(finish(plain, GAUSSIAN, table, run).x, last.x, 0)


def test_a_step_that_only_a_tensor_knows_draws_the_same_noise():
    assert torch.equal(noise([3, 4], "x", torch.tensor(7), (5, 2)), noise([3, 4], "x", 7, (5, 2)))


def compiled_with(monkeypatch, backend):
    """`Captured(compiled=True)` for a compiler of the test's own."""
    torch._dynamo.reset()
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **options: real(f, backend=backend, **options))
    return Captured(compiled=True)


@pytest.mark.slow
def test_one_graph_serves_all_steps_solvers_and_seeds(monkeypatch):
    graphs = []
    captured = compiled_with(monkeypatch, lambda graph, inputs: graphs.append(graph) or graph)
    processes = {name: PROCESSES[name] for name in ("place", "angle", "label")}
    denoiser = precondition(
        lambda x, *_: {name: torch.tanh(x[name]) for name in processes if name != "label"},
        EDM,
        processes=processes,
    )
    sizes = {name: SIZES[name] for name in processes if name != "label"}
    for solver in ("adams", "ddim", "deis", "dpmpp", "lms", "unipc"):
        for steps, seeds in ((1, [1, 2]), (3, [1, 2]), (5, [3, 2**63])):
            table = make_table(solver, EDM, steps)
            init = {"label": torch.ones(2, 5, 1)}
            run = start(processes, EDM, table, seeds, sizes, init=init)
            *_, last = sample(denoiser, processes, table, run)
            assert_near(captured(denoiser, processes, table, run).x, last.x)
    assert len(graphs) == 1
    table = make_table("ddpm", EDM, 3)  # which draws noise
    captured(denoiser, processes, table, run)
    captured(denoiser, processes, make_table("sa", EDM, 4), run)
    assert len(graphs) == 2


@pytest.mark.slow
def test_more_shapes_than_eight_are_compiled(monkeypatch):
    captured = compiled_with(monkeypatch, "eager")
    table = make_table("ddim", EDM, 2)
    for size in range(1, 10):
        run = begin(table, size=size)
        assert_near(captured(plain, GAUSSIAN, table, run).x, finish(plain, GAUSSIAN, table, run).x)


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.slow
def test_the_arithmetic_is_one_pass_over_the_state():
    from torch._inductor import metrics

    torch._dynamo.reset()
    table = make_table("adams", EDM, 4)
    run = start({"x": Gaussian()}, EDM, table, [1, 2], {"x": (64, 2)})
    metrics.reset()
    with torch._inductor.config.patch(cpp_cache_precompile_headers=False, fx_graph_cache=False):
        found = Captured(compiled=True)(plain, {"x": Gaussian()}, table, run)
    assert metrics.generated_kernel_count == 1
    assert_near(found.x, finish(plain, {"x": Gaussian()}, table, run).x)


def test_a_gpu_gets_graphs_unless_they_are_refused():
    assert finish_for("cpu") is finish
    assert finish_for("cuda:0").graphs
    assert not finish_for("cuda", graphs=False).graphs


# On a GPU.


class CountedGraph(torch.cuda.CUDAGraph if torch.cuda.is_available() else object):
    """A graph, counted in `made` and `replays`."""

    made = replays = 0

    def __new__(cls, *args, **kwargs):
        CountedGraph.made += 1
        return super().__new__(cls, *args, **kwargs)

    def replay(self):
        CountedGraph.replays += 1
        super().replay()


@pytest.fixture
def graphs(monkeypatch):
    monkeypatch.setattr(torch.cuda, "CUDAGraph", CountedGraph)
    monkeypatch.setattr(CountedGraph, "made", 0)
    monkeypatch.setattr(CountedGraph, "replays", 0)
    return CountedGraph


@on_cuda
def test_one_graph_serves_all_steps_solvers_and_seeds_on_a_gpu(graphs):
    captured, calls = Captured(), 0
    for solver in ("adams", "ddim", "deis", "dpmpp", "lms", "unipc"):
        for steps, seeds in ((3, (1, 2)), (6, (3, 4))):
            table = make_table(solver, EDM, steps)
            run, mask = begin_everywhere(table, seeds, "cuda")
            *_, last = sample(EVERYWHERE, PROCESSES, table, run, mask)
            assert_near(captured(EVERYWHERE, PROCESSES, table, run, mask).x, last.x, 1e-4)
            calls += table.nfe
    assert graphs.made == 1
    assert graphs.replays == calls - 2  # the first two rows of all


@on_cuda
@pytest.mark.parametrize("case", [("ddpm", {}), ("dpmpp", {"order": 2, "eta": 1.0}), ("heun", {"eta": 1.0})])
def test_a_graph_draws_the_noise_of_its_row(case, graphs):
    captured, without = Captured(), Captured(graphs=False)
    for steps, seeds in ((4, (1, 2)), (6, (3, 4))):
        table = make_table(case[0], EDM, steps, options=case[1])
        run = begin(table, seeds, "cuda")
        *_, last = sample(plain, GAUSSIAN, table, run)
        found = captured(plain, GAUSSIAN, table, run)
        assert_near(found.x, last.x, 1e-4)
        assert_same(without(plain, GAUSSIAN, table, run).x, found.x)
    assert graphs.made == 1


@on_cuda
@pytest.mark.parametrize("compiled", [False, True])
def test_graphs_never_wait_and_their_memory_does_not_grow(compiled):
    null = {"drive": torch.zeros(1, 1, device="cuda")}
    guided = cfg(plain, 2.0, null, rescale=0.5, interval=(-4.0, 6.0), schedule=EDM)
    captured, table = Captured(compiled=compiled), make_table("adams", EDM, 8)
    run, cond = begin(table, device="cuda"), {"drive": torch.full((2, 1), 0.3, device="cuda")}
    expected = captured(guided, GAUSSIAN, table, run, cond=cond).x
    before = torch.cuda.memory_allocated()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            found = captured(guided, GAUSSIAN, table, run, cond=cond).x
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert_near(found, expected, 1e-6)
    del found
    assert torch.cuda.memory_allocated() <= before
    *_, last = sample(guided, GAUSSIAN, table, run, cond=cond)
    assert_near(expected, last.x, 1e-4)


@on_cuda
def test_what_changes_between_batches_reaches_the_graph():
    """Masks, conditions, carried components and seeds of a later micro-batch; callbacks may keep runs."""
    captured, table = Captured(), make_table("dpmpp", EDM, 6)
    processes = {"x": Gaussian(centre=True), "label": Fixed()}
    for length in (2, 6, 4):
        mask = {"x": (torch.arange(6) < torch.tensor([[length], [6]])).cuda()}
        init = {"label": torch.full((2, 6, 1), float(length), device="cuda")}
        cond = {"drive": torch.full((2, 1), 0.1 * length, device="cuda")}
        run = start(processes, EDM, table, [length, 9], {"x": (6, 2)}, mask, init, "cuda")
        seen = []
        captured(plain, processes, table, run, mask, cond, [seen.append])
        for one, other in zip(seen, sample(plain, processes, table, run, mask, cond), strict=True):
            assert_near(one.x, other.x, 1e-4)
            assert torch.equal(one.x["label"], init["label"])


@on_cuda
def test_a_denoiser_that_waits_runs_one_row_after_the_other(graphs):
    def waiting(x, t, mask, cond):
        return {**x, "x": x["x"] * min(float(t[0]), 0.5)}

    captured, table = Captured(), make_table("adams", EDM, 6)
    run = begin(table, device="cuda")
    *_, last = sample(waiting, GAUSSIAN, table, run)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            assert_near(captured(waiting, GAUSSIAN, table, run).x, last.x, 1e-4)
    assert sum("run one by one" in str(seen.message) for seen in caught) == 1
    assert graphs.made == 0
    captured(plain, GAUSSIAN, table, run)
    assert graphs.made == 1


@on_cuda
def test_a_graph_holds_autocast_gradients_and_memory(graphs):
    torch.manual_seed(0)
    layer = torch.nn.Linear(2, 2).cuda()
    network = lambda x, c, mask, cond: {"x": layer(x["x"]) + cond["drive"][:, None]}  # noqa: E731
    inner = precondition(network, EDM, autocast=torch.bfloat16, processes=GAUSSIAN)
    guided = apg(inner, 2.0, {"drive": torch.zeros(1, 1, device="cuda")})
    steered = steer(guided, lambda x0, mask: x0["x"].square().sum((1, 2)), EDM, 0.01)
    captured, table = Captured(), make_table("adams", EDM, 8)
    run, cond = begin(table, device="cuda"), {"drive": torch.full((2, 1), 0.3, device="cuda")}
    *_, last = sample(steered, GAUSSIAN, table, run, cond=cond)
    for _ in range(2):
        assert_near(captured(steered, GAUSSIAN, table, run, cond=cond).x, last.x, 1e-2)
    assert graphs.made >= 1
    assert graphs.replays >= 8
