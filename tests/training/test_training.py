"""What a step draws, how it is weighed, and the average of weights, against their formulas."""

import math

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from polydiff.engine.processes import Fixed
from polydiff.engine.schedules import EDM, SCHEDULES, VE, Cosine, LinearVP, RectifiedFlow
from polydiff.errors import PolydiffError, UsageError
from polydiff.training.config import TrainingConfig, learning_rate
from polydiff.training.ema import power_exponent, update_ema
from polydiff.training.loop import fit
from polydiff.training.objective import (
    dropped_conditions,
    loss_weight,
    noise_levels,
    sample_seeds,
)
from polydiff.training.order import BatchOrder, epoch_batches
from tests.training.small_run import LENGTHS, PROCESSES, small_batches, small_config, small_fit, small_network

VERY_NEAR = {"rtol": 1e-9, "atol": 1e-9}


def quantiles(config, schedule, t):
    """The quantile of each noise level in the distribution that the config asks for."""
    log_sigma = -0.5 * schedule.log_snr(t)
    return torch.special.ndtr((log_sigma - config.log_sigma_mean) / config.log_sigma_std)


@pytest.mark.parametrize("name", SCHEDULES)
def test_each_noise_level_has_a_stratum_of_its_own(name):
    config, schedule = small_config(), SCHEDULES[name](**({"sigma_max": 1e4} if name == "ve" else {}))
    for step in range(20):
        t = noise_levels(config, schedule, step, 16)
        assert t.dtype == torch.float64
        assert (quantiles(config, schedule, t) * 16).floor().sort().values.tolist() == list(range(16))


def test_noise_levels_of_many_steps_have_the_distribution_that_was_asked_for():
    config, schedule = small_config(log_sigma_mean=-1.0, log_sigma_std=0.7), RectifiedFlow()
    t = torch.cat([noise_levels(config, schedule, step, 32) for step in range(100)])
    log_sigma = -0.5 * schedule.log_snr(t)
    assert log_sigma.mean().item() == pytest.approx(-1.0, abs=0.005)
    assert log_sigma.std().item() == pytest.approx(0.7, abs=0.005)


def test_noise_levels_follow_no_order_within_a_batch():
    """Batches are sorted by length: the mean level of every place must be the same."""
    config, schedule = small_config(), RectifiedFlow()
    u = torch.stack([quantiles(config, schedule, noise_levels(config, schedule, k, 8)) for k in range(300)])
    assert (u.mean(0) - 0.5).abs().max() < 5 * (1 / 12 / 300) ** 0.5


@pytest.mark.parametrize("schedule", [Cosine(), LinearVP(), VE(), RectifiedFlow()], ids=repr)
def test_extreme_noise_levels_stay_finite(schedule):
    config = small_config(log_sigma_std=30.0)
    t = noise_levels(config, schedule, 0, 64)
    weight = loss_weight(config, schedule, t, 1.0)
    assert t.min() > 0
    assert t.max() <= 1
    assert weight.isfinite().all()


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("sigma_data", [1.0, 0.5])
def test_edm_weight(name, sigma_data):
    schedule, t = SCHEDULES[name](), torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    sigma = schedule.sigma(t) / schedule.alpha(t)  # the sigma of Karras et al., where alpha is 1
    published = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    weight = loss_weight(small_config(), schedule, t, sigma_data)
    torch.testing.assert_close(weight, published, **VERY_NEAR)


@pytest.mark.parametrize("name", SCHEDULES)
def test_min_snr_weight(name):
    schedule, t = SCHEDULES[name](), torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    snr = (schedule.alpha(t) / schedule.sigma(t)) ** 2
    weight = loss_weight(small_config(weighting="min_snr"), schedule, t, 1.0)
    torch.testing.assert_close(weight, torch.minimum(snr, torch.full_like(snr, 5.0)), **VERY_NEAR)
    # the same in the paper's words: a loss on the noise weighs min(snr, 5) / snr
    on_noise = weight * (schedule.sigma(t) / schedule.alpha(t)) ** 2
    torch.testing.assert_close(on_noise, (5 / snr).clamp(max=1.0), **VERY_NEAR)


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 1.0])
def test_rates_of_condition_dropout(probability):
    draws = [dropped_conditions(("a", "b"), probability, 0, step, 32) for step in range(100)]
    a, b = (torch.cat([draw[name] for draw in draws]).double() for name in ("a", "b"))
    alone = probability / 2
    expected = {
        "a": probability + (1 - probability) * alone,
        "both": probability + (1 - probability) * alone**2,
    }
    spread = 4 * (0.25 / len(a)) ** 0.5
    assert a.mean().item() == pytest.approx(expected["a"], abs=spread)
    assert b.mean().item() == pytest.approx(expected["a"], abs=spread)
    assert (a * b).mean().item() == pytest.approx(expected["both"], abs=spread)


