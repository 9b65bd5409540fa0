"""Requests of any size, batched, padded and returned one by one."""

from __future__ import annotations

import pytest
import torch

from polydiff.engine.loop import finish
from polydiff.engine.processes import Fixed, Gaussian
from polydiff.engine.solvers import make_table
from polydiff.errors import UsageError
from polydiff.runtime.captured import Captured
from polydiff.runtime.requests import Request, alone, default_batch_size, sample_jobs, sample_requests
from polydiff.testing.closed_forms import ALL_SCHEDULES

EDM = ALL_SCHEDULES["edm"]
TABLE = make_table("adams", EDM, 4)
X = {"x": Gaussian()}
KEEP = torch.tensor([[True, False, True], [False, False, True], [True, False, False], [False, True, True]])


def shrink(x, t, mask, cond):
    return {name: value * 0.2 for name, value in x.items()}


def test_results_come_in_order_at_their_own_sizes_as_batches_finish():
    seen = []

    def denoiser(x, t, mask, cond):
        seen.append((tuple(x["x"].shape), mask["x"].sum(1).tolist() if mask else None))
        return shrink(x, t, mask, cond)

    wanted = [Request({"x": (n, 2)}, seed=n) for n in (3, 5, 4)]
    stream = sample_requests(denoiser, X, EDM, TABLE, wanted, batch_size=2)
    index, state = next(stream)
    assert (index, state["x"].shape) == (0, (3, 2))
    assert set(map(str, seen)) == {"((2, 5, 2), [3, 5])"}
    assert [(i, tuple(s["x"].shape)) for i, s in stream] == [(1, (5, 2)), (2, (4, 2))]
    assert seen[-1] == ((1, 5, 2), [4])  # padded to a rung, in company or not
    list(sample_requests(denoiser, X, EDM, TABLE, wanted[::2], batch_size=1))
    assert seen[-1] == ((1, 4, 2), None)  # never in company: no padding and no mask


def test_what_is_kept_is_exact_for_the_requests_that_keep():
    known = {"x": torch.full((3, 2), 0.7)}
    wanted = [
        Request({"x": (3, 2)}, 1, known=known, keep={"x": torch.tensor([True, False, True])}),
        Request({"x": (5, 2)}, 2),
    ]
    free = dict(sample_requests(shrink, X, EDM, TABLE, [Request({"x": (3, 2)}, 1), wanted[1]], 2))
    kept = dict(sample_requests(shrink, X, EDM, TABLE, wanted, 2))
    assert torch.equal(kept[0]["x"][[0, 2]], known["x"][[0, 2]])
    assert torch.equal(kept[0]["x"][1], free[0]["x"][1])
    assert torch.equal(kept[1]["x"], free[1]["x"])


def test_conditions_are_stacked_and_fixed_components_padded():
    processes = {"x": Gaussian(), "context": Fixed()}

    def denoiser(x, t, mask, cond):
        assert cond["speaker"].shape == (2, 3)
        assert x["context"][0, 2:].abs().max() == 0
        return {"x": x["x"] * 0}

    wanted = [
        Request({"x": (n, 1)}, n, {"speaker": torch.ones(3)}, init={"context": torch.ones(n, 4)})
        for n in (2, 6)
    ]
    for (_, state), n in zip(
        sample_requests(denoiser, processes, EDM, TABLE, wanted, batch_size=2), (2, 6), strict=True
    ):
        assert torch.equal(state["context"], torch.ones(n, 4))
        assert torch.equal(state["x"], torch.zeros(n, 1))


def test_callbacks_hear_every_row_of_every_batch():
    rows = []
    wanted = [Request({"x": (2, 1)}, n) for n in range(3)]
    list(sample_requests(shrink, X, EDM, TABLE, wanted, 2, callbacks=[lambda run: rows.append(run.row)]))
    assert rows == [1, 2, 3, 4, 1, 2, 3, 4]


def test_what_does_not_fit_into_memory_is_made_in_smaller_batches():
    sizes = []

    def denoiser(x, t, mask, cond):
        if len(t) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        sizes.append(len(t))
        return shrink(x, t, mask, cond)

    wanted = [Request({"x": (4, 2)}, seed) for seed in range(10)]
    fitted = dict(sample_requests(denoiser, X, EDM, TABLE, wanted, batch_size=5))
    assert all(torch.equal(x["x"], fitted[i]["x"]) for i, x in sample_requests(shrink, X, EDM, TABLE, wanted))
    assert sizes[:: TABLE.nfe] == [2, 2, 1, 2, 2, 1]


def test_no_requests_are_no_work():
    assert list(sample_requests(shrink, X, EDM, TABLE, [])) == []


def test_on_a_cpu_samples_are_made_alone():
    assert default_batch_size("cpu") == 1
    assert default_batch_size("cuda:0") == 16


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([Request({}, 0)], "neither a shape nor an init for component 'x'"),
        ([Request({"x": (2, 1)}, 0), Request({"x": (2, 3)}, 0)], "differs between requests"),
        ([Request({"x": (2, 1)}, 0), Request({"x": (2, 1)}, 0, {"a": torch.ones(1)})], "same conditions"),
        ([Request({"x": (2, 1)}, 0), Request({"x": (2, 1)}, 0, init={"x": torch.ones(2, 1)})], "give init"),
        ([Request({"x": (2, 1)}, 0, init={"z": torch.ones(2, 1)})], "no process for component 'z'"),
        ([Request({"x": (2, 1)}, 0, keep={"x": torch.ones(2).bool()})], "known values are not given"),
    ],
)
def test_requests_that_do_not_fit_are_named(wanted, message):
    with pytest.raises(UsageError, match=message):
        list(sample_requests(shrink, X, EDM, TABLE, wanted, batch_size=2))


def test_a_batch_size_below_one_is_refused():
    with pytest.raises(UsageError, match="batch_size"):
        list(sample_requests(shrink, X, EDM, TABLE, [Request({"x": (2, 1)}, 0)], batch_size=0))


def test_batches_that_keep_other_things_are_one_recorded_step():
    """What is kept is data of a step, so that a graph need not be recorded anew for each batch."""
    steps, made = Captured(graphs=False), []
    wanted = [
        Request({"x": (3, 1)}, seed, known={"x": torch.full((3, 1), 0.1 * seed)}, keep={"x": KEEP[seed]})
        for seed in range(4)
    ]
    for loop in (finish, steps):
        jobs = map(alone, wanted)
        made.append(list(sample_jobs(shrink, X, EDM, TABLE, jobs, batch_size=2, loop=loop)))
    assert len(steps._steps) == 1
    for plain, recorded, request in zip(*made, wanted, strict=True):
        assert torch.equal(plain["x"], recorded["x"])
        kept = request.keep["x"]
        assert torch.equal(recorded["x"][kept], request.known["x"][kept])
        assert not torch.equal(recorded["x"][~kept], request.known["x"][~kept])


def test_what_is_kept_needs_its_values():
    with pytest.raises(UsageError, match="part of 'x' is to be kept, but its known values are not given"):
        list(sample_requests(shrink, X, EDM, TABLE, [Request({"x": (3, 1)}, 1, keep={"x": KEEP[0]})]))
