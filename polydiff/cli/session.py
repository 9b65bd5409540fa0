"""What the commands that compute have in common: threads, interruptions, progress."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from polydiff.errors import UsageError
from polydiff.runtime.thread_team import cores

T = TypeVar("T")


def set_threads(count: int | None, default: int | None = None) -> None:
    """Tell torch how many threads to use on one operation. Where there is no default a core is left to
    others: threads that wait for a busy core spin, and two threads beside another process can be ten times
    slower than one."""
    if count is not None and count < 1:
        raise UsageError(f"--threads must be at least 1, got {count}.")
    import torch

    if count is None and "OMP_NUM_THREADS" in os.environ:
        return
    torch.set_num_threads(count or default or max(1, cores() - 1))


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold a Ctrl-C back until the block is done, so that a file and its record are both there or not."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[Any] = []
    before = signal.signal(signal.SIGINT, lambda *received: pending.append(received))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pending:
        raise KeyboardInterrupt


def progress(items: Iterable[T], total: int, what: str, quiet: bool) -> Iterator[T]:
    """The items, with a bar on stderr where a person is looking."""
    if quiet or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(items, total=total, description=what)
