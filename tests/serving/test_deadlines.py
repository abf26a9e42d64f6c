"""Nothing outside keeps an answer waiting: it comes, and says what it went without."""

import asyncio
import os
import signal
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from serving_world import SECRET, opened, register

from features.database import connect
from features.migrations import migrate
from features.settings import Settings
from features.users import lock, revise
from pipelines.servers import Postgres
from recommender.scoring import PRIOR

pytestmark = pytest.mark.anyio


class Endless:
    """Spotify on a bad day: it takes the call and never answers."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ended = 0

    async def refresh(self, user_id: str, spotify_token: str | None) -> frozenset[str]:
        if spotify_token is None:
            return frozenset()
        self.asked.append(user_id)
        try:
            await asyncio.sleep(3600)
        finally:
            self.ended += 1
        return frozenset()


class Brings:
    """A source that has something new: it revises the listener."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    async def refresh(self, user_id: str, spotify_token: str | None) -> frozenset[str]:
        if spotify_token == "revoked":
            return frozenset({"needs_reauth"})
        if spotify_token:
            with self._engine.begin() as connection:
                lock(connection, user_id)
                connection.execute(
                    sa.text(
                        "SELECT upsert_listening_history"
                        "(:user, 'track-299', now(), 1000, 'spotify')"
                    ),
                    {"user": user_id},
                )
                revise(connection, user_id)
        return frozenset()


async def test_a_source_that_never_answers_costs_its_share_only(settings: Settings) -> None:
    source = Endless()
    async with opened(settings, source) as client:
        async with asyncio.timeout(30):
            first = await client.recommend({"spotify_token": "BQD"})
            hit = await client.recommend({"spotify_token": "BQD"})
    assert first["metadata"]["degraded"] == ["spotify_unavailable", "personality_default"]
    assert first["total_count"] == 50
    assert hit["metadata"]["cache"] == "hit"
    assert source.asked == ["ada"]  # joined, not asked twice
    assert source.ended == 1


async def test_a_history_that_comes_in_time_is_used(settings: Settings, world: sa.Engine) -> None:
    async with opened(settings, Brings(world)) as client:
        answer = await client.recommend({"spotify_token": "BQD", "force_refresh": True})
        revoked = await client.recommend({"spotify_token": "revoked", "force_refresh": True})
    assert answer["metadata"]["degraded"] == ["personality_default"]
    assert "track-299" not in [track["track_id"] for track in answer["recommendations"]]
    assert revoked["metadata"]["degraded"] == ["needs_reauth", "personality_default"]


async def test_without_a_source_a_token_is_told_so(settings: Settings) -> None:
    async with opened(settings) as client:
        answer = await client.recommend({"spotify_token": "BQD"})
    assert answer["metadata"]["degraded"] == ["spotify_unavailable", "personality_default"]


async def test_a_postgres_that_neither_answers_nor_refuses(tmp_path: Path, redis_url: str) -> None:
    postgres = Postgres(tmp_path / "home")
    postgres.start()
    try:
        engine = connect(postgres.url)
        migrate(engine)
        with engine.begin() as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO tracks (track_id, track_name, artist_name, artist_key, popularity,"
                    " source, trainable) SELECT 't' || i, 'T', 'A' || i, 'a' || i, i, 'test', true"
                    " FROM generate_series(1, 60) i"
                )
            )
        register(engine, tmp_path, 1, PRIOR)
        settings = Settings(
            database_url=postgres.url,
            redis_url=redis_url,
            bondhu_jwt_secret=SecretStr(SECRET),
            bondhu_home=tmp_path / "home",
        )
        event = {"event_id": str(uuid.uuid4()), "track_id": "t7", "feedback_type": "like"}
        async with opened(settings) as client:
            await client.recommend()
            with engine.connect() as connection:
                found = connection.scalars(
                    sa.text("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
                )
                processes = list(found)
            (file,) = (tmp_path / "home" / "postgres").rglob("postmaster.pid")
            processes.append(int(file.read_text().split()[0]))  # no new connection is answered
            for pid in processes:
                os.kill(pid, signal.SIGSTOP)
            try:
                async with asyncio.timeout(60):
                    listed = await client.recommend()
                    missed = await client.post("/v1/recommend", {"force_refresh": True})
                    said = await client.post("/v1/feedback", event)
            finally:
                for pid in processes:
                    os.kill(pid, signal.SIGCONT)
            client.application._house_keep()
            again = await client.post("/v1/feedback", event)
        engine.dispose()
    finally:
        postgres.stop()
    assert listed["metadata"]["cache"] == "hit"
    assert missed.status_code == 503
    assert missed.headers["Retry-After"]
    assert said.status_code == 202
    assert again.json()["duplicate"] is True
    assert again.json()["reward"] == pytest.approx(1.0)
