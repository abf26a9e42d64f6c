"""`bondhu train ...`: a command for each model."""

from datetime import UTC, datetime

import typer

from features.settings import read_settings
from pipelines.commands.output import console
from pipelines.environment import open_environment

app = typer.Typer(no_args_is_help=True, help="Train a model; the run's id is the last line.")


@app.command()
def scorer(seed: int = 7) -> None:
    """Fit the weights of the score per cold-start stage."""
    from training.scorer import train_scorer  # noqa: PLC0415 - imports scipy

    with open_environment(read_settings()) as environment, console.status("training scorer"):
        trained = train_scorer(
            environment.engine, environment.registry(), seed=seed, now=datetime.now(UTC)
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
