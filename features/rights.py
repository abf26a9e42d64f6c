"""A listener's rights over what is stored: all of it exported, all of it deleted.

Tables are found by their column `user_id`, so that one that a later release adds is reached without
anybody remembering it here.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import msgspec
import sqlalchemy as sa

from features.users import lock

USERS = "users"
SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]*")

_TABLES = sa.text(
    """
    SELECT c.table_name,
           ARRAY(SELECT CAST(b.column_name AS text) FROM information_schema.columns b
                 WHERE b.table_schema = 'public' AND b.table_name = c.table_name
                   AND b.data_type = 'bytea' ORDER BY 1)
    FROM information_schema.columns c
    JOIN information_schema.tables t USING (table_schema, table_name)
    WHERE c.table_schema = 'public' AND c.column_name = 'user_id' AND t.table_type = 'BASE TABLE'
    ORDER BY c.table_name
    """
)
# An entry that an import rejected may name the listener; Last.fm's own ids lack our prefix.
_OF_LISTENER = """
    WHERE i.import_id = q.import_id
      AND (jsonb_path_exists(q.entry, '$.** ? (@ == $id)',
                             jsonb_build_object('id', CAST(:user_id AS text)))
           OR i.kind = 'lastfm' AND 'lastfm-' || (q.entry ->> 'userID') = :user_id)
"""
_QUARANTINE_OF = sa.text(
    f"""
    SELECT CAST(coalesce(jsonb_agg(q.entry), '[]') AS text)
    FROM quarantine q, imports i {_OF_LISTENER}
    """  # noqa: S608 - a constant of this module
)
_DELETE_QUARANTINE = sa.text(f"DELETE FROM quarantine q USING imports i {_OF_LISTENER}")  # noqa: S608
_RECEIPT = sa.text(
    """
    INSERT INTO deletions (receipt_id, deleted_at, requested_by, deleted)
    VALUES (:receipt_id, :deleted_at, :requested_by, CAST(:deleted AS jsonb))
    """
)


def export_tables(connection: sa.Connection, user_id: str) -> bytes:
    """Return every row about a listener as JSON: table -> rows.

    What is stored encrypted (a grant's tokens) is named with its size, not handed out.
    """
    parts = []
    for table, secret in _tables(connection).items():
        hidden = "".join(
            f" || jsonb_build_object('{c}', 'encrypted, ' || octet_length(t.{c}) || ' bytes')"
            for c in secret
        )
        rows = connection.scalar(
            sa.text(
                f"SELECT CAST(coalesce(jsonb_agg(to_jsonb(t){hidden}), '[]') AS text)"  # noqa: S608
                f" FROM {table} t WHERE t.user_id = :user_id"
            ),
            {"user_id": user_id},
        )
        parts.append(f'"{table}":{rows}')
    rejected = connection.scalar(_QUARANTINE_OF, {"user_id": user_id})
    parts.append(f'"quarantine":{rejected}')
    return ("{" + ",".join(parts) + "}").encode()


def delete_rows(connection: sa.Connection, user_id: str) -> dict[str, int]:
    """Delete every row about a listener, after what is being written about them.

    Returns
    -------
    Table -> rows, tables without any left out.
    """
    lock(connection, user_id)
    tables = _tables(connection)
    deleted = {}
    for table in tables:
        counted = sa.text(f"SELECT count(*) FROM {table} WHERE user_id = :user_id")  # noqa: S608
        deleted[table] = int(connection.execute(counted, {"user_id": user_id}).scalar_one())
    others = [table for table in tables if table != USERS]
    # The others twice: triggers note for the next feature build whose rows went.
    for table in [*others, USERS, *others]:
        gone = sa.text(f"DELETE FROM {table} WHERE user_id = :user_id")  # noqa: S608
        connection.execute(gone, {"user_id": user_id})
    deleted["quarantine"] = connection.execute(_DELETE_QUARANTINE, {"user_id": user_id}).rowcount
    return {table: n for table, n in deleted.items() if n}


def store_receipt(
    connection: sa.Connection,
    receipt_id: UUID,
    deleted: Mapping[str, Mapping[str, int]],
    *,
    now: datetime,
    requested_by: str,
) -> None:
    """Keep what was deleted where, without saying of whom.

    Parameters
    ----------
    requested_by
        listener, backend or operator.
    """
    connection.execute(
        _RECEIPT,
        {
            "receipt_id": receipt_id,
            "deleted_at": now,
            "requested_by": requested_by,
            "deleted": msgspec.json.encode(deleted).decode(),
        },
    )


def _tables(connection: sa.Connection) -> dict[str, list[str]]:
    """Return the tables about listeners, each with its columns of encrypted bytes."""
    found = {table: list(secret) for table, secret in connection.execute(_TABLES)}
    names = [*found, *(column for columns in found.values() for column in columns)]
    assert all(SCHEMA_NAME.fullmatch(name) for name in names)  # noqa: S101 - our own schema's
    return found
