"""Imports: how rows enter the tables - all of them in one transaction, or none.

A source turns its file into rows and rejects; here the rows are staged with COPY, merged by key,
and counted. An import that is interrupted leaves nothing, and can be run again.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain, islice
from typing import Any, Protocol, runtime_checkable

import sqlalchemy as sa

from features.bulk import is_empty, keys_aside

ALREADY_STORED = "already stored"
"""Why a row that is in the tables as it was read is skipped."""

_BATCH = 50_000
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


@runtime_checkable
class Source(Protocol):
    """What COPY reads: a file, or `Lines`."""

    def read(self, size: int = ..., /) -> str | bytes:
        """Return the next part of it, nothing at the end."""


class InputError(Exception):
    """An input cannot be used; the message says in one line which, where, and what to do."""


@dataclass(frozen=True)
class Report:
    """What became of every row that was read: read = stored + the sum of skipped, always.

    Examples
    --------
    >>> str(Report("catalogue", 3, 1, {"already stored": 2}))
    'catalogue: 3 read, 1 stored, 2 skipped (already stored 2)'
    """

    kind: str
    read: int
    stored: int
    skipped: Mapping[str, int]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a report that does not add up: it would hide lost rows."""
        if self.read != self.stored + sum(self.skipped.values()):
            raise ValueError(f"{self.read} read is not {self.stored} stored + {self.skipped}")

    def __str__(self) -> str:
        """Return the counts in one line; the notes stand apart."""
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.skipped.items())
        total = sum(self.skipped.values())
        line = f"{self.kind}: {self.read} read, {self.stored} stored, {total} skipped"
        return f"{line} ({reasons})" if reasons else line


@dataclass(frozen=True)
class Reject:
    """An entry that may not enter the tables: why, and all that was read of it."""

    reason: str
    entry: Mapping[str, object]


