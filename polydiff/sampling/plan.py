"""From what a user asks to what the engine needs: everything checked and resolved before the first step."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from polydiff.domain import Domain, SampleRequest
from polydiff.engine.denoisers import Cond, Denoiser, State
from polydiff.engine.ode.encoding import encode
from polydiff.engine.table import Table
from polydiff.errors import UsageError, did_you_mean
from polydiff.models.processes import processes_of
from polydiff.plugins.registry import get_registry
from polydiff.runtime.captured import finish_for
from polydiff.runtime.requests import Request, alone, sample_jobs
from polydiff.runtime.thread_team import cores
from polydiff.sampling.batch_size import validate_batch_size, with_batch_size
from polydiff.sampling.guidance import check_guidance, guided, name_of
from polydiff.sampling.options import SamplingOptions, check_guidance_scale, check_options, count_of
from polydiff.sampling.provenance import Provenance, versions
from polydiff.sampling.samples import Sample
from polydiff.sampling.source import ends_of, source_of, target_of
from polydiff.sampling.table import make_model_table
from polydiff.sampling.trajectory import Watch, watched
from polydiff.spec import RunInfo
from polydiff.support.validate import validated

if TYPE_CHECKING:
    from polydiff.model import Model

MAX_SEED = 2**32  # drawn seeds stay below it: short enough to be typed


@dataclass(frozen=True, eq=False)
class First:
    """The first sample's engine request and the two ends of an interpolation: built once, to check that the
    sample can be made, and used again when it is."""

    request: SampleRequest
    made: Request
    ends: tuple[State, State] | None


@dataclass(frozen=True)
class Plan:
    """One run of sampling: what is asked of each sample, and the record that all samples share. `denoiser` is
    the model's, under the guidance of the plan and with what the domain adds to it."""

    model: Model
    table: Table
    denoiser: Denoiser = field(compare=False, repr=False)
    requests: tuple[tuple[int, SampleRequest], ...]  # index in the run, and what is asked
    strength: float | None
    batch_size: int | None  # None: as much as memory holds
    memory: int | None  # bytes, None: a share of what is free
    graphs: bool
    device: str
    record: Provenance
    _first: First | None = field(default=None, compare=False, repr=False)
    _encoded_ends: dict[str, tuple[State, State]] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.requests)

    def stream(
        self, callbacks: Sequence[Callable[..., None]] = (), watch: Watch | None = None
    ) -> Iterator[Sample]:
        """Each sample as soon as it is done. `watch(t, x0_hat)` sees what each network call predicts."""
        plan = with_batch_size(self)
        jobs = (self._job(request) for _, request in self.requests)
        heard = self._heard(callbacks)
        examples = sample_jobs(
            jobs=jobs,
            batch_size=plan.batch_size,
            callbacks=heard,
            threads=1 if heard or watch else self._side_by_side(),
            **self.engine_arguments(watch),
        )
        for (index, request), example in zip(self.requests, examples, strict=True):
            yield Sample(example, plan.provenance(index, request), self.model.domain)

    def states(
        self, callbacks: Sequence[Callable[..., None]] = (), watch: Watch | None = None
    ) -> Iterator[tuple[int, State]]:
        """Position in the plan and unbatched state of each sample made in one part, before it is decoded."""
        jobs = (alone(self.engine_request(request)) for _, request in self.requests)
        states = sample_jobs(
            jobs=jobs,
            batch_size=with_batch_size(self).batch_size,
            callbacks=self._heard(callbacks),
            **self.engine_arguments(watch),
        )
        yield from enumerate(states)

    def _side_by_side(self) -> int:
        """How many samples may be made on threads of their own."""
        if self.device != "cpu" or self.record.guided_by:
            return 1
        return max(1, min(len(self), cores() // torch.get_num_threads()))

    def _heard(self, callbacks: Sequence[Callable[..., None]]) -> list[Callable[..., None]]:
        """The callbacks of plugins, who are asked for them once a run, and those given."""
        return [*get_registry().callbacks(self.info(tuple)), *callbacks]

    def engine_arguments(self, watch: Watch | None = None) -> dict[str, Any]:
        """What the engine is told of all samples."""
        return {
            "denoiser": watched(self.denoiser, watch) if watch else self.denoiser,
            "processes": processes_of(self.model.domain),
            "schedule": self.model.schedule,
            "table": self.table,
            "device": self.device,
            # who watches wants to be called at every row
            "loop": finish_for(self.device, self.graphs and watch is None),
            # a function of the caller's or of the domain may differentiate
            "inference": not self.record.guided_by and type(self.model.domain).guided is Domain.guided,
        }

    def _job(self, request: SampleRequest) -> Generator[Request, State, Any]:
        """The parts of one sample as the engine makes them."""
        maker = self.model.domain.parts(request)
        try:
            part = next(maker)
            while True:
                part = maker.send(self._decoded((yield self.engine_request(part))))
        except StopIteration as end:
            return end.value

    def engine_request(self, request: SampleRequest) -> Request:
        """What the engine needs to know of one sample, the place where it starts included."""
        first = self._first
        known = first is not None and first.request is request
        made = first.made if first and known else engine_request(self.model, request, self.strength)
        if request.target is not None:
            return replace(made, noisy=self._between(request, made.cond))
        if self.record.source is not None and self.record.source.denoise:
            return replace(made, noisy=self._as_noisy(request))
        return made

    def _as_noisy(self, request: SampleRequest) -> State:
        """The source, taken as the state at the table's first time: it holds that much noise already."""
        domain, schedule = self.model.domain, self.model.schedule
        first = torch.tensor([self.table.rows[0].t], dtype=torch.float64)
        processes, init = processes_of(domain), domain.init(request)
        return {
            name: processes[name].noiseless(init[name][None], first, schedule)[0]
            for name in domain.shapes(request)
        }

    def _between(self, request: SampleRequest, cond: Cond) -> State:
        """The start of an interpolation: between the noises of its two ends, each encoded once a run."""
        key = json.dumps(dict(request.conditions), sort_keys=True)
        domain, denoiser = self.model.domain, self.model.denoiser(self.device)
        batched = {name: value[None].to(self.device) for name, value in cond.items()}
        if key not in self._encoded_ends:
            first = self._first
            known = first.ends if first is not None and first.request is request else None
            noises = []
            for end in known or ends_of(domain, request):
                state = {name: x[None].to(self.device) for name, x in end.items()}
                noise = encode(denoiser, processes_of(domain), self.model.schedule, state, None, batched)
                noises.append({name: x[0].cpu() for name, x in noise.items()})
            self._encoded_ends[key] = (noises[0], domain.paired(*noises))
        a, b = self._encoded_ends[key]
        processes = processes_of(domain)
        return {
            name: processes[name].between(a[name], b[name], request.share) for name in domain.shapes(request)
        }

    def _decoded(self, state: State) -> Any:
        batch = {name: x[None].cpu() for name, x in state.items()}
        mask = {name: torch.ones(x.shape[:2], dtype=torch.bool) for name, x in batch.items()}
        return self.model.domain.decode(batch, mask)[0]

    def info(self, execute: Callable[[], Any], output: str = "") -> RunInfo:
        """What the run hooks of plugins get to see."""
        return RunInfo("sample", self.model.domain.name, execute, self.model.ref, output, self.describe())

    def describe(self) -> dict[str, Any]:
        """What the run would do, as plain data."""
        record = self.record
        return {
            "model": self.model.ref or self.model.domain.name,
            "samples": [
                {"index": i, "seed": r.seed, "conditions": dict(r.conditions), "shapes": self._shapes(r)}
                for i, r in self.requests
            ],
            "options": record.options,
            "solver": record.solver,
            "grid": record.grid,
            "steps": record.steps,
            "network_calls": self.table.nfe,
            "guidance": record.guided_by or record.guidance,
            "guidance_scale": record.guidance_scale,
            "source": record.source.model_dump() if record.source else None,
            "batch_size": self.batch_size,
            "device": self.device,
        }

    def _shapes(self, request: SampleRequest) -> dict[str, tuple[int, ...]]:
        return {name: tuple(shape) for name, shape in self.model.domain.shapes(request).items()}

    def provenance(self, index: int, request: SampleRequest) -> Provenance:
        """The record of one sample of the plan."""
        found: dict[str, Any] = {"index": index, "seed": request.seed, "conditions": dict(request.conditions)}
        if request.target is not None and self.record.source is not None:
            found["source"] = self.record.source.model_copy(update={"share": request.share})
        return self.record.model_copy(update={**found, "model_hash": self.model.hash})


def make_plan(model: Model, options: SamplingOptions) -> Plan:
    """Everything checked and worked out before the first step. Raises UsageError in one line."""
    check_options(options)
    domain, defaults = model.domain, model.manifest.sampling
    asked = _domain_options(model, options)
    example, origin = source_of(domain, options)
    goal, origin = target_of(domain, options, origin)
    strength = options.strength
    if example is not None and goal is None and strength is None:
        strength = None if _kept(domain, asked, options.keep, options.redo) else 0.5
    rows = _rows(model, options)
    seed = secrets.randbelow(MAX_SEED) if options.seed is None else options.seed
    share, last = options.share, max(len(rows) - 1, 1)
    requests = tuple(
        (
            i,
            SampleRequest(
                conditions=rows[i],
                seed=seed + i,
                options=asked,
                source=example,
                keep=options.keep,
                redo=options.redo,
                target=goal,
                share=i / last if share is None else share,
            ),
        )
        for i in (range(len(rows)) if options.indices is None else map(int, options.indices))
    )
    name = options.guidance if isinstance(options.guidance, str) else defaults.guidance
    wrap = None if isinstance(options.guidance, str) else options.guidance
    # The way back from an encoding follows no guidance; options belong to the default they were written for.
    default_scale = defaults.guidance_scale if goal is None else 1.0
    scale = default_scale if options.guidance_scale is None else options.guidance_scale
    check_guidance_scale(scale)
    guidance_options = defaults.guidance_options if name == defaults.guidance else {}
    guidance_name = check_guidance(name, guidance_options, defaults.guidance_rescale)
    table, solver_name, grid_name = make_model_table(model, options, strength)
    device = _device(options.device)
    batch_size, memory = validate_batch_size(options.batch_size, options.memory, device)
    registry = get_registry()
    plugin = registry.owner(registry.domain_info(domain.name)).distribution
    record = Provenance(
        domain=domain.name,
        model=model.ref,
        model_hash="",
        seed=seed,
        options=asked.model_dump(mode="json"),
        solver=solver_name,
        grid=grid_name,
        steps=table.nfe,
        guidance=guidance_name,
        guidance_options=dict(guidance_options),
        guided_by=name_of(wrap),
        guidance_scale=scale,
        guidance_rescale=defaults.guidance_rescale,
        guidance_interval=defaults.guidance_interval,
        table=json.loads(table.to_json()),
        source=origin and origin.model_copy(update={"strength": strength}),
        batch_size=batch_size or 0,
        device=device,
        threads=torch.get_num_threads(),
        versions=versions(*([plugin] if plugin else [])),
    )
    return Plan(
        model=model,
        table=table,
        denoiser=guided(model, record, device, wrap),
        requests=requests,
        strength=strength,
        batch_size=batch_size,
        memory=memory,
        graphs=options.graphs,
        device=device,
        record=record,
        _first=_first(model, requests[0][1], strength) if requests else None,
    )


def _first(model: Model, request: SampleRequest, strength: float | None) -> First:
    """The `First` of a plan. Raises UsageError for a source that cannot be used."""
    made = engine_request(model, request, strength)
    return First(request, made, None if request.target is None else ends_of(model.domain, request))


def _domain_options(model: Model, options: SamplingOptions) -> Any:
    kind, names = model.domain.Options, SamplingOptions.names()
    for name in options.options:
        if name in model.conditions:
            raise UsageError(f"{name} is a condition: write conditions={{{name!r}: ...}}.")
        hint = did_you_mean(name, names)
        if hint and name not in kind.model_fields and not did_you_mean(name, kind.model_fields):
            raise UsageError(f"sampling: unknown name {name!r}.{hint}")
    return validated(kind, options.options, f"{model.domain.name} options")


def _rows(model: Model, options: SamplingOptions) -> list[dict[str, Any]]:
    """The conditions of each sample; a list gives its values in turn."""
    known, given = model.conditions, options.conditions
    lists = {k: list(v) if isinstance(v, list | tuple) else [v] for k, v in given.items()}
    parsed = {k: [known.parse({k: v})[k] for v in values] for k, values in lists.items()}
    return [{k: values[i % len(values)] for k, values in parsed.items()} for i in range(count_of(options))]


def _kept(domain: Domain, options: Any, keep: str | None, redo: str | None) -> bool:
    """Whether a part of the source is kept."""
    return keep is not None or redo is not None or domain.keeps(options)


def engine_request(model: Model, request: SampleRequest, strength: float | None) -> Request:
    """What the engine needs to know of one sample: tensors, shapes and a seed."""
    domain = model.domain
    encoded = model.conditions.encode(request.conditions)
    cond = {name: torch.tensor(row, dtype=torch.float32) for name, row in encoded.items()}
    inpaint = request.source is not None and _kept(domain, request.options, request.keep, request.redo)
    known, keep = domain.known(request) if inpaint else (None, None)
    init = domain.carried(request)
    if request.source is not None and strength is not None and strength < 1:
        init = {**domain.init(request), **init}
    return Request(domain.shapes(request), request.seed, cond, init=init or None, known=known, keep=keep)


def _device(name: str | None) -> str:
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {name!r} cannot be used here ({str(error).splitlines()[0]}).") from error
    return str(device)
