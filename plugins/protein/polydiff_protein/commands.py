"""Commands for structures in files: `polydiff measure` and `polydiff ribbon`."""

from __future__ import annotations

from pathlib import Path

import click

from polydiff.errors import UsageError


@click.command()
@click.argument("structures", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("metrics.csv"), show_default=True)
def measure(structures: tuple[Path, ...], out: Path) -> None:
    """Write a table with a row for each of STRUCTURES: bonds, angles, clashes, gyration, fold.

    The columns are figures of `polydiff evaluate protein`. Files that cannot be read are named and skipped.
    """
    import csv
    import io

    from polydiff.support.files import atomic_write
    from polydiff_protein.files import read
    from polydiff_protein.measures import figures
    from polydiff_protein.measures import measure as measured

    rows = []
    for path in structures:
        try:
            backbone = read(path)
        except UsageError as error:
            click.echo(f"skipped {error}", err=True)
            continue
        values = {name: f"{value:.4g}" for name, value in figures([measured(backbone)]).items()}
        rows.append({"file": str(path), "residues": len(backbone), **values})
    if not rows:
        raise UsageError(f"None of the {len(structures)} files can be read.")
    text = io.StringIO()
    table = csv.DictWriter(text, rows[0], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    with atomic_write(out) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
    click.echo(f"{out}: {len(rows)} structures")


@click.command()
@click.argument("structures", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("ribbons.html"), show_default=True)
def ribbon(structures: tuple[Path, ...], out: Path) -> None:
    """Write one HTML page, which needs no network, in which the ribbons of STRUCTURES can be turned.

    Where OUT ends in .png, a picture is drawn: three views of one structure, or one of each.
    """
    from polydiff.support.files import atomic_write
    from polydiff_protein.files import read
    from polydiff_protein.preview import contact_sheet, views
    from polydiff_protein.viewer import page

    suffix = out.suffix.lower()
    if suffix not in (".html", ".htm", ".png"):
        raise UsageError(f"-o {out}: ribbons are drawn as .html or .png.")
    shown, titles = [read(path) for path in structures], [path.name for path in structures]
    if suffix != ".png":
        drawn = page(shown, titles).encode("utf-8")
    else:
        drawn = views(shown[0]) if len(shown) == 1 else contact_sheet(shown, titles)
    with atomic_write(out) as temporary:
        temporary.write_bytes(drawn)
    click.echo(f"{out}: {len(shown)} structures")
