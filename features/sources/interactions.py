"""The import of feedback from elsewhere: CSV or Parquet, judged like feedback sent at the time.

Columns: user_id, track_id, feedback_type, and, where there are such columns, occurred_at,
listen_duration_ms, track_duration_ms, context, event_id. A row without event_id gets one from what
it says, so that importing twice changes nothing.
"""

import hashlib
import io
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from features.imports import ALREADY_STORED, Reject, Report, copy_text, one_at_a_time, record
from features.interaction_bulk import Judged, append_all
from features.judged_tracks import JudgedTrack, staged_tracks, whole_states
from features.sources.cells import RejectedError, text, whole
from features.sources.files import Table, read_table, sha256_of
from features.sources.listens import MANY, many_rows
from features.users import lock, revise
from recommender.rewards import CONTEXTS, POSITIVE, Feedback, context_fits, listened_share, reward

SOURCE = "interactions"
NAMESPACE = uuid.UUID("3b1c2f0e-7a53-5d52-8d0c-8f6b0f4f9c11")
UNKNOWN = "track_id is not in the catalogue"
REPEATED = "event said more than once"
LONGEST_MS = 86_400_000
OLDEST = datetime(2002, 1, 1, tzinfo=UTC)
OPTIONAL = ("occurred_at", "listen_duration_ms", "track_duration_ms", "context", "event_id")
_FETCH, _BATCH = 10_000, 50_000

_STAGE = """
CREATE TEMP TABLE said (
    n bigint, event_id uuid NOT NULL, user_id text NOT NULL, track_id text NOT NULL,
    feedback_type text NOT NULL, occurred_at timestamptz NOT NULL, listen_duration_ms integer,
    track_duration_ms integer, context text
) ON COMMIT DROP
"""
_NEW = """
CREATE TEMP TABLE events ON COMMIT DROP AS
SELECT DISTINCT ON (user_id, event_id) s.* FROM said s JOIN tracks USING (track_id)
WHERE NOT EXISTS (SELECT FROM music_interactions i
                  WHERE i.user_id = s.user_id AND i.event_id = s.event_id)
ORDER BY user_id, event_id, n
"""
_IN_ORDER = """
SELECT user_id, event_id::text, track_id, feedback_type, listen_duration_ms, track_duration_ms,
       context, to_char(occurred_at, 'YYYY-MM-DD HH24:MI:SS.US') || '+00'
FROM events ORDER BY user_id, occurred_at, n
"""
_HEARD = sa.text(
    """
    SELECT track_id FROM music_interactions
    WHERE user_id = :user_id AND feedback_type = ANY(:positive)
    UNION SELECT track_id FROM listening_history WHERE user_id = :user_id
    """
)


def import_interactions(
    engine: sa.Engine, path: Path, *, trainable: bool = True, now: datetime
) -> Report:
    """Import a file of feedback; each listener's log and Q-table learn from it in order of time.

    Raises
    ------
    InputError
        The input as a whole cannot be used; nothing was stored.
    """
    rejects: list[Reject] = []
    with one_at_a_time(engine) as connection:
        connection.execute(sa.text(_STAGE))
        read = _stage(connection, read_table(path), now, rejects)
        if read > MANY:
            many_rows(connection)
        connection.execute(sa.text("ANALYZE said"))
        connection.execute(sa.text(_NEW))
        connection.execute(sa.text("ANALYZE events"))
        stored = _append(connection, trainable=trainable, now=now)
        skipped = {reject.reason: 0 for reject in rejects}
        for reject in rejects:
            skipped[reject.reason] += 1
        skipped |= _left_out(connection, stored)
        skipped = {reason: count for reason, count in skipped.items() if count}
        report = Report(SOURCE, read, stored, skipped)
        record(connection, report, sha256=sha256_of([path]), rejects=rejects, now=now)
    return report


def _stage(connection: sa.Connection, table: Table, now: datetime, rejects: list[Reject]) -> int:
    where = {name: table.place(name) for name in ("user_id", "track_id", "feedback_type")}
    where |= {name: table.place(name) for name in OPTIONAL if name in table.columns}
    cursor: Any = connection.connection.cursor()
    read, lines = 0, list[str]()

    def flush() -> None:
        cursor.copy_expert("COPY said FROM STDIN", io.StringIO("".join(lines)))
        lines.clear()

    for line, row in table.rows:
        read += 1
        try:
            lines.append(f"{line}\t{_row(row, where, now)}\n")
        except RejectedError as error:
            entry = {"line": line, **dict(zip(table.columns, row, strict=True))}
            rejects.append(Reject(str(error), entry))
        if len(lines) >= _BATCH:
            flush()
    flush()
    return read


