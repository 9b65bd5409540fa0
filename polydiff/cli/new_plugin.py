"""`polydiff new-plugin`: a package with a small real domain, to start one's own from."""

from __future__ import annotations

import csv
import keyword
import re
from pathlib import Path
from typing import NamedTuple

import click

from polydiff.errors import UsageError
from polydiff.support.files import atomic_write

TEMPLATES = Path(__file__).parent.parent / "templates"
STAND_IN = "mydata"  # what the new name replaces in the template
LABELS = ("cold", "average", "warm")
HALF_A_DEGREE = 0.5


class Kind(NamedTuple):
    """A kind of plugin: the folder of its template, and what to try with it."""

    template: str
    next: tuple[str, ...]


_TRAIN = ("polydiff train {name} --data data -o run", "polydiff sample run -n 8 --label warm")
KINDS = {
    "series": Kind("plugin", _TRAIN),
    "product": Kind("product", _TRAIN),
    "solver": Kind("solver", ("polydiff solvers --show {name} --steps 4",)),
}


@click.command()
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(list(KINDS)),
    default="series",
    show_default=True,
    help="A domain of one component, of a product of two, or a solver.",
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder to write. [polydiff-NAME]")
def command(name: str, kind: str, out: Path | None) -> None:
    """Write a plugin package for a domain, or a solver, called NAME: lower-case letters, digits and _.

    The package works as it is, a domain on CSV files with real data to try it on, and passes polydiff's
    conformance suite. Make it yours from there; its README says how.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise UsageError(f"{name!r} cannot name a domain: lower-case letters, digits and _, a letter first.")
    distribution = f"polydiff-{name.replace('_', '-')}"
    folder = Path(distribution) if out is None else out
    if folder.exists():
        raise UsageError(f"{folder} exists; choose another folder with -o.")
    with atomic_write(folder) as temporary:
        write_package(temporary, name, kind)
    click.echo(f"Wrote {folder}. Next:")
    for line in (
        f"cd {folder}",
        "pip install -e '.[test]'",
        "pytest",
        *(line.format(name=name) for line in KINDS[kind].next),
    ):
        click.echo(f"  {line}")


def write_package(folder: Path, name: str, kind: str = "series") -> None:
    """The template under another name, and for a domain the data as one CSV file a year."""
    template = TEMPLATES / KINDS[kind].template
    for path in sorted(template.rglob("*")):
        if path.is_dir() or "__pycache__" in path.parts:
            continue
        target = folder / _renamed(str(path.relative_to(template)), name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_renamed(path.read_text(encoding="utf-8"), name), encoding="utf-8")
    if kind == "solver":
        return
    averages = monthly_averages()
    for label, year, months in labelled_years():
        lines = ["temperature", *months]
        if kind == "product":
            kinds = (anomaly(float(x) - mean) for x, mean in zip(months, averages, strict=True))
            lines = ["temperature,kind", *(f"{x},{word}" for x, word in zip(months, kinds, strict=True))]
        target = folder / "data" / label / f"{year}.csv"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join(lines) + "\n", encoding="utf-8")


def labelled_years() -> list[tuple[str, str, list[str]]]:
    """(label, year, twelve monthly temperatures), the years sorted by their mean into thirds."""
    with (TEMPLATES / "elnino.csv").open(encoding="utf-8", newline="") as file:
        years = [(row[0], row[1:]) for row in list(csv.reader(file))[1:]]
    ranked = sorted(years, key=lambda item: sum(map(float, item[1])))
    return [(LABELS[3 * i // len(ranked)], year, months) for i, (year, months) in enumerate(ranked)]


def monthly_averages() -> list[float]:
    """The mean temperature of each month over all years."""
    columns = zip(*(months for _, _, months in labelled_years()), strict=True)
    return [sum(map(float, column)) / len(column) for column in columns]


def anomaly(difference: float) -> str:
    """What a month is, by how far it is from the average: half a degree makes the difference.

    >>> anomaly(-0.7), anomaly(0.2), anomaly(2.0)
    ('cool', 'usual', 'warm')
    """
    return "usual" if abs(difference) <= HALF_A_DEGREE else "cool" if difference < 0 else "warm"


def _renamed(text: str, name: str) -> str:
    """A text of the template with the plugin's own name in it.

    >>> _renamed("polydiff-mydata has polydiff_mydata and MyData", "sea_ice")
    'polydiff-sea-ice has polydiff_sea_ice and SeaIce'
    """
    camel = "".join(word.capitalize() for word in name.split("_"))
    text = text.replace(f"polydiff-{STAND_IN}", f"polydiff-{name.replace('_', '-')}")
    title = name.replace("_", " ").capitalize()
    return text.replace(STAND_IN, name).replace("MyData", camel).replace("Mydata", title)
