"""`polydiff evaluate`: figures for a folder of samples beside a folder of real files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polydiff.cli.output import echo_json, echo_table, json_option
from polydiff.errors import PolydiffError, UsageError

if TYPE_CHECKING:
    from polydiff.dataset import Dataset
    from polydiff.domain import Domain, Gate, Metric
    from polydiff.spec import ComponentInfo


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[DOMAIN] SAMPLES")
@click.option("--reference", type=click.Path(path_type=Path), required=True, help="Folder of real files.")
@click.option("-c", "--config", type=click.Path(path_type=Path), help="TOML file with a section [data].")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting, such as data.pattern={digit}_{take}",
)
@click.option("--threads", type=int, help="Processor threads. [all but one]")
@click.option(
    "--picture", type=click.Path(path_type=Path), help="Also write a PNG picture of samples and real files."
)
@json_option
def command(
    words: tuple[str, ...],
    reference: Path,
    config: Path | None,
    assignments: tuple[str, ...],
    threads: int | None,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Measure SAMPLES, a folder that `polydiff sample` wrote or any other, beside real files.

    DOMAIN is a domain's name, or a model, whose configuration then holds; left out, it is that of the files.
    What the samples were meant to be is read from their provenance files, where they have them. Plugins may
    add figures of their own.
    """
    from polydiff.cli.session import set_threads
    from polydiff.sampling.samples import read_folder
    from polydiff.support.settings import check_sections, from_assignments, from_file, from_variables, merged

    set_threads(threads)
    if len(words) > 2:
        raise UsageError(f"evaluate takes a domain and one folder of samples, not {' '.join(words)}.")
    samples = Path(words[-1])
    domain = words[0] if len(words) == 2 else _domain_in(samples)
    settings = merged(
        from_file(config) if config else {}, from_variables(["data"]), from_assignments(assignments)
    )
    check_sections(settings, ["data"], "evaluate")
    judge = _judge(domain, samples)
    options: dict[str, Any] = settings.get("data", {})
    made, real = read_folder(judge, samples, options), read_folder(judge, reference, options)
    brought = brought_metrics(judge)
    figures = {**judge.evaluate(made, real), **_measured(brought, made, real)}
    known = {**judge.metrics(), **brought}
    if not figures:
        raise PolydiffError(f"{judge.name} has no metrics to evaluate with.")
    if picture is not None:
        _draw(judge, made, real, picture)
    gates = judge.gates()
    if as_json:
        counts = {"samples": len(made), "reference": len(real), "skipped": len(made.report.skipped)}
        passed = {name: gates[name].passed(x) for name, x in _gated(figures, gates).items()}
        echo_json(
            {"domain": judge.name, **counts, "figures": figures, **({"passed": passed} if gates else {})}
        )
        return
    if gates:
        _print_gated(figures, gates, brought)
    else:
        _print(figures, known)
    click.echo(f"{len(made)} samples beside {len(real)} real examples.")
    left_out = [name for name in judge.metrics() if name not in figures]
    if left_out and min(len(made), len(real)) < 2:
        click.echo(f"Left out, since a single example does not tell: {', '.join(left_out)}.", err=True)
    for path, why in (*made.report.skipped, *real.report.skipped):
        click.echo(f"skipped {path}: {why}", err=True)


def brought_metrics(judge: Domain) -> dict[str, Metric]:
    """The metrics that plugins bring for a domain, by the names of their rows. A name that is taken gets its
    plugin's in front."""
    from polydiff.domain import Metric
    from polydiff.plugins.registry import get_registry

    registry, taken = get_registry(), set(judge.metrics())
    found: dict[str, Metric] = {}
    for info in registry.serving("metric", judge.name):
        made = registry.load(info)
        if not isinstance(made, Metric):
            better: Any = info.facts.get("better", "lower")
            made = Metric(made, better, info.summary)
        name = info.name if info.name not in taken else f"{registry.owner(info).owner}:{info.name}"
        taken.add(name)
        found[name] = Metric(_blamed(info, made), made.better, made.help)
    return found


