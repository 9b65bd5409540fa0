"""What every process of test_training_processes does: `python -m tests.training.two_processes FOLDER`."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch

from polydiff.training import objective
from polydiff.training.loop import Interrupted, make_accelerator
from tests.training.small_run import small_batches, small_fit

STEPS, EACH = 6, 2


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    accelerator = make_accelerator("cpu")
    rank, ranks = accelerator.process_index, accelerator.num_processes
    share = small_batches(EACH, 0, rank, ranks)
    times = []
    drawn = objective.noise_levels

    def spy(config, schedule, step, count):
        t = drawn(config, schedule, step, count)
        times.append((step, t[rank::ranks].tolist()))
        return t

    objective.noise_levels = spy  # what it really trains on
    common = {"batch_size": EACH, "dropout": 0.0, "accelerator": accelerator, "batches": share}
    logs = []
    small_fit(folder / "whole", STEPS, **common, log_every=2, callbacks=(lambda s: logs.append(s.log),))
    sizes = [share(step).cond["size"][:, 0].tolist() for step in range(STEPS)]
    seen = {"times": times[:STEPS], "sizes": sizes, "logs": logs}
    (folder / f"seen-{rank}.json").write_text(json.dumps(seen))

    def interrupted(step):
        if step == 3 and rank == 1:  # only one process hears of it, and all stop at the same step
            os.kill(os.getpid(), signal.SIGINT)
        return share(step)

    try:
        small_fit(folder / "broken", STEPS, **{**common, "batches": interrupted})
    except Interrupted as error:
        (folder / f"interrupted-{rank}.txt").write_text(str(error))
    small_fit(folder / "broken", STEPS, **common, resume=True)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
