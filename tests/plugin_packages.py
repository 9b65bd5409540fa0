"""Plugin distributions for tests: laid out on disk as pip installs a wheel."""

from __future__ import annotations

from pathlib import Path

HEAD = """
from polydiff.hookspecs import hookimpl
from polydiff.spec import ComponentInfo, DomainInfo, PresetInfo

polydiff_api = 1
"""


def install(
    site: Path,
    name: str,
    code: str,
    requires: tuple[str, ...] = (),
    groups: dict[str, str] | None = None,
    version: str = "1.0",
) -> None:
    """Install a distribution `polydiff-NAME` with one module `polydiff_NAME` into a folder on the path."""
    (site / f"polydiff_{name}.py").write_text(code)
    info = site / f"polydiff_{name}-{version}.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: polydiff-{name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    (info / "WHEEL").write_text(
        "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    (info / "INSTALLER").write_text("test\n")
    groups = {"polydiff.plugins": f"{name} = polydiff_{name}"} if groups is None else groups
    sections = [f"[{group}]\n{entry}\n" for group, entry in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(sections))
    files = [f"polydiff_{name}.py", *(f"{info.name}/{file.name}" for file in info.iterdir())]
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in [*files, f"{info.name}/RECORD"]))