def _blamed(info: ComponentInfo, metric: Metric) -> Callable[[Dataset, Dataset], float]:
    """The metric as a function that raises PluginError where it fails."""
    from polydiff.plugins.registry import get_registry

    def measure(made: Dataset, real: Dataset) -> float:
        with get_registry().blaming(info):
            return metric(made, real)

    return measure


def _measured(metrics: Mapping[str, Metric], made: Dataset, real: Dataset) -> dict[str, float]:
    """The figures of plugins; one that fails is named and left out, as a broken plugin stops no other."""
    figures = {}
    for name, metric in metrics.items():
        try:
            figures[name] = metric(made, real)
        except PolydiffError as error:
            click.echo(f"Left out {name}: {error}", err=True)
    return figures


def _domain_in(samples: Path) -> str:
    """The domain of a folder of samples: as their records say, else that of the first file."""
    from polydiff.dataset import METADATA
    from polydiff.models.refs import domain_of
    from polydiff.sampling.provenance import first_record

    if not samples.is_dir():
        raise UsageError(f"{samples}: no such folder of samples.")
    record = first_record(samples)
    if record is not None:
        return record.domain
    files = sorted(path for path in samples.rglob("*") if path.is_file() and not path.name.startswith("."))
    files = [path for path in files if path.name not in METADATA]
    if not files:
        raise UsageError(
            f"{samples}: no file to tell the domain by; name it: polydiff evaluate DOMAIN {samples}."
        )
    return domain_of(files[0])


def _print(figures: Mapping[str, Any], known: Mapping[str, Metric]) -> None:
    rows = [
        [
            name,
            _figure(value),
            known[name].better if name in known else "",
            known[name].help if name in known else "",
        ]
        for name, value in figures.items()
    ]
    echo_table(["FIGURE", "VALUE", "BETTER", "WHAT"], rows)


def _print_gated(
    figures: Mapping[str, Any], gates: Mapping[str, Gate], brought: Mapping[str, Metric]
) -> None:
    """Each figure beside that of real examples, and whether it passes its gate."""
    gated = _gated(figures, gates)
    rows = [
        [
            name,
            _figure(value),
            _figure(figures.get(f"{name}_real", "")),
            str(gates[name]) if name in gates else "",
            ("yes" if gates[name].passed(value) else "NO") if name in gated else "",
            gates[name].help if name in gates else brought[name].help if name in brought else "",
        ]
        for name, value in figures.items()
        if name.removesuffix("_real") == name or name.removesuffix("_real") not in figures
    ]
    echo_table(["FIGURE", "VALUE", "REAL", "GATE", "PASSED", "WHAT"], rows)
    passed = sum(gates[name].passed(value) for name, value in gated.items())
    click.echo(f"{passed} of {len(gated)} gates passed.")


def _gated(figures: Mapping[str, Any], gates: Mapping[str, Gate]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if name in gates and gates[name].bounded}


def _draw(judge: Domain, made: Dataset, real: Dataset, path: Path) -> None:
    from polydiff.support.files import atomic_write

    drawn = judge.evaluation_picture(made, real)
    if drawn is None:
        raise UsageError(f"--picture: {judge.name} draws none of its figures; leave it out.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(drawn)


def _judge(name: str, samples: Path) -> Domain:
    """The domain with the configuration of a model: the one named, or the one that made the samples."""
    from polydiff.models.made_by import read_config
    from polydiff.models.manifest import read_manifest
    from polydiff.models.refs import resolve
    from polydiff.plugins.registry import get_registry
    from polydiff.sampling.provenance import first_record

    registry = get_registry()
    ref = name
    if name in {info.name for info in registry.domains()}:
        record = first_record(samples)
        ref = record.model if record and record.domain == name else ""
    try:
        manifest = read_manifest(resolve(ref)) if ref else None
    except UsageError:
        if ref == name:
            raise
        manifest = None  # the model of the samples is gone: the domain's defaults will do
    if manifest is None:
        judge: Domain = registry.domain(name)()
        return judge
    kind = registry.domain(manifest.domain)
    judge = kind(read_config(kind, manifest, resolve(ref)))
    return judge


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)
