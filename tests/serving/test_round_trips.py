"""What a computed list asks of Postgres and Redis."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from serving_world import Client, opened

from features.listeners import load_profile, new_profile
from features.settings import Settings
from features.users import ensure_user
from serving.query_times import name_of

pytestmark = pytest.mark.anyio

EDGE = 3
"""Scripts of every call for a computed list: its limit, its turn, and the turn's end."""


@contextmanager
def messages(client: Client) -> Iterator[list[str]]:
    """Collect the names of the messages to Postgres; none of them within a BEGIN and a COMMIT."""
    sent: list[str] = []

    def note(connection: sa.Connection, _: Any, statement: str, *__: Any) -> None:
        dbapi = connection.connection.dbapi_connection
        assert dbapi is not None
        assert dbapi.autocommit
        sent.append(name_of(statement))

    engine = client.application.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    yield sent
    sa.event.remove(engine, "before_cursor_execute", note)


def scripts(direct: redis.Redis) -> int:
    """Return how many scripts ran since the last time."""
    used: dict[str, Any] = direct.info("commandstats")
    direct.config_resetstat()
    plain = {name for name in used if used[name]["calls"]} & {"cmdstat_eval", "cmdstat_evalsha"}
    return sum(int(used[name]["calls"]) - int(used[name]["failed_calls"]) for name in plain)


async def test_round_trips_of_a_computed_list(settings: Settings) -> None:
    async with opened(settings) as client:
        await client.recommend(user="bob")  # scripts and plans are known from here on
        with messages(client) as sent, redis.Redis.from_url(str(settings.redis_url)) as direct:
            scripts(direct)
            await client.recommend()
            assert sent == [
                "execute look_for_list",
                "execute listener_profile",
                "execute store_list",
            ]
            assert scripts(direct) == EDGE + 2
            sent.clear()
            await client.recommend({"force_refresh": True})
            assert sent == ["execute listener_standing", "execute store_list"]
            assert scripts(direct) == EDGE + 2
            sent.clear()
            first = await client.recommend(user="carol")
            assert sent == ["execute look_for_list", "execute store_list"]  # with the listener
            assert scripts(direct) == EDGE + 2
            direct.flushall()
            scripts(direct)
            sent.clear()
            again = await client.recommend(user="carol")
            assert sent == ["execute look_for_list"]
    assert again["metadata"]["cache"] == "hit"
    assert again["recommendations"] == first["recommendations"]


async def test_a_listener_who_calls_first_is_stored_with_the_list(
    settings: Settings, world: sa.Engine
) -> None:
    async with opened(settings) as client:
        listed = await client.recommend(user="bob")
        refused = await client.post("/v1/recommend", {"genre": "no such genre"}, user="carol")
    assert refused.status_code == 422
    with world.connect() as connection:
        users = connection.execute(
            sa.text("SELECT user_id, source FROM users WHERE user_id <> 'ada'")
        ).all()
        shown = connection.execute(
            sa.text("SELECT * FROM music_recommendations WHERE user_id = 'bob' ORDER BY position")
        ).mappings()
        assert [tuple(user) for user in users] == [("bob", "api")]
        for row, track in zip(shown, listed["recommendations"], strict=True):
            assert row["position"] == track["rank"]
            for name in ("track_id", "score", "components", "rl_adjustment", "propensity"):
                assert row[name] == track[name]


def test_a_new_listener_s_profile_is_the_one_that_postgres_would_give(engine: sa.Engine) -> None:
    now = datetime.now(UTC)
    with engine.begin() as connection:
        ensure_user(connection, "bob", source="test", now=now)
        assert load_profile(connection, "bob", now=now) == new_profile("bob", now=now)
        later = load_profile(connection, "bob", now=now + timedelta(days=3))
    assert later != new_profile("bob", now=now)
