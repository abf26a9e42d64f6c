"""The command line: `bondhu --help`."""

import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import redis
import typer
from rich.console import Console
from sqlalchemy.exc import OperationalError

from features.build import build_features
from features.database import DatabaseUnavailableError
from features.imports import InputError, Report
from features.settings import SettingsError, read_settings
from pipelines import servers
from pipelines.demo import run_demo
from pipelines.environment import open_environment, signing_secret, tracking_uri
from pipelines.servers import ServerError
from pipelines.serving_process import ServiceError, serving
from recommender.errors import RecommenderError
from training.errors import TrainingError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Bondhu: a personality-aware music recommender.",
)
import_app = typer.Typer(no_args_is_help=True, help="Bring data in; running twice changes nothing.")
features_app = typer.Typer(no_args_is_help=True, help="Feature tables.")
train_app = typer.Typer(no_args_is_help=True, help="Train a model; the run's id is the last line.")
app.add_typer(import_app, name="import")
app.add_typer(features_app, name="features")
app.add_typer(train_app, name="train")

console = Console(stderr=True)
"""Progress; results go to stdout."""

WIDTH = 118
"""Of tables where there is no terminal to fit them to."""


def result_console() -> Console:
    """Return a console on stdout, wide enough for tables also in a pipe."""
    return Console(
        width=None if sys.stdout.isatty() else WIDTH,
        markup=False,
        highlight=False,
    )


NoTrain = Annotated[bool, typer.Option("--no-train", help="Keep these rows out of training.")]


@app.command()
def up() -> None:
    """Start PostgreSQL and Redis and leave them running; prints their addresses."""
    settings = read_settings()
    with console.status("starting PostgreSQL and Redis"):
        endpoints = servers.up(settings.home, settings.database_url, settings.redis_url)
        with open_environment(settings):
            pass
    typer.echo(f"DATABASE_URL={endpoints.database_url}")
    typer.echo(f"REDIS_URL={endpoints.redis_url}")
    typer.echo(f"MLFLOW_TRACKING_URI={tracking_uri(settings, endpoints)}")


@app.command()
def down() -> None:
    """Stop what `up` left running."""
    if not servers.down(read_settings().home):
        typer.echo("other commands still use the servers: the last of them stops them", err=True)


def _show(report: Report) -> None:
    for note in report.notes:
        typer.echo(note)
    skipped = ", ".join(f"{count} {reason}" for reason, count in sorted(report.skipped.items()))
    typer.echo(f"read {report.read}, stored {report.stored}, skipped {skipped or 'none'}")


def _import(importer: Callable[..., Report], path: Path, *, no_train: bool) -> None:
    """Run an importer of real rows; a simulated world makes room for them."""
    from features.sources.world import remove_world  # noqa: PLC0415 - imports pandas

    with open_environment(read_settings()) as environment, console.status(f"importing {path}"):
        engine = environment.engine
        report = importer(engine, path, trainable=not no_train, now=datetime.now(UTC))
        if report.stored and (removed := remove_world(engine)):
            typer.echo(f"the simulated world ({removed} tracks) made room for real data")
    _show(report)


@import_app.command()
def catalogue(path: Path, no_train: NoTrain = False) -> None:
    """Import tracks with audio features: the folder of BONDHU_DATA, or a CSV or Parquet file."""
    from features.sources.catalogue import import_catalogue  # noqa: PLC0415 - imports pandas

    _import(import_catalogue, path, no_train=no_train)


@import_app.command()
def lastfm(path: Path, no_train: NoTrain = False) -> None:
    """Import listeners' plays per artist, in the layout of HetRec 2011 Last.fm-2k."""
    from features.sources.lastfm import import_lastfm  # noqa: PLC0415 - imports pandas

    _import(import_lastfm, path, no_train=no_train)


@import_app.command()
def world(seed: int = 7) -> None:
    """Import the built-in world: simulated tracks, listeners and plays."""
    from features.sources.world import build_world  # noqa: PLC0415 - imports pandas

    with open_environment(read_settings()) as environment, console.status("simulating a world"):
        report = build_world(environment.engine, seed=seed, now=datetime.now(UTC))
    _show(report)


