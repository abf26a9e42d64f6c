"""`bondhu features ...`: the tables that are derived from what was imported."""

from datetime import UTC, datetime

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from features.build import build_features
from features.retention import clean as remove
from features.settings import read_settings
from pipelines.audio import fill_audio
from pipelines.commands.output import console
from pipelines.environment import open_environment

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
