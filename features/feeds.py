"""What came in on a day, feed by feed: how much, of what, and how far it can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

import sqlalchemy as sa

from features.arrivals import FEEDS, Arrivals
from features.bulk import make_room

BEFORE_DAYS = 28
"""A day is compared with so many days before it."""

_HEARD = {"plays": "ms_played", "feedback": "listen_duration_ms"}


def _statements(arrivals: Arrivals, heard: str) -> tuple[sa.TextClause, sa.TextClause]:
    day = sa.text(
        f"""
        WITH day AS (SELECT user_id, track_id, {heard} AS heard, trainable, {arrivals.late} AS late,
                            {arrivals.came_in} >= :until - interval '1 day' AS last_day
                     FROM {arrivals.table} WHERE {arrivals.within})
        SELECT count(*), count(*) FILTER (WHERE late), count(DISTINCT user_id),
               count(*) FILTER (WHERE heard = 0), count(heard),
               count(*) FILTER (WHERE NOT trainable),
               count(*) FILTER (WHERE NOT trainable AND late),
               count(*) FILTER (WHERE last_day AND NOT late),
               coalesce((SELECT max(n) FROM (SELECT count(*) AS n FROM day GROUP BY track_id) t), 0)
        FROM day
        """  # noqa: S608 - constants above
    )
    before = sa.text(
        f"""
        SELECT ceil(extract(epoch FROM :until - {arrivals.came_in}) / 86400)::int AS days_ago,
               count(*), count(*) FILTER (WHERE NOT trainable)
        FROM {arrivals.table} WHERE {arrivals.within} AND NOT {arrivals.late}
        GROUP BY days_ago
        """  # noqa: S608 - constants above
    )
    return day, before


_STATEMENTS = {name: _statements(FEEDS[name], heard) for name, heard in _HEARD.items()}


@dataclass(frozen=True)
class Feed:
    """A feed on one day, beside the days before.

    Attributes
    ----------
    rows, listeners
        How many there were.
    late, late_untrainable
        Rows of what happened over a week before, and those of them that may not be trained on:
        history that somebody brought. How much of it there is says nothing of a feed.
    silent, timed
        Rows that say 0 ms were heard, of those that say how long.
    untrainable
        Rows that may not be trained on.
    top_track
        Rows of the track that has most.
    usual
        The median of rows a day over the days before, without late ones; a day without any is 0.
    usual_untrainable
        Share of those rows that may not be trained on.
    last_day
        Rows of the last 24 h that are not late; None: as many as there are.
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
    late: int = 0
    late_untrainable: int = 0
    last_day: int | None = None

    @property
    def current(self) -> int:
        """Rows that are not late."""
        return self.rows - self.late


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


def read_feeds(engine: sa.Engine, *, since: datetime, until: datetime) -> list[Feed]:
    """Return every feed by what came in in [since, until), a day or some."""
    day = {"since": since, "until": until}
    before = {"since": since - timedelta(days=BEFORE_DAYS), "until": since}
    feeds = []
    with engine.connect() as connection:
        make_room(connection)
        for name, (of_day, of_before) in _STATEMENTS.items():
            rows, late, listeners, silent, timed, untrainable, late_untrainable, last_day, top = (
                connection.execute(of_day, day).one()
            )
            past = connection.execute(of_before, before).all()
            counts = [row[1] for row in past] + [0] * (BEFORE_DAYS - len(past))
            total = sum(row[1] for row in past)
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
                    sum(row[2] for row in past) / total if total else 0.0,
                    late,
                    late_untrainable,
                    last_day,
                )
            )
    return feeds


def broken(feeds: Sequence[Feed], limits: Limits) -> list[str]:
    """Return one line for each thing that speaks against a day's data; none: it can be used.

    How much came in, and whether it may be trained on, is judged without the history that somebody
    brought: a large import is no broken feed. What rows say is judged of all of them. How much came
    in is judged of the last 24 h: the better part of a longer time would hide a feed that stopped.

    Examples
    --------
    >>> day = Feed("plays", 100, 9, 60, 100, 0, 10, 110.0, 0.0)
    >>> broken([day], Limits())
    ['plays: 60% of 100 say that 0 ms were heard (at most 20%)']
    >>> broken([Feed("plays", 10, 9, 0, 10, 0, 2, 110.0, 0.0)], Limits())
    ['plays: 10 rows came in within a day, 110 are usual (at least 20% of them)']
    >>> broken([Feed("plays", 220, 9, 0, 220, 0, 2, 110.0, 0.0, last_day=0)], Limits())
    ['plays: 0 rows came in within a day, 110 are usual (at least 20% of them)']
    """
    lines = []
    for feed in feeds:
        daily = feed.current if feed.last_day is None else feed.last_day
        if feed.usual >= limits.least_rows and daily < limits.volume * feed.usual:
            lines.append(
                f"{feed.name}: {daily} rows came in within a day, {feed.usual:g} are usual"
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
        if feed.current < limits.least_rows:
            continue
        share = (feed.untrainable - feed.late_untrainable) / feed.current
        if share > feed.usual_untrainable + limits.untrainable:
            lines.append(
                f"{feed.name}: {share:.0%} of {feed.current} may not be trained on,"
                f" {feed.usual_untrainable:.0%} are usual"
            )
    return lines
