"""The watch of a night: whether the day's data can be used, what drifted, how listeners took it.

Drift and engagement below the promises raise an alarm and stop nothing: a taste that moved is why
there are nights. Broken data stops every promotion of its night.
"""

from datetime import datetime, timedelta

from features import engagement, feeds
from features.bulk import make_room
from features.drift import drift, drifted
from features.engagement import Figure
from features.nights import Outcome
from features.redis_server import ask_whether_cluster
from features.settings import Settings
from pipelines.nights.night import Night
from serving.cache import Cache

DAY = timedelta(days=1)
MONTH = timedelta(days=engagement.MONTH_DAYS)


def watch(night: Night) -> Outcome:
    """Return the figures of the day that ends as of the night, and what is beyond its limits."""
    engine, settings = night.environment.engine, night.environment.settings
    until = night.as_of
    of_day = feeds.read_feeds(engine, since=until - DAY, until=until)
    broken = feeds.broken(of_day, limits_of(settings))
    moved = drift(engine, day=until - DAY, until=until)
    with engine.connect() as connection:
        make_room(connection)
        figures = {
            "long_plays": engagement.long_plays(connection, since=until - DAY, until=until),
            "new_artists": engagement.new_artists(connection, since=until - MONTH, until=until),
            "entropy_bits": engagement.entropy(connection, since=until - MONTH, until=until),
        }
    if night.now() - until < DAY:
        figures["cache_hits"] = cache_hits(night.environment.redis_url, until)
    return {
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
            name: {"value": figure.value, "n": figure.n, "origin": figure.origin}
            for name, figure in figures.items()
        },
        "broken": broken,
        "drifted": drifted(moved, settings.bondhu_watch_psi),
        "below": _below(figures, settings),
    }


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


def _below(figures: dict[str, Figure], settings: Settings) -> list[str]:
    """Return a line for each promise that was not kept, where there is enough to say so."""
    wanted = {
        "long_plays": ("share of plays over 30 s", settings.bondhu_watch_long_plays),
        "new_artists": ("new artists a listener and month", settings.bondhu_watch_new_artists),
        "entropy_bits": ("entropy in bits", settings.bondhu_watch_entropy),
        "cache_hits": ("share of cache hits", settings.bondhu_watch_cache_hits),
    }
    return [
        f"engagement: {label} is {figure.value:.2f} over {figure.n} (at least {least:g})"
        for name, (label, least) in wanted.items()
        if (figure := figures.get(name)) is not None
        and figure.value is not None
        and figure.n >= settings.bondhu_watch_least_rows
        and figure.value < least
    ]
