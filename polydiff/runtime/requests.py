"""Requests of any size are sampled in padded micro-batches and returned one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from polydiff.engine.denoisers import Cond, Denoiser, Mask, State
from polydiff.engine.guidance import inpaint_from_cond, pack_known, paste_known, unpack_known
from polydiff.engine.loop import Callback, Finish, Run, finish, start
from polydiff.engine.nodes import with_levels
from polydiff.engine.processes.base import Process
from polydiff.engine.schedules import Schedule
from polydiff.engine.table import Table
from polydiff.errors import UsageError
from polydiff.runtime.memory import halved_to_fit
from polydiff.runtime.packing import RATIO, Ladder, run_batched
from polydiff.runtime.thread_team import ThreadTeam

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Request:
    """One sample that is wanted. All tensors are without a batch axis.

    shapes: name to (N, ...), what to draw. seed: all that is random about it. cond: name to (width,).
    init: clean values to vary, and every Fixed component. known, keep: values (N, ...) to keep wherever the
    bool (N,) or (N, ...) is True. noisy: where to start, instead of noise of the seed.
    """

    shapes: Mapping[str, tuple[int, ...]]
    seed: int
    cond: Mapping[str, Tensor] = field(default_factory=dict)
    init: State | None = None
    known: State | None = None
    keep: Mapping[str, Tensor] | None = None
    noisy: State | None = None

    def sizes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every component, those in `init` included."""
        given = {name: tuple(value.shape) for name, value in (self.init or {}).items()}
        return given | {name: tuple(shape) for name, shape in self.shapes.items()}


def default_batch_size(device: torch.device | str) -> int:
    """16 on an accelerator; 1 on a CPU, where a sample then has the same bits in any run."""
    return 1 if torch.device(device).type == "cpu" else 16


def sample_requests(
    denoiser: Denoiser,
    processes: Mapping[str, Process],
    schedule: Schedule,
    table: Table,
    requests: Iterable[Request],
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
    callbacks: Sequence[Callback] = (),
) -> Iterator[tuple[int, State]]:
    """Sample every request and yield (index, state without padding), in order, as micro-batches finish.

    Requests share a micro-batch whatever their sizes, those of similar length together: the first axis is
    padded to a rung of a ladder, see `packing`. What is to be kept is told to the denoiser at each step and
    is exact in the result. Where memory does not suffice for a micro-batch, it and all later ones are halved.

    Errors: UsageError when requests do not fit together or name no process.
    """
    jobs = map(alone, requests)
    yield from enumerate(
        sample_jobs(denoiser, processes, schedule, table, jobs, batch_size, device, callbacks)
    )


def sample_jobs(
    denoiser: Denoiser,
    processes: Mapping[str, Process],
    schedule: Schedule,
    table: Table,
    jobs: Iterable[Generator[Request, State, T]],
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
    callbacks: Sequence[Callback] = (),
    threads: int = 1,
    inference: bool = False,
    loop: Finish = finish,
) -> Iterator[T]:
    """As `sample_requests`, for what is made in several parts: a job yields a request, is sent its state and
    returns what it made, which is yielded in the order of the jobs.

    threads: with batch size 1, how many samples to make in parallel at most, see `thread_team`. The denoiser
    and the callbacks are then called from several threads. inference, loop: see `sample_batch`.
    """
    size = default_batch_size(device) if batch_size is None else batch_size
    if size < 1:
        raise UsageError(f"batch_size must be at least 1, got {batch_size}")
    denoiser = inpaint_from_cond(denoiser, processes, schedule)
    made = partial(
        sample_batch,
        processes=processes,
        schedule=schedule,
        table=with_levels(table, schedule),
        device=device,
        callbacks=callbacks,
        inference=inference,
        loop=loop,
    )
    # alone a request is not padded
    ladders = {name: Ladder(RATIO if size > 1 else 1.0) for name in processes}

    def padded(requests: Sequence[Request]) -> list[dict[str, int]]:
        own = [_lengths(processes, request) for request in requests]
        for name, ladder in ladders.items():
            ladder.learn(lengths[name] for lengths in own)
        return [{name: ladders[name](length) for name, length in lengths.items()} for lengths in own]

    def run(batch: Sequence[Request]) -> list[State]:
        lengths = padded(batch)
        longest = {name: max(length[name] for length in lengths) for name in processes}
        return made(denoiser, batch=batch, lengths=longest)

    def one(request: Request, check: Callable[[], None]) -> State:
        def checked(x: State, t: Tensor, mask: Mask, cond: Cond) -> State:
            check()
            return denoiser(x, t, mask, cond)

        return made(checked, batch=[request])[0]

    if size > 1 or threads == 1:
        yield from run_batched(jobs, halved_to_fit(run), padded, size)
    else:
        with ThreadTeam(one, threads, _numbers) as team:
            yield from run_batched(jobs, team, padded, threads, next_size=lambda: team.size)


