"""Where a shape stands and how large it is: what lets a result lie where the user's cloud did."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polydiff.errors import UsageError

LEAST = 1e-12  # a shape must be larger than this share of its distance from the origin


@dataclass(frozen=True)
class Frame:
    """The model's cube from -1 to 1 in the user's space: its centre and half the length of its side.

    >>> frame = Frame.around(np.array([[0.0, 0, 0], [4, 2, 2]]))
    >>> frame.into(np.array([[4.0, 2, 2]])).tolist(), frame.out_of(np.zeros((1, 3))).tolist()
    ([[1.0, 0.5, 0.5]], [[2.0, 1.0, 1.0]])
    """

    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    half: float = 1.0

    @classmethod
    def around(cls, points: NDArray[np.floating]) -> Frame:
        """The smallest cube around the box of (n, 3) points: its longest side becomes 2.

        Raises UsageError where all points are the same.
        """
        low, high = points.min(0).astype(np.float64), points.max(0).astype(np.float64)
        half = float((high - low).max()) / 2
        if not half > LEAST * max(float(np.abs(points).max()), 1e-30):
            what = (
                f"All {len(points)} points lie at one place" if len(points) > 1 else "There is one point only"
            )
            raise UsageError(f"{what}, so the shape has no size: give points at two places at least.")
        x, y, z = ((low + high) / 2).tolist()
        return cls((x, y, z), half)

    def into(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """From the user's space into the cube."""
        return (np.asarray(points, np.float64) - self.centre) / self.half

    def out_of(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """From the cube into the user's space."""
        return np.asarray(points, np.float64) * self.half + self.centre
