"""Processes: what is noised, and how. A dict of processes is the product space."""

from polydiff.engine.processes.base import Process
from polydiff.engine.processes.fixed import Fixed
from polydiff.engine.processes.gaussian import Gaussian

PROCESSES: dict[str, type] = {"gaussian": Gaussian, "fixed": Fixed}

__all__ = ["PROCESSES", "Fixed", "Gaussian", "Process"]
