"""Only one night at a time: a lock that a session of Postgres holds, and that dies with it."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from pipelines.nights.errors import NightError

_TAKE = sa.text("SELECT pg_try_advisory_lock(hashtext('bondhu'), hashtext('nightly'))")
_GIVE = sa.text("SELECT pg_advisory_unlock(hashtext('bondhu'), hashtext('nightly'))")
_NAME = sa.text("SELECT set_config('application_name', :name, false)")
_HOLDER = sa.text(
    """
    SELECT a.application_name, a.backend_start FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 -- a lock named by two numbers
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.classid::bigint = hashtext('bondhu')::bigint & 4294967295
      AND l.objid::bigint = hashtext('nightly')::bigint & 4294967295
    """
)


def holder() -> str:
    """Return what tells this process from others."""
    return f"{socket.gethostname()[:30]} pid {os.getpid()}"


@contextmanager
def only_one(engine: sa.Engine) -> Iterator[None]:
    """Hold the lock while the block runs; killed, the session ends, and the lock with it.

    A pooler that shares sessions (PgBouncer in transaction mode) would break it: give DATABASE_URL
    a direct address.

    Raises
    ------
    NightError
        Another run holds it; the message says who, and since when.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(_NAME, {"name": f"bondhu nightly: {holder()}"})
        if not connection.scalar(_TAKE):
            raise NightError(_who(connection))
        try:
            yield
        finally:
            connection.execute(_GIVE)
            connection.execute(_NAME, {"name": "bondhu"})


def _who(connection: sa.Connection) -> str:
    found = connection.execute(_HOLDER).first()
    if found is None:  # it ended between the two questions
        return "another night has just ended: run it again"
    name = str(found[0]).removeprefix("bondhu nightly: ")
    return (
        f"another night runs since {found[1]:%Y-%m-%d %H:%M} UTC ({name}): nothing was done here;"
        " wait for its end"
    )
