"""Commands for clouds in files: `polydiff mesh`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from polydiff.errors import UsageError, did_you_mean

_MESHES = (".glb", ".ply", ".obj", ".stl", ".off")


@click.command()
@click.argument("clouds", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="File for one mesh, or folder. [beside each]"
)
@click.option("--format", "suffix", metavar="SUFFIX", help="glb, ply, obj, stl or off. [glb]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def mesh(clouds: tuple[Path, ...], out: Path | None, suffix: str | None, as_json: bool) -> None:
    """Lay a surface through the points of CLOUDS, and say of each whether it is watertight.

    0003.ply becomes 0003.mesh.glb beside it, or what -o says.
    """
    from polydiff.support.files import atomic_write
    from polydiff_pointcloud.files import read
    from polydiff_pointcloud.surface import mesh_of

    single = out is not None and out.suffix.lower() in _MESHES
    if single and suffix:
        raise UsageError(f"-o {out} names the format already: leave --format out.")
    if single and len(clouds) > 1:
        raise UsageError(f"-o {out}: a file is for one mesh, and {len(clouds)} are asked for. Give a folder.")
    ending = "." + (suffix or "glb").lower().removeprefix(".")
    if ending not in _MESHES:
        raise UsageError(f"--format {suffix}: meshes are {' '.join(_MESHES)}.{did_you_mean(ending, _MESHES)}")
    made = []
    for path in clouds:
        surface = mesh_of(read(path))
        target = out if single and out else (out or path.parent) / f"{path.stem}.mesh{ending}"
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as temporary:
            surface.export(temporary, file_type=target.suffix.lower().removeprefix("."))
        about = {"path": str(target), "faces": len(surface.faces), "watertight": bool(surface.is_watertight)}
        made.append(about)
        if not as_json:
            closed = "watertight" if about["watertight"] else "not watertight: some parts only touch"
            click.echo(f"{target}: {about['faces']} faces, {closed}")
    if as_json:
        click.echo(json.dumps({"meshes": made}))
