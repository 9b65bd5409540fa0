"""`polydiff replay`: make a sample again from its provenance file, and compare."""

from __future__ import annotations

from pathlib import Path

import click

from polydiff.cli.output import echo_json, json_option


@click.command()
@click.argument("record", type=click.Path(path_type=Path))
@click.option("--model", help="Where the model is now, if it was moved.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Also write the new sample to this file.")
@click.option("--threads", type=int, help="Processor threads. [as then]")
@json_option
def command(record: Path, model: str | None, out: Path | None, threads: int | None, as_json: bool) -> int:
    """Make the sample of RECORD (the .json beside a sample) again and compare it with the file.

    The exit code is 0 where the two agree and 1 where they do not.
    """
    from polydiff.cli.session import set_threads
    from polydiff.sampling.provenance import Provenance
    from polydiff.workflows.replay import replay_of

    found = Provenance.read(record)
    set_threads(threads, default=found.threads)
    result = replay_of(found, record, model)
    if out:
        result.sample.save(out)
    tolerance = result.sample.domain.tolerance
    if as_json:
        echo_json(
            {
                "file": str(result.original),
                "identical": result.identical,
                "difference": result.difference,
                "tolerance": tolerance,
                "agrees": result.agrees,
            }
        )
    elif result.identical:
        click.echo(f"{result.original}: made again, the same to the last byte.")
    else:
        verdict = "agrees" if result.agrees else "DIFFERS"
        click.echo(
            f"{result.original}: {verdict}, max difference {result.difference:.3g} (up to {tolerance:g})."
        )
    return 0 if result.agrees else 1
