"""The contract of a domain: everything that a plugin says about one kind of data.

A domain knows its data and nothing of solvers; the engine knows tensors and nothing of data. What crosses
between them is a `State` (component name -> float32 tensor, batch first, nodes second, features last, unit
variance) and a `Mask` (component name -> bool tensor, True where a node is real; absent where all are).
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from polydiff.dataset import DataReport, Dataset, Item, checked, labelled_files
from polydiff.errors import UsageError
from polydiff.support.settings import merged

if TYPE_CHECKING:  # a domain's module may be read for its flags, which must not cost an import of torch
    from torch import Tensor, nn

    from polydiff.conditions import ConditionSet
    from polydiff.engine.denoisers import Denoiser
    from polydiff.engine.processes.base import Process
    from polydiff.engine.schedules import Schedule

    State = dict[str, Tensor]
    Mask = dict[str, Tensor]

__all__ = [
    "ConfiguredDomain",
    "DataReport",
    "Dataset",
    "Domain",
    "Gate",
    "Item",
    "Metric",
    "SampleRequest",
    "Strict",
]

Example = Any  # a domain's own type: an audio clip, a structure, a cloud


class Strict(BaseModel):
    """A pydantic model in which a misspelt key is an error. The base for `Config` and `Options`."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class SampleRequest:
    """What is asked of one sample.

    `conditions` are canonical (as ConditionSet.parse gives them), `options` is an instance of the domain's
    `Options`. `source` is the example that a variation starts from or whose parts are kept; `keep` and `redo`
    are regions of it in the domain's own words ("0:0.3s"), at most one of them set. `target` is the example
    that an interpolation goes to, and `share` how far this sample goes, 0 to 1.
    """

    conditions: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    options: Any = field(default_factory=Strict)
    source: Example = None
    keep: str | None = None
    redo: str | None = None
    target: Example = None
    share: float = 0.0

    @property
    def inpaints(self) -> bool:
        """Whether a part of the source is kept, by `keep` or by `redo`."""
        return self.keep is not None or self.redo is not None


@dataclass(frozen=True)
class Metric:
    """A figure for a set of samples beside a reference set, and which way is good."""

    function: Callable[[Dataset, Dataset], float]
    better: Literal["lower", "higher"] = "lower"
    help: str = ""

    def __call__(self, samples: Dataset, reference: Dataset) -> float:
        return float(self.function(samples, reference))


@dataclass(frozen=True)
class Gate:
    """What a figure of `Domain.evaluate` is for a good set of samples: from low to high, both included. Where
    neither is given the figure is only stated.

    >>> Gate(high=0.5).passed(0.4), Gate(0.9, 1.1).passed(1.2), str(Gate(0.9, 1.1)), str(Gate(high=0.5))
    (True, False, '0.9 to 1.1', 'at most 0.5')
    """

    low: float = -math.inf
    high: float = math.inf
    help: str = ""

    @property
    def bounded(self) -> bool:
        """Whether there is a bound to pass."""
        return math.isfinite(self.low) or math.isfinite(self.high)

    def passed(self, value: float) -> bool:
        """Whether a figure lies between the ends; nan does not where there are any."""
        return not self.bounded or self.low <= value <= self.high

    def __str__(self) -> str:
        if not self.bounded:
            return ""
        if not math.isfinite(self.high):
            return f"at least {self.low:g}"
        return f"{self.low:g} to {self.high:g}" if math.isfinite(self.low) else f"at most {self.high:g}"


