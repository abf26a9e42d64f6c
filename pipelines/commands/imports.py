"""`bondhu import ...`: how data comes in."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from features.imports import Report
from features.settings import read_settings
from pipelines.commands.output import console, show
from pipelines.environment import open_environment

app = typer.Typer(no_args_is_help=True, help="Bring data in; running twice changes nothing.")

NoTrain = Annotated[bool, typer.Option("--no-train", help="Keep these rows out of training.")]


def _import(importer: Callable[..., Report], path: Path, *, no_train: bool) -> None:
    """Run an importer of real rows; a simulated world makes room for them."""
    from features.sources.world import remove_world  # noqa: PLC0415 - imports pandas

    with open_environment(read_settings()) as environment, console.status(f"importing {path}"):
        engine = environment.engine
        report = importer(engine, path, trainable=not no_train, now=datetime.now(UTC))
        if report.stored and (removed := remove_world(engine)):
            typer.echo(f"the simulated world ({removed} tracks) made room for real data")
    show(report)


@app.command()
def catalogue(path: Path, no_train: NoTrain = False) -> None:
    """Import tracks with audio features: the folder of BONDHU_DATA, or a CSV or Parquet file."""
    from features.sources.catalogue import import_catalogue  # noqa: PLC0415 - imports pandas

    _import(import_catalogue, path, no_train=no_train)


@app.command()
def lastfm(path: Path, no_train: NoTrain = False) -> None:
    """Import listeners' plays per artist, in the layout of HetRec 2011 Last.fm-2k."""
    from features.sources.lastfm import import_lastfm  # noqa: PLC0415 - imports pandas

    _import(import_lastfm, path, no_train=no_train)


@app.command()
def world(seed: int = 7) -> None:
    """Import the built-in world: simulated tracks, listeners and plays."""
    from features.sources.world import build_world  # noqa: PLC0415 - imports pandas

    with open_environment(read_settings()) as environment, console.status("simulating a world"):
        report = build_world(environment.engine, seed=seed, now=datetime.now(UTC))
    show(report)
