"""What a denoiser, a grid or a count of another kind leads to: one line, or the right samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polydiff.engine.denoisers import from_eps
from polydiff.engine.loop import finish, start
from polydiff.engine.processes import Gaussian
from polydiff.engine.schedules import EDM, Cosine
from polydiff.engine.solvers import make_table
from polydiff.errors import UsageError

PROCESSES = {"x": Gaussian()}


def test_a_nan_among_times_is_refused() -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        make_table("ddim", Cosine(), 2, grid=[1.0, float("nan"), 0.0])


def test_steps_may_be_a_numpy_integer_and_have_a_bound() -> None:
    assert make_table("adams", EDM(), np.int64(5)).nfe == 5
    with pytest.raises(UsageError, match="at most 100000"):
        make_table("adams", EDM(), 10**10)


@pytest.mark.parametrize(
    ("denoiser", "line"),
    [
        (lambda x, t, m, c: x["x"], "a dictionary of tensors, and gave Tensor"),
        (lambda x, t, m, c: {"x": x["x"][..., :1]}, r"has the shape \(1, 7, 1\), and the state \(1, 7, 2\)"),
        (lambda x, t, m, c: {"y": x["x"]}, "answers 'y'; the components are x"),
        (lambda x, t, m, c: {"x": 1.0}, "is no tensor but float"),
    ],
)
def test_wrong_answers_of_a_denoiser_are_one_line(denoiser, line) -> None:
    table = make_table("ddim", EDM(), 4)
    run = start(PROCESSES, EDM(), table, seeds=[1], shapes={"x": (7, 2)})
    with pytest.raises(UsageError, match=line):
        finish(denoiser, PROCESSES, table, run)


def test_a_noise_network_where_no_signal_is_left_is_warned_of() -> None:
    denoiser = from_eps(lambda x, c, m, k: x, Cosine())
    x, t = {"x": torch.ones(1, 3, 2)}, torch.ones(1, dtype=torch.float64)
    with pytest.warns(UserWarning, match="almost no signal"):
        denoiser(x, t, {}, {})
