"""Clouds and meshes in and out, through trimesh: every failure is one line, every finished file is whole."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import trimesh
from trimesh.exchange.ply import export_ply

from polydiff.errors import UsageError, did_you_mean
from polydiff.support.files import atomic_write
from polydiff_pointcloud.cloud import PointCloud

SUFFIXES = (".ply", ".npz", ".npy", ".xyz", ".glb", ".obj")
"""What can hold points, and is written."""

MESHES = (".stl", ".off")
"""What holds surfaces only, and is read."""

READ = (*SUFFIXES, *MESHES)
SURFACE_POINTS = 8192
"""So many points are sampled over the surface of a mesh."""


def read(path: str | os.PathLike[str]) -> PointCloud:
    """Read a ply, npz, npy, xyz, glb, obj, stl or off file.

    A mesh is sampled evenly over its surface, always at the same SURFACE_POINTS places, with normals; a file
    with points only is taken as it is. Raises UsageError, one line, for a missing, empty or broken file, for
    one without points or surface, and for coordinates that are no numbers.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in READ:
        hint = did_you_mean(suffix, READ)
        raise UsageError(f"{path}: shapes are read from {' '.join(READ)}.{hint}")
    if not path.is_file():
        raise UsageError(f"{path}: does not exist.")
    if path.stat().st_size == 0:
        raise UsageError(f"{path}: is empty (0 bytes); copy it again.")
    try:
        if suffix in (".npz", ".npy"):
            return _from_arrays(read_arrays(path))
        if suffix == ".xyz":
            return _read_xyz(path)
        return _of_scene(_loaded(path), path)
    except UsageError as error:
        text = str(error)
        raise UsageError(text if text.startswith(str(path)) else f"{path}: {text}") from None


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of a .npz file, or of a .npy file under the name "points"."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file. Give the folder or the .npz file that holds the shapes.")
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return {"points": found}
        with found:
            return {name: found[name] for name in found.files}
    except Exception as error:  # of zip, of zlib, of numpy's own header
        raise UsageError(f"{path}: is no file of numpy arrays, or not a whole one.") from error


def _from_arrays(arrays: dict[str, Any]) -> PointCloud:
    if "points" not in arrays:
        raise UsageError(f"has no array `points`; it has {', '.join(arrays) or 'none'}.")
    points = arrays["points"]
    if points.dtype.kind not in "fiu":
        raise UsageError(f"points are numbers, not {points.dtype}.")
    if points.ndim == 2 and points.shape[1] in (6, 9) and len(arrays) == 1:
        return _of_columns(points)
    unit, category = (str(arrays.get(name, "")) for name in ("unit", "category"))
    return PointCloud(points, arrays.get("normals"), arrays.get("colours"), unit, category)


def _read_xyz(path: Path) -> PointCloud:
    try:
        table = np.loadtxt(path, dtype=np.float64, ndmin=2, comments=("#", "//"))
    except (ValueError, UnicodeDecodeError) as error:
        raise UsageError(f"is no table of numbers ({_brief(error)}).") from error
    return _of_columns(table)


def _of_columns(table: Any) -> PointCloud:
    """x y z, and then colours of 0 to 255, normals, or normals and colours."""
    if table.shape[1] not in (3, 6, 9):
        raise UsageError(
            f"rows of {table.shape[1]} numbers; 3 (x y z), 6 (and normals or colours) or 9 are read."
        )
    points, rest = table[:, :3], table[:, 3:]
    if rest.shape[1] == 3:
        lengths = np.linalg.norm(rest, axis=1)
        if len(rest) and np.allclose(lengths[lengths > 0], 1, atol=0.01):
            return PointCloud(points, normals=rest)
        return PointCloud(points, colours=_colours(rest))
    return PointCloud(points, rest[:, :3], _colours(rest[:, 3:])) if rest.shape[1] else PointCloud(points)


