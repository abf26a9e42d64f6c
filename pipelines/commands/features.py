"""`bondhu features ...`: the tables that are derived from what was imported."""

from datetime import UTC, datetime

import typer

from features.build import build_features
from features.settings import read_settings
from pipelines.commands.output import console
from pipelines.environment import open_environment

app = typer.Typer(no_args_is_help=True, help="Feature tables.")


@app.callback()
def _features() -> None:
    """Keep `build` a command of its own, also while it is the only one."""


@app.command()
def build() -> None:
    """Derive feature tables from what was imported; does only what changed."""
    with open_environment(read_settings()) as environment, console.status("building features"):
        built = build_features(environment.engine, now=datetime.now(UTC))
    typer.echo(str(built))
