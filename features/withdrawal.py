"""Taking a feed's rows of a day back from training: counted, written down, and only once.

The rows stay, as what happened: listeners keep their histories. What changes is `trainable`, which
every reader of training asks for.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from features.arrivals import FEEDS
from features.imports import InputError, one_at_a_time

KIND = "withdrawal"
"""Of the row in `imports` that tells of one."""

# The log of feedback refuses changes to what was said; whether it may be trained on is not said.
_OPEN = sa.text("ALTER TABLE music_interactions DISABLE TRIGGER music_interactions_append_only")
_CLOSE = sa.text("ALTER TABLE music_interactions ENABLE TRIGGER music_interactions_append_only")
_NOTE = sa.text(
    """
    WITH noted AS (
        INSERT INTO imports (kind, sha256, read, stored, skipped, imported_at)
        VALUES (:kind, :sha256, :rows, 0, CAST(:skipped AS jsonb), :now) RETURNING import_id)
    INSERT INTO quarantine (import_id, reason, entry)
    SELECT import_id, :reason, CAST(:entry AS jsonb) FROM noted
    """
)


@dataclass(frozen=True)
class Withdrawn:
    """What became of a day's rows of one feed and source.

    Attributes
    ----------
    rows
        That came in.
    withdrawn
        Those that could be trained on until now.

    Examples
    --------
    >>> str(Withdrawn("plays", "listenbrainz", 480, 470))
    'plays from listenbrainz: 480 rows, withdrawn from training: 470, not trainable before: 10'
    """

    feed: str
    source: str
    rows: int
    withdrawn: int

    def __str__(self) -> str:
        """Return one line."""
        return (
            f"{self.feed} from {self.source}: {self.rows} rows, withdrawn from training:"
            f" {self.withdrawn}, not trainable before: {self.rows - self.withdrawn}"
        )


def withdraw(
    engine: sa.Engine,
    feed: str,
    source: str,
    *,
    since: datetime,
    until: datetime,
    who: str,
    reason: str,
    now: datetime,
    dry_run: bool = False,
) -> Withdrawn:
    """Make what came in from a source in [since, until) not trainable; the next fits leave it out.

    What came in then may tell of any time: a history that was imported goes as a whole.
    It is written to `imports` and `quarantine`, with who did it and why, unless nothing was left to
    withdraw. Feedback that arrives meanwhile waits for the end of the transaction.

    Parameters
    ----------
    feed
        `plays`, `counts` (plays per artist) or `feedback`.
    dry_run
        Count only.

    Raises
    ------
    InputError
        There is no such feed, or nothing came in from that source; the message says what did.
    """
    if feed not in FEEDS:
        raise InputError(f"there is no feed {feed}: the feeds are {', '.join(FEEDS)}")
    table, where = FEEDS[feed].table, FEEDS[feed].within
    window = {"since": since, "until": until}
    by_source = sa.text(
        f"SELECT source, count(*), count(*) FILTER (WHERE trainable) FROM {table}"  # noqa: S608
        f" WHERE {where} GROUP BY source ORDER BY source"
    )
    change = sa.text(
        f"UPDATE {table} SET trainable = false"  # noqa: S608 - names of the schema
        f" WHERE {where} AND source = :source AND trainable"
    )
    with one_at_a_time(engine) as connection:
        found = {
            name: (rows, usable) for name, rows, usable in connection.execute(by_source, window)
        }
        if source not in found:
            others = ", ".join(f"{rows} from {name}" for name, (rows, _) in found.items())
            raise InputError(
                f"no row of {feed} from {source} came in from {since:%Y-%m-%d %H:%M} to"
                f" {until:%Y-%m-%d %H:%M} UTC: {others or 'nothing did'}"
            )
        rows, usable = found[source]
        if usable and not dry_run:
            if feed == "feedback":
                connection.execute(_OPEN)
            usable = connection.execute(change, window | {"source": source}).rowcount
            if feed == "feedback":
                connection.execute(_CLOSE)
            entry = {"feed": feed, "source": source, "by": who, "reason": reason} | {
                name: moment.isoformat() for name, moment in window.items()
            }
            _note(connection, entry, rows=rows, withdrawn=usable, now=now)
    return Withdrawn(feed, source, rows, usable)


def _note(
    connection: sa.Connection,
    entry: Mapping[str, str],
    *,
    rows: int,
    withdrawn: int,
    now: datetime,
) -> None:
    text = json.dumps(entry, sort_keys=True)
    asked = {
        "kind": KIND,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "rows": rows,
        "skipped": json.dumps({"withdrawn": withdrawn}),
        "now": now,
        "reason": KIND,
        "entry": text,
    }
    connection.execute(_NOTE, asked)
