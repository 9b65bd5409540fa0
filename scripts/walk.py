"""Follows one command through the files of polydiff and its plugins, and says where it went.

    python scripts/walk.py                                            two samples of audio by two steps
    python scripts/walk.py -- sample audio --steps 2 -n 1 -o /tmp/x   any other command

Counted are calls of functions, on all threads; the bodies of modules and classes, which run when a file
is imported, are not. A change of file is a call into another file than that of the call before it on the
same thread.
"""

from __future__ import annotations

import inspect
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

DEFAULT = ["sample", "audio", "--steps", "2", "-n", "2", "--seed", "0"]
#: What is worth counting by itself: the function that does it.
COUNTED = {
    "manifest read": "polydiff.models.manifest.read_manifest",
    "guidance built": "polydiff.sampling.guidance.guided",
    "engine request built": "polydiff.sampling.plan.engine_request",
    "record read": "polydiff.sampling.provenance.Provenance.read",
}


@dataclass
class Walk:
    """The calls of one command, counted as they happen; what sys.setprofile is given."""

    modules: Counter[str] = field(default_factory=Counter)
    functions: Counter[str] = field(default_factory=Counter)
    changes: int = 0
    _last: dict[int, str] = field(default_factory=dict)  # by thread

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or not frame.f_code.co_flags & inspect.CO_OPTIMIZED:  # a class or module body
            return
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0].partition("_")[0] != "polydiff":
            return
        thread = threading.get_ident()
        self.changes += self._last.get(thread, module) != module
        self._last[thread] = module
        self.modules[module] += 1
        self.functions[f"{module}.{frame.f_code.co_qualname}"] += 1

    def lines(self) -> list[str]:
        """The report."""
        return [
            "  calls  file",
            *(f"{count:7,}  {module}" for module, count in self.modules.most_common()),
            "",
            f"files entered: {len(self.modules)}",
            f"changes of file: {self.changes:,}",
            *(f"{what}: {self.functions[name]} times" for what, name in COUNTED.items()),
        ]


def walk(command: list[str]) -> tuple[int, Walk]:
    """The exit code of a command line, and where it went."""
    from polydiff.cli.main import main

    seen = Walk()
    threading.setprofile(seen)
    sys.setprofile(seen)
    try:
        return main(command), seen
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


if __name__ == "__main__":
    words = sys.argv[2:] if sys.argv[1:2] == ["--"] else sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        command = words or [*DEFAULT, "--out", f"{folder}/samples"]
        print("polydiff", *command, flush=True)
        code, seen = walk(command)
    print(*seen.lines(), sep="\n")
    sys.exit(code)
