"""`bondhu promote`, `rollback`, `promotions`, `compare`: which version listeners get, and why."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from features.settings import read_settings
from pipelines.commands.output import console, login_name
from pipelines.environment import open_environment
from pipelines.promoting import MODELS
from training.errors import RegistryError

if TYPE_CHECKING:
    from training.review.promotion import Entry

Reason = Annotated[str | None, typer.Option(help="Why; kept with the decision.")]


def promote(
    model: str,
    version: int,
    force: Annotated[bool, typer.Option(help="Promote past the gates; needs --reason.")] = False,
    reason: Reason = None,
    margin: Annotated[
        list[str] | None,
        typer.Option(help="A gate's margin, NAME=NUMBER, as gain=0.01; may be repeated."),
    ] = None,
) -> None:
    """Make a model version the champion, if every gate lets it through."""
    from training.review.margins import Margins  # noqa: PLC0415 - imports numpy
    from training.review.promotion import promote as decide  # noqa: PLC0415

    margins = Margins.of(margin or [])
    with open_environment(read_settings()) as environment:
        decision = decide(
            environment.registry(),
            model,
            version,
            margins=margins,
            force=force,
            reason=reason,
            who=login_name(),
        )
    for finding in decision.findings:
        mark = "passed" if finding.passed else "FAILED"
        typer.echo(f"{mark}  {finding.gate:12} {finding.message}", err=True)
    typer.echo(decision.message)
    if not decision.promoted:
        raise typer.Exit(1)


def rollback(model: str, reason: Reason = None) -> None:
    """Let the champion before today's serve again."""
    from training.review.promotion import rollback as go_back  # noqa: PLC0415

    with open_environment(read_settings()) as environment:
        decision = go_back(environment.registry(), model, reason=reason, who=login_name())
    typer.echo(decision.message)


def promotions(model: str = typer.Argument("scorer")) -> None:
    """List every decision about a model: when, by whom, which gate spoke, and why."""
    from training.review.promotion import history  # noqa: PLC0415

    with open_environment(read_settings()) as environment:
        registry = environment.registry()
        entries = history(registry, model)
        if not entries and model not in MODELS and not registry.versions(model):
            raise RegistryError(f"there is no model {model}: the models are {', '.join(MODELS)}")
    for entry in entries:
        typer.echo(_line(entry))
    if not entries:
        typer.echo(f"nothing was decided about {model} yet", err=True)


def compare(
    before: Annotated[str, typer.Argument(metavar="RUN", help="Id of the run before.")],
    after: Annotated[str, typer.Argument(metavar="RUN", help="Id of the run after.")],
    folder: Annotated[Path, typer.Option(help="Where the page goes.")] = Path(),
) -> None:
    """Write one HTML page on what changed between two runs; its path is the last line."""
    from training.review.comparison import comparison_of  # noqa: PLC0415 - imports scipy
    from training.review.comparison_page import page_of  # noqa: PLC0415 - imports matplotlib

    with open_environment(read_settings()) as environment, console.status("comparing two runs"):
        page = page_of(comparison_of(environment.registry(), before, after))
    path = folder / f"compare-{before[:8]}-{after[:8]}.html"
    path.write_text(page, encoding="utf-8")
    typer.echo(path)


def _line(entry: "Entry") -> str:
    when = datetime.fromisoformat(entry.at).strftime("%Y-%m-%d %H:%M:%S") if entry.at else "undated"
    why = f" ({entry.reason})" if entry.reason and entry.reason not in entry.message else ""
    margins = ", ".join(f"{name}={value:g}" for name, value in entry.margins.items())
    with_margins = f" [margins {margins}]" if margins else ""
    return f"{when}  {entry.kind}  by {entry.who}: {entry.message}{why}{with_margins}"
