"""A listener's plays on their way into the tables: staged, told apart, inserted, aggregated.

Every way in which plays of one listener arrive ends here, under the lock of that listener's row:
the same play (the same track and start) counts once, another source's play of the track within 60 s
is the same play, and importing twice changes nothing.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from features.imports import append
from features.sources.names import name_key
from features.sources.terms import SourceTrack
from recommender.genres import categorise, normalise_genre

PLAY, SKIP = "play", "skip"
MANY = 1_000
"""From so many rows on, joins by hash are worth their start."""

TRACK_COLUMNS = (
    "track_id", "isrc", "track_name", "artist_name", "artist_key", "title_key", "album_name",
    "release_date", "duration_ms", "explicit", "popularity", "genres", "category", "source",
    "trainable",
)  # fmt: skip

_STAGE = """
CREATE TEMP TABLE new_listens (
    track_id text NOT NULL, played_at timestamptz NOT NULL, ms_played integer NOT NULL,
    kind text NOT NULL
) ON COMMIT DROP
"""
_ONCE = """
CREATE TEMP TABLE told ON COMMIT DROP AS
SELECT DISTINCT ON (track_id, played_at) track_id, played_at, ms_played, kind
FROM new_listens ORDER BY track_id, played_at, ms_played DESC, kind
"""
# What is new of it: plays that enter the history, and skips that nobody told before.
_NEW = """
CREATE TEMP TABLE listens ON COMMIT DROP AS
SELECT l.* FROM told l
WHERE NOT EXISTS (
    SELECT FROM plays p WHERE p.user_id = :user_id AND p.track_id = l.track_id
      AND p.played_at = l.played_at)
  AND NOT EXISTS (
    SELECT FROM plays p WHERE p.user_id = :user_id AND p.track_id = l.track_id
      AND p.source <> :source AND p.played_at BETWEEN l.played_at - interval '60 seconds'
                                                  AND l.played_at + interval '60 seconds')
  AND NOT EXISTS (
    SELECT FROM music_interactions i
    WHERE l.kind = 'skip' AND i.user_id = :user_id AND i.track_id = l.track_id
      AND i.feedback_type = 'skip'
      AND i.occurred_at = l.played_at + l.ms_played * interval '1 millisecond')
"""
_INSERT = """
INSERT INTO plays (user_id, track_id, played_at, ms_played, source, trainable, arrived_at)
SELECT :user_id, track_id, played_at, ms_played, :source, :trainable, CAST(:now AS timestamptz)
FROM listens WHERE kind = 'play'
"""
_AGGREGATE = """
INSERT INTO listening_history AS h (user_id, track_id, track_name, artist_name, played_at,
                                    play_count, total_listen_time_ms, updated_at)
SELECT :user_id, p.track_id, t.track_name, t.artist_name, max(p.played_at), count(*),
       sum(p.ms_played), CAST(:now AS timestamptz)
FROM plays p JOIN tracks t USING (track_id)
WHERE p.user_id = :user_id
  AND p.track_id IN (SELECT track_id FROM listens WHERE kind = 'play')
GROUP BY p.track_id, t.track_name, t.artist_name
ON CONFLICT (user_id, track_id) DO UPDATE SET
    track_name = excluded.track_name, artist_name = excluded.artist_name,
    played_at = excluded.played_at, play_count = excluded.play_count,
    total_listen_time_ms = excluded.total_listen_time_ms, updated_at = excluded.updated_at
"""


@dataclass(frozen=True)
class Stored:
    """What became of the rows that were staged.

    Attributes
    ----------
    staged
        How many there were.
    repeated
        Of them, how many said again what another one said.
    plays, skips
        New ones: they stand in the temporary table `listens` until the transaction ends.
    """

    staged: int
    repeated: int
    plays: int
    skips: int

    @property
    def known(self) -> int:
        """How many had been stored before, from here or from another source."""
        return self.staged - self.repeated - self.plays - self.skips


def add_tracks(
    connection: sa.Connection, tracks: Iterable[SourceTrack], *, source: str, trainable: bool
) -> int:
    """Add the tracks that are not known yet; return how many. What is known stays as it is."""

    def row(track: SourceTrack) -> Sequence[object]:
        genres = list(dict.fromkeys(filter(None, map(normalise_genre, track.genres))))
        return (
            track.track_id, track.isrc, track.track_name, track.artist_name,
            name_key(track.artist_name), name_key(track.track_name), track.album_name,
            track.release_date, track.duration_ms, track.explicit, track.popularity, genres,
            categorise(genres), source, trainable,
        )  # fmt: skip

    return append(connection, "tracks", TRACK_COLUMNS, map(row, tracks))


def open_stage(connection: sa.Connection) -> None:
    """Make the temporary table that `stage` fills; it goes at the end of the transaction."""
    connection.execute(sa.text(_STAGE))


def stage(connection: sa.Connection, lines: str) -> None:
    r"""COPY lines of ``track_id\tplayed_at\tms_played\tkind\n``; kind is PLAY or SKIP.

    Ids hold neither tabs nor backslashes: the caller has looked.
    """
    cursor: Any = connection.connection.cursor()  # psycopg2's, with copy_expert
    cursor.copy_expert("COPY new_listens FROM STDIN", io.StringIO(lines))


def many_rows(connection: sa.Connection) -> None:
    """Keep the planner, for the rest of the transaction, from taking many rows one at a time.

    It knows nothing of rows that were inserted a moment ago, takes them for few, and would look
    each of them up in all the others: minutes instead of seconds.
    """
    connection.execute(sa.text("SET LOCAL enable_nestloop = off"))


def clear(connection: sa.Connection) -> None:
    """Drop what `open_stage` and `store` made: another batch of the transaction begins anew."""
    connection.execute(
        sa.text("DROP TABLE IF EXISTS pg_temp.new_listens, pg_temp.told, pg_temp.listens")
    )


def store(
    connection: sa.Connection, user_id: str, *, source: str, trainable: bool, now: datetime
) -> Stored:
    """Insert the plays that are new, and bring the aggregate of their tracks up to date.

    Call it under the lock of the listener's row.
    """
    who = {"user_id": user_id, "source": source, "trainable": trainable, "now": now}
    staged = connection.scalar(sa.text("SELECT count(*) FROM new_listens")) or 0
    if staged > MANY:
        many_rows(connection)
    connection.execute(sa.text(_ONCE))
    connection.execute(sa.text("ANALYZE told"))
    distinct = connection.scalar(sa.text("SELECT count(*) FROM told")) or 0
    connection.execute(sa.text(_NEW), who)
    connection.execute(sa.text("ANALYZE listens"))
    plays = connection.execute(sa.text(_INSERT), who).rowcount
    connection.execute(sa.text(_AGGREGATE), who)
    skips = connection.scalar(sa.text("SELECT count(*) FROM listens WHERE kind = 'skip'"))
    return Stored(staged, staged - distinct, plays, int(skips or 0))
