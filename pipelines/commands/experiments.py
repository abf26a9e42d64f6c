"""`bondhu reproduce`: whether a run still comes out as it did."""

import typer

from features.settings import read_settings
from pipelines.commands.output import console
from pipelines.environment import open_environment


def reproduce(run: str) -> None:
    """Fit a run's model again from its data, parameters and seed; say whether it is equal."""
    from training.review.reproduction import reproduce as repeat  # noqa: PLC0415 - imports scipy

    with open_environment(read_settings()) as environment, console.status("fitting again"):
        done = repeat(environment.engine, environment.registry(), run)
    typer.echo(done.message)
    if not done.equal:
        raise typer.Exit(1)
