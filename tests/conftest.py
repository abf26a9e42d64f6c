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

from features.database import connect
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
        connection.execute(sa.text("DROP SCHEMA IF EXISTS mlflow CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA mlflow"))
    engine.dispose()
    return migrated_url


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
