"""Training data: folders of every layout, windows, what is broken, the two benchmarks."""

import gzip

import numpy as np
import pytest
from PIL import Image

from polydiff.errors import UsageError
from polydiff_video.clip import VideoClip
from polydiff_video.domain import Video
from polydiff_video.files import write
from polydiff_video.moving_digits import FRAMES, SIZE, path_of, read_moving_digits
from polydiff_video.sprites import characters, is_sprites, read_sprites

from .conftest import DATA, PATTERN


def test_class_folders_of_films_and_of_pictures(tmp_path, colours):
    write(colours, tmp_path / "a" / "one.mp4")
    write(colours, tmp_path / "b" / "two.gif")
    (tmp_path / "b" / "three").mkdir()
    for i, frame in enumerate(colours.frames):
        Image.fromarray(frame).save(tmp_path / "b" / "three" / f"{i}.png")
    (tmp_path / "b" / "bad.gif").write_bytes(b"no picture")
    data = Video.dataset(tmp_path)
    assert sorted(data.labels("label")) == ["a", "b", "b"]
    assert [path.endswith("bad.gif") for path, _ in data.report.skipped] == [True]
    assert data.report.details["frames"] == "5 to 5, median 5"


def test_metadata_and_patterns(tmp_path, colours):
    data = Video.dataset(DATA, PATTERN, labels=["action"])
    assert set(data.labels("action")) == {"walk", "slash", "spellcast"}
    assert set(data[0].conditions) == {"action"}
    with pytest.raises(UsageError, match="Did you mean 'action'"):
        Video.dataset(DATA, PATTERN, labels=["acton"])
    write(colours, tmp_path / "x.gif")
    (tmp_path / "metadata.csv").write_text("file_name,mood\nx.gif,calm\n")
    assert Video.dataset(tmp_path).labels("mood") == ["calm"]


def test_long_clips_are_cut_into_windows(tmp_path, colours):
    write(VideoClip(np.tile(colours.frames, (4, 1, 1, 1)), 8), tmp_path / "x.gif")
    data = Video.dataset(tmp_path, window=8)
    assert [len(clip) for clip in data.examples()] == [8, 8, 8, 8]
    assert data[1].source.endswith("frames 4 to 12")
    assert data[1].load() == VideoClip(np.tile(colours.frames, (4, 1, 1, 1))[4:12], 8)


def test_one_clip_teaches_in_windows_of_half_its_length(tmp_path, clips):
    write(VideoClip(np.concatenate([clips[0].frames] * 2), 8), tmp_path / "x.gif")
    data = Video.dataset(tmp_path / "x.gif")
    assert len(data) == 1
    config = Video.configure(data, {})
    assert (config.frames, config.codec.width) == (8, 64)


def test_large_frames_are_made_smaller_unless_a_size_is_named(tmp_path):
    rng = np.random.default_rng(0)
    write(VideoClip(rng.integers(0, 255, (4, 120, 200, 3), np.uint8), 8), tmp_path / "x.npz")
    data = Video.dataset(tmp_path)
    small = Video.configure(data, {}).codec
    assert (small.width, small.height) == (64, 48)
    named = Video.configure(data, {"codec": {"width": 208, "height": 128, "channels": 8}}).codec
    assert (named.width, named.height) == (208, 128)


def test_nothing_to_learn_from(tmp_path):
    with pytest.raises(UsageError, match="no"):
        Video.dataset(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        Video.dataset(tmp_path / "missing")
    (tmp_path / "a.gif").write_bytes(b"")
    with pytest.raises(UsageError, match=r"no usable clip.*empty"):
        Video.dataset(tmp_path)


def _sheets(folder):
    """Sheets as the Sprites benchmark has them: each cell says its number, parts lie beside each other."""
    for part, (name, count) in enumerate(
        {"body": 6, "bottomwear": 6, "topwear": 6, "hair": 6, "shoes": 2}.items()
    ):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            sheet = np.zeros((16 * 64, 13 * 64, 4), np.uint8)
            for cell in range(13 * 16):
                y, x = 64 * (cell // 13), 64 * (cell % 13)
                sheet[y + 10 * part : y + 10 * part + 10, x : x + 64] = (cell, number * 40, part * 50, 255)
            Image.fromarray(sheet).save(folder / name / f"{number}.png")


def test_sprites_are_composed_as_published(tmp_path):
    _sheets(tmp_path)
    assert is_sprites(tmp_path)
    data = read_sprites(tmp_path, "test")
    assert len(data) == 296 * 9
    body, bottom, top, hair = characters("test")[0]
    item = next(i for i in data if i.conditions["action"] == "walk" and i.conditions["direction"] == "left")
    clip = item.load()
    assert clip.frames.shape == (8, 64, 64, 3)
    assert clip.frames[:, 5, 5, 0].tolist() == [125, 118, 119, 120, 121, 122, 123, 124]
    assert clip.frames[0, [5, 15, 25, 35], 5, 1].tolist() == [40 * n for n in (body, bottom, top, hair)]
    assert clip.frames[0, 45, 5].tolist() == [125, 40, 200]  # the one pair of shoes
    assert clip.frames[0, 60, 5].tolist() == [0, 0, 0]
    assert set(characters("train")).isdisjoint(characters("test"))
    with pytest.raises(UsageError, match="split"):
        read_sprites(tmp_path, "tset")


def test_digits_move_and_turn_back(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.integers(1, 255, (40, 785))
    path = tmp_path / "digits.csv.gz"
    with gzip.open(path, "wt") as file:
        np.savetxt(file, rows, fmt="%d", delimiter=",")
    data = read_moving_digits(path, "train", 5)
    clip = data[3].load()
    assert clip.frames.shape == (FRAMES, SIZE, SIZE, 3)
    assert clip == read_moving_digits(path, "train", 9)[3].load()
    assert clip != read_moving_digits(path, "test", 9)[3].load()
    assert (clip.frames > 0).any((1, 2, 3)).all()
    for seed in range(50):
        places = path_of(np.random.default_rng(seed))
        steps = np.diff(places, axis=0)
        assert np.abs(steps).max() <= 6
        inside = (places > 6) & (places < SIZE - 28 - 6)
        straight = inside[:-1] & inside[1:]
        assert np.abs(np.diff(steps, axis=0))[straight[1:]].max(initial=0) <= 1  # speed is constant
    (tmp_path / "other.csv.gz").write_bytes(b"no table")
    with pytest.raises(UsageError, match="not a table of digits"):
        read_moving_digits(tmp_path / "other.csv.gz")
