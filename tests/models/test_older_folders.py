"""What older model folders say is read as it was meant."""

from __future__ import annotations

import pytest
import torch

from polydiff.engine.schedules import EDM
from polydiff.engine.solvers import make_table
from polydiff.models.manifest import SamplingDefaults


@pytest.mark.parametrize("steps", [4, 5, 12])
@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({"weights": "uniform"}, [23 / 12, -16 / 12, 5 / 12]),
        ({"weights": "uniform", "readout": "eps", "order": 2}, [3 / 2, -1 / 2]),
    ],
)
def test_uniform_weights_are_those_of_ipndm(options, weights, steps):
    asked = SamplingDefaults(solver="adams", solver_options=options)
    assert asked.solver == "ipndm"
    schedule = EDM()
    table = make_table(asked.solver, schedule, steps, options=asked.solver_options)
    row = table.rows[len(weights) - 1]  # the first that has so many read-outs
    after = table.rows[len(weights)].t
    length = float(schedule.sigma(row_time(after)) - schedule.sigma(row_time(row.t)))
    # ε̂ is kept as -sigma ε̂: a weight w of equal steps is -w length / sigma of its node
    for k, weight in enumerate(weights):
        node = table.rows[len(weights) - 1 - k].t
        assert row.b[k] == pytest.approx(-weight * length / float(schedule.sigma(row_time(node))), rel=1e-9)


def row_time(t):
    return torch.tensor(t, dtype=torch.float64)


@pytest.mark.parametrize("steps", [4, 5, 12])
def test_exponential_weights_stay_those_of_adams_at_any_number_of_steps(steps):
    asked = SamplingDefaults(solver="adams", solver_options={"weights": "exponential", "order": 2})
    assert (asked.solver, asked.solver_options) == ("adams", {"readout": "eps", "order": 2})
    table = make_table(asked.solver, EDM(), steps, options=asked.solver_options)
    assert table.solver == "adams(order=2, readout=eps)"


def test_other_solvers_keep_their_options():
    asked = SamplingDefaults(solver="ddpm", solver_options={"noise_scale": 0.7})
    assert (asked.solver, asked.solver_options) == ("ddpm", {"noise_scale": 0.7})
