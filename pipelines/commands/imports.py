"""`bondhu import ...`: how data comes in."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from features.imports import InputError, Report
from features.settings import read_settings
from pipelines.commands.output import console, show
from pipelines.environment import open_environment

app = typer.Typer(no_args_is_help=True, help="Bring data in; running twice changes nothing.")

User = Annotated[str, typer.Option("--user", help="The listener whose data it is.")]
Consent = Annotated[
    bool,
    typer.Option(help="The listener agrees that models are trained on it (their own lists are)."),
]
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
def interactions(path: Path, no_train: NoTrain = False) -> None:
    """Import feedback from elsewhere: CSV or Parquet with user_id, track_id, feedback_type."""
    from features.sources.interactions import import_interactions  # noqa: PLC0415 - imports numpy

    _import(import_interactions, path, no_train=no_train)


def _import_of(importer: Callable[..., Report], path: Path, user: str, **trainable: bool) -> None:
    """Run an importer of one listener's own data; a simulated world makes room before it."""
    from features.sources.world import remove_world  # noqa: PLC0415 - imports numpy

    if not path.exists():
        raise InputError(f"{path} does not exist: name the zip, the folder or the file")
    if not 1 <= len(user) <= 128 or "\0" in user:
        raise InputError("--user has 1 to 128 characters")
    with open_environment(read_settings()) as environment, console.status("importing") as status:
        if removed := remove_world(environment.engine):
            typer.echo(f"the simulated world ({removed} tracks) made room for real data")
        report = importer(
            environment.engine,
            path,
            user_id=user,
            now=datetime.now(UTC),
            progress=lambda step: status.update(f"importing {step}"),
            **trainable,
        )
    show(report)


@app.command("spotify-export")
def spotify_export(path: Path, user: User, consent: Consent = False) -> None:
    """Import a listener's own Spotify data: the zip as Spotify sends it, of either kind."""
    from features.sources.spotify_export import (  # noqa: PLC0415 - imports numpy
        import_spotify_export,
    )

    _import_of(import_spotify_export, path, user, consent=consent)


@app.command()
def listenbrainz(path: Path, user: User, no_train: NoTrain = False) -> None:
    """Import a listener's ListenBrainz export: the zip, or its files of listens."""
    from features.sources.listenbrainz import import_listenbrainz  # noqa: PLC0415 - imports numpy

    _import_of(import_listenbrainz, path, user, trainable=not no_train)


@app.command()
def spotify() -> None:
    """Refresh the histories of listeners who logged in at Spotify and are due."""
    from features.history_refresh import refresh_due  # noqa: PLC0415 - imports spotipy
    from features.sources.spotify_access import SpotifyAccess  # noqa: PLC0415 - imports spotipy

    settings = read_settings()
    with (
        open_environment(settings) as environment,
        SpotifyAccess(settings, environment.engine, environment.redis_url) as access,
        console.status("asking Spotify") as status,
    ):
        done = refresh_due(
            environment.engine,
            access,
            now=lambda: datetime.now(UTC),
            progress=lambda user: status.update(f"asking Spotify about {user}"),
        )
    for user, refreshed in done.items():
        typer.echo(f"{user}: {refreshed.state} {refreshed.message}".rstrip())
    reports = [refreshed.report for refreshed in done.values()]
    typer.echo(
        f"{len(done)} listeners due, read {sum(r.read for r in reports)},"
        f" stored {sum(r.stored for r in reports)}"
    )


@app.command()
def world(seed: int = 7) -> None:
    """Import the built-in world: simulated tracks, listeners and plays."""
    from features.sources.world import build_world  # noqa: PLC0415 - imports pandas

    with open_environment(read_settings()) as environment, console.status("simulating a world"):
        report = build_world(environment.engine, seed=seed, now=datetime.now(UTC))
    show(report)
