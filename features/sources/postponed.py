"""Work that a source's limit or an outage put off, kept until it can be done."""

from datetime import datetime

import sqlalchemy as sa

HISTORY = "history"
"""Kind: refresh the listener's history."""

_PUT_OFF = sa.text(
    """
    INSERT INTO postponed_work AS p (user_id, kind, not_before, reason)
    VALUES (:user_id, :kind, :not_before, :reason)
    ON CONFLICT (user_id, kind) DO UPDATE SET not_before = excluded.not_before,
        reason = excluded.reason, attempts = p.attempts + 1
    """
)


def put_off(
    connection: sa.Connection, user_id: str, kind: str, *, not_before: datetime, reason: str
) -> None:
    """Remember that this is still to be done, and from when on."""
    asked = {"user_id": user_id, "kind": kind, "not_before": not_before, "reason": reason[:300]}
    connection.execute(_PUT_OFF, asked)


def done(connection: sa.Connection, user_id: str, kind: str) -> None:
    """Forget it: it was done."""
    statement = "DELETE FROM postponed_work WHERE user_id = :user_id AND kind = :kind"
    connection.execute(sa.text(statement), {"user_id": user_id, "kind": kind})


def due(connection: sa.Connection, kind: str, *, now: datetime) -> list[str]:
    """Return whose work can be taken up, the longest waiting first."""
    statement = (
        "SELECT user_id FROM postponed_work WHERE kind = :kind AND not_before <= :now"
        " ORDER BY not_before, user_id"
    )
    return list(connection.scalars(sa.text(statement), {"kind": kind, "now": now}))
