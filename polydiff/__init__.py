"""One diffusion engine for any kind of data.

>>> import polydiff
>>> clips = polydiff.load("audio").sample(4, seed=0, conditions={"digit": "seven"})  # doctest: +SKIP
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing has it; importing typing would take a third of `polydiff --help`

__version__ = "0.1.0"
__all__ = ["Domain", "Model", "__version__", "load", "register"]

if TYPE_CHECKING:
    from typing import Any

    from polydiff.domain import Domain
    from polydiff.model import Model, load

# The heavy names are imported at first use: `import polydiff` must not wait for torch.
_HOMES = {"Domain": "polydiff.domain", "Model": "polydiff.model", "load": "polydiff.model"}


def register(provided: Any) -> None:
    """Add a Domain class, a DomainInfo or a plugin module to this process, without installing it.

    Raises polydiff.errors.PluginError in one line that names what is wrong.
    """
    from polydiff.plugins.registry import get_registry

    get_registry().register(provided)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'polydiff' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
