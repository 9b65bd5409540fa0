"""Surfaces through the points of a cloud: a mesh for programs that want triangles.

A closing, in the sense of mathematical morphology, with nothing but scipy and scikit-image: the points are
blown up to balls that touch, what they enclose is filled, and the solid shrinks back by as much. What comes
out bounds a solid, so it is watertight but where two parts meet in an edge or a corner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from polydiff.errors import UsageError
from polydiff_pointcloud.cloud import PointCloud
from polydiff_pointcloud.frame import Frame

if TYPE_CHECKING:
    from trimesh import Trimesh

LEAST_POINTS, MOST_POINTS = 64, 65_536  # of more, so many say where the surface is
_CELLS = 96  # along the longest side
_REACH = 2.6  # radius of a ball, in typical distances to the sixth neighbour
_THIN = 0.9  # cells that a sheet is left thick on each side


def mesh_of(cloud: PointCloud) -> Trimesh:
    """A mesh in the cloud's own space, its faces looking outwards.

    Raises UsageError for fewer than LEAST_POINTS points, and where all lie at one place.

    >>> sphere = np.random.default_rng(0).normal(size=(2000, 3))
    >>> mesh = mesh_of(PointCloud(sphere / np.linalg.norm(sphere, axis=1, keepdims=True)))
    >>> mesh.is_watertight, bool(abs(mesh.volume / (4 / 3 * np.pi) - 1) < 0.06)
    (True, True)
    """
    if len(cloud) < LEAST_POINTS:
        raise UsageError(f"A surface needs at least {LEAST_POINTS} points; the cloud has {len(cloud)}.")
    frame = Frame.around(cloud.points)
    points = frame.into(cloud.thinned(MOST_POINTS).points)
    vertices, faces = _closing(points)
    from trimesh import Trimesh

    mesh = Trimesh(frame.out_of(vertices), faces, process=False)
    if mesh.is_watertight and mesh.volume < 0:
        mesh.invert()
    return mesh


def spacing(points: NDArray[np.float64]) -> float:
    """How far points of a surface typically lie apart: the median distance to the sixth neighbour."""
    near = cKDTree(points).query(points, min(7, len(points)))[0][:, -1]
    return float(np.median(near))


def _closing(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    from skimage.measure import marching_cubes

    cell = 2 / _CELLS
    reach = max(_REACH * spacing(points), 2 * cell)
    margin = int(np.ceil(reach / cell)) + 3
    low = points.min(0) - margin * cell
    size = np.ceil((points.max(0) - low) / cell).astype(int) + margin + 1
    distance = _distance_to_points(points, low, size, cell, 2 * reach)
    solid = ndimage.binary_fill_holes(distance <= reach)
    inner = ndimage.distance_transform_edt(solid) * cell  # how deep a cell lies inside
    shrink = max(reach - _THIN * cell, 0)
    # Within the reach of points the distance to them is exact where that of cells is not.
    depth = np.where(solid & (distance <= reach), np.maximum(inner, reach - distance), inner)
    field = ndimage.gaussian_filter(np.where(solid, depth, reach - distance) - shrink, 0.8)
    vertices, faces, _, _ = marching_cubes(field, 0.0, spacing=(cell,) * 3)
    return vertices + low, faces.astype(np.int64)


def _distance_to_points(
    points: NDArray[np.float64], low: NDArray[np.float64], size: NDArray[np.int64], cell: float, most: float
) -> NDArray[np.float64]:
    """The distance of every cell to the nearest point, `most` where it is farther than that."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), -1).reshape(-1, 3)
    found = cKDTree(points).query(low + grid * cell, distance_upper_bound=most)[0]
    result: NDArray[np.float64] = np.minimum(found, most).reshape(size)
    return result
