"""Films in containers, read and written through PyAV."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np

from polydiff.errors import UsageError
from polydiff_video.clip import Frames, VideoClip
from polydiff_video.pace import STILL_FPS, at_one_rate, check_size

FILMS = {".mp4": ("mp4", "libx264"), ".webm": ("webm", "libvpx-vp9")}  # container and codec of each suffix


def read_film(path: Path) -> VideoClip:
    """The first film of a container, over black, upright, at one rate. Raises UsageError, one line."""
    frames: list[Frames] = []
    times: list[float | None] = []
    alpha, turned = False, 0
    try:
        with av.open(str(path)) as file:
            if not file.streams.video:
                raise UsageError(f"{path}: holds no video, only {', '.join(s.type for s in file.streams)}.")
            films = [s for s in file.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
            if not films:
                raise UsageError(f"{path}: holds a cover picture and no film.")
            stream = films[0]
            rate = float(stream.average_rate or stream.guessed_rate or 0)
            promised = stream.frames
            for frame in _decoded(file, stream):
                check_size(path, frame.width, frame.height, len(frames) + 1)
                turned = frame.rotation
                pixels, clear = _opaque(frame)
                alpha |= clear
                frames.append(np.ascontiguousarray(np.rot90(pixels, round(turned / 90))))
                times.append(frame.time)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as a film ({_reason(error)}).") from error
    if not frames:
        raise UsageError(f"{path}: holds no frames.")
    notes = ["alpha laid over black"] if alpha else []
    notes += [f"turned by {turned % 360} degrees, as its file asks"] if turned else []
    if promised and len(frames) < promised and _ends_early(path):
        raise UsageError(f"{path}: truncated, {len(frames)} of {promised} frames are there. Copy it again.")
    if len({frame.shape for frame in frames}) > 1:
        raise UsageError(f"{path}: its frames change their size on the way, which no clip here can.")
    if any(time is None for time in times) or len(times) < 2:
        return VideoClip(np.stack(frames), rate or STILL_FPS, tuple(notes))
    gaps = np.diff(np.array(times, float)) * 1000
    clip = at_one_rate(np.stack(frames), [*gaps, float(np.median(gaps))], notes)
    # containers round times; the rate that the stream states is the true one where both agree
    return VideoClip(clip.frames, rate, clip.notes) if rate and abs(clip.fps / rate - 1) < 0.02 else clip


def write_film(clip: VideoClip, path: Path, container: str, codec: str) -> list[str]:
    """Encode the clip in yuv420p; returns a note where an odd size grew by a pixel."""
    frames, notes = clip.frames, []
    odd = (clip.height % 2, clip.width % 2)
    if any(odd):
        frames = np.pad(frames, ((0, 0), (0, odd[0]), (0, odd[1]), (0, 0)), "edge")
        grown = f"{frames.shape[2]}x{frames.shape[1]}"
        notes.append(f"{clip.width}x{clip.height} grown to {grown}: even sizes only")
    options = {"movflags": "+faststart"} if container == "mp4" else {}
    quality = {"crf": "12"} if codec == "libx264" else {"crf": "16", "b:v": "0", "row-mt": "0"}
    with av.open(str(path), "w", format=container, options=options) as file:
        rate = Fraction(clip.fps).limit_denominator(1001)
        stream = cast("av.VideoStream", file.add_stream(codec, rate=rate, options=quality))
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts = number
            picture.time_base = 1 / rate
            file.mux(stream.encode(picture))
        file.mux(stream.encode())
    return notes


def _decoded(file: Any, stream: Any) -> Iterable[av.VideoFrame]:
    """The frames; FFmpeg's own VP9 drops the alpha plane, libvpx keeps it."""
    said = {name.lower(): value for name, value in stream.metadata.items()}
    if said.get("alpha_mode") != "1" or stream.codec_context.name not in ("vp8", "vp9", "libvpx-vp9"):
        yield from file.decode(stream)
        return
    libvpx = cast(
        Any, av.CodecContext.create("libvpx" if "8" in stream.codec_context.name else "libvpx-vp9", "r")
    )
    for packet in file.demux(stream):
        yield from libvpx.decode(packet)


def _opaque(frame: av.VideoFrame) -> tuple[Frames, bool]:
    """The picture over black, and whether any of it was transparent."""
    if not any(kind in frame.format.name for kind in ("yuva", "rgba", "argb", "bgra", "abgr", "gbrap")):
        return cast("Frames", frame.to_ndarray(format="rgb24")), False
    pixels = frame.to_ndarray(format="rgba").astype(np.uint16)
    laid = (pixels[..., :3] * pixels[..., 3:] + 127) // 255
    return laid.astype(np.uint8), bool((pixels[..., 3] < 255).any())


def _ends_early(path: Path) -> bool:
    """Whether a box of an mp4 or mov goes beyond its end; an edit list leaves frames out by right."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        if head[4:] not in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
            return True
        start = 0
        while start + 8 <= size:
            file.seek(start)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            length = int.from_bytes(head[8:], "big") if length == 1 else length or size - start
            start += max(length, 8)
    return start != size


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).splitlines()[0].lower()
