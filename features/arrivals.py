"""When rows came in, which is not when what they tell of happened.

A history that is imported today tells of years and came in today: that is what a broken import is
found by, and taken back by. Training goes by when things happened.
"""

from dataclasses import dataclass

LATE_DAYS = 7
"""What happened longer before it came in is history that somebody brought, not the day's."""


@dataclass(frozen=True)
class Arrivals:
    """A feed's table and its SQL.

    Attributes
    ----------
    came_in
        When a row did.
    within
        Whether that was in [:since, :until), put so that an index can answer it.
    late
        Whether what a row tells of happened over `LATE_DAYS` before.
    """

    table: str
    came_in: str
    within: str
    late: str


def _at(table: str, column: str, *, happened: str | None = None) -> Arrivals:
    late = "false"
    if happened is not None:
        late = f"{happened} < {column} - interval '{LATE_DAYS} days'"
    return Arrivals(table, column, f"({column} >= :since AND {column} < :until)", late)


PLAYS = Arrivals(
    "plays",
    "coalesce(arrived_at, played_at)",
    "(arrived_at >= :since AND arrived_at < :until"
    " OR arrived_at IS NULL AND played_at >= :since AND played_at < :until)",
    f"coalesce(played_at < arrived_at - interval '{LATE_DAYS} days', false)",
)
FEEDS = {
    "plays": PLAYS,
    "counts": _at("artist_plays", "imported_at"),
    "feedback": _at("music_interactions", "received_at", happened="occurred_at"),
}
"""Name -> where its rows are; plays that were there before migration 0010 came in when played."""
