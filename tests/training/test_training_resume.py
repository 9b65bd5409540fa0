"""A run that was stopped and resumed is the run that was never stopped; another run is refused."""

import os
import pickle
import resource
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from polydiff.engine.schedules import EDM, Cosine
from polydiff.errors import PolydiffError, UsageError
from polydiff.training.checkpoints import NAME, read_checkpoint
from polydiff.training.interrupts import stop_requests
from polydiff.training.loop import Interrupted
from tests.training.small_run import small_batches, small_fit, small_network

STEPS = 8


class Crash(Exception):
    """What ends a run without warning."""


def crash_at(step):
    def callback(state):
        if state.step == step:
            raise Crash

    return callback


def tensors(folder):
    """Weights, average and moments, bit for bit."""
    return read_checkpoint(folder).tensors


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    torch.set_num_threads(1)  # so few numbers are not worth more


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    small_fit(folder, STEPS)
    return folder


@pytest.mark.parametrize("step", range(1, STEPS))
def test_a_crash_and_a_resume_at_any_step_change_no_bit(tmp_path, unbroken, step):
    with pytest.raises(Crash):
        small_fit(tmp_path, STEPS, checkpoint_every=step, callbacks=(crash_at(step),))
    assert read_checkpoint(tmp_path).step == step
    state = small_fit(tmp_path, STEPS, resume=True)
    assert state.step == STEPS
    assert same(tensors(tmp_path), tensors(unbroken))
    assert same(state.average, {name: x for name, x in read_checkpoint(unbroken).group("average").items()})


def test_a_run_may_break_before_its_first_step_and_often(tmp_path, unbroken):
    for step in (1, 2, 3, 5, 6, 7):
        resume = (tmp_path / NAME).exists()
        with pytest.raises(Crash):
            small_fit(tmp_path, STEPS, checkpoint_every=2, resume=resume, callbacks=(crash_at(step),))
    small_fit(tmp_path, STEPS, resume=True)
    assert same(tensors(tmp_path), tensors(unbroken))


def test_what_is_logged_called_and_written_may_change(tmp_path, unbroken):
    with pytest.raises(Crash):
        small_fit(tmp_path, STEPS, log_every=1, checkpoint_every=3, callbacks=(crash_at(4),))
    seen = []
    small_fit(
        tmp_path,
        STEPS,
        log_every=2,
        checkpoint_every=5,
        resume=True,
        callbacks=(lambda s: seen.append(s.step),),
    )
    assert seen == [4, 5, 6, 7, 8]
    assert same(tensors(tmp_path), tensors(unbroken))