def _colours(values: Any) -> Any:
    if len(values) and (values.min() < 0 or values.max() > 255):
        raise UsageError("colours lie outside 0 to 255.")
    return np.round(values).astype(np.uint8)


def _brief(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__


def _loaded(path: Path) -> Any:
    """The scene in a file, whatever trimesh finds wrong with it told in a line."""
    try:
        with _quiet():
            return trimesh.load_scene(path, process=False)
    except Exception as error:  # its readers raise whatever a broken file leads to
        raise UsageError(f"is no readable {path.suffix} file ({_brief(error)}).") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No output of readers: what is wrong is said once, by us."""
    logger = logging.getLogger("trimesh")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def _of_scene(scene: Any, path: Path) -> PointCloud:
    parts = [part for part in scene.dump() if hasattr(part, "vertices")]
    meshes = [part for part in parts if len(getattr(part, "faces", ()))]
    about = _about(path, scene)
    if meshes:
        return _sampled(meshes, about)
    clouds = [part for part in parts if len(part.vertices)]
    if not clouds or path.suffix.lower() in MESHES:
        count = sum(len(part.vertices) for part in clouds)
        raise UsageError(f"holds no faces ({count} vertices), so it has no surface to take points from.")
    points = np.concatenate([np.asarray(part.vertices) for part in clouds])
    colours = [np.asarray(part.visual.vertex_colors)[:, :3] for part in clouds if _coloured(part)]
    whole = len(colours) == len(clouds) and sum(map(len, colours)) == len(points)
    normals = _stored_normals(clouds[0]) if len(clouds) == 1 else None
    return PointCloud(points, normals, np.concatenate(colours) if whole else None, *about)


def _coloured(part: Any) -> bool:
    return getattr(part.visual, "kind", None) == "vertex" and np.ndim(part.visual.vertex_colors) == 2


def _stored_normals(cloud: Any) -> Any:
    """The columns nx, ny, nz of a PLY file, of length 1; None where it has none."""
    data = cloud.metadata.get("_ply_raw", {}).get("vertex", {}).get("data")
    names = getattr(getattr(data, "dtype", None), "names", None) or tuple(data or ())
    if not {"nx", "ny", "nz"} <= set(names):
        return None
    normals = np.stack([np.asarray(data[axis], np.float64).ravel() for axis in ("nx", "ny", "nz")], axis=1)
    return normals if np.isfinite(normals).all() else None


def _sampled(meshes: list[Any], about: tuple[str, str]) -> PointCloud:
    """Places drawn evenly over the area of the meshes, with normals, and colours where they have any."""
    areas = np.array([mesh.area for mesh in meshes])
    if not np.isfinite(areas).all():
        raise UsageError("has NaN or infinite coordinates: remove them.")
    if not areas.sum() > 0:
        raise UsageError(f"its {sum(len(m.faces) for m in meshes)} faces have no area to take points from.")
    ends = np.rint(np.cumsum(areas) / areas.sum() * SURFACE_POINTS).astype(int)
    points, normals, colours = [], [], []
    for number, (mesh, count) in enumerate(zip(meshes, np.diff(ends, prepend=0), strict=True)):
        if not count:
            continue
        with _quiet():
            painted = getattr(mesh.visual, "kind", None) is not None
            found = trimesh.sample.sample_surface(mesh, int(count), sample_color=painted, seed=number)
        points.append(found[0])
        normals.append(mesh.face_normals[found[1]])
        if painted:
            colours.append(np.asarray(found[2])[:, :3])
    whole = len(colours) == len(points)
    note = f"{SURFACE_POINTS} points taken from the surface of a mesh"
    return PointCloud(
        np.concatenate(points), np.concatenate(normals), np.concatenate(colours) if whole else None,
        *about, notes=(note,),
    )  # fmt: skip


def _about(path: Path, scene: Any) -> tuple[str, str]:
    """Unit and category as `write` leaves them in PLY comments and in the extras of a GLB scene."""
    if path.suffix.lower() == ".ply":
        with path.open("rb") as file:
            head = file.read(4096).partition(b"end_header")[0].decode("utf-8", "replace")
        found = dict(re.findall(r"^comment (unit|category) (.+?)\s*$", head, re.MULTILINE))
    else:
        found = {name: str(x) for name in ("unit", "category") if (x := scene.metadata.get(name))}
    return found.get("unit", ""), found.get("category", "")


def write(cloud: PointCloud, path: str | os.PathLike[str]) -> list[str]:
    """Write a file whose suffix is one of SUFFIXES; returns notes on what it could not hold.

    Coordinates come back to the last bit. ply and npz hold all of a cloud, xyz its normals and colours, glb
    and obj colours, npy the places only. Raises UsageError for a format that holds surfaces alone.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in MESHES:
        raise UsageError(
            f"{path}: {suffix} holds surfaces, no points; write {SUFFIXES[0]}, or make a mesh of it."
        )
    if suffix not in SUFFIXES:
        raise UsageError(
            f"{path}: clouds are written as {' '.join(SUFFIXES)}.{did_you_mean(suffix, SUFFIXES)}"
        )
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        _WRITERS[suffix](cloud, file)
    lost = [
        name
        for name in ("normals", "colours")
        if getattr(cloud, name) is not None and name not in _HOLDS[suffix]
    ]
    return [f"{suffix} holds no {' and no '.join(lost)}: left out"] if lost else []


_HOLDS = {
    ".ply": ("normals", "colours"), ".npz": ("normals", "colours"), ".xyz": ("normals", "colours"),
    ".glb": ("colours",), ".obj": ("colours",), ".npy": (),
}  # fmt: skip


def _write_ply(cloud: PointCloud, file: IO[bytes]) -> None:
    points = _as_trimesh(cloud)
    if cloud.normals is not None:
        points.vertex_normals = cloud.normals
    data = export_ply(points, vertex_normal=cloud.normals is not None)
    head, _, body = data.partition(b"\nelement vertex")
    said = "".join(f"\ncomment {name} {x}" for name in ("unit", "category") if (x := getattr(cloud, name)))
    file.write(head + said.encode() + b"\nelement vertex" + body)


def _write_glb(cloud: PointCloud, file: IO[bytes]) -> None:
    about = {name: x for name in ("unit", "category") if (x := getattr(cloud, name))}
    file.write(trimesh.Scene(_as_trimesh(cloud), metadata=about).export(file_type="glb"))


def _as_trimesh(cloud: PointCloud) -> Any:
    return trimesh.PointCloud(cloud.points, colors=cloud.colours)


def _write_npz(cloud: PointCloud, file: IO[bytes]) -> None:
    arrays = {name: x for name in ("points", "normals", "colours") if (x := getattr(cloud, name)) is not None}
    about: dict[str, Any] = {name: x for name in ("unit", "category") if (x := getattr(cloud, name))}
    np.savez_compressed(file, **arrays, **about)


def _write_npy(cloud: PointCloud, file: IO[bytes]) -> None:
    np.save(file, cloud.points, allow_pickle=False)


def _write_xyz(cloud: PointCloud, file: IO[bytes]) -> None:
    columns = [x for x in (cloud.points, cloud.normals, cloud.colours) if x is not None]
    np.savetxt(file, np.concatenate(columns, axis=1), fmt="%.9g")


def _write_obj(cloud: PointCloud, file: IO[bytes]) -> None:
    colours = () if cloud.colours is None else (cloud.colours / np.float64(255),)
    table = np.concatenate([cloud.points, *colours], axis=1)
    np.savetxt(file, table, fmt="v" + " %.9g" * table.shape[1])


_WRITERS: dict[str, Callable[[PointCloud, IO[bytes]], None]] = {
    ".ply": _write_ply, ".npz": _write_npz, ".npy": _write_npy,
    ".xyz": _write_xyz, ".glb": _write_glb, ".obj": _write_obj,
}  # fmt: skip
