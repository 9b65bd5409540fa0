"""A trained model: a domain, a network and how to sample it. One folder on disk."""

from __future__ import annotations

import copy
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from polydiff import __version__
from polydiff.domain import Domain
from polydiff.engine.denoisers import Denoiser, precondition
from polydiff.engine.schedules import Schedule
from polydiff.errors import PluginError, UsageError
from polydiff.models.calibrated import SavedTable, table_path, tables_in
from polydiff.models.made_by import made_by, read_config
from polydiff.models.manifest import (
    MANIFEST,
    WEIGHTS,
    Card,
    Manifest,
    Part,
    SamplingDefaults,
    check_weights,
)
from polydiff.models.processes import processes_of
from polydiff.models.refs import ModelFolder, find_model
from polydiff.plugins.registry import get_registry
from polydiff.sampling.options import SamplingOptions
from polydiff.sampling.samples import Sample, Samples
from polydiff.support.files import atomic_write
from polydiff.support.validate import validated

if TYPE_CHECKING:
    from polydiff.conditions import ConditionSet
    from polydiff.sampling.plan import Plan

__all__ = ["HALF_MAX", "Model", "load", "make_schedule"]

HALF_MAX = 65504.0  # beyond it a weight does not fit into 16 bits


def load(ref: str | Path | ModelFolder, domain: str | None = None) -> Model:
    """A model by a domain's name ("audio"), a preset ("audio/drums"), a folder or "hf://owner/name".

    A `ModelFolder` is one that was found already. `domain`: what the model must be of. Raises UsageError or
    PluginError in one line.
    """
    return Model.load(ref, domain)


