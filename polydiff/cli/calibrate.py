"""`polydiff calibrate`: a solver's table tuned to a model, for few steps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from polydiff.cli.output import echo_json, json_option
from polydiff.errors import PolydiffError

if TYPE_CHECKING:
    from polydiff.models.calibrated import SavedTable


@click.command()
@click.argument("model")
@click.option("--steps", type=int, required=True, help="Network calls of the table, 2 or more.")
@click.option(
    "--seeds",
    type=int,
    default=32,
    show_default=True,
    help="Samples to tune the table on; as many others judge it.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the first sample.")
@click.option(
    "--from",
    "sources",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="A file, or folder of files, to keep a part of; may be repeated, samples take them in turn.",
)
@click.option("--keep", metavar="REGION", help="The part of each --from file that stays; the rest is made.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="File to write. [tables/STEPS.json of the model]"
)
@click.option("--threads", type=int, help="Processor threads. [all but one]")
@click.option("--device", help="cpu, cuda, cuda:1, ... [cuda where there is one]")
@json_option
def command(
    model: str,
    steps: int,
    seeds: int,
    seed: int,
    sources: tuple[Path, ...],
    keep: str | None,
    out: Path | None,
    threads: int | None,
    device: str | None,
    as_json: bool,
) -> int:
    """Tune the times and weights of a solver so that MODEL's samples of few steps end where those of many do.

    The table goes into the model's folder, and `polydiff sample MODEL --steps STEPS` uses it from then on;
    `--solver adams` or any other leaves it aside. A table written elsewhere is used by `--solver FILE`.
    It is written only if it is better than the known solvers on samples that it was not tuned on, with all
    conditions and with none. A model that only goes on from what it is given needs --from and --keep.
    """
    from polydiff.cli.session import set_threads
    from polydiff.model import load
    from polydiff.models.calibrated import table_path
    from polydiff.models.refs import resolve
    from polydiff.workflows.calibrate import calibrate

    set_threads(threads)
    path = table_path(resolve(model), steps) if out is None else out
    _check_place(path, given=out is not None)
    found = calibrate(
        load(model), steps, seeds, seed, device, lambda line: click.echo(line, err=True), sources, keep
    )
    if found.better:
        found.write(path)
    if as_json:
        report = found.model_dump(mode="json", exclude={"table", "schedule", "schema_version"})
        written = str(path) if found.better else None
        echo_json({**report, "steps": steps, "better": found.better, "file": written})
    elif found.better:
        click.echo(f"{path}: {_summary(found)}.")
    if not found.better:
        raise PolydiffError(
            f"no better than {found.start} on unseen seeds ({_summary(found)}): "
            f"nothing was written. Try more seeds (--seeds {2 * seeds})."
        )
    return 0


def _summary(found: SavedTable) -> str:
    return "; ".join(
        f"{asked}, distance {of.calibrated:.4f} (median {of.calibrated_median:.4f}), "
        f"{of.start:.4f} ({of.start_median:.4f}) by {found.start}"
        for asked, of in found.distances.items()
    )


def _check_place(path: Path, given: bool) -> None:
    """Raise a PolydiffError before anything is computed for a file that could not be written."""
    folder = next(place for place in path.absolute().parents if place.exists())
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        advice = "Choose another place." if given else "Give -o FILE, and sample with --solver FILE."
        raise PolydiffError(f"{path}: cannot be written. {advice}")
