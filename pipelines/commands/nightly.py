"""`bondhu nightly`, `bondhu status`: nights of retraining, and how the last one went."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import sqlalchemy as sa
import typer
from rich.table import Table

from features import nights
from features.settings import read_settings
from pipelines.commands.output import console, result_console
from pipelines.environment import open_environment


def nightly(
    date_: Annotated[
        str | None,
        typer.Option("--date", metavar="YYYY-MM-DD", help="One night, as of its date."),
    ] = None,
    first: Annotated[
        str | None, typer.Option("--from", metavar="YYYY-MM-DD", help="The first of several.")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="YYYY-MM-DD", help="The last of them.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would run; run nothing.")] = False,
) -> None:
    """Refresh, retrain, evaluate, promote or decline, precompute, clean and report.

    Without a date: tonight's, after those that were missed. Ends with 0 (promoted, or nothing
    better), 10 (declined by a gate), 20 (drift, data quality or engagement beyond its limits) or 30
    (failed).
    """
    from pipelines.nights import due, running, webhook  # noqa: PLC0415 - imports what it may not need
    from pipelines.nights.errors import NightError  # noqa: PLC0415

    now = datetime.now(UTC)
    if date_ and (first or last):
        raise NightError("--date is one night, --from and --to are several: give either")
    if (first is None) is not (last is None):
        raise NightError("--from and --to go together")
    settings = read_settings()
    dates: list[date] = []
    if date_ or first:
        dates += due.check(due.day(first or date_ or ""), due.day(last or date_ or ""), now)
    if dry_run:
        with open_environment(settings, migrate=False) as environment:
            engine = environment.engine
            catch_up = settings.bondhu_catch_up_nights
            _say_what_would_run(engine, dates or due.due(engine, now, catch_up=catch_up))
        return
    with (
        console.status("night") as status,
        webhook.calling_where_it_cannot_run(settings, dates, _say),
        open_environment(settings) as environment,
    ):

        def say(line: str) -> None:
            status.update(line)
            _say(line)

        engine = environment.engine
        if not dates:
            dates += due.due(engine, now, catch_up=settings.bondhu_catch_up_nights)
        if not dates:
            typer.echo(_nothing_is_due(engine, now))
        try:
            code = running.run_nights(environment, dates, now=lambda: datetime.now(UTC), say=say)
        except (KeyboardInterrupt, SystemExit):
            _say("stopped: the night is due again and goes on where it was ('bondhu nightly')")
            raise
        for one in dates:
            row = nights.nights(engine, until=one, most=1)[0]
            typer.echo(f"{one}: exit code {row.exit_code}, report {row.report_path or 'none'}")
    raise typer.Exit(code)


def status() -> None:
    """Show the last night, how long each step took, and which nights are due."""
    from pipelines.nights import due  # noqa: PLC0415

    now = datetime.now(UTC)
    settings = read_settings()
    out = result_console()
    with open_environment(settings, migrate=False) as environment:
        engine = environment.engine
        last = next(iter(nights.nights(engine, until=now.date(), most=1)), None)
        waiting = due.due(engine, now, catch_up=settings.bondhu_catch_up_nights)
        if last is None:
            out.print("No night has run yet.")
        else:
            ended = f"exit code {last.exit_code}" if last.finished_at else last.status
            out.print(f"Night of {last.night}, as of {last.as_of:%Y-%m-%d %H:%M} UTC: {ended}")
            for kind in ("alarms", "promoted", "declined"):
                for line in last.outcome.get(kind, []):
                    out.print(f"  {kind}: {line}")
            table = Table("step", "status", "seconds", "attempts")
            for step in nights.steps(engine, last.night).values():
                seconds = "" if step.seconds is None else f"{step.seconds:.2f}"
                table.add_row(step.step, step.status, seconds, str(step.attempts))
            out.print(table)
            if last.report_path:
                out.print(f"Report: {last.report_path}")
    out.print(f"Due: {', '.join(map(str, waiting)) or 'nothing'}")
    at = datetime(now.year, now.month, now.day, due.HOUR, tzinfo=UTC)
    at = at if at > now else at + timedelta(days=1)
    out.print(f"The schedule's next: {at:%Y-%m-%d %H:%M} UTC")


def _nothing_is_due(engine: sa.Engine, now: datetime) -> str:
    last = next(iter(nights.nights(engine, until=now.date(), most=1)), None)
    ended = "" if last is None else f": the night of {last.night} ended with {last.exit_code}"
    return f"nothing is due{ended}"


def _say_what_would_run(engine: sa.Engine, dates: list[date]) -> None:
    from pipelines.nights import due  # noqa: PLC0415
    from pipelines.steps import STEPS, left_out  # noqa: PLC0415

    now = datetime.now(UTC)
    if not dates:
        typer.echo(_nothing_is_due(engine, now))
    for one in dates:
        row = next((n for n in nights.nights(engine, until=one, most=1) if n.night == one), None)
        if row is not None and row.status == "done":
            typer.echo(f"{one}: done already, with exit code {row.exit_code}")
            continue
        as_of = due.as_of(one, now) if row is None else row.as_of
        done = nights.steps(engine, one)
        typer.echo(f"{one}: would run as of {as_of:%Y-%m-%d %H:%M} UTC")
        for name in STEPS:
            is_done = name in done and done[name].status == "done"
            why_not = left_out(name, as_of, now)
            would = "done already" if is_done else "would run"
            typer.echo(f"  {name}: {f'would be left out: {why_not}' if why_not else would}")


def _say(line: str) -> None:
    typer.echo(f"{datetime.now(UTC):%H:%M:%S} {line}", err=True)
