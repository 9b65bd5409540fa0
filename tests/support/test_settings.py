"""Settings: where they come from, which wins, what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from polydiff.domain import Strict
from polydiff.errors import UsageError
from polydiff.support.settings import check_sections, from_assignments, from_file, from_variables, merged
from polydiff.support.validate import validated


class Inner(Strict):
    width: int = Field(default=1, gt=0)


class Outer(Strict):
    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"iner": {}}, r"here: unknown key 'iner'\. Did you mean 'inner'\?"),
        ({"inner": {"widht": 2}}, r"here: unknown key 'inner\.widht'\. Did you mean 'width'\?"),
        ({"inner": {"zzz": 2}}, r"Known: width\."),
        ({"inner": {"width": 0}}, r"here: inner\.width: .*greater than 0.* \(got 0\)"),
    ],
)
def test_a_wrong_value_is_one_line(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        validated(Outer, values, "here")


def test_layers_override_each_other(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[training]\nsteps = 1\nseed = 1\nlearning_rate = 1e-3\n")
    variables = from_variables(
        ["training"],
        {"POLYDIFF_TRAINING__STEPS": "2", "POLYDIFF_TRAINING__SEED": "2", "POLYDIFF_PLUGINS": "x"},
    )
    layers = merged(from_file(path), variables, from_assignments(["training.steps=3"]))
    assert layers == {"training": {"steps": 3, "seed": 2, "learning_rate": 1e-3}}


def test_values_are_read_as_toml_or_text() -> None:
    assert from_assignments(["a.b=true", "a.c=seven", 'a.d="7"', "e="]) == {
        "a": {"b": True, "c": "seven", "d": "7"},
        "e": "",
    }


@pytest.mark.parametrize("word", ["steps", "=3", "a..b=1"])
def test_a_word_that_is_no_assignment(word: str) -> None:
    with pytest.raises(UsageError, match="write KEY=VALUE"):
        from_assignments([word])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("steps = = 1")
    with pytest.raises(UsageError, match=r"bad\.toml: not valid TOML"):
        from_file(tmp_path / "bad.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        from_file(tmp_path / "none.toml")


def test_unknown_sections() -> None:
    with pytest.raises(UsageError, match=r"Did you mean 'sampling'\?"):
        check_sections({"samplng": {}}, ["sampling"], "--set")
