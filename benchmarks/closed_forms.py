"""End-point error on five closed-form problems: `python -m benchmarks.closed_forms`.

Every library starts from the same noise, calls the same exact denoiser and is held against the same
converged solution, in one run. Peers that are not installed are left out and named. See README.md.
"""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import torch

from benchmarks.peers import SIGMA_MAX, available, polydiff
from benchmarks.problems import problems
from polydiff.engine.noise import noise

CALLS = (5, 10, 20)
ROWS = 192


def main() -> None:
    torch.set_num_threads(1)
    logging.disable(
        logging.WARNING
    )  # diffusers asks for scale_model_input, which the exact denoiser needs not
    starts = [
        SIGMA_MAX * noise(range(ROWS), problem.name, 0, (problem.dimension,), torch.float64)
        for problem in problems()
    ]
    exact = polydiff("adams", options={"order": 4})
    ends = [
        problem.flow(x, SIGMA_MAX, 0.0) if len(problem.means) == 1 else exact(problem, x, 500)
        for problem, x in zip(problems(), starts, strict=True)
    ]
    errors: dict[str, dict[str, list[float]]] = {}
    for name, sampler in available().items():
        errors[name] = {}
        for calls in CALLS:
            errors[name][str(calls)] = [
                float((sampler(p, x, calls) - end).square().mean().sqrt())
                for p, x, end in zip(problems(), starts, ends, strict=True)
            ]
    print(table(errors))
    result = {"problems": [p.name for p in problems()], "rows": ROWS, "rms_error": errors}
    Path(__file__).with_name("closed_forms.json").write_text(json.dumps(result, indent=1) + "\n")


def table(errors: dict[str, dict[str, list[float]]]) -> str:
    """Markdown: the geometric mean over problems at each number of calls, best at 10 first."""

    def mean(values: list[float]) -> float:
        return math.exp(sum(math.log(value) for value in values) / len(values))

    lines = ["| sampler | " + " | ".join(f"{n} calls" for n in CALLS) + " | mixtures at 10 |"]
    lines.append("|---|" + "---:|" * (len(CALLS) + 1))
    for name in sorted(errors, key=lambda name: mean(errors[name]["10"])):
        means = [f"{mean(errors[name][str(n)]):.4f}" for n in CALLS]
        mixtures = " ".join(f"{value:.3f}" for value in errors[name]["10"][2:])
        lines.append(f"| {name} | " + " | ".join(means) + f" | {mixtures} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