def test_a_single_condition_is_dropped_at_the_rate_that_was_asked_for():
    dropped = torch.cat([dropped_conditions(("a",), 0.2, 0, step, 32)["a"] for step in range(300)])
    assert dropped.double().mean().item() == pytest.approx(0.2, abs=4 * (0.16 / len(dropped)) ** 0.5)


def test_draws_differ_between_steps_and_seeds_and_repeat_for_the_same():
    seeds = [sample_seeds(seed, step, 8) for seed in range(3) for step in range(50)]
    assert len(torch.cat(seeds).unique()) == 3 * 50 * 8
    assert torch.equal(sample_seeds(1, 2, 8), sample_seeds(1, 2, 8))


def test_average_is_its_closed_form():
    """After n steps the weights of step k count (k^(g+1) - (k-1)^(g+1)) / n^(g+1)."""
    gamma, n = power_exponent(0.1), 40
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(n, 6, generator=generator, dtype=torch.float64)
    average = {"w": torch.full((6,), 99.0, dtype=torch.float64), "count": torch.tensor(0)}
    for k in range(1, n + 1):
        update_ema(average, {"w": weights[k - 1], "count": torch.tensor(k)}, k, gamma)
    k = torch.arange(1, n + 1, dtype=torch.float64)
    share = (k ** (gamma + 1) - (k - 1) ** (gamma + 1)) / n ** (gamma + 1)
    assert share.sum().item() == pytest.approx(1)
    torch.testing.assert_close(average["w"], share @ weights, **VERY_NEAR)
    assert average["count"].item() == n


@pytest.mark.parametrize("width", [0.05, 0.1, 0.25])
def test_exponent_gives_the_relative_width(width):
    """The standard deviation of the profile t^gamma on [0, 1]."""
    gamma = power_exponent(width)
    t = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    profile = t**gamma / (t**gamma).sum()
    mean = (profile * t).sum()
    assert ((profile * (t - mean) ** 2).sum() ** 0.5).item() == pytest.approx(width, rel=1e-4)


def test_learning_rate_rises_stays_and_falls():
    config = TrainingConfig(steps=100, learning_rate=1.0, warmup=10, decay=0.4)
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[:10] == pytest.approx([(k + 1) / 10 for k in range(10)])
    assert rates[10:61] == [1.0] * 51
    assert rates[60:] == pytest.approx([(100 - k) / 40 for k in range(60, 100)])
    assert (
        learning_rate(TrainingConfig(steps=5, warmup=0, decay=0.0), 4)
        == TrainingConfig(steps=5).learning_rate
    )


def test_an_epoch_takes_every_example_and_sorts_by_length():
    batches = epoch_batches(LENGTHS, 4, seed=3, epoch=0)
    assert sorted(i for batch in batches for i in batch) == list(range(len(LENGTHS)))
    spreads = [max(LENGTHS[i] for i in batch) - min(LENGTHS[i] for i in batch) for batch in batches]
    assert max(spreads) <= 1
    assert batches != epoch_batches(LENGTHS, 4, seed=3, epoch=1)
    assert batches != epoch_batches(LENGTHS, 4, seed=4, epoch=0)


