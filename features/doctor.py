"""What is known of the sources and of a listener, for whoever wonders why something is missing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

FILES = ("catalogue", "lastfm", "listenbrainz", "interactions", "spotify_export", "world")
"""Kinds of import; another that stands in the table of imports is shown too."""

_SOURCES: Mapping[str, tuple[str, ...]] = {
    "world": ("simulated",),
    "spotify_export": ("spotify_export", "spotify_account"),
}
"""What the rows of a kind of import name as their source, where it is not the kind."""

_IMPORTS = sa.text(
    "SELECT kind, max(imported_at), (array_agg(read ORDER BY import_id DESC))[1]"
    " FROM imports GROUP BY kind"
)
_ROWS = sa.text(
    """
    SELECT source, sum(n)::bigint, sum(trainable)::bigint FROM (
        SELECT source, count(*) AS n, count(*) FILTER (WHERE trainable) AS trainable
        FROM tracks GROUP BY source
        UNION ALL SELECT source, count(*), count(*) FILTER (WHERE trainable)
        FROM audio_features GROUP BY source
        UNION ALL SELECT source, count(*), count(*) FILTER (WHERE trainable)
        FROM plays GROUP BY source
        UNION ALL SELECT source, count(*), count(*) FILTER (WHERE trainable)
        FROM artist_plays GROUP BY source
        UNION ALL SELECT source, count(*), count(*) FILTER (WHERE trainable)
        FROM music_interactions GROUP BY source
    ) t GROUP BY source
    """
)
_AUDIO = sa.text(
    """
    SELECT count(*), count(a.track_id) FILTER (WHERE NOT a.estimated),
           count(a.track_id) FILTER (WHERE a.estimated)
    FROM tracks t LEFT JOIN audio_features a USING (track_id)
    """
)
_LISTENER = sa.text(
    """
    SELECT u.created_at, u.source, u.revision,
           (SELECT count(*) FROM plays p WHERE p.user_id = u.user_id) AS plays,
           (SELECT count(*) FROM listening_history h WHERE h.user_id = u.user_id) AS history,
           (SELECT count(*) FROM artist_plays a WHERE a.user_id = u.user_id) AS artists,
           (SELECT count(*) FROM music_interactions i WHERE i.user_id = u.user_id) AS feedback,
           (SELECT assessment_method FROM personality_scores s
            WHERE s.user_id = u.user_id AND s.is_active) AS personality,
           (SELECT max(generated_at) FROM recommendations_cache c
            WHERE c.user_id = u.user_id) AS last_list,
           g.state AS grant_state, g.granted_at, g.refreshed_at, g.history_at,
           w.not_before, w.reason, w.attempts
    FROM users u LEFT JOIN spotify_grants g USING (user_id)
    LEFT JOIN postponed_work w ON w.user_id = u.user_id AND w.kind = 'history'
    WHERE u.user_id = :user_id
    """
)
_INDEXES = sa.text(
    """
    SELECT tablename || '.' || replace(split_part(indexdef, '(', 2), ')', '')
    FROM pg_indexes WHERE schemaname = 'public'
      AND tablename IN ('listening_history', 'recommendations_cache', 'personality_scores')
    """
)
NEEDED_INDEXES = (
    "listening_history.user_id", "listening_history.played_at", "listening_history.track_id",
    "recommendations_cache.user_id", "recommendations_cache.expires_at",
    "personality_scores.user_id", "personality_scores.assessment_date",
)  # fmt: skip
"""Of the description, section 7."""


@dataclass(frozen=True)
class FileSource:
    """One kind of import: when it last went well, and the rows of it that stand here."""

    kind: str
    last_import_at: datetime | None
    last_read: int
    rows: int
    trainable: int


def file_sources(connection: sa.Connection) -> list[FileSource]:
    """Return every kind of import, those that were never used too."""
    last = {kind: (at, read) for kind, at, read in connection.execute(_IMPORTS)}
    rows = {source: (n, trainable) for source, n, trainable in connection.execute(_ROWS)}
    found = []
    for kind in dict.fromkeys((*FILES, *last)):
        if kind == "spotify":  # asked, not imported
            continue
        parts = [rows.get(name, (0, 0)) for name in _SOURCES.get(kind, (kind,))]
        at, read = last.get(kind, (None, 0))
        found.append(FileSource(kind, at, read, sum(n for n, _ in parts), sum(t for _, t in parts)))
    return found


def spotify_rows(connection: sa.Connection) -> int:
    """Return how many rows of all tables came from Spotify's Web API."""
    return next((n for source, n, _ in connection.execute(_ROWS) if source == "spotify"), 0)


def audio_counts(connection: sa.Connection) -> tuple[int, int, int]:
    """Return how many tracks there are, with audio features, and with estimates."""
    row = connection.execute(_AUDIO).one()
    return row[0], row[1], row[2]


def listener(connection: sa.Connection, user_id: str) -> Mapping[str, object] | None:
    """Return what is known of a listener, None for one who does not exist."""
    row = connection.execute(_LISTENER, {"user_id": user_id}).mappings().one_or_none()
    return dict(row) if row else None


def missing_indexes(connection: sa.Connection) -> list[str]:
    """Return the description's indexes that are not there."""
    there = set(connection.scalars(_INDEXES))
    return [name for name in NEEDED_INDEXES if name not in there]
