"""The way to Postgres: one engine per process."""

import select
import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, InvalidatePoolError, OperationalError

QUIET_SECONDS = 30.0
"""A connection that was not used for so long is asked whether it is still one."""

_LAST_USED = "bondhu_last_used"


class DatabaseUnavailableError(Exception):
    """Postgres cannot be reached; the message says which one and what to do."""


def connect(
    url: str,
    *,
    pool_size: int = 5,
    connect_timeout_seconds: int = 5,
    pool_timeout_seconds: float = 30.0,
    statement_timeout_ms: int | None = None,
) -> sa.Engine:
    """Return an engine on `url`, whatever driver the URL names; nothing is opened yet.

    Parameters
    ----------
    url
        ``postgresql://user@host/database``. The driver is always psycopg2.
    pool_size
        Connections kept open by this process.
    connect_timeout_seconds
        How long one attempt to connect may take.
    pool_timeout_seconds
        How long to wait for a free connection.
    statement_timeout_ms
        After which the server gives a statement up; None: as the server is set.

    Raises
    ------
    DatabaseUnavailableError
        `url` is not a PostgreSQL address.
    """
    try:
        parsed = sa.make_url(url)
    except ArgumentError:
        raise DatabaseUnavailableError(
            "DATABASE_URL is not an address: write postgresql://user:password@host:5432/database"
        ) from None
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise DatabaseUnavailableError(
            f"DATABASE_URL names {parsed.get_backend_name()}, Bondhu needs PostgreSQL:"
            " write postgresql://user:password@host:5432/database"
        )
    engine = sa.create_engine(
        parsed.set(drivername="postgresql+psycopg2"),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=pool_timeout_seconds,
        pool_recycle=1800,
        # Times cross the wire as instants; UTC keeps what is printed readable.
        connect_args={
            "connect_timeout": connect_timeout_seconds,
            "options": _options(parsed.query.get("options", ""), statement_timeout_ms),
        },
    )
    _check_before_use(engine)
    return engine


def _check_before_use(engine: sa.Engine) -> None:
    """Let a restarted server cost no caller an error, and a living one no round trip.

    A server that ends says so on its connections, and one that was killed has them closed by its
    system: both can be read there, where a connection at rest has nothing to say. Only then, or
    after a long rest (what is between may have forgotten a connection without telling), is a
    question sent.
    """

    def used(_: Any, record: Any) -> None:
        record.info[_LAST_USED] = time.monotonic()

    def check(connection: Any, record: Any, _: Any) -> None:
        last_used = record.info.get(_LAST_USED)
        if last_used is None:  # new
            return
        is_quiet = time.monotonic() - last_used > QUIET_SECONDS
        if (is_quiet or _has_news(connection)) and not _answers(engine.dialect, connection):
            raise InvalidatePoolError

    sa.event.listen(engine, "checkin", used)
    sa.event.listen(engine, "checkout", check)


def _has_news(connection: Any) -> bool:
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _answers(dialect: sa.Dialect, connection: Any) -> bool:
    try:
        return dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error:
        return False


def _options(options: object, statement_timeout_ms: int | None) -> str:
    limit = f" -c statement_timeout={statement_timeout_ms}" if statement_timeout_ms else ""
    return f"{options} -c timezone=UTC{limit}".strip()


def mlflow_uri(database_url: str) -> str:
    """Return the tracking address of MLflow's own schema in the same database.

    Examples
    --------
    >>> mlflow_uri("postgresql://ada@db/bondhu")
    'postgresql+psycopg2://ada@db/bondhu?options=-csearch_path%3Dmlflow'
    """
    return schema_uri(database_url, "mlflow")


def schema_uri(database_url: str, schema: str) -> str:
    """Return the address of one schema of a database: who connects there sees nothing else.

    MLflow, Optuna and Bondhu all use a table `alembic_version`, each in a schema of its own.
    """
    parsed = sa.make_url(database_url).set(drivername="postgresql+psycopg2")
    options = f"{parsed.query.get('options', '')} -csearch_path={schema}".strip()
    return parsed.update_query_dict({"options": options}).render_as_string(hide_password=False)


def check(engine: sa.Engine) -> None:
    """Fail in one clear line unless Postgres answers.

    Raises
    ------
    DatabaseUnavailableError
        With the server's own reason.
    """
    try:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
    except OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        where = engine.url.set(query={}).render_as_string()  # which may hold a password too
        raise DatabaseUnavailableError(
            f"PostgreSQL at {where} cannot be used"
            f" ({reason}): check DATABASE_URL, or unset it for the embedded server"
        ) from None
