"""Real clips, and a small audio domain fitted to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from polydiff.domain import SampleRequest
from polydiff_audio.clip import AudioClip
from polydiff_audio.config import AudioOptions
from polydiff_audio.domain import Audio

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dataset():
    return Audio.dataset(DATA, "{digit}_{speaker}_{take}.wav", labels=["digit", "speaker"])


@pytest.fixture(scope="session")
def clips(dataset) -> list[AudioClip]:
    return dataset.examples()


@pytest.fixture(scope="session")
def domain(dataset) -> Audio:
    return Audio(Audio.configure(dataset, {"network": {"width": 32, "depth": 1, "heads": 2}}))


@pytest.fixture
def tone() -> AudioClip:
    """A quarter of a second of 440 Hz, every sample a whole number of 16-bit steps."""
    wave = np.sin(2 * np.pi * 440 * np.arange(2000) / 8000) * 0.5
    return AudioClip(np.rint(wave * 32768) / 32768, 8000)


def request_of(**fields) -> SampleRequest:
    """A request; the audio options are given by name among the fields."""
    options = {name: fields.pop(name) for name in list(fields) if name in AudioOptions.model_fields}
    return SampleRequest(options=AudioOptions(**options), **fields)
