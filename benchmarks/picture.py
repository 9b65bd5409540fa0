"""Error against calls, from closed_forms.json and checkpoints.json: `python -m benchmarks.picture`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.closed_forms import geometric
from polydiff.support.pictures import new_figure, to_png

HERE = Path(__file__).parent
PICTURE = HERE.parent / "docs" / "images" / "solvers.png"
Lines = Mapping[str, Mapping[int, float]]
#: what is drawn with ink; the rest is grey
STRONG = {"polydiff default": "#b5179e", "default": "#b5179e", "calibrated": "#0a7d5a"}
GREY = "#9a9a9a"


def closed_form_lines(errors: Mapping[str, Mapping[str, list[float]]]) -> Lines:
    """polydiff's default, and of each other library its best at each number of calls."""
    means = {name: {int(n): geometric(found[n]) for n in found} for name, found in errors.items()}
    lines: dict[str, Mapping[int, float]] = {"polydiff default": means["polydiff default"]}
    for library in dict.fromkeys(name.split()[0] for name in means):
        if library != "polydiff":
            mine = [found for name, found in means.items() if name.split()[0] == library]
            lines[f"best of {library}"] = {n: min(found[n] for found in mine) for n in mine[0]}
    return lines


def panels() -> dict[str, Lines]:
    forms = json.loads((HERE / "closed_forms.json").read_text())
    found = {
        "closed forms, EDM": closed_form_lines(forms["edm"]),
        "closed forms, rectified flow": closed_form_lines(forms["rectified_flow"]),
    }
    path = HERE / "checkpoints.json"
    for ref, result in (json.loads(path.read_text()) if path.exists() else {}).items():
        found[ref] = {
            name: {int(n): median for n, (median, _) in line.items()}
            for name, line in result["distance"].items()
            if line
        }
    return found


def draw(axes: Any, title: str, lines: Lines) -> None:
    """One panel: logarithmic both ways, each line named at its right end."""
    axes.set(title=title, xscale="log", yscale="log")
    ticks = sorted({calls for line in lines.values() for calls in line})
    ends = []
    for name, line in lines.items():
        strong = name in STRONG
        axes.plot(
            list(line),
            list(line.values()),
            color=STRONG.get(name, GREY),
            linewidth=2 if strong else 1,
            marker="o" if strong else None,
            markersize=3,
            zorder=3 if strong else 2,
        )
        if max(line) == ticks[-1]:
            ends.append((math.log(line[ticks[-1]]), name))
        else:  # one that ends before is named at its first point
            first = min(line)
            axes.text(
                first * 0.96,
                line[first],
                name,
                color=STRONG.get(name, GREY),
                fontsize=7.5,
                ha="right",
                va="center",
            )
    low, high = axes.get_ylim()
    gap, place = (math.log(high) - math.log(low)) / 17, -math.inf
    for height, name in sorted(ends):  # names that would lie on one another move up
        place = max(height, place + gap)
        axes.text(
            ticks[-1] * 1.05,
            math.exp(place),
            name,
            color=STRONG.get(name, "#555555"),
            fontsize=7.5,
            va="center",
        )
    axes.title.set_fontsize(9.5)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.tick_params(labelsize=8, length=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(ticks[0] * 0.93, ticks[-1] * 2.1)


def main() -> None:
    found = panels()
    columns = 2
    rows = -(-len(found) // columns)
    figure = new_figure(4.6 * columns, 2.7 * rows)
    for number, (title, lines) in enumerate(found.items(), start=1):
        draw(figure.add_subplot(rows, columns, number), title, lines)
    figure.supxlabel("network calls", fontsize=9)
    figure.supylabel("error, in deviations of the data", fontsize=9)
    PICTURE.write_bytes(to_png(figure, dpi=110))
    print(PICTURE)


if __name__ == "__main__":
    main()
