"""The click group: commands are imported when they are called, and every error is one line."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from polydiff import __version__
from polydiff.cli.commands import COMMANDS, help_page, plugin_commands
from polydiff.cli.output import printable
from polydiff.errors import PluginError, PolydiffError, UsageError, did_you_mean

INTERRUPTED = 130
FOR_SICK_PLUGINS = ("plugins", "doctor")
"""Commands that --strict does not stop, since they say what is broken."""


class LazyGroup(click.Group):
    """A group whose commands are modules of this package or entry points of plugins."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *(name for name in plugin_commands() if name not in COMMANDS)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in COMMANDS:
            module = importlib.import_module(f"polydiff.cli.{name.replace('-', '_')}")
            command: click.Command = module.command
            return command
        return _plugin_command(name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        command = self.get_command(ctx, args[0])
        if command is None:
            known = self.list_commands(ctx)
            hint = did_you_mean(args[0], known) or " `polydiff --help` lists them."
            raise UsageError(f"there is no command {args[0]!r}.{hint}")
        return args[0], command, args[1:]

    def get_help(self, ctx: click.Context) -> str:
        return help_page()


def _plugin_command(name: str) -> click.Command | None:
    from polydiff.plugins.discovery import Broken, guarded

    found = plugin_commands().get(name)
    if not found:
        return None
    owners = [owner for owner, _ in found]
    if len(found) > 1:
        raise PluginError(
            f"the command {name!r} is provided by both {owners[0]} and {owners[1]}: "
            f"switch one off with -p no:{owners[1]}."
        )
    module, _, path = found[0][1].partition(":")
    try:
        with guarded(f"the command {name!r} of {owners[0]}", f"Update it: pip install -U {owners[0]}"):
            command: Any = importlib.import_module(module)
            for attribute in path.split("."):
                command = getattr(command, attribute)
    except Broken as error:
        raise PluginError(f"{error.cause}. {error.remedy}") from error
    if not isinstance(command, click.Command):
        raise PluginError(f"the command {name!r} of {owners[0]} is not a click command. Tell its author.")
    return command


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option(
    "-p",
    "--plugin",
    multiple=True,
    metavar="NAME",
    is_eager=True,  # before --help and before the command is looked up: both depend on it
    expose_value=False,
    callback=lambda ctx, param, requests: _choose_plugins(requests),
)
@click.option("--strict", is_flag=True)
@click.version_option(__version__, message="polydiff %(version)s")
@click.pass_context
def cli(ctx: click.Context, strict: bool) -> None:
    if strict and ctx.invoked_subcommand not in FOR_SICK_PLUGINS:
        from polydiff.plugins.registry import get_registry

        names = [f"{record.name} ({record.cause})" for record in get_registry().broken]
        if names:
            raise PluginError(f"--strict, and broken plugins: {'; '.join(names)}.")


def _choose_plugins(requests: tuple[str, ...]) -> None:
    """Put requests into the environment, so that processes that we start see the same plugins."""
    if not requests:
        return
    from polydiff.plugins import VARIABLE
    from polydiff.plugins.registry import get_registry

    whole = [str(Path(word).absolute()) if word.endswith(".py") else word for word in requests]
    os.environ[VARIABLE] = ",".join([*filter(None, [os.environ.get(VARIABLE)]), *whole])
    for request in whole:
        get_registry().require(request)


def run(arguments: list[str]) -> int:
    """Run a command line; print what went wrong on one line of stderr; return the exit code."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    debug = "--debug" in arguments[:end]  # anywhere, since it is added to a line that has just failed
    arguments = [word for word in arguments[:end] if word != "--debug"] + arguments[end:]
    _interruptible()
    try:
        result: Any = cli.main(arguments, prog_name="polydiff", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted.", INTERRUPTED, debug)
    except PolydiffError as error:
        return _fail(str(error), error.exit_code, debug)
    except click.UsageError as error:
        page = f" See `{error.ctx.command_path} --help`." if error.ctx else ""
        return _fail(error.format_message() + _suggestion(error) + page, error.exit_code, debug)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code, debug)
    except MemoryError:
        return _fail("out of memory: ask for less at once, or for smaller examples.", 2, debug)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}.", PolydiffError.exit_code, debug)
    except Exception as error:
        detail = f"{type(error).__name__}: {error}".rstrip(": ")
        advice = "This is a fault of polydiff or of a plugin; --debug shows where."
        return _fail(f"{detail}. {advice}", PolydiffError.exit_code, debug)
    return result if isinstance(result, int) else 0


def _suggestion(error: click.UsageError) -> str:
    """The nearest choice, where click only lists the choices."""
    kind = getattr(getattr(error, "param", None), "type", None)
    quoted = error.message.split("'")
    return did_you_mean(quoted[1], kind.choices) if isinstance(kind, click.Choice) and len(quoted) > 1 else ""


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    if sys.stderr is not None:  # closed: standard output is for results, whoever reads it
        with suppress(OSError, ValueError):
            print("Error:", printable(message), file=sys.stderr, flush=True)
    return code


def _interruptible() -> None:
    """SIGTERM and the closing of the terminal end a command as Ctrl-C does: what is begun is cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        return
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores it: leave it so
            signal.signal(number, signal.default_int_handler)
