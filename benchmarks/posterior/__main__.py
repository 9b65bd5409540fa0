"""Distance to the exact posterior on closed forms: `python -m benchmarks.posterior`.

Every method has the same exact denoiser, the EDM process and a Karras grid; azula's run in the same process
where it is installed. See README.md.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch

from benchmarks.posterior import ours
from benchmarks.posterior.inverses import TRUTHS, Inverse, Method, distance, inverses

CALLS = (25, 100)


def methods() -> dict[str, Method]:
    """Every row of the comparison whose library is installed."""
    rows = ours.methods()
    try:
        from benchmarks.posterior import azula

        rows |= azula.methods()
    except ImportError as error:
        print(f"left out: azula ({error})")
    return rows


def fits(name: str, problem: Inverse) -> bool:
    """Replacing needs known coordinates; the others that cannot do without noise are left out there."""
    if any(word in name for word in ("inpaint", "RePaint")):
        return problem.known
    return not (problem.known and any(word in name for word in ("dps", "particles", "TDS")))


def posteriors() -> dict[str, dict[str, list[float | None]]]:
    truth = {p.name: [p.exact(y, 1 + i) for i, y in enumerate(p.y)] for p in inverses()}
    again = {p.name: [p.exact(y, 101 + i) for i, y in enumerate(p.y)] for p in inverses()}
    floor = {k: sum(map(distance, truth[k], again[k])) / TRUTHS for k in truth}
    found: dict[str, dict[str, list[float | None]]] = {"exact draws": {k: [v] for k, v in floor.items()}}
    for name, method in methods().items():
        found[name] = {}
        for problem in inverses():
            values: list[float | None] = []
            for calls in CALLS if fits(name, problem) else ():
                ends = method(problem, calls)
                gaps = [distance(a, b) for a, b in zip(ends, truth[problem.name], strict=True)]
                values.append(sum(gaps) / TRUTHS if all(map(math.isfinite, gaps)) else None)
            found[name][problem.name] = values
        print(name, found[name], flush=True)
    return found


def table(found: dict[str, dict[str, list[float | None]]]) -> str:
    """Markdown: a column a problem, the distance at each number of calls in it."""
    names = [problem.name for problem in inverses()]
    lines = ["| method | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for method, values in found.items():
        cells = [" ".join("–" if v is None else f"{v:.3f}" for v in values[name]) or " " for name in names]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    torch.set_num_threads(1)
    found = posteriors()
    print(table(found))
    result = {"calls": CALLS, "sliced_wasserstein": found}
    path = Path(__file__).parent.with_name("posterior.json")
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
