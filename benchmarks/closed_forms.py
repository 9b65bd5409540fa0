"""End-point error on five closed-form problems: `python -m benchmarks.closed_forms`.

Every library starts from the same noise, calls the same exact denoiser and is held against the same
converged solution, on the EDM process and on rectified flow, in one run. Peers that are not installed are
left out and named. See README.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.peers import SIGMA_MAX, Sampler, available, polydiff
from benchmarks.problems import Mixture, problems
from polydiff.engine.noise import noise

CALLS = (5, 10, 20)
ROWS = 96
Errors = dict[str, dict[str, list[float]]]


def main() -> None:
    torch.set_num_threads(1)
    result: dict[str, object] = {"problems": [p.name for p in problems()], "rows": ROWS}
    for process in ("edm", "rectified_flow"):
        columns = available(flow=process == "rectified_flow")
        errors = measure(columns, problems(), flow=process == "rectified_flow")
        print(process, table(errors), sep="\n\n", end="\n\n", flush=True)
        result[process] = errors
    Path(__file__).with_name("closed_forms.json").write_text(json.dumps(result, indent=1) + "\n")


def measure(columns: Mapping[str, Sampler], forms: Sequence[Mixture], flow: bool) -> Errors:
    """Root mean square error of each column at each number of calls on each problem."""
    starts = [noise(range(ROWS), form.name, 0, (form.dimension,), torch.float64) for form in forms]
    ends = [converged(form, x, flow) for form, x in zip(forms, starts, strict=True)]
    errors: Errors = {}
    for name, sampler in columns.items():
        errors[name] = {
            str(calls): [
                float((sampler(form, x, calls) - end).square().mean().sqrt())
                for form, x, end in zip(forms, starts, ends, strict=True)
            ]
            for calls in CALLS
        }
    return errors


def converged(form: Mixture, x: Tensor, flow: bool) -> Tensor:
    """Where the ODE takes standard normal noise: in closed form for a Gaussian, else by 500 steps."""
    if len(form.means) > 1:
        return polydiff(flow, "adams", options={"order": 4})(form, x, 500)
    if flow:
        return form.means[0] + form.variances[0].sqrt() * x
    return form.flow(SIGMA_MAX * x, SIGMA_MAX, 0.0)


def geometric(values: Sequence[float]) -> float:
    """The geometric mean; infinite where a value is not finite."""
    if not all(map(math.isfinite, values)):
        return math.inf
    return math.exp(sum(math.log(value) for value in values) / len(values))


def table(errors: Errors, best: int = 5) -> str:
    """Markdown: the geometric mean over problems; polydiff's columns and the `best` of each library at each
    number of calls, best at 10 first."""
    means = {name: [geometric(found[str(n)]) for n in CALLS] for name, found in errors.items()}
    shown = {name for name in means if name.startswith("polydiff")}
    for library in {name.split()[0] for name in means}:
        mine = [name for name in means if name.split()[0] == library]
        for place in range(len(CALLS)):
            shown |= set(sorted(mine, key=lambda name, place=place: means[name][place])[:best])
    lines = ["| sampler | " + " | ".join(f"{n} calls" for n in CALLS) + " |"]
    lines.append("|---|" + "---:|" * len(CALLS))
    for name in sorted(shown, key=lambda name: means[name][1]):
        lines.append(f"| {name} | " + " | ".join(f"{value:.4f}" for value in means[name]) + " |")
    return "\n".join([*lines, "", f"{len(means)} columns in all."])


if __name__ == "__main__":
    main()
