"""Who acted for whom: one row per backend, listener, call and day."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

_STORE = sa.text(
    """
    INSERT INTO acting_audit AS a (actor, user_id, call, day, calls, first_at, last_at)
    SELECT actor, user_id, call, CAST(first_at AT TIME ZONE 'UTC' AS date), calls, first_at, last_at
    FROM jsonb_to_recordset(CAST(:acts AS jsonb)) AS r
        (actor text, user_id text, call text, calls int, first_at timestamptz, last_at timestamptz)
    ON CONFLICT (actor, user_id, call, day) DO UPDATE SET
        calls = a.calls + excluded.calls, first_at = least(a.first_at, excluded.first_at),
        last_at = greatest(a.last_at, excluded.last_at)
    """
)


class Acted(msgspec.Struct, kw_only=True, frozen=True):
    """Calls that a backend made in a listener's name."""

    actor: str
    user_id: str
    call: str
    calls: int
    first_at: datetime
    last_at: datetime

    def joined(self, later: "Acted") -> "Acted":
        """Return both together."""
        return msgspec.structs.replace(self, calls=self.calls + later.calls, last_at=later.last_at)


def store_acted(connection: sa.Connection, acts: Sequence[Acted]) -> None:
    """Add acts to the rows of their days."""
    connection.execute(_STORE, {"acts": msgspec.json.encode(acts).decode()})
