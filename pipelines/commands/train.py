"""`bondhu train ...`: a command for each model."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from features.settings import read_settings
from pipelines.commands.output import console
from pipelines.environment import open_environment
from training.errors import TrainingError

DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"]

app = typer.Typer(no_args_is_help=True, help="Train a model; the run's id is the last line.")


def in_utc(
    since: datetime | None, until: datetime | None
) -> tuple[datetime | None, datetime | None]:
    """Return the ends of a time of the command line, which is in UTC."""
    if since is not None and until is not None and since >= until:
        raise TrainingError(f"--since {since} is not before --until {until}: nothing is between")
    start, end = (None if end is None else end.replace(tzinfo=UTC) for end in (since, until))
    return start, end


class From(StrEnum):
    """What weights are fitted to."""

    AUTO = "auto"
    IMPRESSIONS = "impressions"
    HISTORIES = "histories"


Since = Annotated[
    datetime | None,
    typer.Option(
        formats=DATES,
        help="Use data from then on (UTC); without it, all plays and the last 180 days of lists.",
    ),
]
Until = Annotated[
    datetime | None, typer.Option(formats=DATES, help="Use data from before then (UTC).")
]
Source = Annotated[
    From,
    typer.Option(
        "--from",
        help="What to fit to: logged impressions, with histories as their prior; or histories"
        " alone; auto: impressions where there are enough.",
    ),
]


@app.command()
def scorer(
    *,
    seed: int = 7,
    since: Since = None,
    until: Until = None,
    source: Source = From.AUTO,
    shrinkage: Annotated[
        float, typer.Option(min=0, help="The prior counts as so many listeners.")
    ] = 50.0,
    ridge: Annotated[float, typer.Option(min=1e-12, help="Keeps weights finite.")] = 1e-4,
    clip: Annotated[
        float, typer.Option(min=1, help="No correction of place or exposure is larger.")
    ] = 10.0,
    half_life: Annotated[
        float, typer.Option(min=0.1, help="Days after which an impression counts half.")
    ] = 180.0,
) -> None:
    """Fit the weights of the score per cold-start stage.

    `bondhu search scorer` finds values for the last four options.
    """
    from training.fit.fitting import Evidence, FitSettings  # noqa: PLC0415 - imports scipy
    from training.scorer import train_scorer  # noqa: PLC0415 - imports scipy

    start, end = in_utc(since, until)
    with open_environment(read_settings()) as environment, console.status("training") as status:
        trained = train_scorer(
            environment.engine,
            environment.registry(),
            seed=seed,
            now=datetime.now(UTC),
            settings=FitSettings(shrinkage, ridge, clip, half_life),
            evidence_from=Evidence(source.value),
            since=start,
            until=end,
            progress=lambda line: status.update(f"training scorer: {line}"),
        )
    typer.echo(f"scorer version {trained.version}", err=True)
    typer.echo(trained.run_id)


@app.command("audio_estimator")
def audio_estimator(seed: int = 7) -> None:
    """Fit the model that estimates audio features from artist and genres."""
    from training.audio_estimator import train_audio_estimator  # noqa: PLC0415 - imports scipy

    with (
        open_environment(read_settings()) as environment,
        console.status("training audio_estimator"),
    ):
        trained = train_audio_estimator(
            environment.engine, environment.registry(), seed=seed, now=datetime.now(UTC)
        )
    for name in ("mae", "without_model_mae", "gain_mae", "mae_known_artist", "mae_new_artist"):
        typer.echo(f"out of fold {name}: {trained.metrics[name]}", err=True)
    word = "champion" if trained.promoted else "not promoted: no better than no model"
    typer.echo(f"audio_estimator version {trained.version}, {word}", err=True)
    typer.echo(trained.run_id)


@app.command()
def colisten(seed: int = 7) -> None:
    """Fit what listeners with a history like yours play as well."""
    from training.colisten_run import train_colisten  # noqa: PLC0415 - imports scipy

    with open_environment(read_settings()) as environment, console.status("training") as status:
        trained = train_colisten(
            environment.engine,
            environment.registry(),
            seed=seed,
            now=datetime.now(UTC),
            progress=lambda line: status.update(f"training colisten: {line}"),
        )
    typer.echo(f"colisten version {trained.version}", err=True)
    typer.echo(trained.run_id)


@app.command()
def qtable(
    half_life: Annotated[
        float, typer.Option(help="Days after which a verdict counts half.")
    ] = 90.0,
) -> None:
    """Consolidate what all listeners said: where new listeners start from."""
    from training.qtables import train_qtable  # noqa: PLC0415 - imports scipy

    with open_environment(read_settings()) as environment, console.status("consolidating feedback"):
        trained = train_qtable(
            environment.engine,
            environment.registry(),
            now=datetime.now(UTC),
            half_life_days=half_life,
        )
    barred = sum(trained.refused.values())
    typer.echo(
        f"qtable version {trained.version}: {trained.used} of {trained.rows} rows entered,"
        f" {barred} refused as not trainable; {len(trained.table.sums)} states of"
        f" {trained.listeners} listeners; gain on new listeners {trained.gain}",
        err=True,
    )
    typer.echo(trained.run_id)