@contextmanager
def one_at_a_time(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open the one transaction of an import or a build; another one waits for its end."""
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('bondhu.import'))"))
        yield connection


class Lines:
    """Lines of text as the file that COPY reads: made as they are asked for.

    Examples
    --------
    >>> Lines(iter(["a\\n", "b\\n"])).read()
    'a\\nb\\n'
    """

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines

    def read(self, _size: int = -1) -> str:
        """Return the next thousand lines, nothing at the end; COPY takes any length."""
        return "".join(islice(self._lines, 1_000))


def copy(
    connection: sa.Connection, table: str, columns: Sequence[str], source: Source, options: str = ""
) -> int:
    """COPY a file into a table; returns how many rows it has."""
    cursor: Any = connection.connection.cursor()  # psycopg2's, with copy_expert
    cursor.copy_expert(f"COPY {table} ({', '.join(columns)}) FROM STDIN {options}", source, 1 << 18)
    return int(cursor.rowcount)


def stage(
    connection: sa.Connection,
    table: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]] | Source,
    options: str = "",
) -> str:
    """COPY rows into a temporary table with the column types of `table`; return its name.

    The names are those of the schema, never input.
    """
    staged, listed = f"new_{table}", ", ".join(columns)
    connection.execute(sa.text(f"DROP TABLE IF EXISTS pg_temp.{staged}"))
    connection.execute(
        sa.text(
            f"CREATE TEMP TABLE {staged} ON COMMIT DROP AS"  # noqa: S608 - names of the schema
            f" SELECT {listed} FROM {table} WITH NO DATA"
        )
    )
    source = rows if isinstance(rows, Source) else Lines(map(_line, rows))
    copy(connection, staged, columns, source, options)
    connection.execute(sa.text(f"ANALYZE {staged}"))
    return staged


def append(
    connection: sa.Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]
) -> int:
    """Insert the rows whose key is new, leave the others as they are; return how many were new.

    Many rows for an empty table go there without a detour (`features.bulk`).
    """
    rest = iter(rows)
    first = list(islice(rest, _BATCH))
    if len(first) == _BATCH and is_empty(connection, table):
        return append_file(connection, table, columns, Lines(map(_line, chain(first, rest))))
    staged, listed = stage(connection, table, columns, chain(first, rest)), ", ".join(columns)
    insert = f"INSERT INTO {table} ({listed}) SELECT {listed} FROM {staged} ON CONFLICT DO NOTHING"  # noqa: S608 - names of the schema
    return connection.execute(sa.text(insert)).rowcount


def append_file(
    connection: sa.Connection, table: str, columns: Sequence[str], source: Source, options: str = ""
) -> int:
    """Insert what a file in COPY's format says, as `append` does; return how many were new.

    Parameters
    ----------
    options
        Of COPY, as in SQL: ``(FORMAT csv)``.
    """
    listed = ", ".join(columns)
    if is_empty(connection, table):
        with keys_aside(connection, table) as load:
            if load.is_new:
                options = f"(FREEZE, {options[1:]}" if options else "(FREEZE)"
            read = copy(connection, table, columns, source, options)
        return read - load.repeated
    staged = stage(connection, table, columns, source, options)
    insert = f"INSERT INTO {table} ({listed}) SELECT {listed} FROM {staged} ON CONFLICT DO NOTHING"  # noqa: S608 - names of the schema
    return connection.execute(sa.text(insert)).rowcount


def merge(
    connection: sa.Connection,
    table: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    key: str,
    now: datetime | None = None,
) -> set[str]:
    """Insert new rows and update changed ones; return the keys of those that were either.

    Parameters
    ----------
    columns, rows
        What is written, each key at most once.
    key
        The primary key's columns, as in SQL: ``user_id, artist_key``.
    now
        Written to updated_at of rows that changed, where the table has that column.

    Returns
    -------
    The keys as text, the columns of a compound key joined by tabs.
    """
    staged = stage(connection, table, columns, rows)
    listed, parts = ", ".join(columns), [part.strip() for part in key.split(",")]
    values = [column for column in columns if column not in parts]
    stamp = [] if now is None else ["updated_at"]
    names = ", ".join(f"t.{column}" for column in values)
    news = ", ".join(f"excluded.{column}" for column in values)
    sets = ", ".join(f"{column} = excluded.{column}" for column in [*values, *stamp])
    result = connection.execute(
        sa.text(
            f"INSERT INTO {table} AS t ({', '.join([*columns, *stamp])})"  # noqa: S608
            f" SELECT {listed}{', CAST(:now AS timestamptz)' if stamp else ''} FROM {staged}"
            f" ON CONFLICT ({key}) DO UPDATE SET {sets}"
            f" WHERE ({names}) IS DISTINCT FROM ({news})"
            f" RETURNING concat_ws(chr(9), {', '.join(f't.{part}' for part in parts)})"
        ),
        {"now": now} if stamp else {},
    )
    return set(result.scalars())


def record(
    connection: sa.Connection,
    report: Report,
    *,
    sha256: str,
    rejects: Sequence[Reject] = (),
    now: datetime,
) -> None:
    """Write an import down, and its rejects unless this very input left them here before."""
    before = connection.scalar(
        sa.text("SELECT count(*) FROM imports WHERE kind = :kind AND sha256 = :sha256"),
        {"kind": report.kind, "sha256": sha256},
    )
    import_id = connection.scalar(
        sa.text(
            "INSERT INTO imports (kind, sha256, read, stored, skipped, imported_at)"
            " VALUES (:kind, :sha256, :read, :stored, :skipped, :now) RETURNING import_id"
        ),
        {
            "kind": report.kind,
            "sha256": sha256,
            "read": report.read,
            "stored": report.stored,
            "skipped": json.dumps(dict(report.skipped)),
            "now": now,
        },
    )
    if rejects and not before:
        rows = [(import_id, reject.reason, reject.entry) for reject in rejects]
        columns = ("import_id", "reason", "entry")
        append(connection, "quarantine", columns, rows)


def _line(row: Sequence[object]) -> str:
    return "\t".join(map(_field, row)) + "\n"


def copy_text(text: str) -> str:
    r"""Return a text as COPY reads it.

    >>> copy_text("a\tb")
    'a\\tb'
    """
    return text.translate(_ESCAPES)


def _field(value: object) -> str:
    r"""Return a value in COPY's text format.

    >>> [_field(value) for value in (None, "a\tb", ["x", 'say "y"'], True)]
    ['\\N', 'a\\tb', '{"x","say \\\\"y\\\\""}', 'True']
    """
    if value is None:
        return "\\N"
    if isinstance(value, str):
        return value.translate(_ESCAPES)
    if isinstance(value, Mapping):  # Postgres has no NUL in text
        return json.dumps(value).replace("\\u0000", "\\ufffd").translate(_ESCAPES)
    if isinstance(value, list | tuple):
        quoted = (str(item).replace("\\", "\\\\").replace('"', '\\"') for item in value)
        return ("{" + ",".join(f'"{item}"' for item in quoted) + "}").translate(_ESCAPES)
    return value.isoformat() if isinstance(value, date) else str(value)
