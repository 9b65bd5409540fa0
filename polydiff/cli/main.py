"""The `polydiff` program. Its help and version are printed without importing click."""

import os
import sys


def main(arguments: list[str] | None = None) -> int:
    """Run one command line (sys.argv where None); its exit code, 1 where standard output is full."""
    code = 0
    if sys.stderr is None:  # else the next file to be opened would take its place
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        if not code:
            print(f"Error: standard output cannot be written ({error.strerror}).", file=sys.stderr)
        code = code or 1
        with open(os.devnull, "w") as nowhere:  # else Python tries once more at its end, with a traceback
            os.dup2(nowhere.fileno(), 1)
    return code


def _run(arguments: list[str]) -> int:
    if arguments in ([], ["--help"], ["-h"]):
        from polydiff.cli.commands import help_page

        print(help_page())
        return 0
    if arguments == ["--version"]:
        from polydiff import __version__

        print(f"polydiff {__version__}")
        return 0
    from polydiff.cli.group import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
