"""The commands and the help page, as plain data: `polydiff --help` imports this and little else."""

import os
import sys

GROUP = "polydiff.commands"
"""Entry points of this group are commands too: each names a click command."""

COMMANDS = {
    "sample": "Make samples with a model",
    "train": "Train a model on a folder of files",
    "evaluate": "Measure samples beside real data",
    "calibrate": "Tune a solver's table to a model, for few steps",
    "replay": "Make a sample again from its provenance file",
    "plugins": "What is installed, from where, healthy or not",
    "domains": "The kinds of data",
    "solvers": "The solvers; --show prints one as a table",
    "presets": "The trained models that come with plugins",
    "schema": "A domain's or a model's settings as JSON Schema",
    "new-plugin": "Write a plugin package to start from",
    "doctor": "Check the installation",
}
"""Commands of the core and what they do; each is `command` in the module of its name."""

OPTIONS = {
    "-p, --plugin NAME": "Also load a plugin: a name, a module or a file.py;\n"
    "no:NAME leaves one out. May be repeated.",
    "--strict": "Stop if any plugin is broken.",
    "--debug": "Show the traceback of an error.",
    "--version": "Print the version.",
    "-h, --help": "Print this page; after a command, the command's.",
}


def plugin_commands() -> dict[str, str]:
    """Commands that installed plugins bring, and the distribution of each, read from the path alone.

    importlib.metadata would say the same and take longer than the whole of `polydiff --help`.
    """
    found: dict[str, str] = {}
    for folder in sys.path:
        try:
            names = sorted(os.listdir(folder or "."))
        except OSError:
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                for command in _declared(os.path.join(folder, name, "entry_points.txt")):
                    found.setdefault(command, name.partition("-")[0].replace("_", "-"))
    return found


def _declared(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, ValueError):
        return []
    _, header, rest = text.partition(f"[{GROUP}]")
    lines = rest.partition("\n[")[0].splitlines()
    return [line.partition("=")[0].strip() for line in lines if "=" in line] if header else []


def help_page() -> str:
    """The text of `polydiff --help`."""
    rows = list(COMMANDS.items())
    rows += [(name, f"(from {owner})") for name, owner in plugin_commands().items() if name not in COMMANDS]
    return "\n".join(
        [
            "Usage: polydiff [OPTIONS] COMMAND [ARGS]...",
            "",
            "  One diffusion engine for any kind of data.",
            "",
            "Commands:",
            *_columns(rows, 14),
            "",
            "Options:",
            *_columns(list(OPTIONS.items()), 20),
            "",
            "Exit codes: 0 done, 1 failed, 2 bad input, 3 plugin missing or broken, 130 interrupted.",
        ]
    )


def _columns(rows: list[tuple[str, str]], width: int) -> list[str]:
    indent = "\n" + " " * (width + 2)
    return [f"  {name:<{width}}" + text.replace("\n", indent) for name, text in rows]
