"""`bondhu criteria`, `bondhu probe`: whether the promises are kept, and what that is read from."""

import time
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table

from features.settings import read_settings
from pipelines.commands.output import result_console
from pipelines.environment import open_environment
from pipelines.nights.errors import NightError

DAYS = 30
NOT_MET = 20
"""The exit code that a night has for the same."""


def criteria(
    since: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="From this day on; 30 days ago.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="End with 20 if one is not met.")] = False,
) -> None:
    """Compute the eight success criteria from what is stored: figure, target, window, n.

    What nothing was measured of is neither met nor not met.
    """
    from pipelines import criteria as promises  # noqa: PLC0415 - with the next
    from pipelines.watch import cache_hits  # noqa: PLC0415 - imports the service's caches

    until = datetime.now(UTC)
    begin = until - timedelta(days=DAYS) if since is None else _day(since)
    if begin >= until:
        raise NightError(f"--since {since} has not come yet: give a day that has")
    settings = read_settings()
    with open_environment(settings) as environment:
        rows = promises.criteria(
            environment.engine,
            since=begin,
            until=until,
            cache_hits=lambda: cache_hits(environment.redis_url, until),
        )
    table = Table("metric", "target", "actual", "met", "window", "n", "simulated or real")
    words = {True: "yes", False: "no", None: "unknown"}
    for row in rows:
        table.add_row(
            row.metric, row.target, row.actual, words[row.met], row.window, str(row.n), row.origin
        )
    result_console().print(table)
    typer.echo("Times and uptime are known where 'bondhu probe' runs beside the service.", err=True)
    typer.echo(
        "What 'bondhu demo' says is left out; its calls are in the cache hit rate.", err=True
    )
    # As a night judges: of a few cases nothing is said.
    least = settings.bondhu_watch_least_rows
    missed = [row.metric for row in rows if row.met is False and row.n >= least]
    if check and missed:
        typer.echo(f"not met: {'; '.join(missed)}", err=True)
        raise typer.Exit(NOT_MET)


def probe(
    url: Annotated[str, typer.Option(help="Of the service.")] = "http://127.0.0.1:3000",
    once: Annotated[bool, typer.Option(help="Look once instead of every 30 s.")] = False,
) -> None:
    """Look at the service every 30 s and write down whether it answers, and how fast."""
    import httpx  # noqa: PLC0415 - with the next

    from pipelines import prober  # noqa: PLC0415

    try:
        httpx.URL(url)
    except httpx.InvalidURL as error:
        raise NightError(f"--url {url} is no address ({error})") from None
    waiting = prober.Waiting()
    with open_environment(read_settings()) as environment, httpx.Client() as client:
        while True:
            began = time.monotonic()
            found = prober.probe(url.rstrip("/"), now=lambda: datetime.now(UTC), client=client)
            is_kept = waiting.keep(environment.engine, found)
            word = "ready" if found.ok else "not ready"
            end = "" if is_kept else f"; PostgreSQL is away, {len(waiting)} probes wait for it"
            typer.echo(
                f"{found.at:%H:%M:%S} {word} after {found.milliseconds:.0f} ms{end}", err=True
            )
            if once:
                break
            time.sleep(max(0.0, prober.SECONDS - (time.monotonic() - began)))
    if not (found.ok and is_kept):
        raise typer.Exit(1)


def _day(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise NightError(f"'{text}' is no date: write it as 2026-05-31") from None
