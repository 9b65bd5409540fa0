r"""The sampling loop as one fixed step, for CUDA graphs and `torch.compile`.

    numbers of the table ──▶ one row, in a tensor ──▶ the step, in place ──▶ next row

The step is the same for every row: the row's numbers come in a tensor, read-outs that do not exist yet are
zeros of weight zero, and x, the read-outs and the anchor stay at one address. So it is captured once as a
CUDA graph, with the network and its guidance in it, or compiled once, and serves every row of every table,
for any number of steps, solver and seed. Fixed at capture are the shapes of the tensors, which masks,
conditions and memories there are, and whether a table draws noise or has anchors (`StepShape`).

On a GPU the host only replays the graph for each row and waits for nothing. The result is that of
`engine.loop` but for rounding, since terms of weight zero are added too.
"""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from polydiff.engine import noise
from polydiff.engine.denoisers import Cond, Denoiser, Mask, Processes, State
from polydiff.engine.loop import Callback, Finish, Run, finish, move, unaliased
from polydiff.engine.processes import igso3
from polydiff.engine.table import Levels, Row, Table

#: read-outs that a step has room for, unless a table needs more: no solver's does
DEPTH = 4
#: steps of different shapes that are cached
CACHED = 4
_TIME = 1  # the column of t


class StepShape(NamedTuple):
    """What is fixed of a table when a step is captured: read-outs kept, and whether rows draw noise, have
    anchors, and know their noise levels."""

    depth: int
    noisy: bool
    anchored: bool
    levelled: bool


def step_shape(table: Table) -> StepShape:
    return StepShape(
        depth=max(DEPTH, table.history),
        noisy=table.stochastic,
        anchored=any(row.anchor or row.base != 0 for row in table.rows),
        levelled=all(row.levels for row in table.rows),
    )


def pack_rows(table: Table, shape: StepShape) -> Tensor:
    """A table's rows as float64 (rows, columns), for `unpack_row`.

    Past read-outs are a ring buffer: that of row i lies in slot i modulo `depth` - 1 until it is overwritten.
    So the weights are rotated here instead of moving tensors.
    """
    lines, slots = [], shape.depth - 1
    for place, row in enumerate(table.rows):
        levels = [value for level in row.levels for value in level] if row.levels else [0.0] * 6
        newest, *past = [*row.b, *[0.0] * (shape.depth - len(row.b))]
        turned = [past[(place - slot - 1) % slots] for slot in range(slots)]
        numbers = [row.t, row.a, row.p, row.q, row.base, row.c, row.anchor]
        lines.append([place, *numbers, *levels, newest, *turned])
    return torch.tensor(lines, dtype=torch.float64)


def unpack_row(numbers: Tensor, shape: StepShape) -> tuple[Tensor, Row]:
    """A row's index and the row, its numbers as tensors of no dimension. What is zero in the whole table
    stays a float, and nothing is computed for it."""
    place, t, a, p, q, base, c, anchor, *rest = numbers.unbind()
    known: dict[str, Any] = {"c": c} if shape.noisy else {}
    if shape.anchored:
        known |= {"base": base, "anchor": anchor != 0}
    if shape.levelled:
        known["levels"] = Levels((rest[0], rest[1]), (rest[2], rest[3]), (rest[4], rest[5]))  # type: ignore[arg-type]
    # arithmetic on the numbers of a row is the same for floats and for tensors
    return place.long(), Row(t=t, a=a, b=tuple(rest[6:]), p=p, q=q, **known)  # type: ignore[arg-type]


Arithmetic = Callable[[Tensor, State, Mapping[str, tuple[Tensor, ...]], State, Tensor, State, Mask], None]


def step_arithmetic(processes: Processes, shape: StepShape, compiled: bool) -> Arithmetic:
    """A step without its network call, in place: from numbers, x, h, anchor, seeds, x̂0 and mask."""

    def arithmetic(numbers, x, h, anchor, seeds, x0_hat, mask):  # type: ignore[no-untyped-def]
        place, row = unpack_row(numbers, shape)
        run = Run(x, h, anchor, place, seeds)  # type: ignore[arg-type]
        after = move(run, x0_hat, row, shape.depth, processes, mask)
        slots = shape.depth - 1
        turn = [place % slots == slot for slot in range(slots)]
        for name, here in x.items():
            for now, old in zip(turn, h[name], strict=False):
                old.copy_(torch.where(now, after.h[name][0], old))
            if shape.anchored:
                anchor[name].copy_(after.anchor[name])
            if after.x[name] is not here:
                here.copy_(after.x[name])

    if not compiled:
        return arithmetic
    for constant in (noise.stream_id, igso3.table_of_angles):
        torch.compiler.assume_constant_result(constant)
    # compilers count what they have compiled for each code object, and stop at eight
    own = types.FunctionType(
        arithmetic.__code__.replace(), arithmetic.__globals__, closure=arithmetic.__closure__
    )
    return torch.compile(own, fullgraph=True, dynamic=False)


