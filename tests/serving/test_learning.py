"""Learning as served: no update is lost, Redis may be, a consolidated table is a start."""

import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import feedback_writer
import numpy as np
import pytest
import redis
import sqlalchemy as sa
from registered import register_model
from serving_world import opened

from features import interactions
from features.settings import Settings
from recommender.qtable import QTable
from recommender.replay import replay_log
from serving.cache import Cache
from serving.caches import USER_DATA

pytestmark = pytest.mark.anyio
WRITERS, EVENTS = 3, 17


def _flush(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, db=USER_DATA.db) as client:
        client.flushdb()


def test_writers_at_once_lose_no_update(
    settings: Settings, world: sa.Engine, redis_url: str
) -> None:
    script = str(feedback_writer.__file__)
    command = [sys.executable, script, str(settings.database_url), redis_url, str(EVENTS)]
    running = [subprocess.Popen(command) for _ in range(WRITERS)]
    assert [process.wait(timeout=120) for process in running] == [0] * WRITERS
    with world.connect() as connection:
        rows = connection.execute(
            sa.text(
                "SELECT episode, state, reward FROM music_interactions WHERE user_id = 'ada'"
                " ORDER BY episode"
            )
        ).all()
        rebuilt = interactions.q_state(connection, "ada")
    assert [row[0] for row in rows] == list(range(1, WRITERS * EVENTS + 1))
    cache = Cache(redis_url, connections=2)
    kept = cache.q_state("ada")
    cache.close()
    assert kept == rebuilt
    assert rebuilt.table == replay_log("ada", [(state, reward) for _, state, reward in rows])
    assert sum(weight for weight, _ in rebuilt.own.values()) == len(rows)


async def test_losing_prepared_plans_loses_nothing(settings: Settings, world: sa.Engine) -> None:
    async with opened(settings) as client:
        first = await client.say("track-000", "like")
        engine = client.application.engine
        with engine.connect() as connection:  # what a pooler does between two transactions
            connection.execute(sa.text("DEALLOCATE ALL"))
        said = [await client.say(f"track-{n:03}", "like") for n in range(1, 12)]
    assert not any(answer["duplicate"] for answer in [first, *said])
    with world.connect() as connection:
        episodes = connection.scalars(
            sa.text("SELECT episode FROM music_interactions WHERE user_id = 'ada' ORDER BY 1")
        )
        assert list(episodes) == list(range(1, 13))
        assert interactions.q_state(connection, "ada").episode == 12


async def test_losing_redis_loses_nothing(settings: Settings, redis_url: str) -> None:
    async with opened(settings) as client:
        for number in range(13):
            await client.say(f"track-{number:03}", "like" if number % 3 else "skip")
        before = await client.recommend({"force_refresh": True})
        _flush(redis_url)
        after = await client.recommend({"force_refresh": True})
        _flush(redis_url)
        said = await client.say("track-013", "like")
    shown = [
        [(t["track_id"], t["rl_adjustment"]) for t in answer["recommendations"]]
        for answer in (before, after)
    ]
    assert shown[0] == shown[1]
    assert any(adjustment for _, adjustment in shown[0])
    assert said["q_value"] > 0


def _table(engine: sa.Engine) -> QTable:
    """Everybody likes what is danceable, nobody what is not."""
    log = []
    for trait in ("none", "high"):
        half = "|".join(
            f"{t}_{trait}"
            for t in (
                "extraversion", "openness", "conscientiousness", "agreeableness", "neuroticism"
            )
        )  # fmt: skip
        for genre in ("pop_anthems", "hype_beats", "rock_legends"):
            for band, reward in (("high", 1.0), ("low", -0.4)):
                state = f"{half}|energy_med|valence_med|danceability_{band}|tempo_med|genre_{genre}"
                log += [(state, 20_700.0, reward)] * 200
    return QTable.of(log, as_of_day=20_700.0)


