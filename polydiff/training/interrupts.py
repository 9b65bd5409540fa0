"""Stopping between two steps when the user or the machine asks for it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Within the block a first Ctrl-C (SIGINT) or SIGTERM is only remembered: the function that is yielded
    says whether one came. One more, a second or later, interrupts at once, as does any signal outside.

    Python hands signals to the main thread alone; in another thread nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    first: float | None = None

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal first
        now = time.monotonic()
        # launchers pass on what the terminal has sent already: two at once are one request
        if first is not None and now - first > 1:
            raise KeyboardInterrupt
        first = first or now

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: first is not None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
