"""PointCloud: places in space, and what is known of the surface there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from polydiff.errors import UsageError
from polydiff.file_domain import FileExample
from polydiff_pointcloud.frame import Frame

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class PointCloud(FileExample):
    """Points of a shape, y up, right-handed. Immutable; equal when every number is equal.

    points: float32 (points, 3) in `unit` ("" where it is not known). normals: float32 (points, 3) of length
    1, pointing out, or None. colours: uint8 (points, 3), red, green, blue, or None. category: what the shape
    is, "" where it is not known. notes: what was converted on the way in. frame: the cube that the shape was
    made in; where there is none, the smallest around its points stands for it.

    Raises UsageError for arrays of other shapes, for no points, and for NaN or infinite coordinates.

    >>> cloud = PointCloud(np.eye(3), unit="m")
    >>> len(cloud), cloud.box.tolist()
    (3, [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    """

    domain: ClassVar[str] = "polydiff_pointcloud.domain:PointClouds"
    points: Floats
    normals: Floats | None = None
    colours: Bytes | None = None
    unit: str = ""
    category: str = ""
    notes: tuple[str, ...] = ()
    frame: Frame | None = None

    def __post_init__(self) -> None:
        points = _fixed(self.points, np.float32)
        if points.ndim != 2 or points.shape[1] != 3:
            raise UsageError(f"A cloud needs points of shape (points, 3), not {points.shape}.")
        if not len(points):
            raise UsageError("A cloud needs at least one point; there is none.")
        bad = int((~np.isfinite(points).all(1)).sum())
        if bad:
            raise UsageError(f"{bad} of {len(points)} points have NaN or infinite coordinates: remove them.")
        object.__setattr__(self, "points", points)
        for name, kind in (("normals", np.float32), ("colours", np.uint8)):
            value = getattr(self, name)
            if value is None:
                continue
            value = _fixed(value, kind)
            if value.shape != points.shape:
                raise UsageError(f"There are {name} of shape {value.shape} for points of {points.shape}.")
            object.__setattr__(self, name, value)
        object.__setattr__(self, "notes", tuple(self.notes))

    def __len__(self) -> int:
        return len(self.points)

    @property
    def box(self) -> Floats:
        """(2, 3): the lowest and the highest coordinates."""
        return np.stack([self.points.min(0), self.points.max(0)])

    @property
    def cube(self) -> Frame:
        """The frame, or the smallest cube around the points. Raises UsageError where all are one."""
        return self.frame or Frame.around(self.points)

    def __getitem__(self, which: Any) -> PointCloud:
        """The cloud of some of the points, chosen as numpy chooses rows."""
        normals = None if self.normals is None else self.normals[which]
        colours = None if self.colours is None else self.colours[which]
        return replace(self, points=self.points[which], normals=normals, colours=colours)

    def thinned(self, count: int, seed: int = 0) -> PointCloud:
        """At most `count` of the points, drawn without regard to place, in their order."""
        if len(self) <= count:
            return self
        return self[np.sort(np.random.default_rng(seed).permutation(len(self))[:count])]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PointCloud):
            return NotImplemented
        return (self.unit, self.category) == (other.unit, other.category) and all(
            np.array_equal(a, b) if a is not None and b is not None else a is b
            for a, b in zip(self._arrays(), other._arrays(), strict=True)
        )

    def __hash__(self) -> int:
        return hash(self.points.tobytes())

    def __repr__(self) -> str:
        size = " x ".join(f"{side:.3g}" for side in self.box[1] - self.box[0])
        has = [name for name in ("normals", "colours") if getattr(self, name) is not None]
        about = ", ".join([f"{len(self)} points", f"{size} {self.unit}".strip(), *has])
        return f"PointCloud({about})"

    def _arrays(self) -> tuple[NDArray[Any] | None, ...]:
        return self.points, self.normals, self.colours


def _fixed(array: Any, kind: type) -> NDArray[Any]:
    """A copy that cannot be written to; a tensor of torch is taken without importing torch here."""
    if hasattr(array, "detach"):
        array = array.detach().cpu().numpy()
    fixed: NDArray[Any] = np.array(array, dtype=kind)
    fixed.setflags(write=False)
    return fixed