async def test_newcomers_start_from_the_consolidated_table(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    register_model(world, tmp_path, "qtable", 3, _table(world).to_files())
    explores = settings.model_copy(update={"bondhu_exploration": 0.1})
    async with opened(explores) as client:
        answer = await client.recommend(user="newcomer")
        key = client.application.served.cache_key
        said = await client.say("track-000", "like", user="newcomer")
        changed = await client.recommend(user="newcomer")
    assert answer["metadata"]["models"] == {"scorer": 1, "qtable": 3}
    adjustments = {t["rl_adjustment"] for t in answer["recommendations"]}
    assert max(adjustments) > 0
    assert max(abs(a) for a in adjustments) <= 0.05
    assert said["reward"] > 0
    assert changed["metadata"]["cache"] == "rerank"
    assert changed["recommendations"] != answer["recommendations"]
    assert "qtable:3" in key(_request())
    drawn = [t for t in answer["recommendations"] if t["rank"] % 10 == 0]
    assert all(0 < t["propensity"] <= 1 for t in drawn)
    assert all(t["propensity"] == 1 for t in answer["recommendations"] if t["rank"] % 10)
    with world.connect() as connection:
        stored = connection.execute(
            sa.text(
                "SELECT DISTINCT policy, model_versions FROM music_recommendations"
                " WHERE user_id = 'newcomer'"
            )
        ).all()
    assert stored == [("thompson_tempered:0.1", {"scorer": 1, "qtable": 3})]


def _request() -> Any:
    from serving.schemas import RecommendRequest  # noqa: PLC0415

    return RecommendRequest()


async def test_a_new_table_is_taken_over_and_a_damaged_one_refused(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    async with opened(settings) as client:
        application = client.application
        assert application.served.qtable is None
        register_model(world, tmp_path, "qtable", 1, _table(world).to_files())
        application._house_keep()
        assert application.served.models == {"scorer": 1, "qtable": 1}
        register_model(world, tmp_path, "qtable", 2, {"qtable.json": b"{}"})
        application._house_keep()
        assert application.served.models == {"scorer": 1, "qtable": 1}
        assert "model_stale" in application.away


@pytest.mark.parametrize(
    "wrong",
    [
        {"feedback_type": "adore"},
        {"listen_duration_ms": -1},
        {"listen_duration_ms": 86_400_001},
        {"track_duration_ms": 0},
        {"occurred_at": (datetime.now(UTC) + timedelta(days=1)).isoformat()},
        {"occurred_at": (datetime.now(UTC) - timedelta(days=400)).isoformat()},
        {"context": "swimming"},
        {"position": 0},
        {"event_id": "not a uuid"},
    ],
)
async def test_what_makes_no_sense_is_refused(
    settings: Settings, world: sa.Engine, wrong: dict[str, object]
) -> None:
    body = {"event_id": str(uuid.uuid4()), "track_id": "track-000", "feedback_type": "like"} | wrong
    async with opened(settings) as client:
        answer = await client.post("/v1/feedback", body)
    assert answer.status_code == 422
    with world.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM music_interactions")) == 0


async def test_odd_but_possible_events_follow_stated_rules(
    settings: Settings, world: sa.Engine
) -> None:
    """Longer heard than long counts as all of it; late events are learned as they arrive."""
    now = datetime.now(UTC)
    async with opened(settings) as client:
        long = await client.say(
            "track-100", "like", listen_duration_ms=900_000, track_duration_ms=200_000
        )
        late = await client.say(
            "track-103", "like", occurred_at=(now - timedelta(days=3)).isoformat()
        )
        body = {"event_id": str(uuid.uuid4()), "track_id": "track-106", "feedback_type": "skip"}
        first = (await client.post("/v1/feedback", body)).json()
        standing = client.application
        again = (await client.post("/v1/feedback", body)).json()
    assert long["reward"] == pytest.approx(1.1)
    assert not late["duplicate"]
    assert again == first | {"duplicate": True}
    with world.connect() as connection:
        episodes = connection.execute(
            sa.text("SELECT episode, track_id FROM music_interactions ORDER BY episode")
        ).all()
        revision = connection.scalar(sa.text("SELECT revision FROM users WHERE user_id = 'ada'"))
    assert [tuple(row) for row in episodes] == [
        (1, "track-100"),
        (2, "track-103"),
        (3, "track-106"),
    ]
    assert revision == 3  # the duplicate outdated nothing
    assert standing.served.qtable is None
    assert np.isfinite(first["q_value"])
