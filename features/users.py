"""Listeners as rows: made at their first call, and revised when something is learned of them.

A listener's `revision` rises whenever what lists are made from changes: feedback, a new
personality. A list remembers the revision that it was computed at, and one of an older revision is
not served.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from features.prepared import Prepared, run

ENSURE = Prepared(
    "ensure_user",
    "INSERT INTO users (user_id, created_at, source) VALUES (:user_id, :now, :source)"
    " ON CONFLICT DO NOTHING",
    user_id="text",
    now="timestamptz",
    source="text",
)
"""`ensure_user`, for who sends it along with another statement."""
_REVISE = sa.text(
    """
    WITH stale AS (
        UPDATE recommendations_cache SET is_valid = false WHERE user_id = :user_id AND is_valid
    )
    UPDATE users SET revision = revision + 1, revised_at = clock_timestamp()
    WHERE user_id = :user_id RETURNING revision
    """
)
ENSURE_REVISED = Prepared(
    "ensure_revised",
    """
    INSERT INTO users AS u (user_id, created_at, source, revision, revised_at)
    VALUES (:user_id, :now, :source, 1, clock_timestamp())
    ON CONFLICT (user_id) DO UPDATE SET revision = u.revision + 1, revised_at = clock_timestamp()
    """,
    user_id="text",
    now="timestamptz",
    source="text",
)
"""`ensure_user`, `lock` and the counting of `revise` in one; who sends it also marks the stored
lists, or rolls back."""
_LOCK = sa.text("SELECT FROM users WHERE user_id = :user_id FOR UPDATE")
_STANDING = Prepared(
    "listener_standing",
    """
    SELECT u.revision, coalesce(
        (SELECT seq FROM music_interactions i WHERE i.user_id = u.user_id
         ORDER BY episode DESC LIMIT 1), 0)
    FROM users u WHERE u.user_id = :user_id
    """,
    user_id="text",
)
_STANDINGS = sa.text(
    """
    SELECT u.user_id, u.revision, coalesce(
        (SELECT seq FROM music_interactions i WHERE i.user_id = u.user_id
         ORDER BY episode DESC LIMIT 1), 0)
    FROM users u WHERE u.user_id = ANY(:user_ids)
    """
)
_REVISED = sa.text(
    "SELECT user_id, revision FROM users WHERE revised_at >= :since AND revision > 0"
)


class Standing(msgspec.Struct, frozen=True):
    """How far a listener has come.

    Attributes
    ----------
    revision
        Of what lists are made from.
    seq
        The number of the latest feedback in the log, 0 before the first.
    """

    revision: int
    seq: int


def ensure_user(connection: sa.Connection, user_id: str, *, source: str, now: datetime) -> None:
    """Create the listener at their first authenticated call or import; else change nothing."""
    run(connection, (ENSURE, {"user_id": user_id, "now": now, "source": source}))


def lock(connection: sa.Connection, user_id: str) -> None:
    """Wait for the listener's row, and hold it until the transaction ends."""
    connection.execute(_LOCK, {"user_id": user_id})


def revise(connection: sa.Connection, user_id: str) -> int:
    """Outdate a listener's lists; returns the new revision. Call it under `lock`.

    Lists that were stored before are marked; one that is stored later is compared with the
    revision, under a lock that waits for this transaction.
    """
    return int(connection.execute(_REVISE, {"user_id": user_id}).scalar_one())


def standing(connection: sa.Connection, user_id: str) -> Standing | None:
    """Return how far a listener has come, None for one who does not exist.

    What is read after it is at least as new as it says.
    """
    row: Sequence[Any] | None = run(connection, (_STANDING, {"user_id": user_id})).one_or_none()
    return Standing(row[0], row[1]) if row else None


def standings(connection: sa.Connection, user_ids: Sequence[str]) -> dict[str, Standing]:
    """Return `standing` of many listeners, without those who do not exist."""
    found = connection.execute(_STANDINGS, {"user_ids": list(user_ids)})
    return {user_id: Standing(revision, seq) for user_id, revision, seq in found}


def revised_since(connection: sa.Connection, since: datetime) -> list[tuple[str, int]]:
    """Return (user_id, revision) of every listener revised since then."""
    return [(row[0], row[1]) for row in connection.execute(_REVISED, {"since": since})]
