"""Only one night at a time: a lock that a session of Postgres holds, and that dies with it."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import sqlalchemy as sa

from pipelines.nights.errors import LockLostError, NightError

_TAKE = sa.text("SELECT pg_try_advisory_lock(hashtext('bondhu'), hashtext('nightly'))")
_GIVE = sa.text("SELECT pg_advisory_unlock(hashtext('bondhu'), hashtext('nightly'))")
_NAME = sa.text("SELECT set_config('application_name', :name, false)")
_GRANTED = """
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 -- a lock named by two numbers
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.classid::bigint = hashtext('bondhu')::bigint & 4294967295
      AND l.objid::bigint = hashtext('nightly')::bigint & 4294967295
"""
_HOLDER = sa.text(f"SELECT a.application_name, a.backend_start {_GRANTED}")
_OURS = sa.text(f"SELECT EXISTS (SELECT {_GRANTED} AND pid = pg_backend_pid())")
LOST = (
    "the session of Postgres that held the night's lock has ended: another night may run, so this"
    " one stops here; run 'bondhu nightly' again, it goes on where this one ended"
)


def holder() -> str:
    """Return what tells this process from others."""
    return f"{socket.gethostname()[:30]} pid {os.getpid()}"


@dataclass(frozen=True)
class Lock:
    """The lock as this process holds it."""

    connection: sa.Connection

    def check(self) -> None:
        """Ask the session that took the lock whether it still holds it; about 1 ms.

        Raises
        ------
        LockLostError
            The session has ended, as by a restart of Postgres, and the lock with it.
        """
        try:
            is_ours = bool(self.connection.scalar(_OURS))
        except sa.exc.SQLAlchemyError:
            is_ours = False
        if not is_ours:
            raise LockLostError(LOST)


@contextmanager
def only_one(engine: sa.Engine) -> Iterator[Lock]:
    """Hold the lock while the block runs; killed, the session ends, and the lock with it.

    A session may end while its process lives: `Lock.check` tells. A pooler that shares sessions
    (PgBouncer in transaction mode) would break it: give DATABASE_URL a direct address.

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
            yield Lock(connection)
        finally:
            with suppress(sa.exc.SQLAlchemyError):  # with its session the lock has ended too
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
