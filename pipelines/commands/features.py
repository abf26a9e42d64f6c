"""`bondhu features ...`: the tables that are derived from what was imported."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated

import sqlalchemy as sa
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from features import nights
from features.arrivals import FEEDS
from features.build import build_features
from features.retention import clean as remove
from features.settings import read_settings
from features.withdrawal import withdraw
from pipelines.audio import fill_audio
from pipelines.commands.output import console, login_name
from pipelines.environment import open_environment
from pipelines.nights.errors import NightError

app = typer.Typer(no_args_is_help=True, help="Feature tables.")


@app.command()
def build() -> None:
    """Derive feature tables from what was imported; does only what changed."""
    with (
        open_environment(read_settings()) as environment,
        Progress(
            TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console
        ) as bar,
    ):
        task = bar.add_task("building features", total=1.0)

        def show(step: str, share: float = 0.0) -> None:
            bar.update(task, description=step, completed=share)

        engine = environment.engine
        built = build_features(engine, now=datetime.now(UTC), progress=show)
        typer.echo(str(built))
        for line in fill_audio(environment, show):
            typer.echo(line)
        # What was found is served from the next build on.
        again = build_features(engine, now=datetime.now(UTC), progress=show)
    if again.is_new:
        typer.echo(str(again))


@app.command()
def clean() -> None:
    """Remove expired lists, and after BONDHU_RETENTION_DAYS the skips that snapshots hold."""
    settings = read_settings()
    with open_environment(settings) as environment:
        done = remove(
            environment.engine,
            retention_days=settings.bondhu_retention_days,
            now=datetime.now(UTC),
        )
    typer.echo(str(done))


@app.command(name="withdraw")
def withdraw_rows(  # noqa: PLR0917 - words of a command
    feed: Annotated[str, typer.Argument(help=f"One of {', '.join(FEEDS)}.")],
    source: Annotated[str, typer.Argument(help="Where its rows came from, as listenbrainz.")],
    reason: Annotated[str, typer.Option(help="Why; kept with it.")],
    day: Annotated[
        str | None, typer.Option("--date", metavar="YYYY-MM-DD", help="A day, in UTC.")
    ] = None,
    night: Annotated[
        str | None,
        typer.Option(
            metavar="YYYY-MM-DD", help="What the watch of a night looked at: a day, mostly."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Count the rows; change nothing.")] = False,
) -> None:
    """Take a day's rows of a feed back from training: the next fits leave them out.

    For a day that the watch of a night called broken. Histories and lists keep the rows.
    """
    if (day is None) is (night is None):
        raise NightError("give either --date, a day in UTC, or --night, the day before a night")
    with open_environment(read_settings()) as environment:
        engine = environment.engine
        if night is None:
            since = _start_of(day)
            until = since + timedelta(days=1)
        else:
            until = _moment_of(engine, night)
            since = nights.watched_since(engine, _start_of(night).date(), as_of=until)
        done = withdraw(
            engine,
            feed,
            source,
            since=since,
            until=until,
            who=login_name(),
            reason=reason,
            now=datetime.now(UTC),
            dry_run=dry_run,
        )
    typer.echo(f"{'nothing was changed; ' if dry_run else ''}{done}")


def _start_of(text: str | None) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text or ""), time(), tzinfo=UTC)
    except ValueError:
        raise NightError(f"'{text}' is no date: write it as 2026-05-31") from None


def _moment_of(engine: sa.Engine, text: str) -> datetime:
    wanted = _start_of(text).date()
    found = nights.nights(engine, until=wanted, most=1)
    if not found or found[0].night != wanted:
        raise NightError(f"there was no night of {text}: 'bondhu status' shows the last one")
    return found[0].as_of
