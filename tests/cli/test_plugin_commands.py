"""Distributions that bring commands: listed, explained, switched off, and told apart where names clash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugin_packages import HEAD, install

HELLO = '''
import click

@click.command()
@click.option("--name", default="you", help="Whom.")
def hello(name):
    """Greet somebody, and more than that is
    not in the first sentence. Never."""
    click.echo(f"hello {name}")

@click.command(help="Another train.")
def train():
    click.echo("not the core's")

raise_if_imported = __import__("os").environ.get("NO_IMPORT") and 1 / 0
'''


def only_commands(site: Path, name: str, *commands: str) -> None:
    entries = "\n".join(f"{command} = polydiff_{name}:{command}" for command in commands)
    install(site, name, HELLO, groups={"polydiff.commands": entries}, version="2.5")


def run(site: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "polydiff", *arguments],
        env={**os.environ, "PYTHONPATH": str(site), "POLYDIFF_PLUGINS": "", **variables},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A distribution that brings two commands and nothing else; one of them has a name of the core's."""
    folder = tmp_path_factory.mktemp("site")
    only_commands(folder, "greeter", "hello", "train")
    return folder


def test_it_is_a_plugin_as_others_are(site: Path) -> None:
    plugins = {x["name"]: x for x in json.loads(run(site, "plugins", "--json").stdout)["plugins"]}
    assert plugins["polydiff-greeter"]["status"] == "ok"
    assert plugins["polydiff-greeter"]["version"] == "2.5"
    assert plugins["polydiff-greeter"]["commands"] == ["hello", "train"]
    assert "command hello, command train" in run(site, "plugins").stdout


def test_its_help_line_costs_no_import(site: Path) -> None:
    done = run(site, "--help", NO_IMPORT="1")
    assert "  hello         Greet somebody, and more than that is not in the" in done.stdout
    assert "(polydiff-greeter)" in done.stdout
    assert done.stdout.count("  train ") == 1  # the core's own
    assert max(map(len, done.stdout.splitlines())) <= 90


@pytest.mark.parametrize("name", ["polydiff-greeter", "polydiff_greeter"])
def test_switched_off_by_a_flag_or_a_variable(site: Path, name: str) -> None:
    assert run(site, "hello", "--name", "Ann").stdout == "hello Ann\n"
    for words, variables in (([], {"POLYDIFF_PLUGINS": f"no:{name}"}), (["-p", "no:polydiff-greeter"], {})):
        done = run(site, *words, "hello", **variables)
        assert (done.returncode, done.stdout) == (2, "")
        assert "there is no command 'hello'" in done.stderr
        assert "hello" not in run(site, *words, "--help", **variables).stdout
        assert run(site, *words, "plugins", **variables).returncode == 0


def test_a_command_of_the_cores_name_is_said_and_the_core_wins(site: Path) -> None:
    line = "command train of polydiff-greeter is hidden by polydiff's own. Tell its author."
    assert line in run(site, "plugins").stdout
    assert line in run(site, "doctor").stdout
    assert "Train a model of DOMAIN" in run(site, "train", "--help").stdout


def test_two_that_bring_one_command(tmp_path: Path) -> None:
    only_commands(tmp_path, "greeter", "hello")
    groups = {
        "polydiff.plugins": "polite = polydiff_polite",
        "polydiff.commands": "hello = polydiff_polite:hello",
    }
    install(tmp_path, "polite", HEAD + HELLO, groups=groups)
    clash = (
        "command hello is provided by both polydiff-greeter and polydiff-polite: switch one off with -p no:"
    )
    assert clash in run(tmp_path, "plugins").stdout
    done = run(tmp_path, "hello")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert "provided by both polydiff-greeter and polydiff-polite: switch one off with -p no:" in done.stderr
    assert "provided twice (polydiff-greeter and polydiff-polite)" in run(tmp_path, "--help").stdout
    assert run(tmp_path, "-p", "no:polite", "hello").stdout == "hello you\n"
    assert run(tmp_path, "-p", "no:polydiff-greeter", "hello").stdout == "hello you\n"
