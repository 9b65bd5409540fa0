"""The log of a training run: lines for people, JSONL for programs, TensorBoard where it is installed."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from polydiff.support.files import atomic_write, disk_errors
from polydiff.training.loop import TrainingState
from polydiff.workflows.loggers import Loggers

LOG, BOARD, PICTURES = "log.jsonl", "tensorboard", "pictures"


class TrainingLog:
    """Writes `log.jsonl`, `tensorboard/` and `pictures/` into a run's folder. Use on one process only.

    `examples` is how many examples a step takes in all processes together. Every `every` seconds a line for
    people goes to `say`.
    """

    def __init__(
        self, folder: Path, say: Callable[[str], None], steps: int, examples: int, every: float = 10.0
    ) -> None:
        self._folder, self._say, self._every = folder, say, every
        self._steps, self._examples = steps, examples
        self._began = self._measured = self._said = time.perf_counter()
        self._first: int | None = None  # the first step of this process; a resumed run had others before
        self._last = 0
        self._earlier = 0.0
        self._board: Any = None
        self.figures: dict[str, float] = {}
        self.loggers = Loggers()  # those of plugins

    @property
    def seconds(self) -> float:
        """How long the run has taken, with what it took before it was resumed."""
        return round(self._earlier + time.perf_counter() - self._began, 2)

    def step(self, state: TrainingState) -> None:
        """Record what the loop measured after a step, if it measured."""
        if self._first is None:
            self._first, self._last = state.step, state.step - 1
            self._open(state.step)
        if not state.log:
            return
        now = time.perf_counter()
        pace = self._examples * (state.step - self._last) / (now - self._measured)
        self._measured, self._last = now, state.step
        self.figures = dict(state.log)
        entry = {**state.log, "examples_per_second": round(pace, 2)}
        with disk_errors(self._folder / LOG), (self._folder / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": state.step, "seconds": self.seconds, **entry}) + "\n")
        if self._board:
            for name, value in entry.items():
                self._board.add_scalar(name, value, state.step)
        self.loggers.tell("scalars", state.step, dict(entry))
        if now - self._said >= self._every or state.step == self._steps:
            self._said = now
            left = (now - self._began) / (state.step - self._first + 1) * (self._steps - state.step)
            self._say(
                f"step {state.step}/{self._steps}  loss {state.log['loss']:.4f}  {pace:.1f} examples/s  "
                f"{_duration(left)} left"
            )

    def picture(self, step: int, png: bytes) -> None:
        """Keep a picture of samples."""
        with atomic_write(self._folder / PICTURES / f"{step:07d}.png") as temporary:
            temporary.write_bytes(png)
        self.loggers.tell("picture", step, png)
        if self._board:
            from matplotlib.image import imread

            self._board.add_image("samples", imread(io.BytesIO(png))[..., :3], step, dataformats="HWC")

    def close(self) -> None:
        """Flush what TensorBoard and plugins hold."""
        self.loggers.tell("close")
        if self._board:
            self._board.close()

    def _open(self, step: int) -> None:
        """Begin the log; a resumed run first drops the lines of steps that it will make again."""
        path = self._folder / LOG
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if _number(line, "step") < step]
        self._earlier = _number(kept[-1], "seconds") if kept else 0.0
        with atomic_write(path) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._say(f"TensorBoard is not installed (pip install tensorboard); {LOG} has the same.")
            return
        self._board = SummaryWriter(str(self._folder / BOARD), purge_step=step)


def _number(line: str, name: str) -> float:
    try:
        return float(json.loads(line)[name])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # a line cut short by a crash


def _duration(seconds: float) -> str:
    """A duration in seconds as text.

    >>> _duration(59.6), _duration(200), _duration(8000)
    ('60 s', '3 min', '2 h 13 min')
    """
    minutes = round(seconds / 60)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
