"""`bondhu doctor`: what each source can do now, how a listener stands, and the common issues."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

import redis
import sqlalchemy as sa
import typer
from rich.table import Table

from features import doctor as facts
from features.imports import InputError
from features.redis_server import ask_whether_cluster, connect, tagged
from features.settings import Settings, read_settings
from features.sources.terms import Access, Capability
from pipelines.commands.output import console, result_console
from pipelines.environment import Environment, open_environment

SLOW_QUERY_SECONDS = 0.05
LOW_HIT_RATE = 0.8


def doctor(
    user: Annotated[str | None, typer.Option(help="Look at this listener too.")] = None,
) -> None:
    """Say what each source can do now, how a listener stands, and where it may be stuck."""
    settings = read_settings()
    out = result_console()
    with open_environment(settings) as environment, console.status("looking around"):
        engine = environment.engine
        spotify, detail = _spotify(settings, environment)
        with engine.connect() as connection:
            files = facts.file_sources(connection)
            api_rows = facts.spotify_rows(connection)
            about = facts.listener(connection, user) if user is not None else None
        if user is not None and about is None:
            raise InputError(f"there is no listener '{user}': nothing was imported or asked yet")
        out.print(_sources(files, spotify, api_rows))
        for line in detail:
            out.print(line)
        if user is not None and about is not None:
            out.print(_listener(user, about, settings, environment.redis_url))
        out.print(_issues(engine, environment.redis_url, spotify, user, about))


def _spotify(settings: Settings, environment: Environment) -> tuple[list[Capability], list[str]]:
    """Return what Spotify allows: tried with the application's credentials, else as known."""
    from features.sources.errors import NotConfiguredError  # noqa: PLC0415 - with the next
    from features.sources.spotify_access import SpotifyAccess  # noqa: PLC0415 - 0.5 s
    from features.sources.spotify_transport import Patience  # noqa: PLC0415 - 0.5 s

    with SpotifyAccess(settings, environment.engine, environment.redis_url) as access:
        try:
            catalogue = access.catalogue(Patience(20))
        except NotConfiguredError as error:
            nothing = Capability("spotify", "all", Access.NOT_CONFIGURED)
            return [nothing], [f"spotify: {error}; everything else works without"]
        return catalogue.probe(), []


def _sources(files: list[facts.FileSource], spotify: list[Capability], api_rows: int) -> Table:
    table = Table(title="Sources", title_justify="left")
    for heading in ("source", "reachable", "allowed", "limited until", "last success", "rows"):
        table.add_column(heading, overflow="fold")
    for file in files:
        rows = f"{file.rows} ({file.trainable} trainable)" if file.rows else "0"
        table.add_row(file.kind, "a file", "yes", "", _when(file.last_import_at), rows)
    for place, one in enumerate(spotify):
        unreachable = one.access is Access.UNREACHABLE
        unknown = one.access in (Access.UNKNOWN, Access.NOT_CONFIGURED)
        reachable = "no" if unreachable else "?" if unknown else "yes"
        closed = one.access is Access.CLOSED
        allowed = f"no, asked again {_when(one.until)}" if closed else str(one.access)
        limited = _when(one.until) if one.access is Access.LIMITED else ""
        table.add_row(
            f"spotify {one.name}",
            reachable,
            allowed,
            limited,
            _when(one.last_success_at),
            f"{api_rows} (0 trainable)" if place == 0 else "",
        )
    return table