def _row(row: Sequence[str], where: dict[str, int], now: datetime) -> str:
    cells = {name: row[place] for name, place in where.items()}
    user_id = text("user_id", cells["user_id"], longest=128)
    track_id = text("track_id", cells["track_id"], longest=128)
    kind = cells["feedback_type"].strip().lower()
    if kind not in set(Feedback):
        raise RejectedError(f"feedback_type is none of {', '.join(Feedback)}")
    listened = whole(
        "listen_duration_ms", cells.get("listen_duration_ms", ""), low=0, high=LONGEST_MS
    )
    duration = whole(
        "track_duration_ms", cells.get("track_duration_ms", ""), low=1, high=LONGEST_MS
    )
    context = cells.get("context", "").strip().lower() or None
    if context is not None and context not in CONTEXTS:
        raise RejectedError(f"context is none of {', '.join(CONTEXTS)}")
    at = _moment(cells.get("occurred_at", ""), now)
    event_id = _event_id(cells.get("event_id", ""), f"{user_id}|{track_id}|{kind}|{at}|{listened}")
    values = (event_id, copy_text(user_id), copy_text(track_id), kind, at, listened, duration)
    return "\t".join("\\N" if v is None else str(v) for v in (*values, context))


def _moment(cell: str, now: datetime) -> str:
    if not cell.strip():
        return now.isoformat()
    try:
        at = datetime.fromisoformat(cell.strip())
    except ValueError:
        raise RejectedError("occurred_at is not ISO 8601") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    if not OLDEST <= at <= now + timedelta(minutes=5):
        raise RejectedError("occurred_at is in the future, or before 2002")
    return at.astimezone(UTC).isoformat()


def _event_id(cell: str, said: str) -> str:
    if not cell.strip():
        return str(uuid.uuid5(NAMESPACE, hashlib.sha256(said.encode()).hexdigest()))
    try:
        return str(uuid.UUID(cell.strip()))
    except ValueError:
        raise RejectedError("event_id is not a UUID") from None


def _append(connection: sa.Connection, *, trainable: bool, now: datetime) -> int:
    tracks = staged_tracks(connection, "events")
    halves = {track.half for track in tracks.values()}
    connection.execute(
        sa.text(
            "INSERT INTO users (user_id, created_at, source)"
            " SELECT DISTINCT user_id, CAST(:now AS timestamptz), :source FROM events"
            " ON CONFLICT DO NOTHING"
        ),
        {"now": now, "source": SOURCE},
    )
    stored = 0
    dbapi: Any = connection.connection
    with dbapi.cursor("interactions_in_order") as cursor:
        cursor.itersize = _FETCH
        cursor.execute(_IN_ORDER)
        for user_id, group in groupby(cursor, key=lambda row: row[0]):
            lock(connection, user_id)
            rows = list(group)
            append_all(
                connection,
                user_id,
                _judged(
                    rows,
                    tracks,
                    whole_states(connection, user_id, halves),
                    _heard(connection, user_id),
                ),
                count=len(rows),
                source=SOURCE,
                trainable=trainable,
                received_at=now,
            )
            revise(connection, user_id)
            stored += len(rows)
    return stored


def _heard(connection: sa.Connection, user_id: str) -> set[str]:
    positive = [kind.value for kind in POSITIVE]
    return set(connection.scalars(_HEARD, {"user_id": user_id, "positive": positive}))


def _judged(
    rows: Sequence[tuple[Any, ...]],
    tracks: Mapping[str, JudgedTrack],
    whole_of: Mapping[str, str],
    heard: set[str],
) -> Iterator[Judged]:
    for _, event_id, track_id, kind, listened, duration, context, at in rows:
        track = tracks[track_id]
        duration_ms = duration or track.duration_ms
        earned = reward(
            Feedback(kind),
            share=listened_share(listened, duration_ms),
            is_repeat=track_id in heard,
            fits_context=context_fits(context, track.audio),
        )
        if kind in POSITIVE:
            heard.add(track_id)
        yield Judged(
            event_id, copy_text(track_id), kind, earned, whole_of[track.half], track.category,
            listened, duration_ms, at, context,
        )  # fmt: skip


def _left_out(connection: sa.Connection, stored: int) -> dict[str, int]:
    """Return why staged rows are no events."""
    total, known, distinct = connection.execute(
        sa.text(
            "SELECT count(*), count(t.track_id),"
            " count(DISTINCT (s.user_id, s.event_id)) FILTER (WHERE t.track_id IS NOT NULL)"
            " FROM said s LEFT JOIN tracks t USING (track_id)"
        )
    ).one()
    return {
        UNKNOWN: total - known,
        REPEATED: known - distinct,
        ALREADY_STORED: distinct - stored,
    }
