"""The four caches: databases, times to live, counts, SCAN; on one server or on a cluster."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import redis
import sqlalchemy as sa
from serving_world import PERSONAL, Client, opened, register

from features.interactions import QState
from features.listeners import new_profile
from features.redis_server import RedisClients, ask_whether_cluster, tagged
from features.settings import Settings
from features.sources.spotify_answers import SpotifyAnswers
from features.sources.spotify_endpoints import ENDPOINTS
from features.sources.spotify_limits import SpotifyLimits
from serving.cache import LIST_SECONDS, Cache, Found, KeptProfile, Left, reserves_of
from serving.caches import KINDS, RECOMMENDATIONS, USER_DATA

pytestmark = pytest.mark.anyio


@pytest.fixture
def cache(redis_url: str) -> Iterator[Cache]:
    cache = Cache(redis_url, connections=2)
    yield cache
    cache.close()


def test_databases_and_times_to_live(cache: Cache, redis_url: str) -> None:
    for named in cache.named:
        named.set("one", b"value")
        assert named.get("one") == b"value"
    seconds = {"recommendations": 86_400, "audio_features": 604_800, "api": 21_600}
    for db, kind in enumerate(KINDS):
        with redis.Redis.from_url(redis_url, db=db) as direct:
            (key,) = direct.keys("*")
            left = direct.ttl(key)
        assert seconds.get(kind.name, 1800) - 5 <= int(left) <= kind.seconds


def test_what_was_learned_goes_to_two_databases_and_never_back(cache: Cache) -> None:
    cache.keep("ada", "one", Left((b"list", b"reserves")), 3)
    late, early = QState(seq=9, episode=2, own={}), QState(seq=8, episode=1, own={})
    cache.store_learned("ada", late, 4)
    cache.store_learned("ada", early, 3)
    assert cache.q_state("ada") == late
    lists = cache.client(RECOMMENDATIONS.db)
    assert lists.hgetall(tagged("lists", "ada")) == {b"revision": b"4"}
    assert not lists.exists(tagged("q", "ada"))
    assert not cache.client(USER_DATA.db).exists(tagged("lists", "ada"))
    assert not cache.has_missed


def test_a_cluster_has_one_database_for_both(redis_cluster: str) -> None:
    cache = Cache(redis_cluster, connections=2, cluster=True)
    cache.store_learned("eve", QState(seq=9, episode=2, own={}), 4)
    learned = cache.q_state("eve")
    assert learned is not None
    assert learned.seq == 9
    assert not cache.has_missed
    cache.close()


PROFILE = new_profile("eve", now=datetime(2026, 1, 1, tzinfo=UTC))


def leave_and_find(cache: Cache) -> None:
    """Check that a computation finds what another left, and no list of an older revision."""
    assert cache.read("eve", "one", "4|1") == Found()
    left = Left((b"list", b"reserves"), b"pool", KeptProfile("4|1", PROFILE))
    cache.keep("eve", "one", left, 4)
    cache.store_near("eve", ["t1"])
    cache.store_q_state("eve", QState(seq=9, episode=2, own={}))
    found = cache.read("eve", "one", "4|1")
    assert found == Found(PROFILE, QState(seq=9, episode=2, own={}), ["t1"], b"pool")
    assert cache.read("eve", "other", "5|1") == Found(None, found.q, ["t1"], None)
    assert cache.read("eve", "one", None).profile is None
    lists = cache.client(RECOMMENDATIONS.db)
    kept = {b"revision": b"4", b"one": b"list", reserves_of("one").encode(): b"reserves"}
    assert lists.hgetall(tagged("lists", "eve")) == kept
    cache.keep("eve", "two", Left((b"late", b"late"), b"late"), 3)
    assert lists.hgetall(tagged("lists", "eve")) == kept
    assert cache.read("eve", "two", None).pool == b"late"  # the next call judges whether it fits
    assert cache.read("eve", "one", "4|1").profile == PROFILE
    for key, seconds in cache.keys_of("eve").items():
        assert 1700 < seconds <= LIST_SECONDS, key


def test_what_a_computation_leaves_is_found_by_the_next(cache: Cache) -> None:
    leave_and_find(cache)
    assert not cache.client(RECOMMENDATIONS.db).exists(tagged("profile", "eve"))


def test_what_a_computation_leaves_is_found_on_a_cluster(redis_cluster: str) -> None:
    cache = Cache(redis_cluster, connections=2, cluster=True)
    cache.forget("eve")
    leave_and_find(cache)
    cache.close()


def test_without_redis_nothing_is_found(tmp_path: object) -> None:
    cache = Cache(f"unix://{tmp_path}/nobody.sock", connections=1)
    cache.keep("eve", "one", Left((b"list", b"reserves")), 4)
    assert cache.read("eve", "one", "4|1") == Found()
    cache.close()


def test_counts_of_all_workers_of_a_week(redis_url: str) -> None:
    moment = [datetime(2026, 1, 1, tzinfo=UTC)]
    one, two = (Cache(redis_url, connections=1, now=lambda: moment[0]) for _ in range(2))
    for cache, results in ((one, "hit hit miss"), (two, "hit rerank")):
        for result in results.split():
            cache.recommendations.count(result)  # type: ignore[arg-type]
        cache.recommendations.tell_counts()
    stats = two.recommendations.get_stats()
    assert (stats.hits, stats.reranks, stats.misses, stats.total_requests) == (3, 1, 1, 5)
    assert stats.hit_rate_percent == 60.0
    assert stats.redis_memory_used_mb > 0.1
    moment[0] += timedelta(days=8)
    assert one.recommendations.get_stats().total_requests == 0
    for cache in (one, two):
        cache.close()


def test_counts_wait_while_redis_is_away(tmp_path: object, redis_url: str) -> None:
    cache = Cache(f"unix://{tmp_path}/nobody.sock", connections=1)
    cache.api.count("hit")
    cache.api.tell_counts()
    cache._url = redis_url
    cache.reopen(cluster=False)
    cache.api.tell_counts()
    assert cache.api.get_stats().hits == 1
    cache.close()


def test_invalidation_is_by_pattern_and_never_by_keys(cache: Cache, redis_url: str) -> None:
    for i in range(1200):
        cache.api.set(f"top-tracks:{i}", b"x")
    cache.api.set("artists:1", b"x")
    with redis.Redis.from_url(redis_url) as direct:
        direct.config_resetstat()
        assert cache.api.invalidate("top-tracks:*") == 1200
        used = direct.info("commandstats")
    assert cache.api.get("artists:1") == b"x"
    assert "cmdstat_keys" not in used
    assert "cmdstat_scan" in used


def test_a_listener_s_keys_are_found_by_their_tag_alone(cache: Cache, redis_url: str) -> None:
    for name in ("ada", "adam", "*", "a}b", "a[b]"):
        with redis.Redis.from_url(redis_url) as direct:
            direct.set(tagged("lists", name), "x", ex=60)
    assert set(cache.keys_of("*")) == {"lists:{*}"}
    assert cache.forget("a[b]") == 1
    assert cache.forget("ada") == 1
    assert cache.forget("a}b") == 1
    with redis.Redis.from_url(redis_url) as direct:
        assert sorted(direct.keys("lists:*")) == [b"lists:{*}", b"lists:{adam}"]


async def test_every_key_has_a_time_to_live(settings: Settings) -> None:
    async with opened(settings) as client:
        await client.recommend()
        await client.say("track-250", "like")
        await client.recommend()
        client.application._house_keep()
    for db in range(4):
        with redis.Redis.from_url(str(settings.redis_url), db=db) as direct:
            for key in direct.scan_iter():
                assert direct.ttl(key) > 0, key


async def test_hits_reranks_and_misses_are_told(settings: Settings) -> None:
    async with opened(settings) as client:
        await client.recommend()
        await client.recommend()
        await client.say("track-250", "like")
        await client.recommend()
        client.application._house_keep()
        stats = client.application.cache.recommendations.get_stats()
    assert (stats.hits, stats.reranks, stats.misses) == (1, 1, 1)


async def test_a_new_champion_invalidates_by_itself(
    settings: Settings, world: sa.Engine, tmp_path: object
) -> None:
    async with opened(settings) as client:
        await client.recommend()
        register(world, settings.home, 2, PERSONAL)
        client.application.warming.forget("ada")  # as if her call were an hour ago
        client.application._house_keep()
        answers = [(await client.recommend())["metadata"] for _ in range(2)]
    assert [(a["cache"], a["models"]["scorer"]) for a in answers] == [("miss", 2), ("hit", 2)]


async def walk(client: Client) -> list[str]:
    """Everything that touches Redis, once."""
    first = await client.recommend(user="}{")
    hit = await client.recommend(user="}{")
    await client.say("track-250", "like", user="}{")
    again = await client.recommend(user="}{")
    client.application._house_keep()
    deleted = (await client.post("/v1/me/delete", user="}{")).json()
    assert deleted["deleted"]["redis"]["keys"] >= 4
    return [answer["metadata"]["cache"] for answer in (first, hit, again)]


async def test_a_cluster_by_its_address_alone(settings: Settings, redis_cluster: str) -> None:
    assert ask_whether_cluster(redis_cluster) is True
    clustered = settings.model_copy(update={"redis_url": redis_cluster, "user_rate_limit": 9})
    async with opened(clustered) as client:
        assert await walk(client) == ["miss", "hit", "rerank"]
        assert not client.application.away
        stats = client.application.cache.recommendations.get_stats()
        answer = await client.post("/v1/recommend", user="}{")
    assert (stats.hits, stats.reranks, stats.misses) == (1, 1, 1)
    assert stats.redis_memory_used_mb > 0.1
    assert answer.headers["X-RateLimit-Remaining"] == "8"  # their window went with the rest


async def test_a_cluster_that_was_away_at_the_start(
    settings: Settings, redis_cluster: str, tmp_path: object
) -> None:
    away = settings.model_copy(update={"redis_url": f"unix://{tmp_path}/nobody.sock"})
    async with opened(away) as client:
        assert (await client.recommend())["metadata"]["degraded"][0] == "redis_down"
        app = client.application
        app.settings = settings.model_copy(update={"redis_url": redis_cluster})
        app.cache._url = app.edge_cache._url = redis_cluster
        await app.in_thread(app._house_keep)
        answer = await client.recommend(user="bob")
    assert "redis_down" not in answer["metadata"]["degraded"]


async def test_a_cluster_that_goes_away_costs_the_caches_and_nothing_else(
    settings: Settings, mortal_cluster: tuple[str, "subprocess.Popen[bytes]"]
) -> None:
    url, node = mortal_cluster
    async with opened(settings.model_copy(update={"redis_url": url})) as client:
        assert "redis_down" not in (await client.recommend())["metadata"]["degraded"]
        node.kill()
        node.wait()
        app = client.application
        assert app.cache.answers() is False
        answer = await client.post("/v1/recommend", user="ada")
        assert answer.status_code == 200
        assert "redis_down" in answer.json()["metadata"]["degraded"]
        await client.say("track-250", "like")
        assert app.may_hold_outdated_lists
        await app.in_thread(app._house_keep)


def test_spotify_s_answers_on_a_cluster(redis_cluster: str) -> None:
    clients = RedisClients(redis_cluster, connections=1)
    answers = SpotifyAnswers(clients.client)
    answers.keep("ada", "top-tracks", {"items": [1]})
    answers.keep_audio({f"track{n}": {"energy": n} for n in range(20)})
    assert answers.get("ada", "top-tracks") == {"items": [1]}
    assert len(answers.audio([f"track{n}" for n in range(25)])) == 20
    limits = SpotifyLimits(clients.client, calls_per_minute=1, now_ms=lambda: 0)
    assert [limits.take(ENDPOINTS[0]) == 0 for _ in range(2)] == [True, False]
    cache = Cache(redis_cluster, connections=1, cluster=True)
    assert cache.forget("ada") == 1
    assert answers.get("ada", "top-tracks") is None
    assert not limits._here  # Redis counted
    cache.close()
    clients.close()
