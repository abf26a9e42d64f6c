"""`bondhu promote`: which version listeners get."""

from typing import Annotated

import typer

from features.settings import read_settings
from pipelines.environment import open_environment


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
