"""`polydiff solvers`: the solvers, and any of them as the table of numbers that it is."""

from __future__ import annotations

import json
from typing import Any

import click

from polydiff.cli.output import echo_json, echo_table, json_option
from polydiff.errors import UsageError
from polydiff.plugins.registry import get_registry


@click.command()
@click.option(
    "--show",
    "name",
    metavar="NAME",
    help="Print the table of a solver, or a calibrated one: of a file, or audio/digits at --steps.",
)
@click.option("--steps", type=click.IntRange(min=1), default=10, show_default=True, help="Steps of the grid.")
@click.option("--schedule", default="edm", show_default=True, metavar="NAME", help="Noise schedule.")
@click.option(
    "--grid", default=None, metavar="NAME", help="Grid of times of the network calls. [the engine's default]"
)
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="An option of the solver.")
@json_option
def command(
    name: str | None, steps: int, schedule: str, grid: str | None, options: tuple[str, ...], as_json: bool
) -> None:
    """List the solvers (order of convergence, whether they add noise and by which option, network calls a
    step), or print one: a row a network call, its coefficients in columns."""
    if name is None:
        _list(as_json)
        return
    if name.endswith(".json") or "/" in name:
        _show_calibrated(name, steps, as_json)
        return
    registry = get_registry()
    chosen = {
        key: registry.component_info(key, value) for key, value in (("solver", name), ("schedule", schedule))
    }
    if grid is not None:
        registry.component_info("grid", grid)
    values = dict(map(_option, options))

    from polydiff.engine.solvers import make_table

    table = make_table(
        registry.component("solver", name),
        registry.component("schedule", schedule)(),
        steps,
        None if grid is None else registry.component("grid", grid),
        values,
    )
    if as_json:
        parts = {key: info.full_name for key, info in chosen.items()}
        echo_json({**parts, "nfe": table.nfe, "table": json.loads(table.to_json())})
    else:
        click.echo(str(table))


def _show_calibrated(name: str, steps: int, as_json: bool) -> None:
    from pathlib import Path

    from polydiff.models.calibrated import SavedTable, tables_in
    from polydiff.models.refs import resolve

    if name.endswith(".json"):
        path = Path(name)
    else:
        there = tables_in(resolve(name))
        if steps not in there:
            known = f"those of {', '.join(map(str, there))} steps" if there else "none"
            raise UsageError(f"{name}: no calibrated table of {steps} steps; there are {known}.")
        path = there[steps]
    saved = SavedTable.read(path)
    if as_json:
        echo_json({"file": str(path), **saved.model_dump(mode="json")})
        return
    click.echo(str(saved.solver_table(saved.schedule, str(path))))
    found = ", ".join(
        f"{asked} {of.calibrated_median:.4f} ({of.start_median:.4f})" for asked, of in saved.distances.items()
    )
    click.echo(f"tuned to {saved.model} from {saved.start}; median distance on unseen seeds: {found}")


def _list(as_json: bool) -> None:
    registry = get_registry()
    solvers = registry.components("solver")
    if as_json:
        described = [
            {
                "name": info.full_name,
                "summary": info.summary,
                **info.facts,
                "plugin": registry.owner(info).owner,
            }
            for info in solvers
        ]
        echo_json({"solvers": described})
        return
    facts = ("order", "noise", "calls", "source")
    echo_table(
        ["NAME", "FROM", *map(str.upper, facts), "WHAT"],
        [
            [
                info.full_name,
                registry.owner(info).owner,
                *(info.facts.get(f, "") for f in facts),
                info.summary,
            ]
            for info in solvers
        ],
    )


def _option(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--option takes KEY=VALUE, such as order=2, not {text!r}.")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value  # a word