class Step:
    """A step for states of one shape, and the tensors that it changes in place.

    The first call warms up, the second looks for synchronisations with the host, and from the third on it is
    a CUDA graph where there is a GPU; each of them computes a row.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        processes: Processes,
        shape: StepShape,
        run: Run,
        mask: Mask,
        cond: Cond,
        compiled: bool,
        stream: torch.cuda.Stream | None,
        pool: Callable[[], Any],
    ) -> None:
        self.denoiser, self.processes = denoiser, processes
        self.x, self.mask, self.cond, self.memory = map(_like, (run.x, mask, cond, run.memory))
        self.seeds = torch.empty_like(run.seeds)
        self._moving = [name for name, process in processes.items() if not process.passive]
        self.numbers = torch.empty(14 + shape.depth, dtype=torch.float64, device=run.seeds.device)
        _, some = unpack_row(torch.ones_like(self.numbers), shape)
        self.h: dict[str, tuple[Tensor, ...]] = {name: () for name in processes}
        for name in self._moving:
            readout = processes[name].read(self.x[name].zero_(), self.x[name], some, None)
            self.h[name] = tuple(torch.zeros_like(readout) for _ in range(shape.depth - 1))
        self.anchor = _like(run.x) if shape.anchored else {}
        self.answered: State = {}
        # Triton takes the 64-bit products of Philox for 32-bit ones, and refuses
        compiled = compiled and not (shape.noisy and run.seeds.is_cuda)
        self._arithmetic = step_arithmetic(processes, shape, compiled)
        self._calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self._stream, self._pool = stream, pool  # where to capture; None: nowhere

    def load(self, run: Run, mask: Mask, cond: Cond) -> None:
        """Take over a run, its mask and its conditions."""
        kept = (self.x, self.mask, self.cond, self.memory, self.anchor)
        given = (run.x, mask, cond, run.memory, run.anchor or run.x)
        for mine, theirs in zip(kept, given, strict=True):
            for name, value in mine.items():
                value.copy_(theirs[name])
        self.seeds.copy_(run.seeds)
        for name, room in self.h.items():
            for slot in room:
                slot.zero_()
            for age, value in enumerate(run.h[name][: len(room)], 1):
                room[(run.row - age) % len(room)].copy_(value)

    def __call__(self, numbers: Tensor) -> None:
        """One more row."""
        self.numbers.copy_(numbers)
        self._calls += 1
        if self.graph is None and self._stream and self._calls > 2:
            self._capture(self._stream)
        if self.graph is not None:
            self.graph.replay()
        elif self._stream and self._calls == 2:
            self._detect_syncs()
        else:
            self._run()

    @property
    def settled(self) -> bool:
        """Whether x has every memory that the denoiser answers with: not after the first call."""
        return self.answered.keys() == self.memory.keys()

    def run(self, row: int, seeds: Tensor, history: int) -> Run:
        """The run as it is now, of tensors that stay as they are."""
        ages = range(1, min(row, history - 1) + 1)
        h = {
            name: tuple(room[(row - age) % len(room)].clone() for age in ages if room)
            for name, room in self.h.items()
        }
        memory = self.memory if self.settled else self.answered
        return Run(_copied(self.x), h, _copied(self.anchor), row, seeds, _copied(memory))

    def _run(self) -> None:
        with torch.no_grad():
            t = self.numbers[_TIME].expand(len(self.seeds))
            answer = self.denoiser({**self.x, **self.memory}, t, self.mask, self.cond)
            answer = unaliased(answer, [self.x[name] for name in self._moving])
            x0_hat = {name: value for name, value in answer.items() if name in self.x}
            self._arithmetic(self.numbers, self.x, self.h, self.anchor, self.seeds, x0_hat, self.mask)
            self.answered = {name: value for name, value in answer.items() if name not in self.x}
            if self.settled:
                for name, value in self.memory.items():
                    value.copy_(self.answered[name])

    def _detect_syncs(self) -> None:
        """Run the step, and give graphs up if it waits for the host, which a graph cannot do."""
        before = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                self._run()
            finally:
                torch.cuda.set_sync_debug_mode(before)
        asked = [seen for seen in caught if "called a synchronizing" in str(seen.message)]
        if asked:
            self._give_up(f"it waits for the GPU, at {asked[0].filename}:{asked[0].lineno}")

    def _capture(self, stream: torch.cuda.Stream) -> None:
        with torch.cuda.device(self.seeds.device):
            current, graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
            stream.wait_stream(current)
            try:
                # not torch.cuda.graph: that empties all caches first, which costs more than some runs
                with torch.cuda.stream(stream):
                    graph.capture_begin(self._pool(), capture_error_mode="thread_local")
                    try:
                        self._run()
                    finally:
                        graph.capture_end()
                self.graph = graph
            except RuntimeError as error:
                self._give_up(str(error).splitlines()[0])
            current.wait_stream(stream)

    def _give_up(self, why: str) -> None:
        self._stream = None
        warnings.warn(f"the denoiser's steps run one by one, not as a CUDA graph: {why}", stacklevel=2)


class Captured:
    """`finish` with steps that are built once for a shape and cached; not thread-safe.

    graphs: whether steps on a GPU become graphs; the samples are the same to the bit.
    compiled: whether the arithmetic of a step is also compiled to one pass over the state, which takes the
    compiler of torch some seconds for each shape; not on a GPU where a table draws noise.
    """

    def __init__(self, graphs: bool = True, compiled: bool = False) -> None:
        self.graphs, self.compiled = graphs, compiled
        self._steps: dict[Any, Step] = {}
        self._stream: torch.cuda.Stream | None = None

    def __call__(
        self,
        denoiser: Denoiser,
        processes: Processes,
        table: Table,
        run: Run,
        mask: Mask | None = None,
        cond: Cond | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> Run:
        """The run after its last row; callbacks get runs that later rows do not change."""
        mask, cond, shape = mask or {}, cond or {}, step_shape(table)
        numbers = pack_rows(table, shape)
        if run.seeds.is_cuda:
            numbers = numbers.pin_memory().to(run.seeds.device, non_blocking=True)
        step: Step | None = None
        for row in range(run.row, table.nfe):
            try:
                if step is None:
                    step = self._ready(denoiser, processes, shape, run, mask, cond)
                    step.load(run, mask, cond)
                step(numbers[row])
            except torch.OutOfMemoryError:
                self._steps.clear()  # cached steps must leave their memory to a smaller batch
                raise
            if callbacks or not step.settled or row + 1 == table.nfe:
                run = step.run(row + 1, run.seeds, table.history)
                step = step if step.settled else None
            for callback in callbacks:
                callback(run)
        return run

    def _ready(
        self, denoiser: Denoiser, processes: Processes, shape: StepShape, run: Run, mask: Mask, cond: Cond
    ) -> Step:
        shapes = tuple(map(_shapes, (run.x, mask, cond, run.memory)))
        key = (id(denoiser), tuple(processes.items()), shape, run.seeds.device, shapes)
        step = self._steps.pop(key, None)
        if step is None:
            if self._stream is None and run.seeds.is_cuda and self.graphs:
                self._stream = torch.cuda.Stream(run.seeds.device)
            step = Step(denoiser, processes, shape, run, mask, cond, self.compiled, self._stream, self._pool)
        self._steps[key] = step  # the newest last
        if len(self._steps) > CACHED:
            del self._steps[next(iter(self._steps))]
        return step

    def _pool(self) -> Any:
        """The memory pool of any cached graph: graphs run one at a time, so they share it."""
        return next((step.graph.pool() for step in self._steps.values() if step.graph), None)


def finish_for(device: torch.device | str, graphs: bool = True) -> Finish:
    """The `finish` for a device: `Captured` on a GPU, with CUDA graphs unless `graphs` is False."""
    return Captured(graphs) if torch.device(device).type == "cuda" else finish


def _like(state: Mapping[str, Tensor]) -> State:
    return {name: torch.empty_like(value) for name, value in state.items()}


def _copied(state: State) -> State:
    return {name: value.clone() for name, value in state.items()}


def _shapes(state: Mapping[str, Tensor]) -> tuple[Any, ...]:
    return tuple((name, tuple(value.shape), value.dtype) for name, value in state.items())
