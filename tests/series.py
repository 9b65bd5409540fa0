"""The domain that `polydiff new-plugin` writes, used from where its template lies: small, real and quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polydiff.cli.new_plugin import TEMPLATES, labelled_years
from polydiff.model import Model
from polydiff.plugins.registry import get_registry

PACKAGE = TEMPLATES / "plugin"
LABELS = ("average", "cold", "warm")


def register() -> Any:
    """Make the domain `mydata` known to the process's registry and return its module."""
    if str(PACKAGE) not in sys.path:
        sys.path.insert(0, str(PACKAGE))
    import polydiff_mydata
    from polydiff_mydata import domain

    if "mydata" not in {info.name for info in get_registry().domains()}:
        get_registry().register(polydiff_mydata)
    return domain


def series(*values: float) -> Any:
    """A series of one column."""
    return register().Series(np.array(values, dtype=float)[:, None], ("temperature",))


def year(index: int = 0) -> Any:
    """A real one."""
    return series(*map(float, labelled_years()[index][2]))


def model() -> Model:
    """A small model with random weights that reach its output."""
    domain = register()
    values = np.array([list(map(float, months)) for _, _, months in labelled_years()])
    config = domain.SeriesConfig(
        columns=("temperature",),
        mean=(float(values.mean()),),
        deviation=(float(values.std()),),
        labels=LABELS,
        width=32,
        depth=1,
    )
    made = domain.MyData(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = made.network()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
    return Model.create(made, network)


def write_data(folder: Path, count: int = 12) -> Path:
    """The first years of each label as a training folder."""
    for label, number, months in labelled_years()[:: 61 // count][:count]:
        path = folder / label / f"{number}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["temperature", *months]) + "\n")
    return folder
