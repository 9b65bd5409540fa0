"""Processes: what is noised, and how. A dict of processes is the product space."""

from polydiff.engine.processes.base import Process
from polydiff.engine.processes.categorical import Categorical
from polydiff.engine.processes.fixed import Fixed
from polydiff.engine.processes.gaussian import Gaussian
from polydiff.engine.processes.rotation import Rotation
from polydiff.engine.processes.torus import Torus

PROCESSES: dict[str, type] = {
    "gaussian": Gaussian,
    "rotation": Rotation,
    "torus": Torus,
    "categorical": Categorical,
    "fixed": Fixed,
}

__all__ = ["PROCESSES", "Categorical", "Fixed", "Gaussian", "Process", "Rotation", "Torus"]