@features_app.command()
def build() -> None:
    """Derive feature tables from what was imported; does only what changed."""
    with open_environment(read_settings()) as environment, console.status("building features"):
        built = build_features(environment.engine, now=datetime.now(UTC))
    typer.echo(str(built))


@train_app.command()
def scorer(seed: int = 7) -> None:
    """Fit the weights of the score per cold-start stage."""
    from training.scorer import train_scorer  # noqa: PLC0415 - imports scipy

    with open_environment(read_settings()) as environment, console.status("training scorer"):
        trained = train_scorer(
            environment.engine, environment.registry(), seed=seed, now=datetime.now(UTC)
        )
    typer.echo(f"scorer version {trained.version}", err=True)
    typer.echo(trained.run_id)


@app.command()
def promote(
    model: str,
    version: int,
    force: Annotated[bool, typer.Option(help="Promote past the gates; needs --reason.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why; kept with the version.")] = None,
) -> None:
    """Make a model version the champion, if it is better by more than chance."""
    from training.promotion import promote as decide  # noqa: PLC0415 - imports MLflow

    with open_environment(read_settings()) as environment:
        decision = decide(environment.registry(), model, version, force=force, reason=reason)
    typer.echo(decision.message)
    if not decision.promoted:
        raise typer.Exit(1)


Port = Annotated[int, typer.Option(min=1, max=65535, help="Where to listen.")]


@app.command()
def serve(
    port: Port = 3000,
    workers: Annotated[int, typer.Option(min=1, max=64)] = 1,
    host: str = "127.0.0.1",
) -> None:
    """Answer over HTTP until stopped."""
    from serving.model_registry import load_champion_scorer, open_registry  # noqa: PLC0415

    settings = read_settings()
    with open_environment(settings) as environment:
        registry = open_registry(environment.tracking_uri)
        load_champion_scorer(registry)  # a worker without a model would only start to fail
        registry.close()
        secret = {"BONDHU_JWT_SECRET": signing_secret(settings)}
        with serving(
            environment.worker_environment() | secret, host=host, port=port, workers=workers
        ) as process:
            typer.echo(f"serving at http://{host}:{port}", err=True)
            if process.wait() != 0:
                raise ServiceError("the service ended: see what it printed above")


@app.command()
def token(
    user: Annotated[str, typer.Option(help="The listener's id.")],
    admin: Annotated[bool, typer.Option(help="With the rights of an administrator.")] = False,
) -> None:
    """Print a development token, valid for 12 hours."""
    from serving.auth import issue_token  # noqa: PLC0415 - imports Starlette

    secret = signing_secret(read_settings())
    typer.echo(issue_token(secret, user, now=int(time.time()), admin=admin))


@app.command()
def demo(
    once: Annotated[bool, typer.Option(help="End instead of going on to serve.")] = False,
    port: Port = 3000,
) -> None:
    """Do the whole job, from import to a served list that a like moves."""
    run_demo(read_settings(), once=once, port=port, console=result_console())


EXPECTED = (
    SettingsError,
    ServerError,
    ServiceError,
    DatabaseUnavailableError,
    InputError,
    RecommenderError,
    TrainingError,
)


def main() -> None:
    """Run a command; what can be expected to go wrong is said in one line, with exit code 1."""
    # A plain kill leaves the servers to the next command; as an exception it stops them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        app()
    except EXPECTED as error:
        sys.exit(f"bondhu: {error}")
    except OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        mend = "make room and run it again" if "No space left" in reason else "run it again"
        sys.exit(f"bondhu: PostgreSQL gave up ({reason}); nothing was half-written: {mend}")
    except redis.RedisError as error:
        sys.exit(f"bondhu: Redis cannot be used ({error}): check REDIS_URL, or unset it")
    except OSError as error:
        sys.exit(f"bondhu: {error.strerror or error}: {error.filename or 'the disk'}")
    except KeyboardInterrupt:
        sys.exit(130)
