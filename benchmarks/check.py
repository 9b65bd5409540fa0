"""The closed forms again, against the stored figures: `make bench-check`, or `python -m benchmarks.check`.

Every polydiff row of closed_forms.json is computed again. A figure that differs by more than 1 % is
printed, and the exit code is then 1. Peers are not run.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.closed_forms import measure
from benchmarks.peers import ours
from benchmarks.problems import problems

TOLERANCE = 0.01


def differences(stored: Any, found: Any, names: list[str], tolerance: float = TOLERANCE) -> Iterator[str]:
    """A line for each figure of `found` (row, calls, one error a problem) that is not as `stored`.

    >>> row = {"polydiff ddim": {"5": [0.5, 0.1]}}
    >>> list(differences(row, {"polydiff ddim": {"5": [0.5, 0.11]}}, ["ring", "line"]))
    ['polydiff ddim, 5 calls, line: 0.11, stored 0.1 (+10.0 %)']
    >>> list(differences(row, row, ["ring", "line"])), list(differences({}, row, ["ring", "line"]))
    ([], ['polydiff ddim: no stored figures, run python -m benchmarks.closed_forms'])
    """
    for row, by_calls in found.items():
        if row not in stored:
            yield f"{row}: no stored figures, run python -m benchmarks.closed_forms"
            continue
        for calls, errors in by_calls.items():
            for name, before, now in zip(names, stored[row][calls], errors, strict=True):
                if not math.isclose(now, before, rel_tol=tolerance):
                    change = f"{100 * (now / before - 1):+.1f} %"
                    yield f"{row}, {calls} calls, {name}: {now:.6g}, stored {before:.6g} ({change})"


def main() -> None:
    torch.set_num_threads(1)
    stored = json.loads(Path(__file__).with_name("closed_forms.json").read_text())
    lines = []
    for process in ("edm", "rectified_flow"):
        flow = process == "rectified_flow"
        found = measure(ours(flow), problems(), flow)
        lines += [f"{process}: {line}" for line in differences(stored[process], found, stored["problems"])]
        print(f"{process}: {len(found)} rows", flush=True)
    print("\n".join(lines) or f"All within {TOLERANCE:.0%} of benchmarks/closed_forms.json.")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
