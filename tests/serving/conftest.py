"""A small world, and the settings of a service on it."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa
from pydantic import SecretStr
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from serving_world import SECRET, make_world, register

from features.settings import Settings
from pipelines.servers.redis import _program
from recommender.scoring import PRIOR


@pytest.fixture
def world(engine: sa.Engine) -> sa.Engine:
    """300 tracks by 100 artists, and a listener 'ada' with a year of plays."""
    make_world(engine)
    return engine


@pytest.fixture
def settings(world: sa.Engine, database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    register(world, tmp_path, 1, PRIOR)
    return Settings(
        database_url=database_url,
        redis_url=redis_url,
        bondhu_jwt_secret=SecretStr(SECRET),
        bondhu_home=tmp_path / "home",
        bondhu_exploration=0.0,
        user_rate_limit=1000,
        spotify_api_url="http://127.0.0.1:9",  # nobody is there
        spotify_accounts_url="http://127.0.0.1:9",
    )


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of one node that has every slot."""
    with cluster_in(tmp_path_factory.mktemp("cluster")) as (url, _):
        yield url


@contextmanager
def cluster_in(folder: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Run such a cluster for the length of a block."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        port, bus = one.getsockname()[1], two.getsockname()[1]
    command = [str(_program()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    command += ["--cluster-enabled", "yes", "--cluster-port", str(bus), "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port, retry=Retry(ConstantBackoff(0.05), 100)) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            while client.cluster("info")["cluster_state"] != "ok":
                time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def mortal_cluster(tmp_path: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A cluster of one node, and the process that is that node."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    with cluster_in(folder) as found:
        yield found


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
