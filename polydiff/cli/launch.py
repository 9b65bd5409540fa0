"""One command line in several processes that compute together."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from types import FrameType

INTERRUPTED = 130
GRACE = 20.0
"""Seconds that processes have to end by themselves after one has failed."""

Process = subprocess.Popen[bytes]


def launch(command: Sequence[str], count: int) -> int:
    """Run a command in `count` processes with the variables that torchrun would set; its exit code.

    Unlike torchrun it passes a Ctrl-C on and waits, so that a checkpoint is written, and it says what went
    wrong once: the first process has the terminal, another is heard only if it was the first to fail.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores // count))),
    }
    processes: list[Process] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in processes:
            process.send_signal(number)

    previous = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with ExitStack() as stack:
            heard = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(1, count)]
            for rank in range(count):
                out, err = (subprocess.DEVNULL, heard[rank - 1]) if rank else (None, None)
                environment = {**os.environ, **together, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                processes.append(subprocess.Popen(command, env=environment, stdout=out, stderr=err))
            failed = _first_failure(processes)
            if failed is None:
                return 0
            code = processes[failed].returncode
            _end(processes, patience=math.inf if code == INTERRUPTED else GRACE)
            # the same mistake of the user's is found by all, and the first process has said it
            if failed and (code == 1 or code != processes[0].returncode):
                heard[failed - 1].seek(0)
                sys.stderr.write(heard[failed - 1].read().decode(errors="replace"))
            return code if code > 0 else 128 - code
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _first_failure(processes: Sequence[Process]) -> int | None:
    """Wait until a process fails, and give its rank, or until all are done."""
    while True:
        codes = [process.poll() for process in processes]
        failed = next((rank for rank, code in enumerate(codes) if code), None)
        if failed is not None or None not in codes:
            return failed
        time.sleep(0.1)


def _end(processes: Sequence[Process], patience: float) -> None:
    """Wait for the other processes, and kill those that wait for the failed one for ever."""
    deadline = time.monotonic() + patience
    for process in processes:
        try:
            process.wait(None if patience == math.inf else max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
