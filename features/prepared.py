"""Statements that Postgres plans once per connection, several of them in one message.

Planning takes longer than running where a statement looks up a few rows of many tables. A pooler
that hands a connection on after each transaction loses what was prepared: its refusal is noted, and
from then on the pool's statements go out in full.
"""

import re
from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

_PARAMETER = re.compile(r"(?<!:):(\w+)")
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
        self.name = name
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
    pool = connection.engine.pool
    if pool in _unprepared:
        return connection.exec_driver_sql("; ".join(s.plain for s in statements), dict(values))
    known: set[str] = connection.info.setdefault(_KNOWN, set())
    fresh = [s for s in statements if s.name not in known]
    # PREPARE outlives a rollback: what follows it in the message may fail.
    known.update(s.name for s in fresh)
    message = "; ".join([*(s.prepare for s in fresh), *(s.execute for s in statements)])
    try:
        return connection.exec_driver_sql(message, dict(values))
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) not in _LOST:
            raise
        _unprepared.add(pool)
        raise PlansLostError from error
