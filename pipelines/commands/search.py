"""`bondhu search ...`: hyper-parameters, tried on listeners who neither fit nor test."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from features.settings import read_settings
from pipelines.commands.output import console
from pipelines.commands.train import From, Since, Source, Until, in_utc
from pipelines.environment import open_environment

app = typer.Typer(
    no_args_is_help=True,
    help="Search for hyper-parameters; the parent run's id is the last line.",
)


@app.callback()
def search() -> None:
    """Keep `scorer` a command of its own, as it is for `train`."""


@app.command()
def scorer(
    *,
    trials: Annotated[
        int, typer.Option(min=1, max=1000, help="How many there should be in all.")
    ] = 30,
    seed: int = 7,
    since: Since = None,
    until: Until = None,
    source: Source = From.AUTO,
) -> None:
    """Search for the settings of `bondhu train scorer`; nothing is registered.

    The same call on the same data goes on where the last one ended or was killed. With --until the
    data stay the same while the service writes on.
    """
    from training.fit.fitting import Evidence  # noqa: PLC0415 - imports scipy
    from training.search import search_scorer  # noqa: PLC0415 - imports Optuna

    start, end = in_utc(since, until)
    with open_environment(read_settings()) as environment, console.status("searching") as status:
        found = search_scorer(
            environment.engine,
            environment.registry(),
            trials=trials,
            seed=seed,
            now=datetime.now(UTC),
            evidence_from=Evidence(source.value),
            since=start,
            until=end,
            progress=lambda line: status.update(f"searching: {line}"),
        )
    best = found.best
    typer.echo(
        f"{found.trials} trials: NDCG@10 {found.best_value:.4f}, {found.default_value:.4f} by"
        " default, on validation listeners; to train with the best:\n"
        f"bondhu train scorer --seed {seed} --shrinkage {best.shrinkage:.6g}"
        f" --ridge {best.ridge:.6g} --clip {best.clip:.6g} --half-life {best.half_life_days:.6g}",
        err=True,
    )
    typer.echo(found.run_id)
