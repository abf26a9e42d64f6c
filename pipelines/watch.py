"""The watch of a night: whether the day's data can be used, what drifted, how listeners took it.

Drift and engagement below the promises raise an alarm and stop nothing: a taste that moved is why
there are nights. Broken data stops every promotion of its night.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from math import isinf

from features import engagement, feeds, nights
from features.bulk import make_room
from features.drift import drift, drifted
from features.engagement import Figure
from features.nights import Outcome
from features.redis_server import ask_whether_cluster
from features.settings import Settings
from features.targets import TARGETS
from pipelines import criteria
from pipelines.nights.night import Night
from serving.cache import Cache

DAY = timedelta(days=1)
MOST = timedelta(days=3)
"""How far back a night looks at most: figures of a day are not to become those of a season."""
MONTH = timedelta(days=engagement.MONTH_DAYS)
LEAST_PROBES = 200
"""Of fewer probes, one that was not answered would be the whole of .5%."""
LIMITS = {
    "cached": "cached_ms",
    "initial": "initial_ms",
    "queries": "queries_ms",
    "cache_hits": "cache_hits",
    "long_plays": "long_plays",
    "new_artists": "new_artists",
    "entropy_bits": "entropy",
    "uptime": "uptime",
}
"""Figure -> its setting BONDHU_WATCH_...; 0: not judged."""


def watch(night: Night) -> Outcome:
    """Return the figures of the day that ends as of the night, and what is beyond its limits."""
    engine, settings = night.environment.engine, night.environment.settings
    until = night.as_of
    since = begin(until, nights.last_watched(engine, before=until))
    of_day = feeds.read_feeds(engine, since=since, until=until)
    broken = feeds.broken(of_day, limits_of(settings))
    moved = drift(engine, day=since, until=until)
    with engine.connect() as connection:
        make_room(connection)
        figures = {
            "long_plays": engagement.long_plays(connection, since=since, until=until),
            "new_artists": engagement.new_artists(connection, since=until - MONTH, until=until),
            "entropy_bits": engagement.entropy(connection, since=until - MONTH, until=until),
        } | criteria.service(connection, since=since, until=until)
    if night.now() - until < DAY:
        figures["cache_hits"] = cache_hits(night.environment.redis_url, until)
    return {
        "since": since.isoformat(),
        "feeds": {
            feed.name: {
                "rows": feed.rows,
                "late": feed.late,
                "listeners": feed.listeners,
                "silent": feed.silent,
                "timed": feed.timed,
                "untrainable": feed.untrainable,
                "top_track": feed.top_track,
                "usual": feed.usual,
            }
            for feed in of_day
        },
        "drift": {name: round(value, 4) for name, value in moved.items()},
        "engagement": {
            name: {"value": _finite(figure.value), "n": figure.n, "origin": figure.origin}
            for name, figure in figures.items()
        },
        "broken": broken,
        "drifted": drifted(moved, settings.bondhu_watch_psi),
        "below": _below(figures, settings),
    }


def begin(until: datetime, last: datetime | None) -> datetime:
    """Return from when on a night looks: the moment of the night before, a day to `MOST` back.

    So nothing that came in falls between two nights of different hours.

    Examples
    --------
    >>> at = datetime.fromisoformat
    >>> until = at("2026-05-20T03:00Z")
    >>> str(begin(until, at("2026-05-19T00:30Z"))), str(begin(until, at("2026-05-19T12:00Z")))
    ('2026-05-19 00:30:00+00:00', '2026-05-19 03:00:00+00:00')
    >>> str(begin(until, at("2026-04-01T03:00Z"))), str(begin(until, None))
    ('2026-05-17 03:00:00+00:00', '2026-05-19 03:00:00+00:00')
    """
    if last is None:
        return until - DAY
    return max(until - MOST, min(until - DAY, last))


def limits_of(settings: Settings) -> feeds.Limits:
    """Return beyond which a feed counts as broken."""
    return feeds.Limits(
        least_rows=settings.bondhu_watch_least_rows,
        silent=settings.bondhu_watch_silent,
        top_track=settings.bondhu_watch_top_track,
        volume=settings.bondhu_watch_volume,
        untrainable=settings.bondhu_watch_untrainable,
    )


def cache_hits(redis_url: str, now: datetime) -> Figure:
    """Return the share of look-ups of lists that were hits, over seven days, all workers."""
    cluster = bool(ask_whether_cluster(redis_url))
    cache = Cache(redis_url, connections=2, cluster=cluster, now=lambda: now)
    try:
        found = cache.recommendations.get_stats()
    finally:
        cache.close()
    n = found.total_requests
    return Figure(found.hits / n if n else None, n)


def _finite(value: float | None) -> float | None:
    """Return what JSON can hold: a time over the last bin is none."""
    return None if value is None or isinf(value) else value


def _below(figures: Mapping[str, Figure], settings: Settings) -> list[str]:
    """Return a line for each promise that was not kept, where there is enough to say so."""
    lines = []
    for name, target in TARGETS.items():
        figure = figures.get(name)
        if figure is None or figure.value is None:
            continue
        limit: float = getattr(settings, f"bondhu_watch_{LIMITS[name]}")
        least = max(settings.bondhu_watch_least_rows, LEAST_PROBES if name == "uptime" else 0)
        if limit and figure.n >= least and not target.is_met(figure.value, limit):
            lines.append(
                f"not kept: {target.label}: {target.shown(figure.value)} over {figure.n}"
                f" ({target.said_of(limit)})"
            )
    return lines
