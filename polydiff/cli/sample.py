"""`polydiff sample`: make samples with a model, and write each with the record of how it was made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polydiff.cli.flags import ModelCommand
from polydiff.cli.output import echo_json, json_option
from polydiff.errors import UsageError

if TYPE_CHECKING:
    from polydiff.models.refs import ModelFolder


class Shard(click.ParamType[tuple[int, int]]):
    """ "1/4": every fourth sample, beginning with number 1 (they count from 0)."""

    name = "shard"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        try:
            part, parts = (int(word) for word in value.split("/"))
        except ValueError:
            part = parts = 0
        if not 0 <= part < parts:
            raise UsageError(f"--shard {value}: write PART/PARTS, counted from 0, such as 0/4 to 3/4.")
        return part, parts


@click.command(cls=ModelCommand)
@click.argument("model")
@click.option(
    "-n", "n", type=int, metavar="COUNT", help="How many samples. [1, or one for each value of a flag]"
)
@click.option("--seed", type=int, help="Sample i gets seed + i. Drawn and recorded where absent.")
@click.option("--steps", type=int, help="Steps of the solver.")
@click.option("--solver", help="`polydiff solvers` lists them.")
@click.option("--grid", help="Times of the network calls; `polydiff solvers` lists the grids.")
@click.option("--guidance-scale", type=float, help="1 follows the conditions, more exaggerates them.")
@click.option("--guidance", help="Guidance method: cfg, cfg_zero or apg. [the model's, mostly cfg]")
@click.option("--from", "source", type=click.Path(path_type=Path), help="A file to vary or keep parts of.")
@click.option(
    "--to", "target", type=click.Path(path_type=Path), help="Interpolate from the file of --from to this one."
)
@click.option(
    "--share", type=float, help="Place between --from (0) and --to (1). [-n samples, evenly spread]"
)
@click.option(
    "--strength", type=float, help="How far to leave the file of --from: above 0, 1 forgets it. [0.5]"
)
@click.option("--denoise", is_flag=True, help="Treat --from as already noisy, by --strength; add no noise.")
@click.option("--keep", metavar="REGION", help="The part of --from that stays; the rest is made.")
@click.option("--redo", metavar="REGION", help="The part of --from that is made anew.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Folder to write, or a file for one sample. [samples]",
)
@click.option("--format", "suffix", metavar="SUFFIX", help="Kind of file: flac, ..., or a plugin's.")
@click.option("--shard", type=Shard(), metavar="PART/PARTS", help="Make one share of the run, such as 0/4.")
@click.option("--resume", is_flag=True, help="Skip what is finished in the folder.")
@click.option("--dry-run", is_flag=True, help="Say what would be made, and make nothing.")
@click.option("--trajectory", is_flag=True, help="Also draw the trajectory of each sample: x̂0, step by step.")
@click.option("-c", "--config", type=click.Path(path_type=Path), help="TOML file with a section [sampling].")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting, such as sampling.solver_options.order=2",
)
@click.option("--batch-size", type=int, help="Samples in one network call. [1 on a CPU, by memory on a GPU]")
@click.option("--memory", metavar="SIZE", help="GPU memory to use, such as 4GiB. [half of what is free]")
@click.option("--graphs/--no-graphs", default=True, help="On a GPU replay rows as a CUDA graph. [yes]")
@click.option("--threads", type=int, help="Processor threads of one sample. [1, samples side by side]")
@click.option("--device", help="cpu, cuda, cuda:1, ... [cuda where there is one]")
@json_option
def command(model: ModelFolder, dry_run: bool, as_json: bool, **arguments: Any) -> int:
    """Make samples with MODEL: a domain (audio), a preset (audio/drums), a folder or hf://OWNER/NAME.

    `polydiff sample MODEL --help` shows the flags that the model adds: its conditions and options. With
    --from FILE, MODEL may be left out: it is then the domain that reads the file.
    """
    from polydiff.cli.sample_run import SampleRun, Settings
    from polydiff.sampling.options import SamplingOptions

    own = {name: arguments.pop(name) for name in Settings.names()}
    run = SampleRun.prepare(model, SamplingOptions.from_dict(arguments), Settings(**own))
    if dry_run:
        run.describe(as_json)
        return 0
    result = run.execute(quiet=as_json)
    if as_json:
        echo_json(result.as_json())
    else:
        result.print()
    return result.exit_code
