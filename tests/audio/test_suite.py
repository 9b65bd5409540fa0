"""The conformance suite, on real recordings."""

from __future__ import annotations

from polydiff.dataset import Dataset
from polydiff.testing import DomainSuite
from polydiff_audio.domain import Audio

from .conftest import DATA


class TestAudio(DomainSuite):
    domain = "audio"
    region = "0:0.1s"
    config = {  # noqa: RUF012
        "codec": {"iterations": 8},
        "network": {"width": 32, "depth": 1, "heads": 2},
    }

    def dataset(self) -> Dataset:
        return Audio.dataset(DATA, "{digit}_{speaker}_{take}.wav", labels=["digit", "speaker"])