def test_order_is_a_function_of_seed_and_step():
    forwards, anywhere = BatchOrder(LENGTHS, 4, seed=1), BatchOrder(LENGTHS, 4, seed=1)
    expected = [forwards(step) for step in range(15)]
    assert [anywhere(step) for step in reversed(range(15))] == expected[::-1]


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_shares_together_are_the_batch_of_one_process(ranks):
    whole = BatchOrder(LENGTHS, 8, seed=1)
    shares = [BatchOrder(LENGTHS, 8 // ranks, seed=1, rank=rank, ranks=ranks) for rank in range(ranks)]
    for step in range(10):
        together = [0] * 8
        for rank, share in enumerate(shares):
            together[rank::ranks] = share(step)
        assert together == whole(step)


def test_a_set_smaller_than_a_batch_is_repeated():
    assert sorted(BatchOrder([1, 1], 5, seed=0)(0)) in ([0, 0, 0, 1, 1], [0, 0, 1, 1, 1])


def test_gradients_are_clipped(tmp_path):
    norms = []
    network = small_network()
    step = torch.optim.AdamW.step

    def spy(self, *arguments, **named):
        norms.append(torch.cat([p.grad.flatten() for p in network.parameters()]).norm().item())
        return step(self, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", spy)
        state = small_fit(tmp_path, 5, clip=1e-2, log_every=1, network=network)
    assert norms == pytest.approx([1e-2] * 5, rel=1e-3)
    assert state.log["gradient_norm"] > 1e-2  # the log tells the norm before it was clipped


def test_training_lowers_the_loss_and_reports_means(tmp_path):
    log = []
    small_fit(tmp_path, 120, dropout=0.0, log_every=20, callbacks=(lambda s: log.append((s.step, s.log)),))
    losses = [entry["loss"] for _, entry in log if entry]
    assert [step for step, entry in log if entry] == [20, 40, 60, 80, 100, 120]
    assert losses[-1] < 0.8 * losses[0]
    assert [step for step, _ in log] == list(range(1, 121))


def test_callbacks_cannot_disturb_a_run_and_a_run_leaves_random_numbers_alone(tmp_path):
    plain = small_fit(tmp_path / "plain", 4)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    noisy = small_fit(tmp_path / "noisy", 4, log_every=1, callbacks=(lambda state: torch.rand(100),))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(plain.average[name], noisy.average[name]) for name in plain.average)


def test_a_network_that_was_sampled_from_is_trained_with_its_dropout(tmp_path):
    fresh, used = (
        small_fit(tmp_path / n, 3, network=net)
        for n, net in (("a", small_network()), ("b", small_network().eval()))
    )
    assert all(torch.equal(fresh.average[name], used.average[name]) for name in fresh.average)


def test_a_mixed_precision_run_keeps_the_state_in_float32(tmp_path):
    """bf16 as on a GPU, through accelerate; the network's own forward is given back afterwards."""
    seen = []
    network = small_network()
    network.inside.register_forward_hook(
        lambda module, given, output: seen.append((given[0].dtype, output.dtype))
    )
    AcceleratorState._reset_state(True)
    try:
        state = small_fit(
            tmp_path,
            3,
            log_every=1,
            network=network,
            accelerator=Accelerator(cpu=True, mixed_precision="bf16"),
        )
    finally:
        AcceleratorState._reset_state(True)
    assert seen == [(torch.float32, torch.bfloat16)] * 3
    assert {value.dtype for value in state.average.values()} == {torch.float32, torch.int64}
    assert math.isfinite(state.log["loss"])
    assert "_original_forward" not in network.__dict__


def test_a_loss_that_is_not_finite_ends_the_run_in_one_line(tmp_path):
    def batches(step):
        batch = small_batches()(step)
        return batch._replace(
            state={**batch.state, "points": batch.state["points"] * (1 if step < 4 else 1e38)}
        )

    with pytest.raises(
        PolydiffError, match=r"The loss is (nan|inf) at step 6\. .*checkpoint is of step 3\.$"
    ):
        small_fit(tmp_path, 9, batches=batches, checkpoint_every=3, log_every=100)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("batch_size", 0),
        ("learning_rate", -1.0),
        ("learning_rate", math.nan),
        ("clip", 0.0),
        ("decay", 1.5),
        ("condition_dropout", -0.1),
        ("ema_width", 0.5),
        ("weighting", "snr"),
        ("checkpoint_every", 0),
    ],
)
def test_a_setting_out_of_range_is_named(name, value):
    with pytest.raises(UsageError, match=f"training.{name} must be .*, got {value!r}"):
        TrainingConfig(**{"steps": 5, name: value})


def test_nothing_to_learn_and_wrong_batches_are_named(tmp_path):
    with pytest.raises(UsageError, match="nothing to learn"):
        fit(small_network(), {"context": Fixed()}, EDM(), small_batches(), small_config(), tmp_path)
    with pytest.raises(UsageError, match=r"batch of step 0 has \[3\] samples, not 4"):
        small_fit(tmp_path, batches=small_batches(3))
    with pytest.raises(ValueError, match="condition_dropout needs the null of label, size"):
        fit(small_network(), PROCESSES, EDM(), small_batches(), small_config(), tmp_path)
