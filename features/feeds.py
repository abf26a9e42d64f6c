"""What came in on a day, feed by feed: how much, of what, and how far it can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

import sqlalchemy as sa

from features.bulk import make_room

BEFORE_DAYS = 28
"""A day is compared with so many days before it."""

_FEEDS = {
    "plays": ("plays", "played_at", "ms_played"),
    "feedback": ("music_interactions", "received_at", "listen_duration_ms"),
}


def _statements(table: str, at: str, heard: str) -> tuple[sa.TextClause, sa.TextClause]:
    day = sa.text(
        f"""
        WITH day AS (SELECT user_id, track_id, {heard} AS heard, trainable FROM {table}
                     WHERE {at} >= :until - interval '1 day' AND {at} < :until)
        SELECT count(*), count(DISTINCT user_id), count(*) FILTER (WHERE heard = 0),
               count(heard), count(*) FILTER (WHERE NOT trainable),
               coalesce((SELECT max(n) FROM (SELECT count(*) AS n FROM day GROUP BY track_id) t), 0)
        FROM day
        """  # noqa: S608 - constants above
    )
    before = sa.text(
        f"""
        SELECT floor(extract(epoch FROM :until - {at}) / 86400)::int AS days_ago, count(*),
               count(*) FILTER (WHERE NOT trainable)
        FROM {table}
        WHERE {at} >= :until - make_interval(days => :days + 1)
          AND {at} < :until - interval '1 day'
        GROUP BY days_ago
        """  # noqa: S608 - constants above
    )
    return day, before


_STATEMENTS = {name: _statements(*of) for name, of in _FEEDS.items()}


@dataclass(frozen=True)
class Feed:
    """A feed on one day, beside the days before.

    Attributes
    ----------
    rows, listeners
        How many there were.
    silent, timed
        Rows that say 0 ms were heard, of those that say how long.
    untrainable
        Rows that may not be trained on.
    top_track
        Rows of the track that has most.
    usual
        The median of rows over the days before, days without any counting as 0.
    usual_untrainable
        Share of the rows of those days that may not be trained on.
    """

    name: str
    rows: int
    listeners: int
    silent: int
    timed: int
    untrainable: int
    top_track: int
    usual: float
    usual_untrainable: float


@dataclass(frozen=True)
class Limits:
    """Beyond which a feed counts as broken; each is a setting (BONDHU_WATCH_...).

    Attributes
    ----------
    least_rows
        Under so many rows (of the day, or usually) shares say nothing and are not judged.
    silent, top_track
        Largest shares of plays of 0 ms, and of one track.
    volume
        Smallest share of the usual number of rows.
    untrainable
        By how much the share of untrainable rows may rise above the usual one.
    """

    least_rows: int = 50
    silent: float = 0.2
    top_track: float = 0.5
    volume: float = 0.2
    untrainable: float = 0.5


def read_feeds(engine: sa.Engine, *, until: datetime) -> list[Feed]:
    """Return every feed on the day that ends at `until`."""
    feeds = []
    with engine.connect() as connection:
        make_room(connection)
        for name, (of_day, of_before) in _STATEMENTS.items():
            asked = {"until": until, "days": BEFORE_DAYS}
            rows, listeners, silent, timed, untrainable, top = connection.execute(
                of_day, asked
            ).one()
            before = connection.execute(of_before, asked).all()
            counts = [row[1] for row in before] + [0] * (BEFORE_DAYS - len(before))
            total = sum(row[1] for row in before)
            feeds.append(
                Feed(
                    name,
                    rows,
                    listeners,
                    silent,
                    timed,
                    untrainable,
                    top,
                    float(median(counts)),
                    sum(row[2] for row in before) / total if total else 0.0,
                )
            )
    return feeds


def broken(feeds: Sequence[Feed], limits: Limits) -> list[str]:
    """Return one line for each thing that speaks against a day's data; none: it can be used.

    Examples
    --------
    >>> day = Feed("plays", 100, 9, 60, 100, 0, 10, 110.0, 0.0)
    >>> broken([day], Limits())
    ['plays: 60% of 100 say that 0 ms were heard (at most 20%)']
    >>> broken([Feed("plays", 10, 9, 0, 10, 0, 2, 110.0, 0.0)], Limits())
    ['plays: 10 rows came in, 110 are usual (at least 20% of them)']
    """
    lines = []
    for feed in feeds:
        if feed.usual >= limits.least_rows and feed.rows < limits.volume * feed.usual:
            lines.append(
                f"{feed.name}: {feed.rows} rows came in, {feed.usual:g} are usual"
                f" (at least {limits.volume:.0%} of them)"
            )
        if feed.rows < limits.least_rows:
            continue
        if feed.timed >= limits.least_rows and feed.silent > limits.silent * feed.timed:
            lines.append(
                f"{feed.name}: {feed.silent / feed.timed:.0%} of {feed.timed} say that 0 ms were"
                f" heard (at most {limits.silent:.0%})"
            )
        if feed.top_track > limits.top_track * feed.rows:
            lines.append(
                f"{feed.name}: {feed.top_track / feed.rows:.0%} of {feed.rows} are one track"
                f" (at most {limits.top_track:.0%})"
            )
        share = feed.untrainable / feed.rows
        if share > feed.usual_untrainable + limits.untrainable:
            lines.append(
                f"{feed.name}: {share:.0%} of {feed.rows} may not be trained on,"
                f" {feed.usual_untrainable:.0%} are usual"
            )
    return lines
