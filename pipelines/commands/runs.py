"""`bondhu runs`: ids, as `compare` and `reproduce` ask for, and the versions that came of them."""

from datetime import UTC
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from features.settings import read_settings
from pipelines.commands.output import result_console
from pipelines.environment import open_environment
from pipelines.promoting import MODELS
from training.errors import RegistryError
from training.runs import MODEL_TAG

if TYPE_CHECKING:
    from training.runs import StoredRun

GAINS = ("gain_ndcg_10", "gain_mae")
"""Metrics of a gain with its interval, of which a run has one at most."""


def runs(
    name: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Only runs that trained this model.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, max=10_000, help="So many, the latest first.")] = 30,
) -> None:
    """List runs, the latest first: id, model, version, which serves, when, and its gain."""
    if name is not None and name not in MODELS:
        raise RegistryError(f"there is no model {name}: the models are {', '.join(MODELS)}")
    table = Table("run", "what", "version", "status", "began (UTC)", "gain", box=None)
    table.columns[0].no_wrap = table.columns[4].no_wrap = True
    with open_environment(read_settings()) as environment:
        registry = environment.registry()
        found = registry.runs({} if name is None else {MODEL_TAG: name})[:most]
        versions = {
            one.run_id: str(one.number) for model in MODELS for one in registry.versions(model)
        }
        for model in MODELS:
            champion = registry.champion(model)
            if champion is not None:
                versions[champion.run_id] += " serves"
    for run in found:
        began = "" if run.started_at is None else f"{run.started_at.astimezone(UTC):%Y-%m-%d %H:%M}"
        model = run.tags.get(MODEL_TAG, run.name)
        status = run.status.lower()
        table.add_row(run.run_id, model, versions.get(run.run_id, ""), status, began, _gain(run))
    if not found:
        typer.echo("no run yet: 'bondhu train MODEL' makes one", err=True)
        return
    result_console().print(table)


def _gain(run: "StoredRun") -> str:
    from training.evaluation.intervals import Interval  # noqa: PLC0415 - imports numpy

    for name in GAINS:
        ends = [
            run.metrics[key] for end in ("", "_low", "_high") if (key := name + end) in run.metrics
        ]
        if len(ends) == 3:
            return str(Interval(*ends))
    return ""
