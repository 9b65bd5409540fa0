r"""A solver is a table of numbers.

Every fixed-step solver of the probability-flow ODE, and of its stochastic relatives, is linear in the
state, in past read-outs of the network and in fresh noise. One row of a table is one network call:

    x̂0 = denoiser(x, t)
    h_i = p x + q x̂0                                              the read-out
    x⁺  = a x + Σ_k b_k h_{i-k} + base x_start + c ξ              the move

with h_i the newest read-out (k = 0) and x_start the state at the newest row whose `anchor` is set. So
the number of rows is the number of function evaluations, and a solver can be printed, compared, saved,
calibrated and run by one loop that knows nothing of where the numbers came from. They are float64, made
once on the host.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from torch import Tensor

from polydiff.errors import UsageError

__all__ = ["VERSION", "Level", "Levels", "Row", "Table", "live", "renoise", "trimmed"]

VERSION = 1


Level = tuple[float, float]


class Levels(NamedTuple):
    """(alpha, sigma) where a row calls the network, where its move ends, and at the newest anchor."""

    here: Level
    there: Level
    anchor: Level


@dataclass(frozen=True)
class Row:
    """One network call at time t and the move after it; see the module for the letters.

    `levels` follow from the times and the schedule (`engine.nodes.with_levels`), so they are neither compared
    nor saved. Processes on spaces that are no vector spaces need them, the others do not.
    """

    t: float
    a: float
    b: tuple[float, ...]
    p: float = 0.0
    q: float = 1.0
    base: float = 0.0
    c: float = 0.0
    anchor: bool = False
    levels: Levels | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Table:
    """The rows of one solver on one grid of one schedule, and the time at which they end.

    >>> from polydiff.engine.schedules import RectifiedFlow
    >>> from polydiff.engine.solvers import make_table
    >>> table = make_table("ddim", RectifiedFlow(), steps=2, grid="uniform_t")
    >>> table.nfe, table.rows[1].a, table.rows[1].b
    (2, 0.0, (1.0,))
    >>> Table.from_json(table.to_json()) == table
    True
    """

    rows: tuple[Row, ...]
    end: float = 0.0
    solver: str = ""
    grid: str = ""

    def __post_init__(self) -> None:
        if not self.rows:
            raise UsageError("a sampler needs at least one step")
        for number, row in enumerate(self.rows):
            if not all(map(math.isfinite, (row.t, row.a, *row.b, row.p, row.q, row.base, row.c))):
                raise UsageError(f"row {number} of the {self.solver or 'solver'} table is not finite: {row}")

    @property
    def nfe(self) -> int:
        """Network calls of one sample."""
        return len(self.rows)

    @cached_property
    def history(self) -> int:
        """How many read-outs the loop must keep, the newest included."""
        return max(len(row.b) for row in self.rows)

    @property
    def stochastic(self) -> bool:
        """Whether any row draws noise."""
        return any(row.c != 0 for row in self.rows)

    def to_json(self) -> str:
        """One JSON object; floats survive to the last bit."""
        fields = asdict(self)
        for row in fields["rows"]:
            del row["levels"]
        return json.dumps({"version": VERSION, **fields})

    @classmethod
    def from_json(cls, text: str) -> Table:
        """The table that `to_json` wrote. Errors: UsageError when the text is no such table."""
        try:
            fields = json.loads(text)
            if fields.pop("version") != VERSION:
                raise UsageError(f"the solver table is of another version than {VERSION}: make it again")
            rows = tuple(Row(**{**row, "b": tuple(row["b"])}) for row in fields.pop("rows"))
            return cls(rows=rows, **fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"not a solver table: {error}") from None

    def __str__(self) -> str:
        names = [f"b{k}" for k in range(self.history)]
        header = ["row", "t", "a", *names, "base", "c", "p", "q", ""]
        lines = [header]
        for number, row in enumerate(self.rows):
            padded = (*row.b, *[0.0] * (self.history - len(row.b)))
            values = [row.t, row.a, *padded, row.base, row.c, row.p, row.q]
            cells = ["·" if value == 0 else f"{value:.6g}" for value in values]
            lines.append([str(number), *cells, "anchor" if row.anchor else ""])
        widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
        title = f"{self.solver} on {self.grid or 'custom'}: {self.nfe} network calls to t = {self.end:g}"
        body = ["  ".join(map(str.rjust, line, widths)).rstrip() for line in lines]
        return "\n".join([title, *body])


def live(weight: float | Tensor) -> bool:
    """Whether a weight can be other than zero: one that only the device knows always can."""
    return isinstance(weight, Tensor) or weight != 0


def renoise(row: Row, keep: float, added: float) -> Row:
    """`row` followed by x ← keep x + added ξ, as one row: the two draws of noise are independent."""
    return replace(
        row,
        a=keep * row.a,
        b=tuple(keep * value for value in row.b),
        base=keep * row.base,
        c=math.hypot(keep * row.c, added),
    )


def trimmed(weights: Sequence[float]) -> tuple[float, ...]:
    """Weights without the trailing zeros, so that no read-out is kept in vain (one always stays)."""
    last = max((k for k, value in enumerate(weights) if value != 0), default=0)
    return tuple(float(value) for value in weights[: last + 1])
