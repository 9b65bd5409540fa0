"""Four good plugins and seven broken ones in one environment: the good work, the broken are named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugin_packages import HEAD, install

GOOD = {
    "knots": HEAD
    + """
@hookimpl
def polydiff_domains():
    return DomainInfo("knots", "Knots", "Closed curves", "polydiff_knots:Knots", suffixes=(".knot",))

@hookimpl
def polydiff_presets():
    yield PresetInfo("knots", "trefoil", "/nowhere", "CC0-1.0", 1, "Three crossings", default=True)

class Knots:
    name = "knots"
""",
    "steps": HEAD
    + """
@hookimpl
def polydiff_components():
    return [ComponentInfo("solver", "euler", version, "polydiff_steps:euler") for version in (1, 2)]

def euler(schedule, times):
    return "a table"
""",
    "watch": HEAD
    + """
print("a plugin that chats while it is imported")

@hookimpl
def polydiff_callbacks(run):
    return [lambda *_: None]

@hookimpl(wrapper=True)
def polydiff_run(run):
    result = yield
    return result + ["watched"]
""",
    "finder": HEAD
    + """
import click

@hookimpl
def polydiff_guess_domain(path, head):
    return "knots" if head.startswith(b"KNOT") else None

@hookimpl
def polydiff_resolve_checkpoint(ref):
    return "/models/knot" if ref == "shelf:knot" else None

@click.command()
@click.argument("name")
def find(name):
    click.echo(f"found {name}")
""",
}

BROKEN = {
    "importless": (
        "from polydiff.spec import NoSuchThing\n",
        "ImportError: cannot import name 'NoSuchThing'",
        "pip install -U polydiff-importless",
    ),
    "needy": (
        HEAD,
        "needs not-to-be-found>=2.0, which is not installed",
        "pip install 'not-to-be-found>=2.0'",
    ),
    "hooky": (
        HEAD + "@hookimpl\ndef polydiff_domain():\n    return ()\n",
        "polydiff_domain is not a hook",
        "Did you mean 'polydiff_domains'?",
    ),
    "wordy": (
        HEAD + "@hookimpl\ndef polydiff_guess_domain(path, header):\n    return None\n",
        "polydiff_guess_domain asks for an argument 'header'",
        "Did you mean 'head'? It gets path, head.",
    ),
    "futuristic": (HEAD.replace("= 1", "= 99"), "written for plugin API 99", "pip install -U polydiff"),
    "quitter": (
        "raise SystemExit('goodbye')\n",
        "called sys.exit('goodbye') (polydiff_quitter.py, line 1)",
        "remove it",
    ),
    "raiser": (
        HEAD + "@hookimpl\ndef polydiff_presets():\n    return 1 / 0\n",
        "polydiff_presets() raised ZeroDivisionError: division by zero (polydiff_raiser.py, line 8)",
        "tell its author",
    ),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all eleven distributions, to be put on the path."""
    folder = tmp_path_factory.mktemp("site")
    for name, code in GOOD.items():
        commands = {"polydiff.commands": "find = polydiff_finder:find"} if name == "finder" else {}
        install(folder, name, code, groups={"polydiff.plugins": f"{name} = polydiff_{name}", **commands})
    for name, (code, _, _) in BROKEN.items():
        install(folder, name, code, requires=("not-to-be-found>=2.0",) if name == "needy" else ())
    return folder


def run(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`polydiff ARGUMENTS` in a new process that sees the distributions."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, "-m", "polydiff", *arguments], env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def listing(site: Path) -> dict[str, dict[str, str]]:
    """What `polydiff plugins --json` says of each plugin."""
    done = run(site, "plugins", "--json")
    assert done.returncode == 0, done.stderr
    assert "chats" in done.stderr  # a plugin's prints stay off stdout, or this would be no JSON
    return {plugin["name"]: plugin for plugin in json.loads(done.stdout)["plugins"]}


@pytest.mark.parametrize("name", GOOD)
def test_good_ones_are_listed_as_well(listing: dict[str, dict[str, str]], name: str) -> None:
    assert listing[name]["status"] == "ok"
    assert listing[name]["distribution"] == f"polydiff-{name}"


@pytest.mark.parametrize("name", BROKEN)
def test_broken_ones_are_named_with_cause_and_remedy(listing: dict[str, dict[str, str]], name: str) -> None:
    _, cause, remedy = BROKEN[name]
    assert listing[name]["status"] == "broken"
    assert cause in listing[name]["cause"]
    assert remedy in listing[name]["remedy"]


def test_nothing_of_a_broken_plugin_remains(listing: dict[str, dict[str, str]]) -> None:
    assert all(not listing[name]["components"] and not listing[name]["domains"] for name in BROKEN)


def test_the_page_for_people(site: Path) -> None:
    done = run(site, "plugins")
    assert done.returncode == 0
    for name, (_, cause, remedy) in BROKEN.items():
        assert f"{name} is broken: " in done.stdout
        assert cause in done.stdout
        assert remedy in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_good_ones_work(site: Path) -> None:
    code = """
from polydiff.plugins.registry import get_registry
from polydiff.spec import RunInfo
registry = get_registry()
assert registry.domain("knots").name == "knots"
assert registry.preset("knots").name == "trefoil"
assert registry.component("solver", "euler")(None, None) == "a table"
assert registry.component_info("solver", "euler").version == 2
assert registry.component_info("solver", "euler.v1").version == 1
run = RunInfo("sample", "knots", lambda: ["run"])
assert registry.run(run) == ["run", "watched"]
assert len(registry.callbacks(run)) == 1
assert registry.guess_domain("a.bin", b"KNOT...") == "knots"
assert registry.guess_domain("a.bin", b"....") is None
assert registry.resolve_checkpoint("shelf:knot") == "/models/knot"
"""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_plugins_command(site: Path) -> None:
    assert "find          (from polydiff-finder)" in run(site, "--help").stdout
    assert run(site, "find", "knot").stdout == "found knot\n"
    assert run(site, "fnd", "knot").stderr == "Error: there is no command 'fnd'. Did you mean 'find'?\n"


def test_using_a_broken_plugin_fails_with_its_cause(site: Path) -> None:
    done = run(site, "presets", "quitter")
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith(
        "Error: the plugin quitter is broken: importing polydiff_quitter"
    )


def test_strict(site: Path) -> None:
    done = run(site, "--strict", "domains")
    assert done.returncode == 3
    assert all(name in done.stderr for name in BROKEN)
    assert run(site, "--strict", "plugins").returncode == 3


def test_switching_off(site: Path) -> None:
    done = run(site, *(word for name in BROKEN for word in ("-p", f"no:{name}")), "--strict", "domains")
    assert done.returncode == 0, done.stderr
    assert "knots" in done.stdout
