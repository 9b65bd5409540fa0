"""Two processes under torchrun are one with twice the batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from polydiff.engine.schedules import EDM
from polydiff.errors import UsageError
from polydiff.training.checkpoints import NAME, read_checkpoint
from polydiff.training.objective import noise_levels
from tests.training.small_run import small_batches, small_config, small_fit, small_network
from tests.training.two_processes import EACH, STEPS

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="gloo is not built",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [*torchrun, "-m", "tests.training.two_processes", str(folder)],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    logs = []
    small_fit(
        folder,
        STEPS,
        batch_size=2 * EACH,
        dropout=0.0,
        log_every=2,
        callbacks=(lambda s: logs.append(s.log),),
    )
    return folder, logs


def seen(folder):
    return [json.loads((folder / f"seen-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.slow
def test_together_they_see_the_noise_levels_and_the_data_of_one_with_twice_the_batch(folder):
    config, batches = small_config(batch_size=2 * EACH), small_batches(2 * EACH)
    first, second = seen(folder)
    for step in range(STEPS):
        t = noise_levels(config, EDM(), step, 2 * EACH)
        assert first["times"][step] == [step, t[0::2].tolist()]
        assert second["times"][step] == [step, t[1::2].tolist()]
        sizes = batches(step).cond["size"][:, 0]
        assert first["sizes"][step] == sizes[0::2].tolist()
        assert second["sizes"][step] == sizes[1::2].tolist()


def test_they_learn_what_one_with_twice_the_batch_learns(folder, alone):
    two, one = read_checkpoint(folder / "whole"), read_checkpoint(alone[0])
    assert two.facts["processes"] == 2
    assert two.tensors.keys() == one.tensors.keys()
    for name in one.tensors:
        torch.testing.assert_close(two.tensors[name], one.tensors[name], rtol=1e-4, atol=1e-5)


def test_the_log_is_a_mean_over_both(folder, alone):
    first, second = seen(folder)
    assert second["logs"] == []  # callbacks belong to the main process
    for two, one in zip(first["logs"], alone[1], strict=True):
        assert two == pytest.approx(one, rel=1e-4)


def test_names_in_the_checkpoint_are_those_of_the_network_itself(folder):
    small_network().load_state_dict(read_checkpoint(folder / "whole").group("network"))
    small_network().load_state_dict(read_checkpoint(folder / "whole").group("average"))


def test_a_signal_to_one_stops_both_at_the_same_step_and_a_resume_changes_no_bit(folder):
    assert {(folder / f"interrupted-{rank}.txt").read_text() for rank in (0, 1)} == {
        f"Interrupted after step 4 of {STEPS}."
    }
    whole, broken = (read_checkpoint(folder / name).tensors for name in ("whole", "broken"))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_another_number_of_processes_is_refused(folder):
    with pytest.raises(UsageError, match="the run has processes = 2, not 1") as error:
        small_fit(folder / "whole", STEPS, batch_size=EACH, resume=True)
    assert str(folder / "whole" / NAME) in str(error.value)
