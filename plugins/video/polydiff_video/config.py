"""What fixes a video model, and what may differ from clip to clip. Reading it imports no torch network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from polydiff.conditions import Categorical, Condition
from polydiff.domain import Strict
from polydiff.errors import UsageError
from polydiff_video.training_view import OFTEN, Way

MOST_FRAMES = 1024
_MOST_CHOICES = 256


class CodecConfig(Strict):
    """kind: what a patch becomes, its principal "components" or its "pixels". height, width: pixels of a
    frame, multiples of `patch`, the side of a patch. channels: numbers a patch, of components.

    What training data gives: mean (one number a colour), basis (channels × 3 patch² of int8, compressed, in
    base64), scale (the length of each row of it in units of standard deviations); of pixels the scale alone,
    the root mean square of each colour, or of grey films one.
    """

    kind: Literal["components", "pixels"] = "components"
    height: int = Field(default=64, ge=4)
    width: int = Field(default=64, ge=4)
    patch: int = Field(default=16, ge=2)
    channels: int = Field(default=128, ge=1)
    mean: str = ""
    basis: str = ""
    scale: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> CodecConfig:
        if self.height % self.patch or self.width % self.patch:
            raise ValueError(
                f"frames of {self.width}x{self.height} cannot be cut into patches of {self.patch} pixels"
            )
        return self


class NetworkConfig(Strict):
    """kind: "transformer" (attention between all patches of all frames) or "motion" (moves what the given
    frames show; its codec is of pixels). Its size; a transformer's `width` is a multiple of twice `heads`,
    which the other has none of."""

    kind: Literal["transformer", "motion"] = "transformer"
    width: int = Field(default=256, ge=8)
    depth: int = Field(default=5, ge=1)
    heads: int = Field(default=4, ge=1)


class VideoConfig(Strict):
    """A model of clips. frames: how many it sees together. fps: their rate. cyclic: whether a clip goes over
    into its own beginning, as the steps of a walk do. mirror: whether a mirrored clip is as good. palette:
    the colours of the data as hexadecimal numbers, where they are few. given: the ways in which frames are
    given in training, of polydiff_video.training_view. judge: the shipped judge that evaluates it.
    """

    codec: CodecConfig = CodecConfig()
    network: NetworkConfig = NetworkConfig()
    frames: int = Field(default=8, ge=1, le=64)
    fps: float = Field(default=8.0, gt=0, le=240)
    cyclic: bool = False
    mirror: bool = False
    conditions: tuple[Condition, ...] = ()
    palette: tuple[str, ...] = ()
    given: tuple[Way, ...] = tuple(OFTEN)
    judge: str = ""

    @model_validator(mode="after")
    def _check(self) -> VideoConfig:
        if self.network.kind == "motion":
            if self.codec.kind != "pixels":
                raise ValueError('a network of kind "motion" moves pixels: set codec.kind to "pixels"')
            if self.codec.height // self.codec.patch % 2 or self.codec.width // self.codec.patch % 2:
                raise ValueError('a network of kind "motion" needs an even number of patches a side')
        return self


class VideoOptions(Strict):
    """What may be asked of one clip."""

    frames: int | None = Field(
        default=None,
        ge=1,
        le=MOST_FRAMES,
        description="Frames of the result; by default those of the source or model.",
    )
    fps: float | None = Field(default=None, gt=0, le=240, description="Frames a second of the result.")
    slow: int = Field(
        default=1,
        ge=1,
        le=16,
        description="So many times as many frames: with --keep all, new ones come in between.",
    )
    snap: bool = Field(default=False, description="Set every pixel to the nearest colour of the data.")
    scale: int = Field(default=1, ge=1, le=16, description="Enlarge the result so many times, crisply.")


def conditions_of(labels: Sequence[Mapping[str, Any]]) -> tuple[Categorical, ...]:
    """One choice a label, its values in order.

    >>> conditions_of([{"action": "walk"}, {"action": "jump"}])[0].choices
    ('jump', 'walk')
    """
    found = []
    for name in dict.fromkeys(name for row in labels for name in row):
        choices = sorted({str(row[name]) for row in labels if name in row})
        if len(choices) > _MOST_CHOICES:
            raise UsageError(
                f"The label {name!r} has {len(choices)} different values, too many for a condition; "
                'name the labels to learn, such as labels = ["class"].'
            )
        found.append(Categorical(name=name, choices=tuple(choices), mixable=True))
    return tuple(found)