def _listener(user: str, about: Mapping[str, object], settings: Settings, redis_url: str) -> Table:
    table = Table(title=f"Listener {user}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    grant = about["grant_state"] or "none"
    if about["grant_state"]:
        grant = (
            f"{grant}, since {_when(about['granted_at'])}, renewed {_when(about['refreshed_at'])}"
        )
    waiting = "nothing"
    if about["not_before"]:
        waiting = f"from {_when(about['not_before'])} on: {about['reason']}"
        waiting += f" ({about['attempts']} times put off)"
    rows = {
        "limit": _limit(redis_url, user, settings.user_rate_limit),
        "history": f"{about['plays']} plays of {about['history']} tracks,"
        f" {about['artists']} artists without dates",
        "feedback": f"{about['feedback']} events",
        "personality": about["personality"]
        or "none: balanced, the answer says personality_default",
        "Spotify token": grant,
        "history refreshed": _when(about["history_at"]) or "never from Spotify",
        "put off": waiting,
        "last list": _when(about["last_list"]) or "none yet",
    }
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table


def _limit(redis_url: str, user: str, limit: int) -> str:
    from serving.edge_cache import WINDOW_MS  # noqa: PLC0415 - what counts against the limit

    try:
        is_cluster = bool(ask_whether_cluster(redis_url))
        with connect(redis_url, 0, connections=1, cluster=is_cluster) as client:
            since = time.time() * 1000 - WINDOW_MS
            times: list[bytes] = client.lrange(tagged("calls", user), 0, -1)
            used = sum(float(one) > since for one in times)
    except redis.RedisError as error:
        return f"not known: Redis is away ({error})"
    return f"{used} of {limit} calls in the last minute"


def _issues(
    engine: sa.Engine,
    redis_url: str,
    spotify: list[Capability],
    user: str | None,
    about: Mapping[str, object] | None,
) -> Table:
    """Walk SEED.md's three common issues."""
    table = Table(title="Common issues", title_justify="left")
    for heading in ("issue", "looked at", "found"):
        table.add_column(heading, overflow="fold")
    slow, limited, empty = "1 slow lists", "2 too many calls", "3 empty lists"
    table.add_row(slow, "Redis", _redis(redis_url))
    with engine.connect() as connection:
        began = time.perf_counter()
        asked = {"user_id": user or ""}
        connection.execute(sa.text("SELECT * FROM get_user_top_50_tracks(:user_id)"), asked).all()
        took = time.perf_counter() - began
        verdict = "good" if took < SLOW_QUERY_SECONDS else "slow: run 'bondhu features build'"
        table.add_row(slow, "database", f"history in {took * 1000:.1f} ms: {verdict}")
        missing = facts.missing_indexes(connection)
        table.add_row(slow, "indexes", f"missing: {', '.join(missing)}" if missing else "all there")
        tracks, with_audio, estimated = facts.audio_counts(connection)
        builds = connection.scalar(sa.text("SELECT count(*) FROM feature_builds"))
    worst = [c for c in spotify if c.access in (Access.LIMITED, Access.CLOSED, Access.UNREACHABLE)]
    found = ", ".join(f"{c.name} {c.access}" for c in worst) or "nothing in the way"
    table.add_row(slow, "Spotify", found)
    table.add_row(limited, "callers", "429 carries Retry-After and X-RateLimit-Reset: wait so long")
    if user is not None:
        table.add_row(limited, "this listener", "see limit above; USER_RATE_LIMIT raises it")
    table.add_row(
        empty,
        "catalogue",
        f"{tracks} tracks, {with_audio} with audio features, {estimated} with estimates"
        + ("" if tracks else ": run 'bondhu import catalogue PATH'"),
    )
    table.add_row(
        empty, "feature build", "done" if builds else "never: run 'bondhu features build'"
    )
    if about is not None:
        heard = bool(about["plays"] or about["artists"])
        table.add_row(
            empty, "history", "there" if heard else "none: what is popular takes its place"
        )
        table.add_row(
            empty,
            "profile",
            "there" if about["personality"] else "none: send answers to /v1/personality",
        )
        if about["grant_state"] == "needs_reauth":
            table.add_row(empty, "Spotify token", "log in again at /spotify/login")
    errors = [f"{c.name}: {c.last_error}" for c in spotify if c.last_error]
    table.add_row(empty, "last errors", "; ".join(errors) or "none")
    return table


def _redis(redis_url: str) -> str:
    try:
        with redis.Redis.from_url(redis_url, socket_timeout=2) as client:
            info = client.info()
    except redis.RedisError as error:
        return f"away ({error}): lists are computed every time"
    assert isinstance(info, dict)  # noqa: S101 - redis-py's types allow for its asynchronous twin
    hits, misses = int(info["keyspace_hits"]), int(info["keyspace_misses"])
    total = hits + misses
    rate = hits / total if total else 0.0
    judged = "no look-ups yet" if not total else f"{rate:.0%} of look-ups hit"
    low = total >= 1000 and rate < LOW_HIT_RATE
    return f"there, {info['used_memory_human']} used, {judged}" + (": under 80%" if low else "")


def _when(moment: object) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M") if isinstance(moment, datetime) else ""
