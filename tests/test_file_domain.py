"""The bases of domains: a table of formats, example types that save themselves, what fine-tuning keeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from polydiff.conditions import Condition, Real
from polydiff.dataset import Dataset
from polydiff.domain import ConfiguredDomain, Strict
from polydiff.errors import UsageError
from polydiff.file_domain import FileDomain, FileExample, Format


@dataclass(frozen=True)
class Word(FileExample):
    domain: ClassVar[str] = f"{__name__}:Words"
    text: str
    notes: tuple[str, ...] = ()


def read(path: Path) -> Word:
    return Word(Path(path).read_text(), ("read",))


def write(word: Word, path: Path, *, end: str = "") -> list[str]:
    Path(path).write_text(word.text + end)
    return ["written"]


def read_backwards(path: Path) -> Word:
    return Word(Path(path).read_text()[::-1])


def draw(word: Word) -> bytes:
    return f"picture of {word.text}".encode()


class WordConfig(Strict):
    width: int = 8
    longest: int = 1
    conditions: tuple[Condition, ...] = ()


class Words(ConfiguredDomain, FileDomain):
    name = "words"
    Config = WordConfig
    formats: ClassVar[dict[str, Format]] = {".txt": Format(read, write), ".bak": Format(read_backwards)}
    picture = f"{__name__}:draw"
    inherit = ("width", "conditions")

    encode = decode = processes = network = shapes = None  # type: ignore[assignment]

    @classmethod
    def configure(cls, dataset: Dataset, overrides: Any) -> WordConfig:
        return WordConfig(**{"longest": max(len(x.text) for x in dataset.examples()), **overrides})


def test_suffixes_come_from_the_table():
    assert Words.suffixes == (".txt",)
    assert Words.also_reads == (".bak",)


def test_a_file_is_read_by_its_suffix(tmp_path):
    for name in ("a.txt", "a.BAK", "a.other"):
        (tmp_path / name).write_text("abc")
    loaded = [Words().load(tmp_path / name).text for name in ("a.txt", "a.BAK", "a.other")]
    assert loaded == ["abc", "cba", "abc"]


def test_notes_of_the_example_come_first(tmp_path):
    assert Words().save(Word("abc", ("read",)), tmp_path / "a.txt") == ["read", "written"]


def test_an_example_saves_and_shows_itself(tmp_path):
    word = Word("abc", ("read",))
    assert word.save(tmp_path / "a.txt", end="!") == ["written"]
    assert (tmp_path / "a.txt").read_text() == "abc!"
    assert word.preview() == Words().preview(word) == b"picture of abc"
    assert word._repr_html_().startswith('<img src="data:image/png;base64,')


@pytest.mark.parametrize("name", ["a.bak", "a.tx", "a"])
def test_what_is_not_written_is_told(tmp_path, name):
    with pytest.raises(UsageError, match=r"choose one of \.txt"):
        Word("abc").save(tmp_path / name)


def test_a_fine_tuned_model_keeps_what_it_inherits():
    before = WordConfig(width=16, longest=2, conditions=(Real(name="age", low=0, high=1),))
    data = Dataset.of([Word("abcd")])
    after = Words.fine_tuned(before, data, {})
    assert (after.width, after.longest) == (16, 4)
    assert Words(after).conditions().names == Words(before).conditions().names == ("age",)
    assert Words.fine_tuned(before, data, {"width": 32}).width == 32
