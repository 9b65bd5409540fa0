"""The registry: names, versions, collisions, requests, and failures kept apart."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from plugin_packages import HEAD, install

import polydiff
from polydiff.errors import PluginError, UsageError
from polydiff.hookspecs import hookimpl
from polydiff.plugins import builtin, registry
from polydiff.plugins.registry import Registry
from polydiff.spec import KINDS, ComponentInfo, DomainInfo, PresetInfo, RunInfo

DOMAIN = DomainInfo("knots", "Knots", "Closed curves", "somewhere.heavy:Knots")


FILED = """
@hookimpl
def polydiff_domains():
    return DomainInfo("filed", "Filed", "", f"{__name__}:Filed")

class Filed:
    name = "filed"
"""


class Knots:
    """Closed curves.

    More than that is not the summary.
    """

    name = "knots"
    suffixes = (".knot",)


def plugin(name: str, **hooks: Any) -> Any:
    """A plugin object with hooks that return the given values."""
    implementations = {hook: hookimpl(lambda value=value: value) for hook, value in hooks.items()}
    return SimpleNamespace(polydiff_api=1, __name__=name, **implementations)


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry with the core alone."""
    monkeypatch.setattr(registry, "installed", lambda: [])
    return Registry()


@pytest.mark.parametrize("info", builtin.polydiff_components(), ids=lambda info: f"{info.kind}-{info.name}")
def test_every_part_of_the_core_is_there(empty: Registry, info: ComponentInfo) -> None:
    assert callable(empty.component(info.kind, info.full_name))


def test_the_core_lists_all_that_the_engine_has() -> None:
    from polydiff.engine.grids import GRIDS
    from polydiff.engine.processes import PROCESSES
    from polydiff.engine.schedules import SCHEDULES
    from polydiff.engine.solvers import SOLVERS

    for kind, known in {
        "grid": GRIDS,
        "process": PROCESSES,
        "schedule": SCHEDULES,
        "solver": SOLVERS,
    }.items():
        assert {info.name for info in builtin.polydiff_components() if info.kind == kind} == set(known)


def test_registering_a_class_an_info_and_a_module(empty: Registry) -> None:
    empty.register(Knots)
    assert empty.domain("knots") is Knots
    assert empty.domain_info("knots").summary == "Closed curves."
    empty.register(Knots)  # a notebook's cell, run again
    assert len(empty.domains()) == 1
    empty.register(ComponentInfo("solver", "mine", 1, lambda: "made"))
    assert empty.component("solver", "mine")() == "made"
    module = ModuleType("my_plugin")
    module.polydiff_api = 1  # type: ignore[attr-defined]
    module.polydiff_presets = hookimpl(lambda: PresetInfo("knots", "one", "/x", "CC0-1.0"))  # type: ignore[attr-defined]
    empty.register(module)
    assert empty.preset("knots").ref == "knots/one"  # the only one needs no default


def test_register_through_the_package(empty: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registry", empty)
    polydiff.register(Knots)
    assert registry.get_registry().domain("knots") is Knots


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (SimpleNamespace(__name__="x"), "does not state its plugin API. Add `polydiff_api = 1`"),
        (SimpleNamespace(__name__="x", polydiff_api=0), "written for plugin API 0, but this polydiff has 1"),
        (
            SimpleNamespace(__name__="x", polydiff_api=1, polydiff_domains=lambda: ()),
            "polydiff_domains is not marked as a hook. Put @polydiff.hookspecs.hookimpl above it",
        ),
        (
            plugin("x", polydiff_domains="knots"),
            r"polydiff_domains\(\) returned a str. Return DomainInfo objects",
        ),
        (plugin("x", polydiff_domains=3), r"polydiff_domains\(\) returned a int"),
        (plugin("x", polydiff_presets=[DOMAIN]), r"polydiff_presets\(\) returned a DomainInfo"),
        (
            plugin("x", polydiff_domains=DomainInfo("x", "X", "", "a:B", requirements=("no-such-thing>1",))),
            "needs no-such-thing>1, which is not installed. pip install 'no-such-thing>1'",
        ),
        (
            SimpleNamespace(
                __name__="x", polydiff_api=1, polydiff_domains=hookimpl(lambda: DomainInfo("X", "", "", ""))
            ),
            "the domain name 'X' must be lower-case letters, digits and _, a letter first. Fix",
        ),
        (
            SimpleNamespace(
                __name__="x", polydiff_api=1, polydiff_domains=hookimpl(wrapper=True)(lambda: (yield))
            ),
            "polydiff_domains is a wrapper. Only polydiff_run may be one",
        ),
    ],
)
def test_registering_what_is_wrong_says_so_and_leaves_nothing(empty: Registry, bad: Any, words: str) -> None:
    before = empty.plugins
    with pytest.raises(PluginError, match=words):
        empty.register(bad)
    assert empty.plugins == before


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: ComponentInfo("solvr", "x", 1, "a:b"),
            "unknown kind of component 'solvr'. Did you mean 'solver'?",
        ),
        (lambda: ComponentInfo("solver", "x", 0, "a:b"), "version must be 1, 2"),
        (lambda: ComponentInfo("solver", "x", 1, "no colon"), "must read 'package.module:Name'"),
        (lambda: DomainInfo("x", "X", "", "a:B", suffixes=("wav",)), "starts with a dot, not 'wav'"),
        (lambda: PresetInfo("x", "My Preset", "/x", "MIT"), "the preset name 'My Preset'"),
    ],
)
def test_descriptions_are_checked(make: Any, words: str) -> None:
    with pytest.raises(PluginError, match=re.escape(words)):
        make()
    assert len(KINDS) == len(set(KINDS))


