"""Files: what goes out comes back, browsers can play it, and what is broken is said in one line."""

import av
import numpy as np
import pytest
from PIL import Image

from polydiff.errors import UsageError
from polydiff_video.clip import VideoClip
from polydiff_video.files import FOLDER, SUFFIXES, read, write

LOSSLESS = (".gif", ".webp", ".apng", ".npz", FOLDER)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("fps", [8.0, 12.5, 25.0])
def test_frames_and_rate_come_back(tmp_path, colours, suffix, fps):
    clip = VideoClip(colours.frames, fps)
    write(clip, tmp_path / f"a{suffix}")
    again = read(tmp_path / f"a{suffix}")
    assert len(again) == len(clip)
    assert again.fps == pytest.approx(fps, rel=0.01)
    assert np.abs(again.frames.astype(int) - clip.frames).max() <= (0 if suffix in LOSSLESS else 12)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("count", [1, 2])
def test_few_frames_come_back(tmp_path, colours, suffix, count):
    write(VideoClip(colours.frames[:count], 8), tmp_path / f"a{suffix}")
    assert len(read(tmp_path / f"a{suffix}")) == count


@pytest.mark.parametrize("order", [(0, 1, 1, 1, 2, 2), (0, 0, 0, 0, 0, 0), (0, 0, 1, 1, 2, 2)])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_equal_frames_are_not_lost(tmp_path, colours, suffix, order):
    frames = colours.frames[list(order)]
    write(VideoClip(frames, 10), tmp_path / f"a{suffix}")
    again = read(tmp_path / f"a{suffix}")
    assert (len(again), again.fps) == (6, pytest.approx(10, rel=0.01))
    assert np.abs(again.frames.astype(int) - frames).mean() < 6


def test_mp4_is_what_browsers_play(tmp_path, colours):
    path = tmp_path / "a.mp4"
    notes = write(VideoClip(colours.frames[:, :11, :19], 8), path)
    assert notes == ["19x11 grown to 20x12: even sizes only"]
    with av.open(str(path)) as file:
        codec = file.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt, codec.width, codec.height) == ("h264", "yuv420p", 20, 12)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # faststart: the index comes first


def test_webm_is_vp9(tmp_path, colours):
    write(colours, tmp_path / "a.webm")
    with av.open(str(tmp_path / "a.webm")) as file:
        assert file.streams.video[0].codec_context.name == "vp9"


def test_a_gif_of_many_colours_says_what_was_lost(tmp_path):
    rng = np.random.default_rng(0)
    clip = VideoClip(rng.integers(0, 255, (3, 32, 32, 3), np.uint8), 60)
    notes = write(clip, tmp_path / "a.gif")
    assert notes == [
        "more than 256 colours, brought down to 256",
        "a GIF shows at most 50 frames a second: resampled to that",
    ]


def test_alpha_is_laid_over_black(tmp_path):
    frame = np.zeros((4, 4, 4), np.uint8)
    frame[..., 0], frame[..., 3] = 200, 128
    Image.fromarray(frame).save(tmp_path / "a.webp", lossless=True)
    clip = read(tmp_path / "a.webp")
    assert clip.notes == ("alpha laid over black",)
    assert abs(int(clip.frames[0, 0, 0, 0]) - 100) <= 1


def test_uneven_frames_are_brought_to_one_rate(tmp_path, colours):
    images = [Image.fromarray(frame) for frame in colours.frames]
    lengths = [100, 100, 300, 100, 100]  # whole multiples: the long frame is repeated, nothing is lost
    images[0].save(tmp_path / "a.apng", "PNG", save_all=True, append_images=images[1:], duration=lengths)
    clip = read(tmp_path / "a.apng")
    assert (len(clip), clip.fps, clip.notes) == (7, 10, ())
    lengths = [70, 100, 333, 90, 150]
    images[0].save(tmp_path / "b.apng", "PNG", save_all=True, append_images=images[1:], duration=lengths)
    clip = read(tmp_path / "b.apng")
    assert clip.notes == (f"uneven frame lengths brought to {clip.fps:g} fps",)
    assert clip.duration == pytest.approx(sum(lengths) / 1000, rel=0.1)


def test_a_folder_of_pictures(tmp_path, colours):
    for i, frame in enumerate(colours.frames):
        Image.fromarray(frame).save(tmp_path / f"{i:02}.png")
    clip = read(tmp_path)
    assert np.array_equal(clip.frames, colours.frames)
    assert clip.notes == ("pictures that say no rate, taken at 8 fps",)
    Image.fromarray(colours.frames[0, :5]).save(tmp_path / "zz.png")
    with pytest.raises(UsageError, match="several sizes"):
        read(tmp_path)


def test_what_is_broken_is_said_in_one_line(tmp_path, colours):
    whole = tmp_path / "whole.mp4"
    write(VideoClip(np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), np.uint8), 8), whole)
    cases = {
        "missing.mp4": (None, "does not exist"),
        "empty.mp4": (b"", "empty"),
        "text.mp4": (b"not a film\n" * 20, "cannot be read"),
        "cut.mp4": (whole.read_bytes()[: whole.stat().st_size // 2], "truncated|cannot be read"),
        "text.gif": (b"not a picture\n" * 20, "cannot be read"),
        "text.npz": (b"not an archive\n" * 20, "npz"),
    }
    for name, (content, words) in cases.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UsageError, match=words) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="no pictures"):
        read(tmp_path / "none")


def test_sound_alone_is_no_film(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    with pytest.raises(UsageError, match="holds no video"):
        read(path)


def test_an_unknown_suffix_gets_a_suggestion(tmp_path, colours):
    with pytest.raises(UsageError, match=r"Did you mean '\.webm'"):
        write(colours, tmp_path / "a.wbm")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("frames", "fps", "words"),
    [
        (np.zeros((0, 4, 4, 3), np.uint8), 8, "shape"),
        (np.zeros((4, 4, 3), np.uint8), 8, "shape"),
        (np.zeros((2, 4, 4, 3), np.float32), 8, "uint8"),
        (np.zeros((2, 4, 4, 3), np.uint8), 0, "rate"),
        (np.zeros((2, 4, 4, 3), np.uint8), float("nan"), "rate"),
    ],
)
def test_what_is_no_clip(frames, fps, words):
    with pytest.raises(UsageError, match=words):
        VideoClip(frames, fps)


def test_a_clip_cannot_be_changed(colours):
    with pytest.raises(ValueError, match="read-only"):
        colours.frames[0] = 0
    assert colours == VideoClip(colours.frames, 8)
    assert colours != VideoClip(colours.frames, 9)
    assert "gif;base64" in colours._repr_html_()
