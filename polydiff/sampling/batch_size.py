"""The batch size of a plan, from measured memory where none is given."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from polydiff.errors import UsageError
from polydiff.runtime.memory import bytes_of, default_budget, largest_batch, peak_memory
from polydiff.runtime.requests import alone, default_batch_size, sample_jobs

if TYPE_CHECKING:
    from polydiff.sampling.plan import Plan

#: the largest batch size that is chosen: more samples at once are not worth the wait
MOST = 64


def validate_batch_size(
    batch_size: int | None, memory: int | str | None, device: str
) -> tuple[int | None, int | None]:
    """The batch size, None where memory is to choose it, and the memory in bytes. Raises UsageError for a
    device without a memory of its own."""
    cuda = torch.device(device).type == "cuda"
    if memory is not None and not cuda:
        raise UsageError(f"memory is a budget for a CUDA device; on {device!r} give batch_size.")
    if batch_size is None and not cuda:
        batch_size = default_batch_size(device)
    return batch_size, None if memory is None else bytes_of(memory)


def with_batch_size(plan: Plan, peak: Callable[[Plan, int], int] | None = None) -> Plan:
    """The plan with its batch chosen: as many as are asked for where they are few, else as the memory holds.

    peak: the bytes that a micro-batch of so many samples takes; by default it is measured.
    """
    if plan.batch_size is not None or not len(plan):
        return plan
    size = min(len(plan), MOST)
    if size > default_batch_size(plan.device) or plan.memory is not None:
        budget = default_budget(plan.device) if plan.memory is None else plan.memory
        size = largest_batch(lambda count: (peak or _peak)(plan, count), budget, size)
    return replace(plan, batch_size=size, record=plan.record.model_copy(update={"batch_size": size}))


def _peak(plan: Plan, count: int) -> int:
    """The peak memory, in bytes, of a batch of `count` copies of the longest sample that is asked for."""
    domain = plan.model.domain
    _, longest = max(plan.requests, key=lambda one: sum(map(math.prod, domain.shapes(one[1]).values())))
    batch = [plan.engine_request(next(domain.parts(longest)))] * count
    arguments = plan.engine_arguments() | {"jobs": map(alone, batch), "batch_size": count}
    return peak_memory(lambda: list(sample_jobs(**arguments)), plan.device)
