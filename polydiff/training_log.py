"""What a training run says: lines for people, JSONL for programs, TensorBoard where it is installed."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from polydiff.engine.training import TrainingState
from polydiff.files import aside

LOG, BOARD, PICTURES = "log.jsonl", "tensorboard", "pictures"


class TrainingLog:
    """Writes `log.jsonl`, `tensorboard/` and `pictures/` into a run's folder. Use on one process only."""

    def __init__(self, folder: Path, say: Callable[[str], None], steps: int, every: float = 10.0) -> None:
        self._folder, self._say, self._steps, self._every = folder, say, steps, every
        self._begin = self._said = time.perf_counter()
        self._first: int | None = None
        self._board: Any = None
        self.figures: dict[str, float] = {}

    def step(self, state: TrainingState) -> None:
        """Record what the loop measured after a step, if it measured."""
        if self._first is None:
            self._first = state.step
            self._open(state.step)
        if not state.log:
            return
        self.figures = dict(state.log)
        with (self._folder / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": state.step, "seconds": self._seconds(), **state.log}) + "\n")
        if self._board:
            for name, value in state.log.items():
                self._board.add_scalar(name, value, state.step)
        now = time.perf_counter()
        if now - self._said >= self._every or state.step == self._steps:
            self._said = now
            pace = (now - self._begin) / (state.step - self._first + 1)
            left = pace * (self._steps - state.step)
            self._say(f"step {state.step}/{self._steps}  loss {state.log['loss']:.4f}  {left:.0f} s left")

    def picture(self, step: int, png: bytes) -> None:
        """Keep a picture of samples."""
        with aside(self._folder / PICTURES / f"{step:07d}.png") as temporary:
            temporary.write_bytes(png)
        if self._board:
            from matplotlib.image import imread

            self._board.add_image("samples", imread(io.BytesIO(png))[..., :3], step, dataformats="HWC")

    def close(self) -> None:
        """Flush what TensorBoard holds."""
        if self._board:
            self._board.close()

    def _seconds(self) -> float:
        return round(time.perf_counter() - self._begin, 2)

    def _open(self, step: int) -> None:
        """Begin the log; a resumed run first drops the lines of steps that it will make again."""
        path = self._folder / LOG
        self._folder.mkdir(parents=True, exist_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if _step_of(line) < step]
        with aside(path) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._board = SummaryWriter(str(self._folder / BOARD), purge_step=step)


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # a line cut short by a crash
