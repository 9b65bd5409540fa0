"""Training folders: where labels come from, what is skipped, what is told."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from polydiff.errors import UsageError
from polydiff_audio.data import read_dataset
from polydiff_audio.domain import Audio
from polydiff_audio.vocabulary import conditions_of

from .conftest import DATA


def test_names_of_files_are_labels():
    data = read_dataset(DATA, "{digit}_{speaker}_{take}.wav")
    assert len(data) == 8
    assert data[6].conditions == {"digit": "7", "speaker": "theo", "take": "5"}
    assert all(clip.peak == pytest.approx(10 ** (-1 / 20), rel=1e-3) for clip in data.examples())


def test_names_of_folders_are_labels(tmp_path):
    for path in sorted(DATA.glob("*.wav")):
        folder = tmp_path / path.stem.split("_")[1]
        folder.mkdir(exist_ok=True)
        shutil.copy(path, folder)
    data = read_dataset(tmp_path)
    assert sorted(set(data.labels("label"))) == sorted(path.name for path in tmp_path.iterdir())
    assert Audio.configure(data, {}).conditions[0].name == "label"


def test_tables_are_labels(tmp_path):
    shutil.copy(DATA / "7_theo_5.wav", tmp_path)
    (tmp_path / "metadata.csv").write_text("file_name,word,pitch\n7_theo_5.wav,seven,110.5\n")
    assert read_dataset(tmp_path)[0].conditions == {"word": "seven", "pitch": "110.5"}
    (tmp_path / "metadata.csv").unlink()
    rows = [{"file_name": "7_theo_5.wav", "word": "seven"}, {"file_name": "gone.wav", "word": "one"}]
    (tmp_path / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    data = read_dataset(tmp_path)
    assert data[0].conditions == {"word": "seven"}
    assert data.report.skipped == ((str(tmp_path / "gone.wav"), "does not exist."),)


def test_bad_files_are_skipped_and_named(tmp_path):
    shutil.copy(DATA / "7_theo_5.wav", tmp_path)
    (tmp_path / "text.wav").write_text("no")
    soundfile.write(tmp_path / "silent.wav", np.zeros(100), 8000)
    soundfile.write(tmp_path / "clipped.wav", np.clip(3 * np.sin(np.arange(8000) / 9), -1, 1), 16000)
    data = read_dataset(tmp_path)
    assert data.report.count == 2
    assert [(path.split("/")[-1], why[:10]) for path, why in data.report.skipped] == [
        ("silent.wav", "is silent "),
        ("text.wav", "is a text "),
    ]
    assert data.report.details["sample rate"] == "8000 Hz (1), 16000 Hz (1)"
    assert data.report.details["silence"] == "1 silent, left out"
    assert data.report.details["clipping"].startswith("1 with flat tops")
    assert "median" in data.report.details["length"]


def test_long_files_are_cut_into_windows_and_pauses_left_out(tmp_path):
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 0.1, (8000, 2))
    soundfile.write(tmp_path / "long.flac", np.r_[sound, sound * 0, sound, sound[:1000]], 8000)
    data = read_dataset(tmp_path, window=1.0)
    assert [item.source.split(" ")[-2] for item in data] == ["0.00", "2.00"]
    assert [clip.duration for clip in data.examples()] == [1.0, 1.0]
    assert data[0].load().channels == 2
    assert Audio.configure(data, {}).codec.channels == 2


def test_silence_at_the_end_is_cut_off(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.r_[np.ones(4000) / 2, np.zeros(4000)], 8000)
    assert read_dataset(tmp_path)[0].load().duration == 0.5
    assert read_dataset(tmp_path, trim=False)[0].load().duration == 1.0


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "few_8k.npz"
    waves = (np.random.default_rng(0).normal(0, 0.2, (6, 4000)) * 32767).clip(-32768, 32767).astype(np.int16)
    np.savez(
        path, wave=waves, length=np.array([4000, 2000, 4000, 4000, 4000, 800]),
        digit=np.arange(6, dtype=np.uint8),
        speaker=np.array([0, 1, 0, 1, 0, 1]), speakers=np.array(["ann", "bob"]), take=np.arange(6) + 7,
    )  # fmt: skip
    return path


def test_arrays_are_read(archive):
    data = read_dataset(archive, labels=["digit", "speaker"], where="take >= 8 and speaker != ann")
    assert [item.conditions for item in data] == [{"digit": d, "speaker": "bob"} for d in (1, 3, 5)]
    assert [clip.duration for clip in data.examples()] == [0.25, 0.5, 0.1]
    assert data[0].load().sample_rate == 8000
    renamed = read_dataset(archive, labels={"pitch": "take"})
    assert renamed[0].conditions == {"pitch": 7}


def test_silent_and_broken_rows_are_left_out(tmp_path):
    wave = np.ones((3, 100), np.float32)
    wave[1], wave[2, 5] = 0, np.nan
    np.savez(tmp_path / "a.npz", wave=wave, sample_rate=8000)
    data = read_dataset(tmp_path / "a.npz")
    assert len(data) == 1
    assert [why for _, why in data.report.skipped] == ["is silent", "holds NaN or infinite samples"]


def test_what_cannot_be_used_is_told(archive, tmp_path):
    empty = tmp_path / "nothing"
    empty.mkdir()
    (empty / "notes.txt").write_text("hello")
    (tmp_path / "broken.npz").write_bytes(b"PK no")
    np.savez(tmp_path / "other_8k.npz", digit=np.arange(3))
    np.savez(tmp_path / "rateless.npz", wave=np.zeros((2, 5)))
    for path, options, words in [
        (empty, {}, "no .wav .flac .ogg .mp3 .aif"),
        (tmp_path / "none", {}, "no such folder"),
        (tmp_path / "none.npz", {}, "no such file"),
        (tmp_path / "broken.npz", {}, "cannot be read"),
        (tmp_path / "other_8k.npz", {}, "needs an array `wave`"),
        (tmp_path / "rateless.npz", {}, "no sample rate"),
        (archive, {"labels": ["speeker"]}, "Did you mean 'speaker'"),
        (archive, {"where": "tak > 3"}, "Did you mean 'take'"),
        (archive, {"where": "take about 3"}, "cannot read"),
        (archive, {"where": "take > 99"}, "no usable audio"),
        (DATA, {"pattern": "{digit}-{speaker}"}, "does not follow the pattern"),
    ]:
        with pytest.raises(UsageError, match=words) as caught:
            read_dataset(path, **options)
        assert "\n" not in str(caught.value)


def test_conditions_come_from_labels():
    rows = [
        {"digit": str(i % 10), "word": "ab"[i % 2], "tempo": i + 0.5, "pitch": 60 + i % 5} for i in range(200)
    ]
    digit, word, tempo, pitch = conditions_of(rows)
    assert digit.choices[3] == "three"
    assert word.choices == ("a", "b")
    assert (tempo.kind, tempo.low, tempo.high) == ("real", 0.5, 199.5)
    assert pitch.parse("A4") == 69
    with pytest.raises(UsageError, match="too many"):
        conditions_of([{"name": f"file {i}"} for i in range(300)])
