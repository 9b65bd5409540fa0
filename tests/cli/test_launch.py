"""Several processes of one command: what they are told, and how they end together."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from polydiff.cli import launch as launcher
from polydiff.cli.launch import launch


def program(text: str) -> list[str]:
    return [sys.executable, "-c", f"import os, sys, time; rank = int(os.environ['RANK'])\n{text}"]


def test_each_process_is_told_what_torchrun_would_tell_it(tmp_path: Path) -> None:
    tell = "import json; open(f'{rank}.json', 'w').write(json.dumps(dict(os.environ)))"
    before = signal.getsignal(signal.SIGINT)
    assert launch(program(f"os.chdir({str(tmp_path)!r}); {tell}"), 3) == 0
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    assert [one["LOCAL_RANK"] for one in told] == ["0", "1", "2"]
    assert {one["WORLD_SIZE"] for one in told} == {"3"}
    assert {one["MASTER_ADDR"] for one in told} == {"127.0.0.1"}
    assert len({one["MASTER_PORT"] for one in told}) == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_a_mistake_that_all_find_is_said_once(capfd: Any) -> None:
    assert (
        launch(program("print('hello'); print('Error: no such file.', file=sys.stderr); sys.exit(2)"), 2) == 2
    )
    assert capfd.readouterr() == ("hello\n", "Error: no such file.\n")


def test_the_first_that_fails_is_heard_and_ends_the_others(
    capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "GRACE", 0.2)
    begin = time.monotonic()
    alone = "time.sleep(60) if rank == 0 else sys.exit('Error: the GPU of process 1 is gone.')"
    assert launch(program(alone), 2) == 1
    assert capfd.readouterr().err == "Error: the GPU of process 1 is gone.\n"
    assert time.monotonic() - begin < 50


def test_a_process_that_is_killed_has_the_exit_code_of_a_shell() -> None:
    assert launch(program("os.kill(os.getpid(), 9)"), 1) == 137


def test_ctrl_c_is_passed_on_and_waited_for(
    tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "GRACE", 0.0)  # saving takes as long as it takes
    text = f"""
os.chdir({str(tmp_path)!r})
try:
    open(f'{{rank}}.started', 'w').close()
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.3 if rank == 0 else 0.0)
    open(f'{{rank}}.saved', 'w').close()
    print('Interrupted.', file=sys.stderr)
    sys.exit(130)
"""

    def press() -> None:
        while len(list(tmp_path.glob("*.started"))) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    assert launch(program(text), 2) == 130
    assert len(list(tmp_path.glob("*.saved"))) == 2
    assert capfd.readouterr().err == "Interrupted.\n"