def _numbers(request: Request) -> float:
    return sum(map(math.prod, request.sizes().values()))


def alone(request: Request) -> Generator[Request, State, State]:
    """The job of a sample that is made in one part."""
    return (yield request)


def begin(
    processes: Mapping[str, Process],
    schedule: Schedule,
    table: Table,
    batch: Sequence[Request],
    device: torch.device | str = "cpu",
    lengths: Mapping[str, int] | None = None,
) -> tuple[Run, dict[str, Tensor], dict[str, Tensor]]:
    """Requests as one micro-batch before its first row: the run, its mask and its conditions. The known part
    is among the conditions, for a denoiser of `inpaint_from_cond`. The first axis is padded to `lengths`, by
    default to the longest of the batch."""
    shapes = _padded(processes, batch, lengths)
    mask = {}
    for name, shape in shapes.items():
        own = [_shape(request.sizes(), name)[0] for request in batch]
        if min(own) < shape[0]:
            ends = torch.tensor(own, device=device)
            mask[name] = torch.arange(shape[0], device=device) < ends[:, None]
    names = batch[0].cond.keys()
    if any(request.cond.keys() != names for request in batch):
        raise UsageError("requests of one run must all give the same conditions")
    cond = {name: torch.stack([request.cond[name] for request in batch]).to(device) for name in names}
    init = _gather([request.init for request in batch], shapes, device, "init")
    noisy = _gather([request.noisy for request in batch], shapes, device, "noisy")
    seeds = [request.seed for request in batch]
    run = start(processes, schedule, table, seeds, shapes, mask, init, device, noisy=noisy)
    keep = _gather([request.keep for request in batch], shapes, device, None)
    known = _gather([request.known for request in batch], shapes, device, None)
    return run, mask, cond | pack_known(known, keep, processes, run.seeds)


def sample_batch(
    denoiser: Denoiser,
    processes: Mapping[str, Process],
    schedule: Schedule,
    table: Table,
    batch: Sequence[Request],
    device: torch.device | str = "cpu",
    callbacks: Sequence[Callback] = (),
    lengths: Mapping[str, int] | None = None,
    inference: bool = False,
    loop: Finish = finish,
) -> list[State]:
    """The states of one micro-batch, without padding; see `begin` for `lengths`. The denoiser is one of
    `inpaint_from_cond`.

    inference: whether the rows are done in inference mode, which is faster and forbids the denoiser to
    differentiate.
    loop: what does the rows; `captured.finish_for` knows the fastest for a device.
    """
    first, mask, cond = begin(processes, schedule, table, batch, device, lengths)
    with torch.inference_mode(inference):
        last = loop(denoiser, processes, table, first, mask, cond, callbacks)
    known, keep, _ = unpack_known(cond)
    x = paste_known(last.x, known, keep, processes)
    return [
        # a copy is no inference tensor, and lets the padding go
        {name: x[name][place, :length].clone() for name, length in _lengths(processes, request).items()}
        for place, request in enumerate(batch)
    ]


def _lengths(processes: Mapping[str, Process], request: Request) -> dict[str, int]:
    sizes = request.sizes()
    return {name: _shape(sizes, name)[0] for name in processes}


def _padded(
    processes: Mapping[str, Process], batch: Sequence[Request], lengths: Mapping[str, int] | None
) -> dict[str, tuple[int, ...]]:
    """The shape that holds every request of a micro-batch, by component."""
    shapes = {}
    for name in processes:
        own = [_shape(request.sizes(), name) for request in batch]
        if len({shape[1:] for shape in own}) > 1:
            raise UsageError(f"component {name!r} differs between requests in more than its length: {own}")
        longest = lengths[name] if lengths else max(shape[0] for shape in own)
        shapes[name] = (longest, *own[0][1:])
    return shapes


def _shape(sizes: Mapping[str, tuple[int, ...]], name: str) -> tuple[int, ...]:
    if name not in sizes:
        raise UsageError(f"a request gives neither a shape nor an init for component {name!r}")
    return sizes[name]


def _gather(
    states: Sequence[Mapping[str, Tensor] | None],
    shapes: Mapping[str, tuple[int, ...]],
    device: torch.device | str,
    required: str | None,
) -> State:
    """States of single samples as one padded batch; zeros for a request that has none, unless `required`."""
    names = {name for state in states for name in state or {}}
    batch = {}
    for name in sorted(names):
        given = [(state or {}).get(name) for state in states]
        example = next(value for value in given if value is not None)
        if required and any(value is None for value in given):
            raise UsageError(f"requests of one run must all give {required} for {name!r}, or none of them")
        if name not in shapes:
            raise UsageError(f"no process for component {name!r}; there are {', '.join(shapes)}")
        padded = torch.zeros((len(given), shapes[name][0], *example.shape[1:]), dtype=example.dtype)
        for target, value in zip(padded, given, strict=True):
            if value is not None:
                target[: len(value)] = value
        batch[name] = padded.to(device)
    return batch
