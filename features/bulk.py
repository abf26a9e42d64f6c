"""Large loads: an empty table takes rows without its keys, and gets them back at the end.

Sorting once makes an index several times faster than adding rows to it one by one, and one join
checks a foreign key faster than a look-up per row. All of it happens in the caller's transaction:
nobody ever sees the table without its keys.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

MARKS = {"plays": "plays", "tracks": "tracks", "audio_features": "audio", "artist_plays": "undated"}
"""Table -> the kind under which the feature build hears that all of it is new."""

# Keys that other tables refer to have to stay.
_CONSTRAINTS = sa.text(
    """
    SELECT conname, pg_get_constraintdef(oid), contype = 'p' FROM pg_constraint c
    WHERE conrelid = CAST(:table AS regclass) AND contype IN ('p', 'f')
      AND NOT EXISTS (SELECT FROM pg_constraint r WHERE r.contype = 'f' AND r.conindid = c.conindid
                      AND r.oid <> c.oid AND c.contype = 'p')
    ORDER BY contype DESC
    """
)
_INDEXES = sa.text(
    """
    SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index i
    WHERE i.indrelid = CAST(:table AS regclass) AND NOT i.indisunique
    ORDER BY 1
    """
)
_IS_REFERRED_TO = sa.text(
    "SELECT EXISTS (SELECT FROM pg_constraint"
    " WHERE confrelid = CAST(:table AS regclass) AND contype = 'f')"
)
_KEY = sa.text(
    """
    SELECT string_agg(a.attname, ', ' ORDER BY k.place) FROM pg_index i
    CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(attnum, place)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indrelid = CAST(:table AS regclass) AND i.indisprimary
    """
)


def is_empty(connection: sa.Connection, table: str) -> bool:
    """Return whether a table has no rows."""
    return not connection.scalar(sa.text(f"SELECT EXISTS (SELECT FROM {table})"))  # noqa: S608


def make_room(connection: sa.Connection) -> None:
    """Let this transaction sort and join large tables in memory."""
    for setting in (
        "work_mem = '256MB'",
        "maintenance_work_mem = '512MB'",
        "random_page_cost = 1.1",  # keys are looked up in tables that mostly lie in memory
        "jit = off",  # compiling costs more than it gains here
    ):
        connection.execute(sa.text(f"SET LOCAL {setting}"))


@dataclass
class Load:
    """A large load.

    Attributes
    ----------
    is_new
        Whether the table's file is this transaction's own: COPY may then write rows as final
        (FREEZE), and no reader has to come back and mark them so.
    repeated
        How many rows went because an earlier one had their key; known at the end.
    """

    is_new: bool
    repeated: int = 0


@contextmanager
def keys_aside(connection: sa.Connection, table: str) -> Iterator[Load]:
    """Take an empty table's keys, indexes and triggers away, and put them back at the end.

    Of rows with the same primary key the first stays. The table is locked until the transaction
    ends, and so are those that it refers to. A table of `MARKS` is marked as changed as a whole.

    Raises
    ------
    sqlalchemy.exc.IntegrityError
        At the end: a row refers to one that is not there.
    """
    make_room(connection)
    asked = {"table": table}
    key = connection.scalar(_KEY, asked)
    constraints = connection.execute(_CONSTRAINTS, asked).all()
    indexes = connection.execute(_INDEXES, asked).all()
    connection.execute(sa.text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
    for name, _, _ in constraints:
        connection.execute(sa.text(f"ALTER TABLE {table} DROP CONSTRAINT {name}"))
    for name, _ in indexes:
        connection.execute(sa.text(f"DROP INDEX {name}"))
    load = Load(is_new=not connection.scalar(_IS_REFERRED_TO, asked))
    if load.is_new:
        connection.execute(sa.text(f"TRUNCATE {table}"))
    yield load
    # Before the keys: checking them is planned by what is known of the table.
    connection.execute(sa.text(f"ANALYZE {table}"))
    for name, definition, is_primary in constraints:
        add = sa.text(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
        if not is_primary:
            connection.execute(add)
            continue
        try:
            with connection.begin_nested():
                connection.execute(add)
        except IntegrityError:  # rare, so that only who has repeated rows pays for finding them
            load.repeated = connection.execute(
                sa.text(
                    f"DELETE FROM {table} t USING (SELECT ctid, row_number() OVER ("  # noqa: S608
                    f" PARTITION BY {key} ORDER BY ctid) AS copy FROM {table}) d"
                    " WHERE t.ctid = d.ctid AND d.copy > 1"
                )
            ).rowcount
            connection.execute(add)
    for _, definition in indexes:
        connection.exec_driver_sql(definition)
    connection.execute(sa.text(f"ALTER TABLE {table} ENABLE TRIGGER USER"))
    if table in MARKS:
        mark = sa.text("INSERT INTO feature_changes (kind) VALUES (:kind)")
        connection.execute(mark, {"kind": MARKS[table]})
