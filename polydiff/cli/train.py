"""`polydiff train`: a model from a folder of files."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polydiff.cli.output import echo_json, json_option
from polydiff.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from polydiff.model import Model
    from polydiff.models.manifest import Manifest
    from polydiff.workflows.recipe import Recipe

INTERRUPTED = 130
_ONE = "fit-one"


@click.command()
@click.argument("domain")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of training files.")
@click.option("--fit-one", type=click.Path(path_type=Path), metavar="FILE", help="Learn one example alone.")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--from", "start", metavar="MODEL", help="Begin with the weights of this model (fine-tuning).")
@click.option("--recipe", "recipe_name", help="A recipe of the domain. [default, where it has one]")
@click.option("-c", "--config", type=click.Path(path_type=Path), help="TOML file with settings.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="A setting, such as config.width=128"
)
@click.option("--steps", type=int, help="Training steps.")
@click.option("--batch-size", type=int, help="Examples a step, on each process.")
@click.option("--learning-rate", type=float, help="The highest learning rate.")
@click.option("--seed", type=int, help="Seed of everything random in the run.")
@click.option("--resume", is_flag=True, help="Go on from the folder's checkpoint.")
@click.option("--nproc", type=int, default=1, show_default=True, help="Processes, one a GPU.")
@click.option("--dry-run", is_flag=True, help="Report on the data and the settings, and stop.")
@click.option("--threads", type=int, help="Processor threads. [all but one]")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="cpu or cuda. [cuda where there is one]")
@json_option
def command(domain: str, **arguments: Any) -> int:
    """Train a model of DOMAIN on the files in --data; the run's folder is a model folder at every checkpoint.
    --fit-one FILE learns a single example with the domain's recipe `fit-one`.

    Labels come from the folder names, from metadata.csv or metadata.jsonl, or from the file names
    (--set data.pattern='{digit}_{speaker}_{take}'). Settings, weakest first: built-in, the model of --from,
    the recipe (or the run that is resumed), -c FILE, POLYDIFF_SECTION__KEY variables, --set, other flags.
    """
    nproc = arguments["nproc"]
    if nproc < 1:
        raise UsageError(f"--nproc must be at least 1, got {nproc}.")
    from polydiff.cli.session import set_threads
    from polydiff.training.loop import Interrupted
    from polydiff.workflows.train import prepare, run

    set_threads(arguments["threads"])
    data = _data(domain, arguments)
    start = _start(domain, arguments["start"], arguments["resume"])
    manifest = _manifest(arguments["out"]) if arguments["resume"] else None
    recipe = _recipe(domain, arguments, start, manifest)
    prepared = prepare(domain, data, arguments["out"], recipe, arguments["resume"], start, manifest)
    quiet = arguments["as_json"]
    if arguments["dry_run"]:
        _describe(prepared.dataset.report, prepared.domain.config, recipe, quiet)
        return 0
    if nproc > 1 and "LOCAL_RANK" not in os.environ:
        from polydiff.cli.launch import launch

        _check_gpus(nproc, arguments["device"])
        return launch([sys.executable, "-m", "polydiff", *sys.argv[1:]], nproc)
    try:
        model = run(prepared, lambda line: click.echo(line, err=True), arguments["device"])
    except Interrupted as error:
        if _first_process():
            click.echo(f"{error} --resume goes on in {prepared.folder}.", err=True)
        return INTERRUPTED
    if not _first_process():
        return 0
    if quiet:
        echo_json(
            {
                "model": str(prepared.folder),
                "training": model.manifest.training,
                "metrics": model.manifest.metrics,
            }
        )
    else:
        click.echo(f"Model: {prepared.folder}   try: polydiff sample {prepared.folder} -n 8")
    return 0


def _data(domain: str, arguments: dict[str, Any]) -> Path:
    """Where the data lies: --data or --fit-one."""
    from polydiff.plugins.registry import get_registry

    data, one = arguments["data"], arguments["fit_one"]
    if (data is None) == (one is None):
        raise UsageError("Give either --data FOLDER or --fit-one FILE.")
    if one is not None and _ONE not in get_registry().domain(domain).recipes():
        raise UsageError(f"{domain} has no recipe {_ONE!r} to learn a single example with; give --data.")
    found: Path = data if one is None else one
    return found


def _start(domain: str, ref: str | None, resume: bool) -> Model | None:
    from polydiff.model import load

    if ref is None:
        return None
    if resume:
        raise UsageError("--resume goes on with the weights in the run's folder: leave out --from.")
    return load(ref, domain)


def _manifest(folder: Path) -> Manifest | None:
    """The manifest of the run that is resumed, if it wrote one."""
    from polydiff.models.manifest import MANIFEST, read_manifest

    return read_manifest(folder) if (folder / MANIFEST).exists() else None


def _recipe(domain: str, arguments: dict[str, Any], start: Model | None, manifest: Manifest | None) -> Recipe:
    from polydiff.plugins.registry import get_registry
    from polydiff.support.settings import from_assignments, from_file, from_variables, merged
    from polydiff.workflows.recipe import Recipe

    recipes = get_registry().domain(domain).recipes()
    name = arguments["recipe_name"] or (None if arguments["fit_one"] is None else _ONE)
    config = arguments["config"]
    if name is not None and name not in recipes:
        known = ", ".join(recipes) or "none"
        raise UsageError(f"{domain} has no recipe {name!r}.{did_you_mean(name, recipes)} It has {known}.")
    base: dict[str, Any] = {}
    inherited = {}
    if start is not None:
        inherited = start.manifest.model_dump(mode="json", include={"schedule", "sigma_data", "sampling"})
    if manifest is not None:
        base = manifest.training.get("recipe", {})
    elif name or "default" in recipes:
        base = from_file(recipes[name or "default"])
    flags = {k: arguments[k] for k in ("steps", "batch_size", "learning_rate", "seed")}
    recipe_layer = (f"recipe {name or 'default'}", base)
    start_layer = (f"model {arguments['start']}", inherited)
    if name is None and start is not None:  # a recipe that nobody asked for does not change the model
        first = [(recipe_layer[0], {k: v for k, v in base.items() if k != "config"}), start_layer]
    else:
        first = [start_layer, recipe_layer]
    layers = [
        *first,
        (str(config), from_file(config) if config else {}),
        ("environment", from_variables(Recipe.model_fields)),
        ("--set", from_assignments(arguments["assignments"])),
        ("flags", {"training": {k: v for k, v in flags.items() if v is not None}}),
    ]
    settings: dict[str, Any] = {}
    recipe = Recipe()
    for where, layer in layers:  # one by one, so that an error names the layer that is wrong
        settings = merged(settings, layer)
        recipe = Recipe.read(settings, where)
    return recipe


def _describe(report: Any, config: Any, recipe: Recipe, as_json: bool) -> None:
    if as_json:
        data = {"count": report.count, "skipped": list(report.skipped), "details": dict(report.details)}
        echo_json(
            {"data": data, "config": config.model_dump(mode="json"), "recipe": recipe.model_dump(mode="json")}
        )
        return
    for line in report.lines():
        click.echo(line)
    for section, values in (("config", config.model_dump()), *recipe.model_dump(exclude={"config"}).items()):
        click.echo(f"{section}: {values}")
    click.echo("Dry run: nothing was trained.")


def _check_gpus(nproc: int, device: str | None) -> None:
    import torch

    found = torch.cuda.device_count() if device != "cpu" else 0
    if 0 < found < nproc:
        raise UsageError(f"--nproc {nproc} needs a GPU for each process, and there are {found}.")


def _first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"
