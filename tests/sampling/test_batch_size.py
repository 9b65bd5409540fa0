"""How many samples go through the network at once, where nobody says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from polydiff.errors import UsageError
from polydiff.model import Model
from polydiff.runtime.memory import peak_memory
from polydiff.sampling.batch_size import MOST, with_batch_size
from polydiff.sampling.plan import Plan
from tests import series


@pytest.fixture(scope="module")
def model() -> Model:
    series.register()
    return series.model()


def on_gpu(model: Model, n: int, memory: int | None) -> Plan:
    """As it would be planned on a GPU."""
    return replace(model.plan(n, seed=0, steps=2), device="cuda", batch_size=None, memory=memory)


def line(plan: Plan, count: int) -> int:
    return 1000 + 100 * count


@pytest.mark.parametrize(
    ("n", "memory", "size"), [(3, 10**6, 3), (200, 10**6, MOST), (200, 2050, 10), (1, 1100, 1)]
)
def test_a_budget_chooses_the_batch_and_the_record_says_it(
    model: Model, n: int, memory: int, size: int
) -> None:
    plan = with_batch_size(on_gpu(model, n, memory), line)
    assert plan.batch_size == size
    assert plan.provenance(*plan.requests[0]).batch_size == size


def test_a_few_samples_are_not_worth_measuring(model: Model) -> None:
    def never(plan: Plan, count: int) -> int:
        raise AssertionError

    assert with_batch_size(on_gpu(model, 16, None), never).batch_size == 16
    assert with_batch_size(model.plan(100, seed=0, steps=2, device="cpu"), never).batch_size == 1
    finished = replace(on_gpu(model, 3, 10**6), requests=())
    assert with_batch_size(finished, never) is finished
    assert list(replace(finished, device="cpu").stream()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"memory": "1GiB"}, "memory is a budget for a CUDA device; on 'cpu' give batch_size"),
        ({"memory": "1GiB", "batch_size": 2}, "memory chooses the batch_size: give one of them"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused(
    model: Model, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        model.plan(3, seed=0, steps=2, device="cpu", **arguments)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_memory_does_not_grow_with_the_number_of_samples(model: Model) -> None:
    asked: dict[str, Any] = {"seed": 0, "steps": 3, "device": "cuda", "length": 600}

    def peak(n: int, **more: Any) -> int:
        plan = model.plan(n, **asked, **more)
        return peak_memory(lambda: sum(1 for _ in plan.stream()), "cuda")

    one, two = peak(1, batch_size=1), peak(2, batch_size=2)
    budget = one + 15 * (two - one)
    sizes = {with_batch_size(model.plan(n, **asked, memory=budget)).batch_size for n in (64, 256)}
    assert len(sizes) == 1
    assert 8 <= sizes.pop() < 64
    few, many = peak(64, memory=budget), peak(256, memory=budget)
    assert many == pytest.approx(few, rel=0.05)
    assert many <= 1.05 * budget