def test_versions(empty: Registry) -> None:
    parts = [ComponentInfo("solver", "fast", version, lambda v=version: v) for version in (1, 3, 2)]
    empty.register(plugin("mine", polydiff_components=parts))
    assert empty.component("solver", "fast")() == 3
    assert empty.component("solver", "fast.v1")() == 1
    with pytest.raises(UsageError, match=r"unknown solver 'fast\.v4'\. Did you mean 'fast'\?"):
        empty.component("solver", "fast.v4")


def test_a_collision_names_both_owners(empty: Registry) -> None:
    empty.register(plugin("mine", polydiff_components=ComponentInfo("solver", "adams", 1, lambda: "mine")))
    with pytest.raises(
        PluginError, match="the solver adams is provided by both polydiff and mine: write polydiff:adams"
    ):
        empty.component("solver", "adams")
    assert empty.component("solver", "mine:adams")() == "mine"
    assert empty.component_info("solver", "polydiff:adams").factory == "polydiff.engine.solvers:adams"
    assert len(empty.collisions()) == 1


def test_a_newer_version_elsewhere_does_not_take_over_a_short_name(empty: Registry) -> None:
    empty.register(plugin("mine", polydiff_components=ComponentInfo("solver", "adams", 2, lambda: "mine")))
    with pytest.raises(PluginError, match="both polydiff and mine"):
        empty.component("solver", "adams")
    assert empty.component("solver", "adams.v2")() == "mine"
    assert empty.collisions() == ()


def test_colliding_domains_and_presets(empty: Registry) -> None:
    for name in ("mine", "yours"):
        preset = PresetInfo("knots", "one", f"/{name}", "CC0-1.0", default=True)
        empty.register(plugin(name, polydiff_domains=DOMAIN, polydiff_presets=preset))
    with pytest.raises(
        PluginError, match=r"both mine and yours: write mine:knots, or switch one off with -p no:yours"
    ):
        empty.domain_info("knots")
    with pytest.raises(PluginError, match="write knots/mine:one"):
        empty.preset("mine:knots", "one")
    assert empty.preset("mine:knots", "yours:one").folder == "/yours"
    assert len(empty.collisions()) == 2


def test_presets(empty: Registry) -> None:
    presets = [
        PresetInfo("knots", name, f"/{name}", "CC0-1.0", default=name == "two") for name in ("one", "two")
    ]
    empty.register(plugin("mine", polydiff_domains=DOMAIN, polydiff_presets=presets))
    assert empty.preset("knots").name == "two"
    assert empty.preset("knots", "one").folder == "/one"
    assert [info.ref for info in empty.presets("knots")] == ["knots/one", "knots/two"]
    with pytest.raises(
        UsageError, match=r"unknown preset knots/tow\. Did you mean 'two'\? Choose from one, two\."
    ):
        empty.preset("knots", "tow")


def test_a_domain_that_cannot_be_imported(empty: Registry) -> None:
    empty.register(DOMAIN)
    with pytest.raises(
        PluginError, match=re.escape("knots: importing somewhere.heavy needs the module 'somewhere'")
    ):
        empty.domain("knots")
    empty.register(DomainInfo("knots", "", "", "polydiff.spec:DomainInfo"))
    with pytest.raises(PluginError, match=re.escape("polydiff.spec:DomainInfo calls itself None")):
        empty.domain("knots")
    empty.register(DomainInfo("knots", "", "", "polydiff.spec:Missing"))
    with pytest.raises(
        PluginError, match=re.escape("AttributeError: module 'polydiff.spec' has no attribute 'Missing'")
    ):
        empty.domain("knots")


def test_unknown_domain(empty: Registry) -> None:
    with pytest.raises(PluginError, match=r"no plugin brings the domain 'knots'\. None is installed\."):
        empty.domain("knots")
    empty.register(Knots)
    with pytest.raises(PluginError, match=r"Did you mean 'knots'\? Choose from knots\."):
        empty.domain("knot")


def test_a_file_as_plugin(empty: Registry, tmp_path: Path) -> None:
    good = tmp_path / "filed_plugin.py"
    good.write_text(HEAD + FILED)
    empty.require(str(good))
    empty.require(str(good))
    assert empty.domain("filed").__name__ == "Filed"
    assert [record.name for record in empty.plugins] == ["polydiff", "filed_plugin"]


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("nowhere.py", None, "there is no file"),
        ("numpy.py", HEAD, "'numpy' is taken or no module name. Rename numpy.py"),
        ("bad-name.py", HEAD, "is taken or no module name"),
        ("unfinished.py", "def (", r"importing unfinished.py raised SyntaxError"),
    ],
)
def test_files_that_are_no_plugin(
    empty: Registry, tmp_path: Path, name: str, code: str | None, words: str
) -> None:
    if code is not None:
        (tmp_path / name).write_text(code)
    with pytest.raises(PluginError, match=words):
        empty.require(str(tmp_path / name))


