"""A small world, and the settings of a service on it."""

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis
import sqlalchemy as sa
from pydantic import SecretStr
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from serving_world import SECRET, register

from features.settings import Settings
from pipelines.servers.redis import _program
from recommender.audio import FEATURES
from recommender.scoring import PRIOR

GENRES = (("dance-pop", "pop_anthems"), ("trap", "hype_beats"), ("hard-rock", "rock_legends"))


@pytest.fixture
def world(engine: sa.Engine) -> sa.Engine:
    """300 tracks by 100 artists, and a listener 'ada' with a year of plays."""
    rng = np.random.default_rng(5)
    with engine.begin() as connection:
        for i in range(300):
            genre, category = GENRES[i % 3]
            connection.execute(
                sa.text(
                    "INSERT INTO tracks (track_id, track_name, artist_name, artist_key, genres,"
                    " category, popularity, duration_ms, release_date, source, trainable)"
                    " VALUES (:id, :name, :artist, :artist, ARRAY[:genre], :category, :popularity,"
                    " 200000, '2020-01-01', 'test', true)"
                ),
                {
                    "id": f"track-{i:03}",
                    "name": f"Song {i}",
                    "artist": f"artist{i % 100}",
                    "genre": genre,
                    "category": category,
                    "popularity": int(rng.integers(0, 101)),
                },
            )
            values = rng.uniform(0.05, 0.95, len(FEATURES)).round(3)
            audio = dict(zip(FEATURES, values.tolist(), strict=True))
            audio["tempo"] = 60 + 140 * audio["tempo"]
            connection.execute(
                sa.text(
                    f"INSERT INTO audio_features (track_id, {', '.join(FEATURES)}, source,"
                    f" trainable) VALUES (:id, :{', :'.join(FEATURES)}, 'test', true)"
                ),
                {"id": f"track-{i:03}"} | audio,
            )
        connection.execute(
            sa.text("INSERT INTO users VALUES ('ada', now() - interval '400 days', 'test')")
        )
        for i in range(20):
            connection.execute(
                sa.text(
                    "SELECT upsert_listening_history('ada', :id,"
                    " now() - make_interval(days => :days), 180000, 'test')"
                ),
                {"id": f"track-{i:03}", "days": 10 + i},
            )
        connection.execute(
            sa.text("INSERT INTO feature_builds (tracks, artists, listeners) VALUES (300, 100, 1)")
        )
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
    )


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of one node that has every slot."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        port, bus = one.getsockname()[1], two.getsockname()[1]
    folder = tmp_path_factory.mktemp("cluster")
    command = [str(_program()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    command += ["--cluster-enabled", "yes", "--cluster-port", str(bus), "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port, retry=Retry(ConstantBackoff(0.05), 100)) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            while client.cluster("info")["cluster_state"] != "ok":
                time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