class Domain(ABC):
    """One kind of data. Subclass it, fill in the abstract methods, and keep every default that is true.

    A domain is made from its `Config` alone and never changes, so that it can be shared between threads.
    """

    name: ClassVar[str]
    Config: ClassVar[type[BaseModel]] = Strict  # what fixes the network and the codec; stored in model.json
    Options: ClassVar[type[BaseModel]] = Strict  # what may differ from sample to sample; become flags
    suffixes: ClassVar[tuple[str, ...]]  # the file suffixes that load and save know, the preferred one first
    also_reads: ClassVar[tuple[str, ...]] = ()  # the suffixes that load knows and save does not
    tolerance: ClassVar[float] = 1e-4  # how far decode(encode(x)) may be from x, as `distance` measures it
    # Of "variation" (--from --strength), "inpaint" (--keep, --redo), "variable" (sizes differ).
    capabilities: ClassVar[frozenset[str]] = frozenset({"variation"})
    reads_folders: ClassVar[bool] = False  # whether an example may be a folder, such as one of pictures
    label: ClassVar[str | None] = None  # the condition that a training file's folder name stands for

    def __init__(self, config: Any = None) -> None:
        self.config: Any = self.Config() if config is None else config

    # --- files ------------------------------------------------------------------------------------------

    @abstractmethod
    def load(self, path: Path) -> Example:
        """Read one file. Raises UsageError in one line where it is not a readable file of this domain."""

    @abstractmethod
    def save(self, example: Example, path: Path) -> list[str]:
        """Write one file whose suffix is one of `suffixes`; returns notes on what had to be changed."""

    # --- tensors ----------------------------------------------------------------------------------------

    @abstractmethod
    def encode(self, examples: Sequence[Example]) -> tuple[State, Mask]:
        """Examples as one batch (B, N, C) of float32, padded with zeros where sizes differ."""

    @abstractmethod
    def decode(self, state: State, mask: Mask) -> list[Example]:
        """The way back; nodes with mask False are not part of the examples."""

    @abstractmethod
    def processes(self) -> Mapping[str, Process | str]:
        """How each component of the state is noised: a process, or the name of one that some plugin brings.
        polydiff.models.processes.processes_of makes those that are named."""

    @abstractmethod
    def network(self) -> nn.Module:
        """A fresh network: forward(x: State, c_noise (B,), mask, cond) -> State."""

    @abstractmethod
    def shapes(self, request: SampleRequest) -> dict[str, tuple[int, ...]]:
        """The shape (N, C) of each component that is drawn, no batch dimension. Where the request has a
        source and no option says otherwise, it is the shape of the encoded source."""

    def carried(self, request: SampleRequest) -> State:
        """Values of the components that are not drawn but carried along (process Fixed), unbatched."""
        return {}

    # --- conditions and options -------------------------------------------------------------------------

    def conditions(self) -> ConditionSet:
        """What a sample can be conditioned on. Vocabularies are data: they come from the config."""
        from polydiff.conditions import ConditionSet

        return ConditionSet(())

    # --- variation and kept regions ---------------------------------------------------------------------

    def init(self, request: SampleRequest) -> State:
        """The source as an unbatched state {name: (N, C)} of the shapes of the request."""
        state, mask = self.encode([request.source])
        shapes = self.shapes(request)
        init = {name: x[0][mask[name][0]] if name in mask else x[0] for name, x in state.items()}
        for name, x in init.items():
            if tuple(x.shape) != tuple(shapes[name]):
                raise UsageError(
                    f"The source is {tuple(x.shape)} in {name} and the sample {tuple(shapes[name])}: "
                    "a variation has the size of its source."
                )
        return init

    def known(self, request: SampleRequest) -> tuple[State, Mask]:
        """What is kept of the source: an unbatched state of the shapes of the request, and for each component
        a bool mask (N,), True where a node is kept. Reads `request.keep` or `request.redo`."""
        raise UsageError(f"{self.name} samples cannot keep a part of a source.")

    def guided(self, denoiser: Denoiser, schedule: Schedule) -> Denoiser:
        """The denoiser that samples are drawn with: override it to add what is known of every example and a
        network may miss, as polydiff.engine.guidance wraps denoisers."""
        return denoiser

    def keeps(self, options: Any) -> bool:
        """Whether these options say by themselves what is kept of a source, as `keep` and `redo` do."""
        return False

    def paired(self, a: State, b: State) -> State:
        """State b with its nodes in the order in which they fit those of a, both unbatched and as noise, for
        what lies between them. Override it where nodes are a set."""
        return b

    def parts(self, request: SampleRequest) -> Generator[SampleRequest, Example, Example]:
        """How a sample is made: yields what is to be drawn, is sent the decoded example, and returns the
        finished sample. Override it where a sample is made piece by piece, each going on from the last; give
        each piece a seed of its own (polydiff.engine.noise.derived_seed)."""
        example = yield request
        return self.finish(example, request)

    def finish(self, example: Example, request: SampleRequest) -> Example:
        """The last touch on a decoded sample, such as splicing kept data back in exactly."""
        return example

    # --- training data ----------------------------------------------------------------------------------

    @classmethod
    def dataset(cls, folder: str | Path, pattern: str | None = None) -> Dataset:
        """The labelled examples of a folder; what cannot be read is skipped and reported.

        See polydiff.dataset.labelled_files for where labels come from. Domains override this to look closer
        (lengths, rates, silence) or to take options of their own, which become keys under [data].
        """
        reader = cls()
        return checked(
            labelled_files(folder, (*cls.suffixes, *cls.also_reads), cls.label, pattern), reader.load
        )

    @classmethod
    def configure(cls, dataset: Dataset, overrides: Mapping[str, Any]) -> Any:
        """The Config for a model of this dataset: overrides first, the rest from the data or the defaults."""
        return cls.Config(**overrides)

    @classmethod
    def fine_tuned(cls, config: Any, dataset: Dataset, overrides: Mapping[str, Any]) -> Any:
        """The Config for a model of this dataset that begins with the weights of a model of `config`: what
        fixes codec and network stays. Domains whose conditions come from the data take those from it."""
        return cls.configure(dataset, merged(config.model_dump(mode="json"), overrides))

    def augment(
        self, example: Example, conditions: Mapping[str, Any], seed: int
    ) -> tuple[Example, Mapping[str, Any]]:
        """A changed copy that is as good as the original, and the conditions that are true of the copy (a
        note played faster has another pitch); all randomness comes from `seed`."""
        return example, conditions

    @classmethod
    def recipes(cls) -> dict[str, Path]:
        """Training recipes by name: the TOML files in a folder `recipes` beside the domain's module."""
        folder = Path(inspect.getfile(cls)).parent / "recipes"
        return {path.stem: path for path in sorted(folder.glob("*.toml"))}

    # --- judging and showing ----------------------------------------------------------------------------

    def distance(self, a: Example, b: Example) -> float:
        """How far two examples are apart, in the unit of `tolerance`. The default compares encodings, which
        cannot see what the codec drops: override it to compare the examples themselves."""
        (x, _), (y, _) = self.encode([a]), self.encode([b])
        if any(x[k].shape != y[k].shape for k in x):
            return float("inf")
        return max(float((x[k] - y[k]).abs().max()) for k in x)

    def metrics(self) -> dict[str, Metric]:
        """Named figures for a set of samples beside a set of real examples."""
        return {}

    def gates(self) -> Mapping[str, Gate]:
        """What the figures of `evaluate` must be, by name; `evaluate` of the command line prints whether they
        are, beside the figure of real examples where there is one named `NAME_real`."""
        return {}

    def evaluate(self, samples: Dataset, reference: Dataset) -> dict[str, float]:
        """Every metric of this domain, in order."""
        return {name: metric(samples, reference) for name, metric in self.metrics().items()}

    def evaluation_picture(self, samples: Dataset, reference: Dataset) -> bytes | None:
        """What `evaluate --picture` writes: a PNG picture of samples beside real examples; None for none."""
        return None

    @abstractmethod
    def preview(self, example: Example) -> bytes:
        """One example as a PNG picture."""

    def contact_sheet(self, examples: Sequence[Example], titles: Sequence[str]) -> bytes:
        """Many examples as one PNG picture, each under its title."""
        from polydiff.support.pictures import contact_sheet

        return contact_sheet([self.preview(example) for example in examples], titles)


class ConfiguredDomain(Domain):
    """A domain whose Config has a field `conditions`, a tuple of them, and whose fine-tuned models keep the
    fields of the Config that `inherit` names; the others are measured on the new data."""

    inherit: ClassVar[tuple[str, ...]]

    def conditions(self) -> ConditionSet:
        from polydiff.conditions import ConditionSet

        return ConditionSet(self.config.conditions)

    @classmethod
    def fine_tuned(cls, config: Any, dataset: Dataset, overrides: Mapping[str, Any]) -> Any:
        kept = config.model_dump(mode="json", include=set(cls.inherit))
        return cls.configure(dataset, merged(kept, overrides))