def test_requests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(tmp_path, "one", HEAD)
    install(tmp_path, "two", "raise ValueError('imported, though switched off')")
    (tmp_path / "plain_module.py").write_text(HEAD)
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    found = Registry(["no:two", "plain_module", "absent_module"])
    status = {record.name: record.status for record in found.plugins}
    assert status == {
        "polydiff": "ok",
        "one": "ok",
        "two": "off",
        "plain_module": "ok",
        "absent_module": "broken",
    }
    with pytest.raises(PluginError, match="the plugin two is switched off"):
        found.domain("two")
    with pytest.raises(
        PluginError, match=re.escape("no plugin, module or file has that name. Install it, or check the name")
    ):
        found.require("absent_module")
    with pytest.raises(
        PluginError, match=re.escape("there is no plugin 'oen' to switch off. Did you mean 'one'?")
    ):
        found.require("no:oen")
    found.require("no:polydiff-one")
    assert {record.name: record.status for record in found.plugins}["one"] == "off"


def test_the_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registry", None)
    monkeypatch.setenv("POLYDIFF_PLUGINS", " no:audio , absent_module")
    status = {record.name: record.status for record in registry.get_registry().plugins}
    assert status["absent_module"] == "broken"  # listed; it does not stop anyone
    assert status.get("audio", "off") == "off"


def test_unreadable_metadata_stops_no_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(tmp_path, "one", HEAD)
    garbage = tmp_path / "garbage-1.0.dist-info"
    garbage.mkdir()
    (garbage / "METADATA").write_bytes(b"\xff\xfe\x00")
    (garbage / "entry_points.txt").write_bytes(b"[polydiff.plugins]\n\xff = ]]\n")
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    assert {record.name for record in Registry().plugins} >= {"polydiff", "one"}


def test_requirements_with_markers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(tmp_path, "one", HEAD, requires=("absent-a; extra == 'more'", "absent-b; python_version < '3'"))
    install(tmp_path, "two", HEAD, requires=("absent-c[x]>=1; python_version >= '3'",))
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    records = {record.name: record for record in Registry().plugins}
    assert records["one"].status == "ok"
    assert records["two"].cause == "needs absent-c[x]>=1, which is not installed"


def test_a_hook_that_fails_during_a_run_harms_no_other(empty: Registry) -> None:
    def fail(run: RunInfo) -> None:
        raise SystemExit(4)

    told = []
    empty.register(SimpleNamespace(polydiff_api=1, __name__="bad", polydiff_run_finished=hookimpl(fail)))
    good = hookimpl(lambda run, outputs: told.append(outputs))
    empty.register(SimpleNamespace(polydiff_api=1, __name__="good", polydiff_run_finished=good))
    line = fail.__code__.co_firstlineno + 1
    empty.finished(RunInfo("sample", "knots", lambda: None), ["a.knot"])
    assert told == [["a.knot"]]
    assert [(record.name, record.cause) for record in empty.broken] == [
        (
            "bad",
            f"polydiff_run_finished() called sys.exit(4) (test_registry.py, line {line})",
        )
    ]


def test_a_plugin_that_wants_the_registry_while_it_is_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(tmp_path, "hasty", "import polydiff\npolydiff.register(polydiff)\n")
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(registry, "_registry", None)
    (broken,) = registry.get_registry().broken
    assert (broken.name, "use hooks instead" in broken.cause) == ("hasty", True)


def test_tryfirst_and_first_result(empty: Registry) -> None:
    for name, options in {"a": {}, "b": {"tryfirst": True}, "c": {}}.items():
        answer = hookimpl(lambda ref, name=name: None if ref == name else name, **options)
        empty.register(SimpleNamespace(polydiff_api=1, __name__=name, polydiff_resolve_checkpoint=answer))
    assert empty.resolve_checkpoint("x") == "b"
    assert empty.resolve_checkpoint("b") == "c"


def test_run_executes_once_inside_every_wrapper(empty: Registry) -> None:
    order = []

    def around(name: str) -> Any:
        @hookimpl(wrapper=True)
        def polydiff_run(run: RunInfo) -> Any:
            order.append(f"{name} in")
            result = yield
            order.append(f"{name} out")
            return result

        return SimpleNamespace(polydiff_api=1, __name__=name, polydiff_run=polydiff_run)

    empty.register(around("a"))
    empty.register(around("b"))
    assert empty.run(RunInfo("train", "knots", lambda: order.append("run") or "done")) == "done"
    assert order == ["b in", "a in", "run", "a out", "b out"]


def test_a_run_that_returns_nothing_runs_once(empty: Registry) -> None:
    calls: list[int] = []
    assert empty.run(RunInfo("train", "knots", lambda: calls.append(1))) is None
    assert calls == [1]
