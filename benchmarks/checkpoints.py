"""How near few calls come to many, on each shipped checkpoint: `python -m benchmarks.checkpoints [NAME ...]`.

The reference is where the default solver takes the same seeds and conditions in 200 calls, at the model's own
guidance scale; figures are distances in units of the samples' deviation, the median over the seeds and
their root mean square, which a seed that ends as another sample decides alone. With names
("audio/digits") only those are run, with `--only default,calibrated` only those solvers, and the rest of
checkpoints.json stays. See README.md.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import polydiff
from polydiff.calibration.fit import Problem, distances
from polydiff.calibration.point_exact import point_exact
from polydiff.engine.solvers import DEFAULT_SOLVER, make_table
from polydiff.engine.table import Table
from polydiff.errors import PolydiffError
from polydiff.model import Model
from polydiff.models.calibrated import SavedTable
from polydiff.models.refs import HUB
from polydiff.plugins.registry import get_registry
from polydiff.workflows.calibrate import noise_scale_of, reference_problem, with_noise_scale

CALLS = (3, 5, 8, 10, 15, 20)
REFERENCE_CALLS = 200
SEEDS = range(1000, 1008)  # none that a table was calibrated to
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RESULT = Path(__file__).with_name("checkpoints.json")


def calibrated(model: Model, calls: int) -> Table | None:
    """The table of the model's folder, where it has one of so many calls."""
    path = model.tables.get(calls)
    return path and SavedTable.read(path).solver_table(model.manifest.schedule, str(path))


def known(solver: str, grid: str | None = None, **options: Any) -> Callable[[Model, int], Table | None]:
    """A solver's table of so many calls, or of the whole steps that they are enough for, with as much of the
    noise as the model's own sampler keeps; None where the solver cannot keep less than all of it."""

    def make(model: Model, calls: int) -> Table | None:
        steps = (calls + 1) // 2 if solver == "heun" else calls
        table, scale = make_table(solver, model.schedule, steps, grid, options), noise_scale_of(model)
        if scale != 1 and point_exact(table, model.schedule) is None:
            return None
        return with_noise_scale(table, model.schedule, scale)

    return make


SOLVERS: dict[str, Callable[[Model, int], Table | None]] = {
    "default": known(DEFAULT_SOLVER),
    "calibrated": calibrated,
    "dpmpp-2": known("dpmpp", "uniform_log_snr", order=2),
    "unipc-3": known("unipc", "uniform_log_snr", order=3),
    "iPNDM-3": known("ipndm", "karras"),
    "heun": known("heun", "karras"),
    "ddim": known("ddim", "karras"),
}


Found = dict[str, list[float]]


def distance(problem: Problem, table: Table) -> list[float]:
    """Median and root mean square."""
    found = distances(problem, table)
    return [round(float(value), 6) for value in (found.median(), found.square().mean().sqrt())]


def measure(model: Model, solvers: list[str]) -> dict[str, Found]:
    """Distance to the reference of each solver at each number of calls."""
    problem = reference_problem(model, SEEDS, REFERENCE_CALLS, DEVICE)
    found: dict[str, Found] = {}
    for name in solvers:
        tables = {calls: SOLVERS[name](model, calls) for calls in CALLS}
        row = {str(n): distance(problem, table) for n, table in tables.items() if table is not None}
        if row:
            found[name] = row
            print(f"{model.ref:20s} {name:12s} {shown(row)}", flush=True)
    return found


def rate(model: Model) -> float:
    """Samples a second from a request to examples, by the model's own defaults: of one thread's time, or on a
    GPU, in its batches, of the clock's."""
    count, clock = (64, time.perf_counter) if DEVICE == "cuda" else (2, time.process_time)
    list(model.sample(n=count, seed=0, device=DEVICE))
    before = clock()
    list(model.sample(n=count, seed=0, device=DEVICE))
    return count / (clock() - before)


def shown(found: Found) -> str:
    return " ".join(f"{calls}: {median:.4f} ({rms:.4f})" for calls, (median, rms) in found.items())


def table(results: dict[str, Any]) -> str:
    """Markdown: a row a checkpoint and solver."""
    lines = ["| model | solver | " + " | ".join(f"{n} calls" for n in CALLS) + " |"]
    lines.append("|---|---|" + "---:|" * len(CALLS))
    for ref, result in results.items():
        for name, found in result["distance"].items():
            cells = ["{:.4f} ({:.4f})".format(*found[str(n)]) if str(n) in found else "" for n in CALLS]
            lines.append(f"| `{ref}` | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    presets = {info.ref for info in get_registry().presets() if not info.folder.startswith(HUB)}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", choices=[[], *sorted(presets)], help="checkpoints; all by default"
    )
    parser.add_argument("--only", default=",".join(SOLVERS), help="solvers, with commas between")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for ref in given.names or sorted(presets):
        model = polydiff.load(ref)
        try:
            with torch.inference_mode():
                found = measure(model, given.only.split(","))
        except PolydiffError as error:  # a model that only goes on from what it is given
            print(f"left out: {ref} ({error})")
            continue
        before = results.get(ref, {})
        results[ref] = {
            "reference_calls": REFERENCE_CALLS,
            "seeds": len(SEEDS),
            "guidance_scale": model.manifest.sampling.guidance_scale,
            "steps": model.manifest.sampling.steps,
            "device": torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu, one thread",
            "samples_a_second": rate(model),
            "distance": {**before.get("distance", {}), **found},
        }
        RESULT.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
