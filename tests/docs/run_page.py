"""Runs one page from top to bottom in the current folder and fails at its first lie:

    python -m tests.docs.run_page PAGE

`polydiff ...` runs in this process (an import of torch a command would be most of the time), and so do the
two other commands that pages use in a way that a test cannot: `make X` is looked up, `pip install DIR` puts
the wheel of DIR on the path.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.docs.pages import ROOT, Block, blocks, commands, missing_line


def run_polydiff(arguments: list[str]) -> str:
    from polydiff.cli.main import main

    out = io.StringIO()
    old, sys.argv = sys.argv, ["polydiff", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = main()
    except SystemExit as stop:
        code = stop.code
    finally:
        sys.argv = old
    return out.getvalue() + (f"[exit code {code}]\n" if code else "")


def run_make(arguments: list[str]) -> str:
    subprocess.run(["make", "-n", *arguments], cwd=ROOT, check=True, capture_output=True)
    return ""


def run_pip(arguments: list[str]) -> str:
    words = [word.partition("[")[0] for word in arguments[1:]]
    folders = [word for word in words if word != "." and Path(word).is_dir()]
    if not folders:  # a package by its name, or this checkout, which is installed
        return ""
    for folder in folders:
        build = [
            sys.executable,
            "-m",
            "hatchling",
            "build",
            "-t",
            "wheel",
            "-d",
            str(Path("wheels").absolute()),
        ]
        subprocess.run(build, cwd=folder, check=True, capture_output=True)
    site = Path("site-packages").absolute()
    for wheel in Path("wheels").glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(site)
    sys.path.insert(0, str(site))
    os.environ["PYTHONPATH"] = f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    importlib.invalidate_caches()
    from polydiff.plugins import registry

    registry._registry = None  # as in a new process: plugins are found anew
    return ""


def run_shell(line: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", line],
        env={**os.environ, "PATH": path},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout + (f"[exit code {done.returncode}]\n" if done.returncode else "")


def run_command(line: str) -> str:
    words = shlex.split(line, comments=True)
    simple = not any(character in line for character in "|>;&$*")
    if simple and words[0] == "cd":
        os.chdir(words[1])
        return ""
    if simple and words[0] in ("polydiff", "make", "pip"):
        return {"polydiff": run_polydiff, "make": run_make, "pip": run_pip}[words[0]](words[1:])
    if words[:2] == ["git", "clone"]:  # what would be cloned is what `bring_recordings` brings
        Path(Path(words[2]).name).symlink_to(".")
        return ""
    return run_shell(line)


def run_block(block: Block, names: dict[str, object]) -> None:
    if block.title:
        Path(block.title).parent.mkdir(parents=True, exist_ok=True)
        Path(block.title).write_text(block.text, encoding="utf-8")
    elif block.language == "python":
        exec(compile("\n" * block.line + block.text, names["__page__"], "exec"), names)
    elif block.language == "console":
        for command in commands(block):
            printed = run_command(command.line)
            failed = "[exit code" in printed and not any("exit code" in line for line in command.output)
            missing = missing_line(command.output, printed)
            if failed or missing:
                why = "it fails" if failed else f"it does not print {missing!r}"
                raise AssertionError(f"$ {command.line}\n{why}; it prints:\n{printed}")
    elif block.language in ("bash", "sh", "shell", "pycon"):
        raise AssertionError(f"write ```console with '$ ' before each command, not ```{block.language}")


def bring_recordings() -> None:
    """What readers are told to bring: folders of short recordings, here decaying tones."""
    import numpy as np
    import soundfile

    names = [f"hits/{kind}/{take}.wav" for kind in ("hat", "kick", "snare") for take in range(4)]
    names += [f"recordings/{digit}_{who}_0.wav" for digit in range(10) for who in ("ann", "theo")]
    for number, name in enumerate(names):
        time = np.arange(2400 + 100 * (number % 4)) / 8000
        wave = np.sin(2 * np.pi * (200 + 40 * number) * time) * np.exp(-10 * time)
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(name, 0.8 * wave, 8000)


def run_page(page: Path) -> None:
    bring_recordings()
    names: dict[str, object] = {"__name__": "__page__", "__page__": str(page)}
    for block in blocks(page):
        print(f"{page.name}, line {block.line}", file=sys.stderr, flush=True)
        run_block(block, names)


if __name__ == "__main__":
    run_page(Path(sys.argv[1]))
