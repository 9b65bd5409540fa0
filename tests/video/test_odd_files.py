"""Films and pictures as other programs leave them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from polydiff.errors import UsageError
from polydiff_video import files
from polydiff_video.clip import VideoClip
from polydiff_video.data import read_dataset


def _grey(count: int, fps: float = 8) -> VideoClip:
    return VideoClip(np.stack([np.full((16, 16, 3), 10 * i, np.uint8) for i in range(count)]), fps)


def test_frames_are_sorted_as_people_sort_numbers(tmp_path: Path) -> None:
    for i in range(12):
        Image.new("L", (8, 8), 20 * i).save(tmp_path / f"f{i}.png")
    assert files.read(tmp_path).frames[:, 0, 0, 0].tolist() == [20 * i for i in range(12)]


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(8, 0)
    Image.fromarray(ramp).save(tmp_path / "x.png")
    assert files.read(tmp_path).frames.mean() == pytest.approx(127, abs=1)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (16, 8)).save(tmp_path / "x.jpg", exif=exif)
    assert files.read(tmp_path).frames.shape == (1, 16, 8, 3)


def test_gif_beyond_fifty_frames_a_second_is_resampled(tmp_path: Path) -> None:
    notes = files.write(_grey(20, 100), tmp_path / "x.gif")
    assert "50 frames a second" in notes[0]
    back = files.read(tmp_path / "x.gif")
    assert back.fps == 50
    assert len(back) == 10


@pytest.mark.parametrize("fps", [1e-4, 1e5])
def test_odd_rates_are_refused_in_words(tmp_path: Path, fps: float) -> None:
    with pytest.raises(UsageError, match="frames a second cannot be written"):
        files.write(_grey(2, fps), tmp_path / "x.mp4")


def test_one_short_gap_sets_no_rate(tmp_path: Path) -> None:
    path = tmp_path / "x.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=30)
        stream.height = stream.width = 16
        stream.pix_fmt = "yuv420p"
        for time in [*(33 * i for i in range(30)), 29 * 33 + 1]:
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    assert files.read(path).fps == pytest.approx(30, rel=0.05)


def test_folders_of_frames_under_metadata_count_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        files.write(_grey(3), tmp_path / f"{name}.frames")
    (tmp_path / "metadata.csv").write_text("file_name,way\na.frames,left\nb.frames,right\n")
    data = read_dataset(tmp_path)
    assert data.labels("way") == ["left", "right"]


def test_folders_of_frames_follow_a_pattern_once(tmp_path: Path) -> None:
    files.write(_grey(3), tmp_path / "left_1.frames")
    assert [item.conditions for item in read_dataset(tmp_path, "{way}_{take}")] == [
        {"way": "left", "take": "1"}
    ]


@pytest.mark.parametrize("suffix", [".mov", ".mkv", ".avi", ".m4v", ".ts"])
def test_films_of_other_suffixes_are_found_in_training(tmp_path: Path, suffix: str) -> None:
    name = {".m4v": "mp4", ".ts": "mpegts", ".mkv": "matroska"}.get(suffix, suffix[1:])
    with av.open(str(tmp_path / f"x{suffix}"), "w", format=name) as file:
        stream = file.add_stream("libx264", rate=8)
        stream.height = stream.width = 16
        stream.pix_fmt = "yuv420p"
        for picture in _grey(8).frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
    assert len(read_dataset(tmp_path)[0].load()) == 8


def test_delays_of_zero_are_a_tenth_of_a_second_as_in_viewers(tmp_path: Path) -> None:
    pictures = [Image.fromarray(frame) for frame in _grey(4).frames]
    pictures[0].save(tmp_path / "x.gif", save_all=True, append_images=pictures[1:], duration=0)
    assert files.read(tmp_path / "x.gif").fps == 10


def test_rows_that_contradict_each_other_are_named(tmp_path: Path) -> None:
    files.write(_grey(3), tmp_path / "a.gif")
    (tmp_path / "metadata.csv").write_text("file_name,way\na.gif,left\na.gif,right\n")
    with pytest.raises(UsageError, match=r"rows 1 and 2 contradict each other about a\.gif"):
        read_dataset(tmp_path)
