"""Stopping between two steps when the user or the machine asks for it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

#: what a user's Ctrl-C, a scheduler and a closed terminal send; Windows has no SIGHUP
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """A context that defers a first Ctrl-C (SIGINT), SIGTERM or SIGHUP: the function that is yielded says
    whether one came. Another, a second or more later, interrupts at once, as does any signal outside the
    block.

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

    before = {number: signal.signal(number, remember) for number in STOPPING}
    try:
        yield lambda: first is not None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
