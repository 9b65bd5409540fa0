"""Folders of labelled files."""

from __future__ import annotations

from pathlib import Path

import pytest

from polydiff.dataset import DataReport, Dataset, checked, labelled_files
from polydiff.errors import UsageError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def test_the_folder_is_the_label(tmp_path: Path) -> None:
    touch(tmp_path, "cat/b.txt", "cat/a.TXT", "dog/c.txt", "loose.txt", "dog/readme.md")
    found = [(path.name, labels) for path, labels in labelled_files(tmp_path, (".txt",), label="animal")]
    assert found == [
        ("a.TXT", {"animal": "cat"}),
        ("b.txt", {"animal": "cat"}),
        ("c.txt", {"animal": "dog"}),
        ("loose.txt", {}),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.csv", "\ufefffile_name,digit,speaker\na.txt,7,theo\nb.txt,8,\n"),
        (
            "metadata.jsonl",
            '{"file_name": "a.txt", "digit": "7", "speaker": "theo"}\n\n'
            '{"file_name": "b.txt", "digit": "8"}\n',
        ),
    ],
)
def test_metadata_wins_over_folders(tmp_path: Path, name: str, text: str) -> None:
    touch(tmp_path, "a.txt", "b.txt", "other/c.txt")
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = [(path.name, labels) for path, labels in labelled_files(tmp_path, (".txt",), label="digit")]
    assert found == [("a.txt", {"digit": "7", "speaker": "theo"}), ("b.txt", {"digit": "8"})]


def test_a_pattern_reads_file_names(tmp_path: Path) -> None:
    touch(tmp_path, "7_theo_0.txt", "8_jackson_12.txt")
    found = labelled_files(tmp_path, (".txt",), pattern="{digit}_{speaker}_{take}")
    assert found[1][1] == {"digit": "8", "speaker": "jackson", "take": "12"}
    touch(tmp_path, "nine.txt")
    with pytest.raises(UsageError, match=r"nine\.txt: the name does not follow the pattern"):
        labelled_files(tmp_path, (".txt",), pattern="{digit}_{speaker}_{take}")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metadata.csv", "name,digit\na.txt,7\n", "row 1 has no file_name"),
        ("metadata.jsonl", '{"file_name": "a.txt"}\n{"file_na', "cannot be read"),
        ("metadata.jsonl", "7\n", "row 1 has no file_name"),
    ],
)
def test_bad_metadata_is_one_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message) as error:
        labelled_files(tmp_path, (".txt",))
    assert "\n" not in str(error.value)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        labelled_files(tmp_path / "nowhere", (".txt",))
    with pytest.raises(UsageError, match=r"no \.txt file in it"):
        labelled_files(tmp_path, (".txt",))


def test_bad_files_are_skipped_and_named(tmp_path: Path) -> None:
    def load(path: Path) -> str:
        if path.name == "bad.txt":
            raise UsageError(f"{path}: bad.")
        return path.read_text()

    touch(tmp_path, "bad.txt", "good.txt")
    data = checked(labelled_files(tmp_path, (".txt",)), load)
    assert data.examples() == ["good.txt"]
    [(path, why)] = data.report.skipped
    assert path.endswith("bad.txt")
    assert why.endswith("bad.")
    (tmp_path / "good.txt").unlink()
    with pytest.raises(UsageError, match="None of the 1 files can be read"):
        checked(labelled_files(tmp_path, (".txt",)), load)


def test_a_report_names_a_few_and_counts_the_rest() -> None:
    report = DataReport(3, tuple((f"{i}.wav", "silent") for i in range(7)), {"rates": "8000 Hz"})
    lines = report.lines(most=2)
    assert lines == [
        "3 examples",
        "rates: 8000 Hz",
        "skipped 0.wav: silent",
        "skipped 1.wav: silent",
        "skipped 5 more",
    ]


def test_a_dataset_slices() -> None:
    data = Dataset.of("abcd", [{"x": i} for i in range(4)])
    assert data[1:3].examples() == ["b", "c"]
    assert data[1:3].labels("x") == [1, 2]
    assert data[0:1].labels("y") == [None]
