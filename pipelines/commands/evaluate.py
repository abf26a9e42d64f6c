"""`bondhu evaluate`: what the served scorer is worth today, and whether it is served as trained."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from features.settings import read_settings
from pipelines.commands.output import console
from pipelines.environment import open_environment
from training.errors import TrainingError
from training.runs import SCORER


def evaluate(
    model: Annotated[str, typer.Argument(help="Only 'scorer' makes lists by itself.")] = SCORER,
    version: Annotated[int | None, typer.Argument(help="Unset: the champion.")] = None,
    seed: Annotated[int, typer.Option(help="Of the split; as the version was trained with.")] = 7,
    mismatch_only: Annotated[
        bool, typer.Option("--mismatch", help="Only the train/serve mismatch.")
    ] = False,
) -> None:
    """Evaluate a scorer beside the prior on today's data, and compare serving with training."""
    from training.evaluation.mismatch import mismatch  # noqa: PLC0415 - with it
    from training.review.appraisal import appraise  # noqa: PLC0415 - imports scipy

    if model != SCORER:
        raise TrainingError(
            f"a list is made by a scorer, not by {model} alone: 'bondhu train {model}' prints what"
            " it is worth, 'bondhu evaluate' what lists with its champion are"
        )
    now = datetime.now(UTC)
    with open_environment(read_settings()) as environment, console.status("evaluating") as status:
        registry = environment.registry()
        if not mismatch_only:
            appraised = appraise(
                environment.engine,
                registry,
                number=version,
                seed=seed,
                now=now,
                progress=lambda line: status.update(f"evaluating: {line}"),
            )
            typer.echo(f"{appraised.version} beside the prior, {appraised.listeners} listeners:")
            for line in appraised.lines():
                typer.echo(line)
        status.update("comparing what was served with what training makes of it")
        found = mismatch(environment.engine, registry, now=now)
    if not found.values and not found.skipped:
        typer.echo("train/serve mismatch: no list of the last 7 days was sampled")
        return
    typer.echo(f"train/serve mismatch: {found}")
