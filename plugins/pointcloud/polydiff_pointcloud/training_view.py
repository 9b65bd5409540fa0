"""What a network is shown of a shape in training: some points given, some to be made.

In half of the views nothing is given (generation). Else the shape is cut by a plane or a piece of it is taken
away, and what is left is given, thinned or whole (completion); or some points from everywhere are given
(upsampling). So that a scan may be completed whose full size nobody knows, the cube is that of the given
points in half of those views.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polydiff_pointcloud.cloud import PointCloud
from polydiff_pointcloud.frame import Frame

LARGEST = 2.0  # a shape may reach so far beyond the cube of its given points


@dataclass(frozen=True)
class TrainingView:
    """A cloud, which of its points are given, and the cube that it is seen in."""

    cloud: PointCloud
    given: NDArray[np.bool_]
    frame: Frame

    @classmethod
    def free(cls, cloud: PointCloud) -> TrainingView:
        """Nothing is given, and the cube is the cloud's own."""
        return cls(cloud, np.zeros(len(cloud), bool), cloud.cube)


def draw_view(cloud: PointCloud, rng: np.random.Generator) -> TrainingView:
    """A view of this cloud; at least one point is never given."""
    view = TrainingView.free(cloud)
    if rng.random() < 0.5 or len(cloud) < 8:
        return view
    points = view.frame.into(cloud.points)
    share, kind = rng.uniform(0.15, 0.9), rng.random()
    if kind < 0.4:  # a plane of any direction, the axes as often as the rest
        direction = (
            rng.normal(size=3) if rng.random() < 0.5 else np.eye(3)[rng.integers(3)] * rng.choice((-1, 1))
        )
        height = points @ direction
        given = height < np.quantile(height, share)
    elif kind < 0.7:  # a ball is missing
        distance = np.linalg.norm(points - points[rng.integers(len(points))], axis=1)
        given = distance > np.quantile(distance, 1 - share)
    else:
        given = np.ones(len(points), bool)
    if kind >= 0.7 or rng.random() < 0.4:
        given &= rng.random(len(points)) < rng.uniform(0.05, 0.8)
    if given.sum() < 4 or given.all():
        return view
    own = Frame.around(cloud.points[given])
    if rng.random() < 0.5 and own.half * LARGEST >= view.frame.half:
        return TrainingView(cloud, given, own)
    return TrainingView(cloud, given, view.frame)
