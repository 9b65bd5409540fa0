"""Processes: priors, corruption, invariants and losses under masks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from polydiff.engine.noise import noise
from polydiff.engine.processes import PROCESSES, Fixed, Gaussian
from polydiff.engine.states import centred, linear_combination, mean_over_real
from polydiff.testing.closed_forms import ALL_SCHEDULES

MASK = torch.tensor([[True, True, True, False], [True, False, False, False]])


@pytest.mark.parametrize("schedule", ALL_SCHEDULES.values(), ids=ALL_SCHEDULES)
@pytest.mark.parametrize("centre", [False, True])
def test_the_prior_is_corrupted_nothing(schedule, centre):
    process, xi = Gaussian(centre=centre), noise([1, 2], "x", 0, (4, 3))
    t = torch.tensor([0.9, 0.4], dtype=torch.float64)
    prior = process.prior(xi, schedule, t, MASK)
    assert torch.allclose(prior, process.corrupt(torch.zeros(2, 4, 3), xi, t, schedule, MASK))
    assert (prior[~MASK] == 0).all()


@pytest.mark.parametrize("schedule", ALL_SCHEDULES.values(), ids=ALL_SCHEDULES)
def test_corruption_has_the_schedules_moments(schedule):
    t = torch.full((8,), 0.4, dtype=torch.float64)
    x = Gaussian().corrupt(torch.ones(8, 512, 2), noise(range(8), "x", 0, (512, 2)), t, schedule, None)
    sigma = float(schedule.sigma(t[0]))
    assert float(x.mean()) == pytest.approx(float(schedule.alpha(t[0])), abs=4 * sigma / 90)
    assert float(x.std()) == pytest.approx(sigma, rel=0.05)


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    seed=st.integers(0, 2**32),
    scale=st.sampled_from([1e-3, 1.0, 80.0]),
)
def test_centring_has_the_same_bits_alone_and_padded(lengths, seed, scale):
    longest = max(lengths)
    seeds = [seed + i for i in range(len(lengths))]
    x = scale * noise(seeds, "x", 0, (longest, 3))
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    together = centred(x, mask)
    assert (together[~mask] == 0).all()
    for i, length in enumerate(lengths):
        alone = centred(x[i : i + 1, :length], None)
        assert torch.equal(together[i : i + 1, :length], alone)
        assert float(alone.mean(1).abs().max()) <= 1e-6 * scale


def test_the_loss_counts_real_entries_only():
    x0, x0_hat, t = torch.zeros(2, 4, 3), torch.ones(2, 4, 3), torch.full((2,), 0.5).double()
    schedule = ALL_SCHEDULES["edm"]
    assert torch.allclose(Gaussian().loss(x0_hat, x0, x0, t, schedule, MASK), torch.ones(2))
    assert torch.allclose(mean_over_real(torch.full((2, 4, 3), 2.0), None), torch.full((2,), 2.0))
    assert torch.equal(Fixed().loss(x0_hat, x0, x0, t, schedule, MASK), torch.zeros(2))


def test_a_fixed_component_is_carried():
    x, t = torch.ones(2, 4, 3), torch.ones(2).double()
    assert torch.equal(Fixed().corrupt(x, torch.zeros(2, 0), t, ALL_SCHEDULES["edm"], None), x)
    with pytest.raises(ValueError, match="give its value in `init`"):
        Fixed().prior(torch.zeros(2, 0), ALL_SCHEDULES["edm"], t, None)


@given(
    weights=st.lists(st.sampled_from([0.0, 1.0, -0.5, 2.0]), min_size=1, max_size=5),
)
def test_a_linear_combination_is_one_and_is_new(weights):
    tensors = [torch.randn(3, generator=torch.Generator().manual_seed(i)) for i in range(len(weights))]
    copies = [tensor.clone() for tensor in tensors]
    got = linear_combination(list(zip(weights, tensors, strict=True)))
    expected = sum(w * x for w, x in zip(weights, tensors, strict=True))
    assert torch.allclose(got, expected, atol=1e-6)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(tensors, copies, strict=True))
    assert all(got.data_ptr() != tensor.data_ptr() for tensor in tensors)


@given(weight=st.floats(-100, 100), dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
def test_a_weight_is_no_coarser_than_a_number(weight, dtype):
    x = torch.randn(64, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert torch.equal(linear_combination([(weight, x)]), x * weight)


def test_every_registered_process_is_built_without_arguments():
    for make in PROCESSES.values():
        assert make() == make()
