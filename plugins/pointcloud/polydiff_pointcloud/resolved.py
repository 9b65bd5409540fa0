"""What a request for a cloud comes to: how many points, in which cube, which of them given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polydiff.domain import SampleRequest
from polydiff.errors import UsageError
from polydiff_pointcloud.cloud import PointCloud
from polydiff_pointcloud.config import MOST_POINTS, PointCloudConfig
from polydiff_pointcloud.frame import Frame
from polydiff_pointcloud.regions import corners, inside

MOST_SEEN = 8192
"""So many kept points are shown to the network; of more, the rest is kept all the same."""

MOST_VARIED = 32_768
"""A source of more points is thinned to so many for a variation, where nobody says how many."""


@dataclass(frozen=True)
class ResolvedRequest:
    """What the network is to do in a cube of the user's space. seen: the points that it is shown, or None.
    given: bool (places,), which places of the state are theirs; the rest is made. kept: bool, which points of
    the source stay, or None where none does."""

    frame: Frame
    given: NDArray[np.bool_]
    seen: PointCloud | None = None
    kept: NDArray[np.bool_] | None = None

    def result(self, source: PointCloud, made: NDArray[np.float32]) -> NDArray[np.float32]:
        """Kept points beside made ones: in the places of those that were taken away where they are as many,
        else after them."""
        if self.kept is None:
            return made
        if (~self.kept).sum() != len(made):
            return np.concatenate([source.points[self.kept], made])
        points = source.points.copy()
        points[~self.kept] = made
        return points


def resolve(request: SampleRequest, config: PointCloudConfig) -> ResolvedRequest:
    """Raises UsageError in one line where nothing is kept, or nothing left to be made."""
    source, wanted = request.source, request.options.points
    if source is None:
        return ResolvedRequest(Frame(), np.zeros(wanted or config.points, bool))
    box = corners(request.options.within) if request.options.within else None  # the options have checked it
    frame = source.cube if box is None else Frame.around(box)
    if request.keep is None and request.redo is None:
        if wanted is not None and wanted > len(source):
            raise UsageError(
                f"A variation has at most the {len(source)} points of its source, not {wanted}; "
                "to add points, keep those that are there (--keep all)."
            )
        most = MOST_VARIED if request.target is None else min(len(request.target), config.points)
        return ResolvedRequest(frame, np.zeros(wanted or min(len(source), most), bool))
    kept = kept_points(request)
    count, removed = int(kept.sum()), int((~kept).sum())
    if wanted is None:  # what was taken away comes back; where nothing was, as much again
        made = removed or max(config.points - count, min(count, config.points))
    else:
        made = wanted - count
    if not 0 < made <= MOST_POINTS:
        raise UsageError(
            f"{count} points are kept and {count + made} asked for in all: ask for at least one more, "
            f"and at most {MOST_POINTS}."
        )
    seen = source[kept].thinned(MOST_SEEN, request.seed)
    in_place = made == removed and len(seen) == count
    return ResolvedRequest(frame, kept if in_place else np.arange(len(seen) + made) < len(seen), seen, kept)


def kept_points(request: SampleRequest) -> NDArray[np.bool_]:
    """(n,) which points of the source are kept."""
    points = request.source.points
    kept = inside(request.keep, points) if request.keep is not None else ~inside(request.redo or "", points)
    if not kept.any():
        raise UsageError(f"Nothing of the source is kept: it lies {_extent(request.source)}.")
    if request.redo is not None and kept.all():
        raise UsageError(f"No point lies in the region to redo: the source lies {_extent(request.source)}.")
    return kept


def _extent(cloud: PointCloud) -> str:
    low, high = ([f"{x:.4g}" for x in corner] for corner in cloud.box)
    return f"between {','.join(low)} and {','.join(high)}"
