"""What changed since the last build: rows of feature_changes, taken as they are dealt with."""

import sqlalchemy as sa

_COUNT = sa.text(
    "SELECT count(*), count(*) FILTER (WHERE user_id IS NULL AND track_id IS NULL)"
    " FROM feature_changes WHERE kind = :kind"
)
_TAKE_ALL = sa.text("DELETE FROM feature_changes WHERE kind = :kind")
_NOTE = sa.text("INSERT INTO feature_changes (kind) VALUES (:kind)")


def waiting(connection: sa.Connection, kind: str) -> tuple[int, bool]:
    """Return how many changes of a kind wait, and whether one of them means every row."""
    count, everything = connection.execute(_COUNT, {"kind": kind}).one()
    return count, everything > 0


def take_all(connection: sa.Connection, kind: str) -> int:
    """Take every change of a kind that is visible; returns how many there were.

    One that is committed after this statement began stays for the next build: what is read after
    it may hold that change already, and is then worked out twice, to the same result.
    """
    return connection.execute(_TAKE_ALL, {"kind": kind}).rowcount


def take(connection: sa.Connection, kind: str, columns: str, into: str, *, most: int) -> int:
    """Move up to `most` changes into a temporary table, each once; return how many rows it has."""
    connection.execute(sa.text(f"DROP TABLE IF EXISTS pg_temp.{into}"))
    connection.execute(
        sa.text(
            f"CREATE TEMP TABLE {into} ON COMMIT DROP AS SELECT {columns}"  # noqa: S608 - our names
            " FROM feature_changes WITH NO DATA"
        )
    )
    taken = connection.execute(
        sa.text(
            "WITH taken AS (DELETE FROM feature_changes WHERE ctid = ANY (ARRAY("  # noqa: S608
            " SELECT ctid FROM feature_changes WHERE kind = :kind LIMIT :most))"
            f" RETURNING {columns}) INSERT INTO {into} SELECT DISTINCT {columns} FROM taken"
        ),
        {"kind": kind, "most": most},
    ).rowcount
    connection.execute(sa.text(f"ANALYZE {into}"))
    return taken


def note(connection: sa.Connection, kind: str) -> None:
    """Leave a change that names no row."""
    connection.execute(_NOTE, {"kind": kind})
