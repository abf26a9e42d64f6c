"""What every test may ask for: real servers, a fresh migrated database, the real data.

The servers are the embedded ones, or those that DATABASE_URL and REDIS_URL name.
"""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa
from hypothesis import settings

from features.database import connect, mlflow_uri
from features.migrations import migrate
from pipelines.servers import Endpoints, open_servers

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile("bondhu", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("bondhu")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    """PostgreSQL and Redis for the whole run."""
    home = tmp_path_factory.mktemp("home")
    with open_servers(
        home, os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
    ) as endpoints:
        yield endpoints


@pytest.fixture(scope="session")
def migrated_url(servers: Endpoints) -> Iterator[str]:
    """A migrated database for the whole run; ask for `database_url`, which is empty."""
    admin = connect(servers.database_url).execution_options(isolation_level="AUTOCOMMIT")
    name = f"bondhu_test_{uuid.uuid4().hex}"
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE template0"))
        # The servers of production wait for the disk; a test's rows may be lost with its machine.
        connection.execute(sa.text(f"ALTER DATABASE {name} SET synchronous_commit = off"))
    url = sa.make_url(servers.database_url).set(database=name)
    engine = connect(url.render_as_string(hide_password=False))
    migrate(engine)
    engine.dispose()
    yield url.render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


KEPT = "mlflow_kept"
"""The schema where MLflow's tables wait, emptied, for the next test that asks for them."""
_PUT_AWAY = f"""
DO $$
DECLARE name text; has_rows boolean;
BEGIN
    IF to_regnamespace('mlflow') IS NULL
        OR obj_description(to_regnamespace('mlflow'), 'pg_namespace') IS DISTINCT FROM '{KEPT}'
    THEN
        DROP SCHEMA IF EXISTS mlflow CASCADE;
    ELSE
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'mlflow'
            AND tablename NOT IN ('alembic_version', 'workspaces') -- its migrations fill these
        LOOP
            EXECUTE format('SELECT EXISTS (SELECT FROM mlflow.%I)', name) INTO has_rows;
            IF has_rows THEN
                EXECUTE format('TRUNCATE mlflow.%I RESTART IDENTITY CASCADE', name);
            END IF;
        END LOOP;
        ALTER SCHEMA mlflow RENAME TO {KEPT};
    END IF;
    CREATE SCHEMA mlflow;
END $$
"""


def pytest_xdist_auto_num_workers() -> int:
    """A worker per core; where REDIS_URL names one Redis or several, one per Redis."""
    cores = min(4, os.cpu_count() or 1)
    named = os.environ.get("REDIS_URL", "").split()
    return min(cores, len(named)) if named else cores


def pytest_configure(config: pytest.Config) -> None:
    """Give each worker a Redis of its own, as its tests empty it: the nth that REDIS_URL names."""
    named = os.environ.get("REDIS_URL", "").split()
    worker = getattr(config, "workerinput", {}).get("workerid")
    workers = config.getoption("numprocesses", None) or 0
    if not named:
        return
    if worker is None and workers:  # this process runs no test
        if workers > len(named):
            raise pytest.UsageError(f"REDIS_URL names {len(named)} servers: -n {len(named)}")
        return
    os.environ["REDIS_URL"] = named[int((worker or "gw0").removeprefix("gw"))]


@pytest.fixture
def database_url(migrated_url: str) -> str:
    """The address of a migrated database without a row, and without MLflow's tables."""
    engine = connect(migrated_url)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
        tables = connection.scalars(
            sa.text(
                "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables"
                " WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
            )
        ).one()
        connection.execute(sa.text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
        connection.execute(sa.text(_PUT_AWAY))
    engine.dispose()
    return migrated_url


@pytest.fixture
def mlflow_tables(database_url: str) -> None:
    """MLflow's tables without a row: made by MLflow once a run (2 s), and moved in and out since.

    For tests that use the registry; without it the first use makes them all the same.
    """
    engine = connect(database_url)
    with engine.begin() as connection:
        is_kept = connection.scalar(sa.text(f"SELECT to_regnamespace('{KEPT}') IS NOT NULL"))
        if is_kept:
            connection.execute(sa.text("DROP SCHEMA mlflow"))
            connection.execute(sa.text(f"ALTER SCHEMA {KEPT} RENAME TO mlflow"))
    if not is_kept:
        from training.registry import Registry  # noqa: PLC0415 - MLflow takes seconds to import

        Registry(f"{mlflow_uri(database_url)}&application_name={KEPT}", Path()).versions("scorer")
        with engine.begin() as connection:
            connection.execute(sa.text(f"COMMENT ON SCHEMA mlflow IS '{KEPT}'"))
            # MLflow keeps its connections; a test may want to copy the database.
            ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            connection.execute(sa.text(f"{ends} WHERE application_name = '{KEPT}'"))
    engine.dispose()


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    """An engine on a fresh, migrated database."""
    engine = connect(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def redis_url(servers: Endpoints) -> str:
    """The address of an emptied Redis."""
    for db in range(4):
        with redis.Redis.from_url(servers.redis_url, db=db) as client:
            client.flushdb()
    return servers.redis_url


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data; its absence is an error in CI and a skip elsewhere."""
    folder = Path(os.environ.get("BONDHU_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "spotify_songs.csv.gz").exists():
        reason = "no real data: set BONDHU_DATA to the folder that holds spotify_songs.csv.gz"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
