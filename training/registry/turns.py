"""Decisions about one model, one after another."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from training.errors import RegistryError
from training.registry.connection import is_server
from training.registry.outages import telling_outages

WAIT_SECONDS = 30
_WAIT = sa.text("SELECT set_config('lock_timeout', :wait, true)")
_TAKE = sa.text("SELECT pg_advisory_xact_lock(hashtext('bondhu.decision'), hashtext(:name))")


@contextmanager
def turn(tracking_uri: str, name: str, *, wait_seconds: int = WAIT_SECONDS) -> Iterator[None]:
    """Keep others from deciding on a model while the block runs: read, record, alias.

    A lock in the registry's PostgreSQL, held by one transaction, so that a kill sets it free.
    Behind a tracking server there is no way to its database: decisions there are not kept apart.

    Raises
    ------
    RegistryError
        Somebody else has been deciding for `wait_seconds`.
    RegistryUnavailableError
        The database is away.
    """
    if is_server(tracking_uri) or sa.make_url(tracking_uri).get_backend_name() != "postgresql":
        yield
        return
    engine = sa.create_engine(tracking_uri, poolclass=sa.NullPool)
    with telling_outages():
        connection = engine.connect()
    try:
        with telling_outages():
            connection.execute(_WAIT, {"wait": f"{wait_seconds}s"})
            _take(connection, name, wait_seconds)
        yield
    finally:
        connection.close()


def _take(connection: sa.Connection, name: str, wait_seconds: int) -> None:
    try:
        connection.execute(_TAKE, {"name": name})
    except sa.exc.OperationalError as error:
        if getattr(error.orig, "pgcode", None) != "55P03":  # lock_not_available
            raise
        raise RegistryError(
            f"somebody else has been deciding on {name} for {wait_seconds} s: run it again, and see"
            f" 'bondhu promotions {name}' before"
        ) from None
