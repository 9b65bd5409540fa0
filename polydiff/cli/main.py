"""The `polydiff` program. Its help and version are printed without importing click."""

import sys


def main(arguments: list[str] | None = None) -> int:
    """Run one command line (sys.argv where None) and return its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
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