class Model:
    """A domain, a network that belongs to it, and the manifest that says how they were trained and are
    sampled. Nothing in it changes after it was made, so threads may share it."""

    def __init__(
        self,
        domain: Domain,
        network: nn.Module,
        manifest: Manifest,
        ref: str = "",
        tables: Mapping[int, Path] | None = None,
    ) -> None:
        self.domain = domain
        self.network = network.eval().requires_grad_(False)
        self.manifest = manifest
        self.ref = ref
        self.tables = dict(tables or {})  # of calibrated tables, by their number of steps
        self._copies: dict[str, nn.Module] = {}
        self._lock = threading.Lock()

    @classmethod
    def create(
        cls,
        domain: Domain | str,
        network: nn.Module | None = None,
        *,
        schedule: str | Part = "edm",
        sigma_data: float = 1.0,
        sampling: SamplingDefaults | None = None,
        training: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        card: Card | None = None,
    ) -> Model:
        """A model of a domain and its network; without a network, of a fresh and untrained one."""
        registry = get_registry()
        made: Domain = registry.domain(domain)() if isinstance(domain, str) else domain
        part = Part(name=schedule) if isinstance(schedule, str) else schedule
        full_name = registry.component_info("schedule", part.name).full_name
        owner = registry.owner(registry.domain_info(made.name))
        manifest = Manifest(
            domain=made.name,
            plugin=owner.owner,
            plugin_version=owner.version,
            polydiff_version=__version__,
            config=made.config.model_dump(mode="json"),
            schedule=part.model_copy(update={"name": full_name}),
            sigma_data=sigma_data,
            conditions=tuple(made.conditions().model_dump(mode="json")),
            sampling=sampling or SamplingDefaults(),
            training=dict(training or {}),
            metrics=dict(metrics or {}),
            card=card or Card(),
        )
        return cls(made, made.network() if network is None else network, manifest)

    # --- disk -------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, ref: str | Path | ModelFolder, domain: str | None = None) -> Model:
        """See `polydiff.load`."""
        found = ref if isinstance(ref, ModelFolder) else find_model(ref)
        ref, folder, manifest = found.ref, found.path, found.manifest
        if domain not in (None, manifest.domain):
            raise UsageError(f"{ref}: a model of the domain {manifest.domain!r}, not of {domain!r}.")
        check_weights(folder / WEIGHTS)
        try:
            kind = get_registry().domain(manifest.domain)
        except PluginError as error:
            source = f", of {manifest.plugin}" if manifest.plugin else ""
            raise PluginError(f"{ref}: needs the domain {manifest.domain!r}{source}. {error}") from error
        made = kind(read_config(kind, manifest, folder))
        with torch.random.fork_rng(devices=[]):  # the weights are replaced; the caller's randomness is not
            network = made.network()
        _load_weights(network, folder / WEIGHTS, manifest)
        return cls(made, network, manifest, ref=ref, tables=tables_in(folder))

    def save(self, folder: str | Path) -> Path:
        """Write model.json and weights.safetensors (16 bits where the values fit), whole or not at all, and
        the calibrated tables that the model has."""
        folder = Path(folder)
        tensors = {name: _halved(x).contiguous().cpu() for name, x in self.network.state_dict().items()}
        with atomic_write(folder / WEIGHTS) as temporary:
            save_file(tensors, temporary, metadata={"domain": self.domain.name})
        with atomic_write(folder / MANIFEST) as temporary:
            text = json.dumps(self.manifest.model_dump(mode="json"), indent=1, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")
        for steps, path in self.tables.items():
            SavedTable.read(path).write(table_path(folder, steps))
        return folder

    @cached_property
    def hash(self) -> str:
        """SHA-256 of everything a sample depends on: weights, configuration, schedule, conditions."""
        fixed = self.manifest.model_dump(
            mode="json", include={"domain", "config", "schedule", "sigma_data", "conditions"}
        )
        digest = hashlib.sha256(json.dumps(fixed, sort_keys=True).encode())
        for name, value in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    # --- parts ------------------------------------------------------------------------------------------

    @cached_property
    def schedule(self) -> Schedule:
        """The noise schedule that the model was trained with."""
        return make_schedule(self.manifest.schedule)

    @cached_property
    def conditions(self) -> ConditionSet:
        """What samples can be conditioned on."""
        return self.domain.conditions()

    def denoiser(self, device: str | torch.device = "cpu") -> Denoiser:
        """x̂0 from x_t, for use with the engine directly."""
        network, processes = self._network_on(str(device)), processes_of(self.domain)
        return precondition(network, self.schedule, self.manifest.sigma_data, processes=processes)

    def _network_on(self, device: str) -> nn.Module:
        own = next((str(p.device) for p in self.network.parameters()), device)
        if device == own:
            return self.network
        with self._lock:
            if device not in self._copies:
                self._copies[device] = copy.deepcopy(self.network).to(device)
            return self._copies[device]

    # --- sampling ---------------------------------------------------------------------------------------

    def plan(self, n: int | SamplingOptions | None = None, seed: int | None = None, **arguments: Any) -> Plan:
        """Check everything that `sample` takes and work out what it would do, without doing it."""
        from polydiff.sampling.plan import make_plan

        return make_plan(self, SamplingOptions.of(n, seed, arguments))

    def sample(
        self, n: int | SamplingOptions | None = None, seed: int | None = None, **arguments: Any
    ) -> Samples:
        """Make samples: `sample(4, seed=0, steps=10, conditions={"digit": "seven"}, duration=2.0)`.

        Args:
            n: how many; or `SamplingOptions`, which then say everything.
            seed: sample i gets seed + i and is the same in whatever run; drawn and recorded if None.
            **arguments: the other names of `polydiff.sampling.options.SamplingOptions`, which says what each
                means, and the domain's own options, such as duration=2.0 for audio.

        Raises UsageError in one line for anything that cannot be used.
        """
        plan = self.plan(n, seed, **arguments)
        result: Samples = get_registry().run(plan.info(lambda: Samples(plan.stream())))
        return result

    def stream(
        self, n: int | SamplingOptions | None = None, seed: int | None = None, **arguments: Any
    ) -> Iterator[Sample]:
        """As `sample`, but gives each sample as soon as it is done. To cancel, stop iterating."""
        return self.plan(n, seed, **arguments).stream()

    def with_sampling(self, changes: Mapping[str, Any]) -> Model:
        """The same model with other sampling defaults, such as {"steps": 10}; shares the weights."""
        values = {**self.manifest.sampling.model_dump(), **changes}
        sampling = validated(SamplingDefaults, values, "sampling")
        manifest = self.manifest.model_copy(update={"sampling": sampling})
        return Model(self.domain, self.network, manifest, self.ref, self.tables)

    def __repr__(self) -> str:
        size = sum(p.numel() for p in self.network.parameters())
        return f"Model({self.ref or self.domain.name!r}, {size / 1e6:.2f} M parameters)"


def make_schedule(part: Part) -> Schedule:
    """A schedule from its name and options; the option `shift` multiplies its noise."""
    from polydiff.engine.schedules import shifted

    factory = get_registry().component("schedule", part.name)
    options = dict(part.options)
    shift = options.pop("shift", 1.0)
    try:
        return shifted(factory(**options), shift)
    except (TypeError, ValueError) as error:
        raise UsageError(f"schedule {part.name}: {error}.") from error


def _halved(x: Tensor) -> Tensor:
    fits = x.is_floating_point() and (x.numel() == 0 or float(x.abs().max()) <= HALF_MAX)
    return x.to(torch.float16) if fits else x


def _load_weights(network: nn.Module, path: Path, manifest: Manifest) -> None:
    domain = manifest.domain
    try:
        with safe_open(path, framework="pt") as file:
            written_for = (file.metadata() or {}).get("domain", domain)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path}: cannot be read ({error}). Copy the model folder again.") from error
    if written_for != domain:
        raise UsageError(f"{path}: weights of a {written_for!r} model, and model.json is of {domain!r}.")
    own = network.state_dict()
    misfit = sorted(own.keys() ^ tensors.keys()) or [k for k in own if own[k].shape != tensors[k].shape]
    if misfit:
        raise UsageError(
            f"{path}: does not fit the network that model.json describes ({len(misfit)} tensors differ, "
            f"the first {misfit[0]!r}). The two files are not of one model, or the plugin's network has "
            f"changed. {made_by(manifest)}"
        )
    network.load_state_dict(tensors)
