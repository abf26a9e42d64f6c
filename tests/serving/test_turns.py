"""One list is computed for a listener at a time, whichever worker is asked."""

import asyncio

import pytest
import redis
import sqlalchemy as sa
from serving_world import opened

from features.settings import Settings
from serving.edge_cache import AsyncEdgeCache
from serving.turns import Turns

pytestmark = pytest.mark.anyio


def lists_made(world: sa.Engine) -> int:
    with world.connect() as connection:
        return int(
            connection.execute(sa.text("SELECT count(*) FROM recommendations_cache")).scalar_one()
        )


async def test_a_stampede_computes_once(settings: Settings, world: sa.Engine) -> None:
    async with opened(settings) as one, opened(settings) as two:
        answers = await asyncio.gather(*(c.recommend() for c in (one, two) for _ in range(10)))
    assert lists_made(world) == 1
    assert len({answer["recommendation_id"] for answer in answers}) == 1
    cached = [answer["metadata"]["cache"] for answer in answers]
    assert cached.count("miss") == 1
    assert cached.count("hit") == 19


async def test_who_waits_too_long_computes_all_the_same(
    settings: Settings, world: sa.Engine
) -> None:
    async with opened(settings) as client:
        with redis.Redis.from_url(str(settings.redis_url)) as direct:
            direct.set("turn:{ada}", b"a worker that died", px=4_000)
            answer = await client.recommend()
            assert direct.get("turn:{ada}") == b"a worker that died"  # not ours to give back
    assert answer["metadata"]["cache"] == "miss"
    assert lists_made(world) == 1


async def test_a_turn_is_given_back_by_its_taker_only(redis_url: str) -> None:
    edge = AsyncEdgeCache(redis_url, connections=2)
    async with Turns(edge).turn("ada", "") as found:
        assert found is None
        assert await edge.take_turn("ada", b"another", field="", milliseconds=1000) == (False, None)
        await edge.leave_turn("ada", b"another")
        assert await edge.take_turn("ada", b"another", field="", milliseconds=1000) == (False, None)
    assert await edge.take_turn("ada", b"another", field="", milliseconds=1000) == (True, None)
    await edge.close()


async def test_the_second_takes_what_the_first_leaves(redis_url: str) -> None:
    edge = AsyncEdgeCache(redis_url, connections=4)
    one, two = Turns(edge), Turns(edge)

    async def first() -> None:
        async with one.turn("ada", "field"):
            await asyncio.sleep(0.05)
            with redis.Redis.from_url(redis_url) as direct:
                direct.hset("lists:{ada}", "field", b"the list")

    async def second() -> bytes | None:
        await asyncio.sleep(0.01)
        async with two.turn("ada", "field") as found:
            return found

    _, found = await asyncio.gather(first(), second())
    assert found == b"the list"
    await edge.close()


async def test_without_redis_nobody_waits(tmp_path: object) -> None:
    edge = AsyncEdgeCache(f"unix://{tmp_path}/nobody.sock", connections=1)
    async with Turns(edge).turn("ada", "field") as found:
        assert found is None
    await edge.close()
