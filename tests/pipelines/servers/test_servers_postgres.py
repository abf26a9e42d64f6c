"""A real PostgreSQL through its life: first start, crash, dead locks, odd folders."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from pipelines.servers import Postgres, ServerError, cluster
from pipelines.servers.folders import socket_folder
from pipelines.servers.processes import wait_until


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    server = Postgres(tmp_path / "home")
    yield server
    server.stop()
    if (server.home / "run").is_symlink():  # pytest's folders are long here
        socket_folder(server.home).rmdir()


def psql(server: Postgres, statement: str) -> str:
    """Run a statement through libpq, with a PGPORT that must not matter."""
    command = [str(cluster.binaries() / "psql"), server.url, "-XAtc", statement]
    environment = {"PGPORT": "1", "PATH": os.defpath}
    return subprocess.run(
        command, capture_output=True, check=True, text=True, env=environment
    ).stdout.strip()


def pid_of(server: Postgres) -> int:
    return int(server.pid_file.read_text().split()[0])


def test_life(postgres: Postgres) -> None:
    assert not postgres.running()
    postgres.start()
    assert postgres.running()
    assert psql(postgres, "SELECT current_user, current_database()") == "bondhu|bondhu"
    for setting, value in {
        "fsync": "on",
        "TimeZone": "UTC",
        "server_encoding": "UTF8",
        "listen_addresses": "",
        "max_connections": "200",
        "dynamic_shared_memory_type": "mmap",
    }.items():
        assert psql(postgres, f"SHOW {setting}") == value
    url = sqlalchemy.make_url(postgres.url).set(drivername="postgresql+psycopg2")
    with sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool).connect() as connection:
        assert connection.scalar(sqlalchemy.text("SELECT 1")) == 1

    first = pid_of(postgres)
    Postgres(postgres.home).start()  # another object, the same server
    assert pid_of(postgres) == first

    for folder in (postgres.home, postgres.folder, postgres.data, socket_folder(postgres.home)):
        assert folder.stat().st_mode & 0o777 == 0o700

    postgres.stop()
    assert not postgres.running()
    assert postgres.traces.pids() == []
    postgres.stop()


def test_committed_rows_survive_kill(postgres: Postgres) -> None:
    postgres.start()
    psql(postgres, "CREATE TABLE kept AS SELECT 7 AS number")
    os.kill(pid_of(postgres), signal.SIGKILL)
    postgres.start()
    assert psql(postgres, "SELECT number FROM kept") == "7"


def test_dead_locks_and_an_unfinished_folder_do_not_matter(postgres: Postgres) -> None:
    unfinished = postgres.folder / "data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    postgres.start()
    assert not unfinished.exists()
    pid_file = postgres.pid_file.read_text()
    postgres.stop()

    # As if the machine had died and this process had got the server's old number.
    dead = pid_file.replace(pid_file.split()[0], str(os.getpid()), 1)
    postgres.pid_file.write_text(dead)
    (socket_folder(postgres.home) / ".s.PGSQL.5432.lock").write_text(dead)
    assert not postgres.running()
    postgres.stop()  # does not signal this process
    postgres.start()
    assert psql(postgres, "SELECT 1") == "1"


def test_long_home_under_closed_parents(tmp_path: Path) -> None:
    closed = tmp_path / "closed, and with a space"
    closed.mkdir(mode=0o700)
    postgres = Postgres(closed / ("long" * 30) / "home")
    try:
        postgres.start()
        assert psql(postgres, "SELECT 1") == "1"
        assert len(postgres.url) < 120
        assert socket_folder(postgres.home).stat().st_mode & 0o777 == 0o700
    finally:
        postgres.stop()
        socket_folder(postgres.home).rmdir()  # empty: a stopped server leaves no socket
    assert closed.stat().st_mode & 0o777 == 0o700


def test_refused_setting_is_told_in_one_line(postgres: Postgres) -> None:
    postgres.start()
    postgres.stop()
    with (postgres.data / "postgresql.conf").open("a") as settings:
        settings.write("max_wal_senders = many\n")
    with pytest.raises(
        ServerError, match=r"PostgreSQL did not start: .*FATAL.*server\.log"
    ) as told:
        postgres.start()
    assert "\n" not in str(told.value)
    assert not postgres.running()
    assert wait_until(lambda: not postgres.traces.pids(), seconds=10)


def test_data_of_another_version_is_refused(postgres: Postgres) -> None:
    postgres.data.mkdir(parents=True)
    (postgres.data / "PG_VERSION").write_text("12\n")
    if os.geteuid() == 0:
        os.chown(postgres.data, 65534, 65534)
    with pytest.raises(ServerError, match="made by PostgreSQL 12, this is 18"):
        postgres.start()


def test_failing_initdb_tells_its_reason_and_leaves_nothing(tmp_path: Path) -> None:
    full = "echo 'FATAL: No space left on device' >&2; echo 'PANIC: so be it' >&2; exit 1"
    with pytest.raises(ServerError, match="initdb failed: FATAL: No space left on device"):
        cluster.make(tmp_path / "data", ["/bin/sh", "-c", full, "sh"])
    assert list(tmp_path.iterdir()) == []
