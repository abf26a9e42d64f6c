"""A swap that nobody notices: who asked lately has a list by the new version before it comes."""

import asyncio
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from serving_world import PERSONAL, Client, opened, register

from features.settings import Settings
from recommender.cold_start import Stage
from recommender.scoring import PRIOR, Scorer
from serving import recommend, warming
from serving.lineup import place

pytestmark = pytest.mark.anyio

POPULAR = Scorer.of({stage: {"popularity": 1.0} for stage in Stage})
USERS = [f"listener-{i}" for i in range(6)]


async def swapped(client: Client) -> None:
    await client.application.in_thread(client.application._house_keep)


async def test_under_load_every_first_call_after_a_swap_is_a_hit(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    async with opened(settings.model_copy(update={"user_rate_limit": 10_000})) as client:
        for user in USERS:
            await client.recommend(user=user)
        stop = asyncio.Event()

        async def ask(user: str) -> list[tuple[int, str]]:
            seen = []
            while not stop.is_set():
                said = (await client.recommend({"max_results": 5}, user=user))["metadata"]
                seen.append((said["models"]["scorer"], said["cache"]))
                await asyncio.sleep(0.005)
            return seen

        asking = [asyncio.create_task(ask(user)) for user in USERS]
        for version in (2, 3):
            register(world, tmp_path, version, POPULAR if version % 2 else PERSONAL)
            await swapped(client)
            await asyncio.sleep(0.05)
        stop.set()
        seen = await asyncio.gather(*asking)
    for answers in seen:
        versions = [version for version, _ in answers]
        assert versions == sorted(versions)
        assert set(versions) == {1, 2, 3}
        assert {cache for _, cache in answers} == {"hit"}
    with world.connect() as connection:
        stored = connection.execute(
            sa.text("SELECT user_id, count(*) AS lists FROM recommendations_cache GROUP BY user_id")
        ).all()
    assert {row.user_id: row.lists for row in stored} == dict.fromkeys(USERS, 3)


async def test_the_list_is_the_one_that_was_asked_for(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    async with opened(settings) as client:
        await client.recommend({"genre": "trap", "context": "party"})
        await client.recommend({"candidate_ids": ["track-100"]}, user="program")
        await client.recommend({"force_refresh": True}, user="impatient")
        register(world, tmp_path, 2, POPULAR)
        await swapped(client)
        same = await client.recommend({"genre": "trap", "context": "party"})
        other = await client.recommend()
    assert same["metadata"]["cache"] == "hit"
    assert same["metadata"]["models"] == {"scorer": 2}
    assert {track["genre"] for track in same["recommendations"]} == {"trap"}
    assert other["metadata"]["cache"] == "miss"
    with world.connect() as connection:
        made = connection.execute(
            sa.text(
                "SELECT user_id, count(*) AS lists FROM recommendations_cache"
                " WHERE user_id != 'ada' GROUP BY user_id"
            )
        ).all()
    assert {row.user_id: row.lists for row in made} == {"program": 1, "impatient": 1}


async def test_feedback_during_the_warming_is_in_the_first_list_after_it(
    settings: Settings, world: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(settings) as client:
        for user in ("ada", "bob"):
            await client.recommend(user=user)
        register(world, tmp_path, 2, POPULAR)
        warmed, told = threading.Event(), threading.Event()
        serve = client.application.serve

        def wait(lineup: Any) -> None:
            warmed.set()
            told.wait(5)
            serve(lineup)

        monkeypatch.setattr(client.application, "serve", wait)
        swapping = asyncio.create_task(swapped(client))
        await asyncio.to_thread(warmed.wait, 5)
        liked = (await client.recommend())["recommendations"][0]["track_id"]
        await client.say(liked, "like")  # between their new list and the swap
        told.set()
        await swapping
        after, bob = await client.recommend(), await client.recommend(user="bob")
    assert after["metadata"]["models"] == bob["metadata"]["models"] == {"scorer": 2}
    assert after["metadata"]["cache"] == "rerank"
    assert liked not in {track["track_id"] for track in after["recommendations"]}
    assert bob["metadata"]["cache"] == "hit"


async def test_two_workers_share_the_work_and_the_lists(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    async with opened(settings) as one, opened(settings) as two:
        for user in USERS:
            for client in (one, two):
                await client.recommend(user=user)
        register(world, tmp_path, 2, POPULAR)
        await asyncio.gather(swapped(one), swapped(two))
        answers = [await c.recommend(user=user) for user in USERS for c in (one, two)]
    assert {answer["metadata"]["models"]["scorer"] for answer in answers} == {2}
    assert {answer["metadata"]["cache"] for answer in answers} == {"hit"}
    with world.connect() as connection:
        made = Counter(
            connection.scalars(sa.text("SELECT user_id FROM recommendations_cache")).all()
        )
    assert made == dict.fromkeys(USERS, 2)  # by each version once


async def test_without_redis_a_swap_waits_for_nothing(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    away = settings.model_copy(update={"redis_url": f"unix://{tmp_path}/nobody.sock"})
    async with opened(away) as client:
        await client.recommend()
        register(world, tmp_path, 2, POPULAR)
        await swapped(client)
        with world.connect() as connection:
            lists = connection.scalars(sa.text("SELECT count(*) FROM recommendations_cache")).one()
        assert client.application.served.models == {"scorer": 2}
        after = await client.recommend()
    assert lists == 1  # nothing was computed for a cache that is not there
    assert after["metadata"]["models"] == {"scorer": 2}


async def test_redis_going_away_in_the_middle_ends_the_warming(
    settings: Settings, world: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(settings) as client:
        for user in USERS:
            await client.recommend(user=user)
        register(world, tmp_path, 2, POPULAR)
        looked: list[str] = []

        def away(_: redis.Redis, key: str, __: str) -> None:
            looked.append(key)
            raise redis.ConnectionError("gone")

        monkeypatch.setattr(redis.Redis, "hget", away)
        await swapped(client)
        assert client.application.served.models == {"scorer": 2}
    assert looked == ["lists:{listener-5}"]  # the latest caller first, and nobody after that


async def test_a_swap_waits_so_long_and_no_longer(
    settings: Settings, world: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(settings) as client:
        for user in USERS:
            await client.recommend(user=user)
        register(world, tmp_path, 2, POPULAR)
        monkeypatch.setattr(warming, "SECONDS", -1.0)
        await swapped(client)
        answers = [await client.recommend(user=user) for user in USERS]
    assert {answer["metadata"]["models"]["scorer"] for answer in answers} == {2}
    assert {answer["metadata"]["cache"] for answer in answers} == {"miss"}


async def test_each_side_of_an_experiment_is_warmed_by_its_own_version(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    split = settings.model_copy(update={"bondhu_challenger_share": 0.5})
    async with opened(split) as client:
        for user in USERS:
            await client.recommend(user=user)
        register(world, tmp_path, 2, POPULAR, "challenger")
        await swapped(client)
        answers = {user: await client.recommend(user=user) for user in USERS}
    got = {user: answer["metadata"]["models"]["scorer"] for user, answer in answers.items()}
    assert got == {user: 2 if place(user, "scorer:2") < 0.5 else 1 for user in USERS}
    assert set(got.values()) == {1, 2}
    assert {answer["metadata"]["cache"] for answer in answers.values()} == {"hit"}
    with world.connect() as connection:
        arms = connection.execute(
            sa.text("SELECT DISTINCT user_id, arm FROM music_recommendations WHERE arm IS NOT NULL")
        ).all()
    assert {row.user_id: row.arm for row in arms} == {
        user: "challenger" for user, version in got.items() if version == 2
    }


async def test_who_was_deleted_is_not_brought_back(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    async with opened(settings) as one, opened(settings) as two:
        for client in (one, two):
            await client.recommend(user="gone")
        deleted = await one.post("/v1/me/delete", user="gone")
        assert deleted.status_code == 200, deleted.text
        register(world, tmp_path, 2, PRIOR)
        await swapped(one)
        await swapped(two)  # which was not told
    with world.connect() as connection:
        assert not connection.scalars(sa.text("SELECT user_id FROM users")).all().count("gone")


async def test_candidates_are_taken_over_where_nothing_changed_that_they_follow_from(
    settings: Settings, world: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(settings) as client:
        for user in ("ada", "bob"):
            await client.recommend(user=user)
        await client.say("track-250", "like", user="bob")
        drawn: list[int] = []
        draw = recommend.drawn_pool

        def counting(*args: Any, **more: Any) -> Any:
            drawn.append(client.application.served.models["scorer"])
            return draw(*args, **more)

        monkeypatch.setattr(recommend, "drawn_pool", counting)
        register(world, tmp_path, 2, POPULAR)
        await swapped(client)
        assert len(drawn) == 1  # for Bob: what he said changes what candidates follow from
        after = await client.recommend()
        assert len(drawn) == 1
    assert after["metadata"]["models"] == {"scorer": 2}
    assert [track["components"]["popularity"] for track in after["recommendations"]] == sorted(
        (track["components"]["popularity"] for track in after["recommendations"]), reverse=True
    )  # ranked by the new weights, though by candidates of the old


async def test_warming_rests_while_callers_wait(
    settings: Settings, world: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(settings) as client:
        await client.recommend()
        register(world, tmp_path, 2, POPULAR)
        answers = iter((True, True, True, False))
        monkeypatch.setattr(client.application.warming, "_is_busy", lambda: next(answers))
        await swapped(client)
        assert client.application.served.models == {"scorer": 2}
    assert next(answers, None) is None  # it asked until nobody waited


async def test_what_nobody_was_shown_yet_is_named_as_a_night_names_it(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    async with opened(settings) as client:
        await client.recommend()
        register(world, tmp_path, 2, POPULAR)
        await swapped(client)
        await client.recommend()
    with world.connect() as connection:
        lists = connection.execute(
            sa.text(
                "SELECT recommendation_id, servings, (metadata_json -> 'models' ->> 'scorer')::int"
                " FROM recommendations_cache ORDER BY 3"
            )
        ).all()
    # Retention takes the impressions of version 5 back where their list was never served.
    assert [(name.version, number, servings) for name, servings, number in lists] == [
        (4, 1, 1),
        (5, 2, 2),
    ]
