"""The commands and the help page, as plain data: `polydiff --help` imports this and little else."""

import os
import sys

from polydiff.plugins import NO, VARIABLE

GROUP = "polydiff.commands"
"""Entry points of this group are commands too: each names a click command."""

WIDTH = 90
"""Columns of the help page."""

COMMANDS = {
    "sample": "Make samples with a model",
    "train": "Train a model on a folder of files",
    "evaluate": "Measure samples beside real data",
    "calibrate": "Tune a solver's table to a model, for few steps",
    "view": "Show files on one HTML page",
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


def plugin_commands() -> dict[str, list[tuple[str, str]]]:
    """Commands that installed plugins bring and nobody switched off: of each the distributions that bring it,
    and where it is, as in ("polydiff-mine", "polydiff_mine.commands:tune"). Read from the path alone.

    importlib.metadata would say the same and take longer than the whole of `polydiff --help`.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    seen = set()
    for folder in sys.path:
        try:
            names = sorted(os.listdir(folder or "."))
        except OSError:
            continue
        for name in names:
            owner = name.partition("-")[0].replace("_", "-")
            if not name.endswith((".dist-info", ".egg-info")) or owner in seen:
                continue
            seen.add(owner)  # the first on the path is the one that is imported
            text = _text(os.path.join(folder, name, "entry_points.txt"))
            commands = _declared(text, GROUP)
            if commands and not switched_off(owner, *list(_declared(text, "polydiff.plugins"))[:1]):
                for command, target in commands.items():
                    found.setdefault(command, []).append((owner, target))
    return found


def switched_off(*names: str) -> bool:
    """Whether the environment leaves out a plugin of one of these names."""
    words = [word.strip() for word in os.environ.get(VARIABLE, "").split(",")]
    off = {_normal(word.removeprefix(NO)) for word in words if word.startswith(NO)}
    return any(_normal(name) in off for name in names)


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError):
        return ""


def _declared(text: str, group: str) -> dict[str, str]:
    """The entry points of a group: name and target."""
    lines = text.partition(f"[{group}]")[2].partition("\n[")[0].splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {name.strip(): target.strip() for name, _, target in pairs}


def _help_line(target: str) -> str:
    """What a plugin's command says of itself in its first sentence, read from its source: importing it would
    cost what the plugin costs. Empty where it is not written out there."""
    module, _, name = target.partition(":")
    inside = module.replace(".", "/")
    for folder in sys.path:
        for path in (f"{inside}.py", f"{inside}/__init__.py"):
            text = _text(os.path.join(folder, path))
            if text:
                return _sentence(text, name)
    return ""


def _sentence(source: str, name: str) -> str:
    """
    >>> _sentence("@command(help='Say it. Twice.')\\ndef f(): pass", "f")
    'Say it'
    """
    try:
        tree = compile(source, "<command>", "exec", 0x400)  # ast.PyCF_ONLY_AST: importing ast is not quick
    except (SyntaxError, ValueError):
        return ""
    for node in vars(tree)["body"]:
        if getattr(node, "name", None) != name:
            continue
        calls = [call for call in node.decorator_list if _name(getattr(call, "func", None)) == "command"]
        keywords = [word for call in calls for word in call.keywords]
        said = [word.value for word in keywords if word.arg in ("short_help", "help")]
        said.append(getattr(node.body[0], "value", None))
        texts = [text for text in (getattr(value, "value", None) for value in said) if isinstance(text, str)]
        return " ".join(texts[0].split()).partition(". ")[0].rstrip(".") if texts else ""
    return ""


def _name(node: object) -> str:
    """The last word of `command` or `click.command`."""
    return str(getattr(node, "attr", getattr(node, "id", "")))


def _plugin_rows() -> list[tuple[str, str]]:
    """The lines of `polydiff --help` on commands of plugins; where two bring one, that is what it says."""
    rows = []
    for name, found in plugin_commands().items():
        if name in COMMANDS:
            continue
        owners = " and ".join(owner for owner, _ in found)
        text = _help_line(found[0][1]) if len(found) == 1 else "provided twice"
        room = WIDTH - 2 - 14 - len(owners) - 3
        text = text if len(text) <= room else text[: room - 3].rpartition(" ")[0].rstrip(",:;") + " ..."
        rows.append((name, f"{text} ({owners})" if text else f"(from {owners})"))
    return rows


def help_page() -> str:
    """The text of `polydiff --help`."""
    return "\n".join(
        [
            "Usage: polydiff [OPTIONS] COMMAND [ARGS]...",
            "",
            "  One diffusion engine for any kind of data.",
            "",
            "Commands:",
            *_columns([*COMMANDS.items(), *_plugin_rows()], 14),
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
