"""VideoClip: frames and their rate, always together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from polydiff.errors import UsageError
from polydiff.file_domain import FileExample

Frames = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class VideoClip(FileExample):
    """A piece of film. Immutable; equal when rate and every pixel are equal.

    frames: uint8 (time, height, width, 3), red, green, blue. fps: frames a second. notes: what was converted
    on the way in ("alpha laid over black"). Raises UsageError for frames of another shape or type, for none,
    and for a rate that is not above 0.

    >>> clip = VideoClip(np.zeros((8, 64, 48, 3), np.uint8), 8)
    >>> len(clip), clip.height, clip.width, clip.duration
    (8, 64, 48, 1.0)
    """

    domain: ClassVar[str] = "polydiff_video.domain:Video"
    frames: Frames
    fps: float
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        frames: Any = self.frames
        if hasattr(frames, "detach"):  # a torch tensor, without importing torch here
            frames = frames.detach().cpu().numpy()
        frames = np.asarray(frames)
        if frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
            raise UsageError(f"A clip needs frames of shape (time, height, width, 3), not {frames.shape}.")
        if frames.dtype != np.uint8:
            raise UsageError(f"Frames are uint8, 0 to 255, not {frames.dtype}: scale and round them first.")
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise UsageError(f"A frame rate is a number above 0, not {self.fps}.")
        frames = frames.copy()
        frames.setflags(write=False)
        object.__setattr__(self, "frames", frames)
        object.__setattr__(self, "fps", float(self.fps))
        object.__setattr__(self, "notes", tuple(self.notes))

    def __len__(self) -> int:
        return int(self.frames.shape[0])

    @property
    def height(self) -> int:
        return int(self.frames.shape[1])

    @property
    def width(self) -> int:
        return int(self.frames.shape[2])

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self) / self.fps

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VideoClip):
            return NotImplemented
        return self.fps == other.fps and np.array_equal(self.frames, other.frames)

    def __hash__(self) -> int:
        return hash((self.fps, self.frames.tobytes()))

    def __repr__(self) -> str:
        return f"VideoClip({len(self)} frames of {self.width}x{self.height}, {self.fps:g} fps)"
