"""Sampling in a process that knows nothing of this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from polydiff.domain import Domain

__all__ = ["sample_in_new_process"]

_CODE = """
import sys, importlib, torch, polydiff
from polydiff.plugins.registry import get_registry
folder, module, name, domain, path, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
if domain not in {info.name for info in get_registry().domains()}:
    polydiff.register(getattr(importlib.import_module(module), name))
[sample] = polydiff.load(folder).sample(1, 3, steps=3)
sample.save(path)
"""


def sample_in_new_process(folder: Path, kind: type[Domain], path: Path) -> Path:
    """Seed 3 in three steps, written to `path` by another python."""
    words = [
        str(folder),
        kind.__module__,
        kind.__qualname__,
        kind.name,
        str(path),
        str(torch.get_num_threads()),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", _CODE, *words], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"the new process failed: {done.stderr.strip().splitlines()[-1]}")
    return path