def test_a_finished_run_is_given_back(tmp_path, unbroken):
    state = small_fit(unbroken, STEPS, resume=True)
    assert state.step == STEPS
    assert state.saved
    assert same(state.network.state_dict(), read_checkpoint(unbroken).group("network"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "seed = 0, not 1"),
        ({"batch_size": 5}, "batch_size = 4, not 5"),
        ({"learning_rate": 0.5}, "learning_rate = 0.01, not 0.5"),
        ({"weighting": "min_snr"}, "weighting = 'edm', not 'min_snr'"),
        ({"condition_dropout": 0.0}, "condition_dropout = 0.3, not 0.0"),
        ({"schedule": Cosine()}, "schedule = 'EDM(sigma_max=80.0)', not 'Cosine()'"),
        ({"schedule": EDM(40.0)}, "schedule = 'EDM(sigma_max=80.0)', not 'EDM(sigma_max=40.0)'"),
        ({"facts": {"data": "b"}}, "data = 'a', not 'b'"),
        ({"steps": 9}, "steps = 8, not 9"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_run_is_refused_in_one_line(tmp_path, changes, message):
    small_fit(tmp_path, STEPS, facts={"data": "a"})
    with pytest.raises(UsageError) as error:
        small_fit(tmp_path, **{"steps": STEPS, "facts": {"data": "a"}, **changes}, resume=True)
    assert message in str(error.value)
    assert str(tmp_path / NAME) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_run_may_be_made_longer_before_its_rate_falls(tmp_path):
    with pytest.raises(Crash):
        small_fit(tmp_path / "a", 10, decay=0.5, checkpoint_every=1, callbacks=(crash_at(5),))
    small_fit(tmp_path / "a", 14, decay=0.5, resume=True)
    small_fit(tmp_path / "b", 14, decay=0.5)
    assert same(tensors(tmp_path / "a"), tensors(tmp_path / "b"))


def test_a_checkpoint_from_before_the_facts_were_kept_resumes(tmp_path, unbroken):
    with safe_open(unbroken / NAME, "pt") as file:
        metadata = {name: file.metadata()[name] for name in ("step", "config")}
    save_file(tensors(unbroken), tmp_path / NAME, metadata)
    assert small_fit(tmp_path, STEPS, resume=True).step == STEPS


def test_a_checkpoint_of_another_network_is_named(tmp_path, unbroken):
    with pytest.raises(
        UsageError, match=r"belongs to another network \(.*\)\. Resume with the same"
    ) as error:
        small_fit(unbroken, STEPS, resume=True, network=nn.Linear(2, 2))
    assert "\n" not in str(error.value)


class Tied(nn.Module):
    """Two names for one weight."""

    def __init__(self):
        super().__init__()
        self.inner = small_network()
        self.again = self.inner

    def forward(self, *arguments):
        return self.again(*arguments)


def test_tied_weights_are_saved_and_stay_tied(tmp_path):
    with pytest.raises(Crash):
        small_fit(tmp_path / "a", 4, checkpoint_every=2, network=Tied(), callbacks=(crash_at(2),))
    network = Tied()
    small_fit(tmp_path / "a", 4, network=network, resume=True)
    small_fit(tmp_path / "b", 4, network=Tied())
    assert same(tensors(tmp_path / "a"), tensors(tmp_path / "b"))
    assert network.inner.inside.weight is network.again.inside.weight


# --- damage -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [0, 5, 100, 0.5, 0.99])
def test_a_truncated_checkpoint_is_one_clear_line(tmp_path, unbroken, left):
    whole = (unbroken / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(whole[: left if isinstance(left, int) else int(left * len(whole))])
    with pytest.raises(UsageError, match="damaged or no checkpoint") as error:
        small_fit(tmp_path, STEPS, resume=True)
    assert str(error.value).startswith(str(tmp_path / NAME))
    assert "\n" not in str(error.value)


def test_what_is_no_checkpoint_is_named(tmp_path, unbroken):
    path = tmp_path / NAME
    with pytest.raises(UsageError, match=f"holds no {NAME} to resume from. Start without --resume"):
        small_fit(tmp_path, STEPS, resume=True)
    path.write_bytes(pickle.dumps({"step": 3}))
    with pytest.raises(UsageError, match="damaged or no checkpoint"):
        small_fit(tmp_path, STEPS, resume=True)
    save_file({"w": torch.zeros(2)}, path)
    with pytest.raises(UsageError, match="not a training checkpoint of polydiff"):
        small_fit(tmp_path, STEPS, resume=True)
    save_file(tensors(unbroken), path, {"format": "2", "step": "1", "config": "{}"})
    with pytest.raises(UsageError, match=r"written by a newer polydiff \(format 2\)"):
        small_fit(tmp_path, STEPS, resume=True)


def test_a_folder_that_cannot_be_written_is_named_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PolydiffError, match=r"cannot be written \(.+\)\. Make room or choose another folder"):
        small_fit(tmp_path / "file", STEPS, batches=lambda step: pytest.fail("a step was made"))


@contextmanager
def full_disk(size):
    """No file can grow beyond `size` bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(tmp_path, unbroken):
    def batches(step):
        if step == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (3000, -1))
        return small_batches()(step)

    with full_disk(-1), pytest.raises(PolydiffError, match="cannot be written") as error:
        small_fit(tmp_path, STEPS, checkpoint_every=3, batches=batches)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert read_checkpoint(tmp_path).step == 3
    small_fit(tmp_path, STEPS, resume=True)
    assert same(tensors(tmp_path), tensors(unbroken))


# --- interruptions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_and_writes_a_checkpoint(tmp_path, unbroken, number):
    before = signal.getsignal(number)

    def batches(step):
        if step == 4:
            os.kill(os.getpid(), number)
        return small_batches()(step)

    seen = []
    with pytest.raises(Interrupted, match=r"^Interrupted after step 5 of 8\.$"):
        small_fit(tmp_path, STEPS, batches=batches, callbacks=(lambda s: seen.append((s.step, s.saved)),))
    assert seen == [(1, False), (2, False), (3, False), (4, False), (5, True)]
    assert read_checkpoint(tmp_path).step == 5
    assert signal.getsignal(number) is before
    small_fit(tmp_path, STEPS, resume=True)
    assert same(tensors(tmp_path), tensors(unbroken))


def test_a_second_signal_interrupts_at_once(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("polydiff.training.interrupts.time.monotonic", lambda: now[0])
    with stop_requests() as asked:
        assert not asked()
        now[0] = 10.0
        signal.raise_signal(signal.SIGINT)
        now[0] = 10.1
        signal.raise_signal(signal.SIGINT)  # the same request, passed on by a launcher
        assert asked()
        now[0] = 12.0
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_training_in_a_thread_is_the_same(tmp_path, unbroken):
    thread = threading.Thread(target=small_fit, args=(tmp_path, STEPS))
    thread.start()
    thread.join()
    assert same(tensors(tmp_path), tensors(unbroken))


# a checkpoint a step, so that it is killed at any point of one
ENDLESS = """
import sys
from pathlib import Path
import torch
from tests.training.small_run import small_fit
torch.set_num_threads(1)
tell = lambda state: print(".", end="", flush=True)
small_fit(Path(sys.argv[1]), steps=10**6, decay=0.0, checkpoint_every=1, callbacks=(tell,))
"""


@pytest.mark.slow
def test_kill_9_leaves_a_checkpoint_from_which_another_process_goes_on_exactly(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS, tmp_path / "killed"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
    ) as child:
        heard = child.stdout.read(5)
        child.kill()
    assert (heard, child.returncode) == (b".....", -signal.SIGKILL)
    # what is left at the worst point
    half = tmp_path / "killed" / f".writing-{socket.gethostname()}-{child.pid}-0" / NAME
    half.parent.mkdir()
    half.write_bytes(b"half a checkpoint")
    reached = read_checkpoint(tmp_path / "killed").step
    assert reached >= 5
    small_fit(tmp_path / "killed", reached + 2, decay=0.0, resume=True)
    small_fit(tmp_path / "whole", reached + 2, decay=0.0)
    assert same(tensors(tmp_path / "killed"), tensors(tmp_path / "whole"))
    assert [path.name for path in (tmp_path / "killed").iterdir()] == [NAME]
