"""A listener's rights: everything exported, and after deletion nothing found in any store."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from serving_world import SECRET, Client, opened, register
from spotify_server import SpotifyStandIn, running

from features.settings import Settings
from recommender.cold_start import Stage
from recommender.scoring import Scorer
from serving.auth import issue_token
from serving.cache import Left
from serving.feedback import Received
from serving.schemas import FeedbackRequest

pytestmark = pytest.mark.anyio

WHO = "listener-to-be-forgotten-7f3a"


async def live(client: Client, world: sa.Engine, folder: Path) -> None:
    """Leave something in every store."""
    challenger = Scorer.of({stage: {"popularity": 1.0} for stage in Stage})
    register(world, folder, 2, challenger, "challenger")
    client.application._house_keep()
    await client.post("/v1/personality", {"scores": {"openness": 90}}, user=WHO)
    listed = await client.recommend(user=WHO)
    for i in range(11):  # past a snapshot of the Q-table
        await client.say(f"track-{100 + i}", "like", user=WHO)
    await client.recommend({"genre": "trap"}, user=WHO)
    with world.begin() as connection:
        connection.execute(
            sa.text("SELECT upsert_listening_history(:u, 'track-001', now(), 5000, 'lastfm')"),
            {"u": WHO},
        )
        connection.execute(
            sa.text(
                "INSERT INTO artist_plays (user_id, artist_name, artist_key, play_count, source,"
                " trainable) VALUES (:u, 'A', 'a', 3, 'lastfm', true)"
            ),
            {"u": WHO},
        )
        connection.execute(
            sa.text(
                "WITH i AS (INSERT INTO imports (kind, sha256, read, stored, skipped)"
                " VALUES ('interactions', 'x', 1, 0, '{}') RETURNING import_id)"
                " INSERT INTO quarantine (import_id, reason, entry)"
                " SELECT import_id, 'bad', jsonb_build_object('user_id', CAST(:u AS text)) FROM i"
            ),
            {"u": WHO},
        )
    assert client.application.journal is not None
    for track in ("track-200", "unknown"):
        request = FeedbackRequest(event_id=uuid.uuid4(), track_id=track, feedback_type="like")
        client.application.journal.append(
            Received(user_id=WHO, received_at=client.application.now(), request=request)
        )
    backend = issue_token(SECRET, "shop", now=4_000_000_000)
    assert backend
    assert listed["total_count"] == 50


def found_in_postgres(world: sa.Engine) -> list[str]:
    """Return every table of every schema that has the id anywhere in a row."""
    found = []
    with world.connect() as connection:
        tables = connection.execute(
            sa.text(
                "SELECT schemaname, tablename FROM pg_tables"
                " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
            )
        ).all()
        for schema, table in tables:
            name = f'"{schema}"."{table}"'
            asked = sa.text(
                f"SELECT count(*) FROM {name} t WHERE strpos(CAST(t AS text), :who) > 0"
            )
            if connection.execute(asked, {"who": WHO}).scalar_one():
                found.append(table)
    return found


def found_in_redis(url: str) -> list[str]:
    found = []
    for db in range(16):
        with redis.Redis.from_url(url, db=db) as direct:
            found += [
                key.decode()
                for key in direct.scan_iter()
                if WHO.encode() in key or WHO.encode() in (direct.dump(key) or b"")
            ]
    return found


def found_on_disk(*folders: Path) -> list[str]:
    return [
        str(path)
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and WHO.encode() in path.read_bytes()
    ]


@pytest.fixture
def spotify() -> Iterator[SpotifyStandIn]:
    with running() as stand_in:
        yield stand_in


async def test_nothing_is_found_after_deletion(
    settings: Settings, world: sa.Engine, tmp_path: Path, spotify: SpotifyStandIn
) -> None:
    shadowed = settings.model_copy(
        update={
            "bondhu_shadow_share": 1.0,
            "bondhu_sample_share": 1.0,
            "spotify_api_url": spotify.url,
            "spotify_accounts_url": spotify.url,
        }
    )
    async with opened(shadowed) as client:
        refreshed = await client.post(
            "/v1/history/refresh", {"spotify_token": "good-token"}, user=WHO
        )
        assert refreshed.json()["state"] == "fresh"
        await live(client, world, tmp_path)
        app = client.application
        app.acting.add("shop", WHO, "/v1/recommend")
        app.acting.flush()
        app.acting.add("shop", WHO, "/v1/feedback")
        app.shadows.work()
        app.samples.flush()
        before = set(found_in_postgres(world))
        keys = found_in_redis(str(settings.redis_url))
        assert any(key.startswith("spotify:api:") for key in keys)
        assert found_on_disk(settings.home)
        receipt = (await client.post("/v1/me/delete", user=WHO)).json()
        app._house_keep()
        assert found_in_postgres(world) == []
        assert found_in_redis(str(settings.redis_url)) == []
        assert found_on_disk(settings.home, tmp_path) == []
        other = await client.recommend()
        again = (await client.post("/v1/me/delete", user=WHO)).json()
    assert before == set(receipt["deleted"]["postgres"]) | {"quarantine"}
    assert before >= {
        "users", "plays", "artist_plays", "listening_history", "personality_scores",
        "personality_features", "recommendations_cache", "music_recommendations",
        "music_interactions", "music_rl_models", "music_genre_preferences", "acting_audit",
        "shadow_lists", "component_samples", "quarantine",
    }  # fmt: skip
    assert receipt["deleted"]["postgres"]["music_interactions"] == 11
    assert receipt["deleted"]["redis"]["keys"] >= 4
    assert receipt["deleted"]["journal"] == {"feedbacks": 2}
    assert again["deleted"]["postgres"] == {}
    assert other["total_count"] == 50
    with world.connect() as connection:
        kept = connection.execute(
            sa.text("SELECT requested_by, deleted FROM deletions WHERE receipt_id = :r"),
            {"r": receipt["receipt_id"]},
        ).one()
    assert kept == ("listener", receipt["deleted"])


async def test_what_was_under_way_is_swept_up(settings: Settings) -> None:
    async with opened(settings) as client:
        await client.recommend(user=WHO)
        await client.post("/v1/me/delete", user=WHO)
        late = Left((b"a list", b""))  # of a call that was under way
        client.application.cache.keep(WHO, "late", late, 0)
        assert found_in_redis(str(settings.redis_url))
        for _ in range(100):
            await asyncio.sleep(0.1)
            if not found_in_redis(str(settings.redis_url)):
                break
    assert found_in_redis(str(settings.redis_url)) == []


async def test_without_redis_nothing_is_called_deleted(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    away = settings.model_copy(update={"redis_url": f"unix://{tmp_path}/nobody.sock"})
    async with opened(away) as client:
        answer = await client.post("/v1/me/delete")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    with world.connect() as connection:
        left = connection.execute(
            sa.text("SELECT count(*) FROM users WHERE user_id = 'ada'")
        ).scalar_one()
    assert left == 1


async def test_an_export_has_everything(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    async with opened(settings) as client:
        await live(client, world, tmp_path)
        with world.begin() as connection:
            connection.execute(
                sa.text("CREATE TABLE grants (user_id text PRIMARY KEY, token bytea)")
            )
            connection.execute(sa.text("INSERT INTO grants VALUES (:u, '\\x00112233')"), {"u": WHO})
        try:
            said: dict[str, Any] = (await client.post("/v1/me/export", user=WHO)).json()
        finally:
            with world.begin() as connection:
                connection.execute(sa.text("DROP TABLE grants"))
        tables = set(found_in_postgres(world))
        nobody = (await client.post("/v1/me/export", user="nobody")).json()
    assert {table for table, rows in said["postgres"].items() if rows} == tables | {"grants"}
    assert said["postgres"]["grants"] == [{"user_id": WHO, "token": "encrypted, 4 bytes"}]
    assert len(said["postgres"]["music_interactions"]) == 11
    assert said["postgres"]["personality_scores"][0]["openness"] == 90
    assert len(said["journal"]) == 2
    assert all(json.loads(line)["user_id"] == WHO for line in said["journal"])
    assert any(key.startswith("q:") for key in said["redis"])
    assert not any(nobody["postgres"].values())


async def test_me(settings: Settings) -> None:
    async with opened(settings) as client:
        await client.post("/v1/personality", {"scores": {"openness": 80}})
        await client.recommend()
        await client.say("track-250", "like")
        said = (await client.post("/v1/me")).json()
        new = (await client.post("/v1/me", user="newcomer")).json()
    assert said["user_id"] == "ada"
    assert said["cold_start_stage"] == "month_2_plus"
    assert said["personality"] == {
        "scores": {"openness": 80.0}, "confidence": 0.2, "method": "scores",
    }  # fmt: skip
    assert said["history"]["tracks"] == said["history"]["plays"] == 20
    assert said["history"]["listened_ms"] == 20 * 180_000
    assert said["feedback"] == {"like": 1}
    assert said["lists"] == 1
    assert said["genres"][0]["n"] == 1
    assert (new["cold_start_stage"], new["account_age_days"]) == ("week_1", 0)
    assert new["personality"]["method"] == "default"


@pytest.mark.parametrize("path", ["/v1/me", "/v1/me/export", "/v1/me/delete"])
async def test_only_one_s_own(settings: Settings, path: str) -> None:
    async with opened(settings) as client:
        anonymous = await client.post(path, {}, Authorization="Bearer nobody")
        acting = await client.post(path, {}, **{"X-Bondhu-User": "bob"})
        surprising = await client.post(path, {"user_id": "bob"})
    assert [a.status_code for a in (anonymous, acting, surprising)] == [401, 403, 422]
