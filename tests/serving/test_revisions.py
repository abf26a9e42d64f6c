"""Whatever fails in between, no list that feedback outdated is served again."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
import sqlalchemy as sa
from serving_world import opened, register

from features import recommendations
from features.settings import Settings
from features.users import ensure_user, lock, revise
from recommender.candidates import propose
from recommender.cold_start import Stage
from recommender.scoring import Scorer
from serving import recommend
from serving.pools import unpack

pytestmark = pytest.mark.anyio


async def test_a_refreshed_list_replaces_the_one_before(settings: Settings) -> None:
    async with opened(settings) as client:
        await client.recommend()
        await client.say("track-250", "like")
        await client.recommend()
        fresh = await client.recommend({"force_refresh": True})
        hit = await client.recommend()
    assert hit["metadata"]["cache"] == "hit"
    assert hit["recommendation_id"] == fresh["recommendation_id"]


async def test_a_list_computed_before_a_feedback_and_stored_after_is_not_valid(
    settings: Settings, world: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = recommendations.store_list

    def late(connection: sa.Connection, computed: recommendations.ComputedList) -> None:
        with world.begin() as other:  # a feedback commits while the list is on its way
            lock(other, "ada")
            revise(other, "ada")
        store(connection, computed)

    async with opened(settings) as client:
        await client.say("track-250", "like")
        monkeypatch.setattr(recommendations, "store_list", late)
        outdated = await client.recommend()
        monkeypatch.undo()
        client.application.cache.outdate_lists("ada", 2)
        after = await client.recommend()
    assert after["metadata"]["cache"] == "rerank"
    assert after["recommendation_id"] != outdated["recommendation_id"]


async def test_a_new_worker_makes_up_for_one_that_died_before_telling_redis(
    settings: Settings, world: sa.Engine
) -> None:
    async with opened(settings) as client:
        before = await client.recommend()
        with world.begin() as connection:  # committed, and Redis never heard of it
            lock(connection, "ada")
            revise(connection, "ada")
    async with opened(settings) as client:
        client.application._house_keep()
        after = await client.recommend()
    assert after["recommendation_id"] != before["recommendation_id"]


async def test_a_pool_of_another_release_is_made_anew(settings: Settings) -> None:
    async with opened(settings) as client:
        await client.recommend()
        cache = client.application.cache
        with redis.Redis.from_url(str(settings.redis_url)) as direct:
            (field,) = (key for key in direct.hkeys("pools:{ada}") if key != b"revision")
            kept = msgspec.msgpack.decode(direct.hget("pools:{ada}", field))
            kept[3].pop("history")
            assert unpack(msgspec.msgpack.encode(kept), kept[0]) is None
            direct.hset("pools:{ada}", field, b"rubbish")
            direct.hset("lists:{ada}", field, b"rubbish")
            direct.set("profile:{ada}", b"rubbish")
        assert cache.read("ada", field.decode(), "any").profile is None
        answer = await client.recommend({"force_refresh": False})
    assert answer["total_count"] == 50


async def test_computing_anew_proposes_again_only_what_something_changed(
    settings: Settings, world: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposed = []

    def noted(*args: Any, **more: Any) -> Any:
        proposed.append(1)
        return propose(*args, **more)

    monkeypatch.setattr(recommend, "propose", noted)
    async with opened(settings) as client:
        first = await client.recommend({"force_refresh": True})
        again = await client.recommend({"force_refresh": True})
        assert len(proposed) == 1
        other = await client.recommend({"force_refresh": True, "genre": "trap"})
        assert len(proposed) == 2
        await client.say("track-250", "like")
        await client.recommend()  # ranks what was proposed again
        assert len(proposed) == 2
        liked = await client.recommend({"force_refresh": True})
        assert len(proposed) == 3
        with world.begin() as connection:  # a play that another program wrote
            connection.execute(
                sa.text(
                    "SELECT upsert_listening_history('ada', 'track-251', now(), 200000, 'export')"
                )
            )
            revise(connection, "ada")
        await client.recommend({"force_refresh": True})
        assert len(proposed) == 4
    assert first["recommendations"] == again["recommendations"]
    assert first["recommendation_id"] != again["recommendation_id"]
    assert [one["metadata"]["cache"] for one in (first, again, other, liked)] == ["miss"] * 4


async def test_quick_needs_an_event_after_the_list(settings: Settings) -> None:
    async with opened(settings) as client:
        listed = await client.recommend()
        of_list = {"recommendation_id": listed["recommendation_id"], "position": 1}
        early = (datetime.now(UTC) - timedelta(days=2)).isoformat()
        late = (datetime.now(UTC) + timedelta(seconds=40)).isoformat()
        before = await client.say("track-260", "like", occurred_at=early, **of_list)
        after = await client.say("track-261", "like", occurred_at=late, **of_list)
        quick = await client.say("track-262", "like", **of_list)
    assert [before["reward"], after["reward"], quick["reward"]] == [1.0, 1.0, pytest.approx(1.1)]


@pytest.mark.parametrize(
    "change",
    [{"track_id": "track-200\0"}, {"occurred_at": "0001-01-01T00:00:00Z"}],
)
async def test_what_postgres_could_not_hold_is_refused_at_the_door(
    settings: Settings, change: dict[str, str]
) -> None:
    body = {"event_id": str(uuid.uuid4()), "track_id": "track-200", "feedback_type": "like"}
    async with opened(settings) as client:
        answer = await client.post("/v1/feedback", body | {"listen_duration_ms": 1000} | change)
    assert answer.status_code == 422


async def test_heard_tracks_may_be_let_in(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    register(world, tmp_path, 2, Scorer.of({stage: {"history": 1.0} for stage in Stage}))
    everything = settings.model_copy(
        update={"bondhu_exclude_heard": False, "bondhu_candidates_max": 100}
    )
    async with opened(everything) as client:
        answer = await client.recommend()
    heard = {f"track-{i:03}" for i in range(20)}
    assert heard & {track["track_id"] for track in answer["recommendations"]}


async def test_shown_tracks_may_be_left_out(settings: Settings) -> None:
    once = settings.model_copy(update={"bondhu_exclude_shown": True})
    async with opened(once) as client:
        first = await client.recommend()
        second = await client.recommend({"force_refresh": True})
    ids = [{track["track_id"] for track in answer["recommendations"]} for answer in (first, second)]
    assert not ids[0] & ids[1]


async def test_who_calls_is_asked_before_what_is_sent(settings: Settings) -> None:
    async with opened(settings) as client:
        answer = await client.post("/v1/recommend", {"nonsense": 1}, Authorization="Bearer nobody")
    assert answer.status_code == 401


def test_revisions_rise(world: sa.Engine, tmp_path: Path) -> None:
    with world.begin() as connection:
        ensure_user(connection, "bob", source="test", now=datetime.now(UTC))
        assert [revise(connection, "bob") for _ in range(3)] == [1, 2, 3]
