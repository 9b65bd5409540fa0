"""Real clips, and a small video domain fitted to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from polydiff.domain import SampleRequest
from polydiff_video.clip import VideoClip
from polydiff_video.config import VideoOptions
from polydiff_video.domain import Video

DATA = Path(__file__).parent / "data"
PATTERN = "{action}_{direction}_{character}"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dataset():
    return Video.dataset(DATA, PATTERN, labels=["action", "direction"])


@pytest.fixture(scope="session")
def clips(dataset) -> list[VideoClip]:
    return dataset.examples()


@pytest.fixture(scope="session")
def domain(dataset) -> Video:
    network = {"width": 32, "depth": 1, "heads": 2}
    return Video(Video.configure(dataset, {"network": network, "codec": {"patch": 32, "channels": 160}}))


@pytest.fixture
def colours() -> VideoClip:
    """Five frames of 20 × 12 that share no colours."""
    frames = np.zeros((5, 12, 20, 3), np.uint8)
    for i in range(5):
        frames[i] = (40 * i + 30, 250 - 45 * i, 60 + 20 * i)
    return VideoClip(frames, 8)


def request_of(**fields) -> SampleRequest:
    """A request; the video options are given by name among the fields."""
    options = {name: fields.pop(name) for name in list(fields) if name in VideoOptions.model_fields}
    return SampleRequest(options=VideoOptions(**options), **fields)
