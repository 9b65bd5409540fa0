"""Files of runs; that a run resumes from one bit for bit is tested with the solvers."""

from __future__ import annotations

import pytest
import torch

from polydiff.engine.loop import Run
from polydiff.errors import PolydiffError, UsageError
from polydiff.runtime.saved import load_run, save_run


@pytest.mark.parametrize("content", [b"", b"not a run", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_file_that_is_no_run_is_refused(content, tmp_path):
    path = tmp_path / "run.safetensors"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="not a saved run"):
        load_run(path)
    with pytest.raises(UsageError, match="not a saved run"):
        load_run(tmp_path / "absent")


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    run = Run({"x": torch.zeros(1, 2, 1)}, {"x": ()}, {}, 0, torch.zeros(1, dtype=torch.int64))
    with pytest.raises(PolydiffError, match="cannot be written"):
        save_run(run, tmp_path / "file" / "run")
