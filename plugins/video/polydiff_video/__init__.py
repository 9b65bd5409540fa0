"""Video for polydiff: short clips generated, predicted from their first frames, filled in, slowed down."""

from pathlib import Path

from polydiff.hookspecs import hookimpl
from polydiff.spec import DomainInfo, PresetInfo

polydiff_api = 1

_CHECKPOINTS = Path(__file__).parent / "checkpoints"
_PRESETS = {
    "sprites": ("CC-BY-SA-3.0", "Game characters by action, direction and clothes, 8 frames of 64x64"),
    "moving-digits": ("BSD-3-Clause", "Two handwritten digits that bounce: 10 frames of 64x64 from 10"),
}


@hookimpl
def polydiff_domains() -> DomainInfo:
    return DomainInfo(
        name="video",
        title="Video",
        summary="Short clips of frames: generate, predict, fill in, slow down",
        factory="polydiff_video.domain:Video",
        suffixes=(".gif", ".mp4", ".webm", ".webp", ".apng", ".npz", ".frames"),
        previews=("filmstrip",),
        capabilities=("variation", "inpaint", "variable"),
    )


@hookimpl
def polydiff_presets() -> list[PresetInfo]:
    return PresetInfo.shipped("video", _CHECKPOINTS, _PRESETS)
