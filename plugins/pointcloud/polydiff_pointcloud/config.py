"""What fixes a model of point clouds, and what may differ from cloud to cloud."""

from __future__ import annotations

from pydantic import Field, field_validator

from polydiff.conditions import Condition
from polydiff.domain import Strict
from polydiff_pointcloud.regions import corners

MOST_POINTS = 131_072


class NetworkConfig(Strict):
    """Sizes of polydiff_pointcloud.network.PointLatents."""

    points: int = Field(default=96, ge=8)
    latents: int = Field(default=256, ge=8)
    count: int = Field(default=64, ge=1)
    rounds: int = Field(default=3, ge=1)
    depth: int = Field(default=2, ge=1)
    heads: int = Field(default=4, ge=1)


class PointCloudConfig(Strict):
    """A model of shapes. points: how many a cloud has where nobody says. lesson_points: how many are looked
    at in training. deviation: of the coordinates in a cube from -1 to 1, so that they have unit variance
    inside. mirror: whether a shape mirrored in x is as good. turning: the categories that have no front, and
    are as good turned about y by any angle. stretch: standard deviation of the logarithm by which each axis
    is stretched in training. judge: the shipped judge that evaluates it.
    """

    network: NetworkConfig = NetworkConfig()
    points: int = Field(default=2048, ge=16, le=MOST_POINTS)
    lesson_points: int = Field(default=1024, ge=16, le=MOST_POINTS)
    deviation: float = Field(default=0.435, gt=0)
    mirror: bool = True
    turning: tuple[str, ...] = ()
    stretch: float = Field(default=0.1, ge=0, le=1)
    conditions: tuple[Condition, ...] = ()
    judge: str = ""


class PointCloudOptions(Strict):
    """What may be asked of one cloud."""

    points: int | None = Field(
        default=None,
        ge=16,
        le=MOST_POINTS,
        description="Points of the result; by default those of the source or model.",
    )
    within: str | None = Field(
        default=None,
        description="Box x0,y0,z0,x1,y1,z1 that the finished shape fills, where the source is a part of it.",
    )

    @field_validator("within")
    @classmethod
    def _check_box(cls, text: str | None) -> str | None:
        if text is None:
            return None
        box = corners(text)
        if box is None or not (box[1] > box[0]).any():
            raise ValueError(f"{text!r} is no box: give six numbers, the lowest corner first")
        return text
