"""Statements that Postgres plans once per connection, several of them in one message.

Planning takes longer than running where a statement looks up a few rows of many tables. A pooler
that hands a connection on after each transaction loses what was prepared: its refusal is noted, and
from then on the pool's statements go out in full.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError

_PARAMETER = re.compile(r"(?<!:):(\w+)")
_PLACE = re.compile(r"%\((\w+)\)s")
_KNOWN = "bondhu_prepared"
_LOST = {"26000", "42P05"}  # no such prepared statement; there is one of that name already

_unprepared: "WeakSet[sa.Pool]" = WeakSet()


class PlansLostError(Exception):
    """The server connection is not the one that was prepared: do the transaction once more."""


class Prepared:
    """A statement with its parameters' types.

    Parameters
    ----------
    name
        Of no other statement.
    text
        With parameters as :name.
    types
        Name of each parameter -> its type in Postgres.

    Examples
    --------
    >>> twice = Prepared("twice", "SELECT 2 * :n", n="integer")
    >>> twice.prepare
    'PREPARE twice (integer) AS SELECT 2 * $1'
    >>> twice.execute, twice.plain
    ('EXECUTE twice(%(n)s)', 'SELECT 2 * CAST(%(n)s AS integer)')
    """

    def __init__(self, name: str, text: str, **types: str) -> None:
        place = {parameter: number for number, parameter in enumerate(types, 1)}
        numbered = _PARAMETER.sub(lambda found: f"${place[found[1]]}", text)
        self.name, self.text = name, text
        self.prepare = f"PREPARE {name} ({', '.join(types.values())}) AS {numbered}"
        self.execute = f"EXECUTE {name}({', '.join(f'%({parameter})s' for parameter in types)})"
        self.plain = _PARAMETER.sub(
            lambda found: f"CAST(%({found[1]})s AS {types[found[1]]})", text
        )


def send(
    connection: sa.Connection, values: Mapping[str, Any], *statements: Prepared
) -> sa.CursorResult[Any]:
    """Run statements in one message; return the result of the last.

    Each sees what those before it did, and what others committed until it began.

    Parameters
    ----------
    values
        Of the parameters of all of them.

    Raises
    ------
    PlansLostError
        A pooler is in between. Nothing was done, and the next time will not be refused.
    """
    calls = [(s, s.execute, s.plain) for s in statements]
    return _send(connection, calls, dict(values))


def run(
    connection: sa.Connection, *calls: tuple[Prepared, Mapping[str, Any]]
) -> sa.CursorResult[Any]:
    """Run statements in one message, each with values of its own; return the result of the last.

    Where the connection commits by itself the message is a transaction, and is prepared: refused by
    a pooler it goes out once more, in full. Within a transaction, which a refusal would end, it
    goes out in full at once.
    """
    texts: list[tuple[Prepared, str, str]] = []
    values: dict[str, Any] = {}
    for number, (statement, own) in enumerate(calls):
        place = rf"%(\1_{number})s"
        execute, plain = (_PLACE.sub(place, t) for t in (statement.execute, statement.plain))
        texts.append((statement, execute, plain))
        values |= {f"{name}_{number}": value for name, value in own.items()}
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        return _send_in_full(connection, texts, values)
    try:
        return _send(connection, texts, values)
    except PlansLostError:
        return _send_in_full(connection, texts, values)


def committing(engine: sa.Engine) -> sa.Engine:
    """Return the engine, its connections committing each message by itself.

    Saves the round trips of BEGIN and COMMIT, and holds no transaction open meanwhile.
    """
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def _send_in_full(
    connection: sa.Connection, calls: Sequence[tuple[Prepared, str, str]], values: dict[str, Any]
) -> sa.CursorResult[Any]:
    return connection.exec_driver_sql("; ".join(plain for _, _, plain in calls), values)


def _send(
    connection: sa.Connection, calls: Sequence[tuple[Prepared, str, str]], values: dict[str, Any]
) -> sa.CursorResult[Any]:
    """Run calls, each a statement with its text where it is prepared and where it is not."""
    pool = connection.engine.pool
    if pool in _unprepared:
        return _send_in_full(connection, calls, values)
    known: set[str] = connection.info.setdefault(_KNOWN, set())
    fresh = {s.name: s for s, _, _ in calls if s.name not in known}
    # PREPARE outlives a rollback: what follows it in the message may fail.
    known.update(fresh)
    message = "; ".join([*(s.prepare for s in fresh.values()), *(run for _, run, _ in calls)])
    try:
        return connection.exec_driver_sql(message, values)
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) not in _LOST:
            if fresh and isinstance(error, OperationalError):
                connection.invalidate(error)  # nobody can tell what it knows now
            raise
        _unprepared.add(pool)
        raise PlansLostError from error
