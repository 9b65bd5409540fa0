r"""The sampling loop: `step` takes a Run and returns the next one.

    start ──▶ Run ──▶ step ──▶ Run ──▶ step ──▶ ... ──▶ Run        one step is one row of the table
                       │ denoiser(x, t)     the only network call
                       │ process.read       x̂0 ──▶ h, one component at a time
                       │ process.move       x, h, noise(seed, name, row) ──▶ x⁺

A Run holds everything that the next step needs, and nothing changes in place: iterate to follow progress,
stop iterating to cancel, start from a saved Run to resume; threads may share all of it. The noise of a row is
a function of seed, component and row, so a resumed run ends in the same bits.

Where only the end is wanted, `finish` reuses the memory of earlier states: the same bits, and from the second
step on nothing is allocated. `runtime.captured` has the same loop for compilers and CUDA graphs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from polydiff.engine.denoisers import Cond, Denoiser, Mask, State
from polydiff.engine.noise import as_seeds, noise
from polydiff.engine.processes import Process
from polydiff.engine.schedules import Schedule
from polydiff.engine.table import Row, Table, live
from polydiff.errors import UsageError

__all__ = ["Callback", "Finish", "Made", "Run", "finish", "move", "sample", "start", "step", "unaliased"]


@dataclass(frozen=True, eq=False)
class Run:
    """A sampling run between two rows.

    x: the state, name to (B, N, ...). h: past read-outs of each component, newest first. anchor: the state
    at the newest anchor row, empty while a table has none. row: the row to do next. seeds: int64 (B,).
    memory: what the denoiser needs back at its next call (see `denoisers`), empty for most.
    """

    x: State
    h: Mapping[str, tuple[Tensor, ...]]
    anchor: State
    row: int
    seeds: Tensor
    memory: State = field(default_factory=dict)

    @property
    def seen(self) -> State:
        """What the denoiser sees."""
        return {**self.x, **self.memory} if self.memory else self.x


Callback = Callable[[Run], None]
#: as `finish` below
Finish = Callable[..., Run]
#: tensors of each component that were allocated in one run, to be reused once nothing needs them
Made = dict[str, list[Tensor]]


def start(
    processes: Mapping[str, Process],
    schedule: Schedule,
    table: Table,
    seeds: int | Sequence[int] | Tensor,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    mask: Mask | None = None,
    init: State | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
    noisy: State | None = None,
) -> Run:
    """The run before its first row.

    Args:
        seeds: one integer a sample, which says everything random about it.
        shapes: one sample's padded shape for each component drawn from its prior.
        mask: name to bool (B, N), True = real; a component that is missing is all real.
        init: clean states (B, N, ...) to start from, noised to the table's first time: a variation of an
            example. Fixed components are always given here.
        noisy: states (B, N, ...) at the table's first time, taken as they are.

    Errors: UsageError when a component has neither a shape nor an init, or either fits no process.
    """
    seeds = as_seeds(seeds, device)
    shapes, mask, init, noisy = dict(shapes or {}), mask or {}, init or {}, noisy or {}
    for name in (*shapes, *init, *noisy):
        if name not in processes:
            raise UsageError(f"no process for component {name!r}; there are {', '.join(processes)}")
    t = torch.full((len(seeds),), table.rows[0].t, dtype=torch.float64, device=seeds.device)
    x = {}
    for name, process in processes.items():
        if name in noisy:
            x[name] = noisy[name].to(seeds.device, dtype)
        elif name in init:
            clean = init[name].to(seeds.device, dtype)
            if len(clean) != len(seeds):
                raise UsageError(f"init {name!r} holds {len(clean)} samples for {len(seeds)} seeds")
            xi = noise(seeds, name, 0, process.noise_shape(tuple(clean.shape[1:])), dtype)
            x[name] = process.corrupt(clean, xi, t, schedule, mask.get(name))
        elif name in shapes:
            xi = noise(seeds, name, 0, process.noise_shape(tuple(shapes[name])), dtype)
            x[name] = process.prior(xi, schedule, t, mask.get(name))
        else:
            raise UsageError(f"component {name!r} needs a shape, or a value in init")
    return Run(x=x, h={name: () for name in processes}, anchor={}, row=0, seeds=seeds)


def step(
    run: Run,
    table: Table,
    denoiser: Denoiser,
    processes: Mapping[str, Process],
    mask: Mask | None = None,
    cond: Cond | None = None,
) -> Run:
    """The run after one more row: one network call, then a few tensor operations a component."""
    if torch.is_grad_enabled():  # to enter no_grad costs as much as an operation on a small state
        with torch.no_grad():
            return step(run, table, denoiser, processes, mask, cond)
    row, mask = table.rows[run.row], mask or {}
    t = torch.full(run.seeds.shape, row.t, dtype=torch.float64, device=run.seeds.device)
    x0_hat = _answer(denoiser(run.seen, t, mask, cond or {}), run, processes)
    return move(run, x0_hat, row, table.history, processes, mask)


def move(
    run: Run,
    x0_hat: State,
    row: Row,
    depth: int,
    processes: Mapping[str, Process],
    mask: Mask,
    made: Made | None = None,
) -> Run:
    """The arithmetic of a step that keeps `depth` read-outs. The numbers of `row`, and the run's own row, may
    be tensors of no dimension."""
    memory = {name: value for name, value in x0_hat.items() if name not in processes}
    anchor = run.anchor
    if isinstance(row.anchor, Tensor):
        anchor = {name: torch.where(row.anchor, here, anchor[name]) for name, here in run.x.items()}
    elif row.anchor:
        anchor = run.x
    x, h = {}, {}
    for name, process in processes.items():
        here, past, real, xi = run.x[name], run.h[name], mask.get(name), None
        base = anchor[name] if live(row.base) else None
        if process.draws(row):
            shape = process.noise_shape(tuple(here.shape[1:]))
            xi = noise(run.seeds, name, run.row + 1, shape, here.dtype)
        answer = x0_hat.get(name, here)
        if made is not None and process.linear:
            own, kept = made.setdefault(name, []), anchor.get(name)
            place = _unused(own, here, (here, *past, kept)) if live(row.p) else None
            readouts = (process.read(here, answer, row, real, place), *past)[:depth]
            # x is read before it is written
            out = _unused(own, here, (*readouts, kept))
            x[name] = process.move(here, readouts, row, base, xi, real, out)
        else:
            readouts = (process.read(here, answer, row, real), *past)[:depth]
            x[name] = process.move(here, readouts, row, base, xi, real)
        h[name] = readouts[: depth - 1]
    return Run(x=x, h=h, anchor=anchor, row=run.row + 1, seeds=run.seeds, memory=memory)


def _answer(answer: Any, run: Run, processes: Mapping[str, Process]) -> State:
    """The answer of a denoiser, or one line on what is wrong with it."""
    if not isinstance(answer, Mapping):
        raise UsageError(
            f"the denoiser must answer a dictionary of tensors, and gave {type(answer).__name__}"
        )
    for name, value in answer.items():
        if not isinstance(value, Tensor):
            raise UsageError(f"the denoiser's answer for {name!r} is no tensor but {type(value).__name__}")
        if name not in processes:
            if "/" not in name:
                raise UsageError(f"the denoiser answers {name!r}; the components are {', '.join(processes)}")
        elif processes[name].linear and value.shape != run.x[name].shape:
            got, want = tuple(value.shape), tuple(run.x[name].shape)
            raise UsageError(f"the denoiser's answer for {name!r} has the shape {got}, and the state {want}")
    return dict(answer)


def _unused(own: list[Tensor], like: Tensor, used: Sequence[Tensor | None]) -> Tensor:
    taken = list(map(id, used))
    for tensor in own:
        if id(tensor) not in taken:
            return tensor
    own.append(torch.empty_like(like))
    return own[-1]


def unaliased(answer: State, states: Sequence[Tensor]) -> State:
    """The answer, copied where it shares memory with a state that will be overwritten."""
    taken = {state.untyped_storage().data_ptr() for state in states}
    return {
        name: value.clone() if value.untyped_storage().data_ptr() in taken else value
        for name, value in answer.items()
    }


def sample(
    denoiser: Denoiser,
    processes: Mapping[str, Process],
    table: Table,
    run: Run,
    mask: Mask | None = None,
    cond: Cond | None = None,
    callbacks: Sequence[Callback] = (),
) -> Iterator[Run]:
    """The run after each of its remaining rows; the last one's x is the sample.

    Callbacks are called with each run before it is handed on; one that raises ends the sampling.
    """
    while run.row < table.nfe:
        run = step(run, table, denoiser, processes, mask, cond)
        for callback in callbacks:
            callback(run)
        yield run


def finish(
    denoiser: Denoiser,
    processes: Mapping[str, Process],
    table: Table,
    run: Run,
    mask: Mask | None = None,
    cond: Cond | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """The run after its last row: that of `sample`, to the bit.

    Without callbacks no one sees the runs between, and the state of a linear component is written over the
    one before. So a denoiser must not keep the x and t that it was given; what it answers stays its own.
    """
    if callbacks:
        return deque(sample(denoiser, processes, table, run, mask, cond, callbacks), maxlen=1).pop()
    made: Made = {}
    mask, cond, depth = mask or {}, cond or {}, table.history
    t = torch.empty(run.seeds.shape, dtype=torch.float64, device=run.seeds.device)
    with torch.no_grad():
        for row in table.rows[run.row :]:
            answer = _answer(denoiser(run.seen, t.fill_(row.t), mask, cond), run, processes)
            x0_hat = unaliased(answer, [run.x[name] for name in made])
            run = move(run, x0_hat, row, depth, processes, mask, made)
    return run
