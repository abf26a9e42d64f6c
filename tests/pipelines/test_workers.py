"""Parts of a night on Dask: the same results as here, though a worker is killed in the middle."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest
import redis
import sqlalchemy as sa
from dying_work import DiesOnce
from pydantic import SecretStr, ValidationError
from serving_world import make_world, register

from features.database import mlflow_uri
from features.settings import Settings
from features.spreading import PARTS, in_this_process
from pipelines import precompute
from pipelines.environment import Environment
from pipelines.nights.night import Night
from pipelines.precompute import ListsOfPart
from pipelines.workers import WorkersError, open_workers
from recommender.scoring import PRIOR
from serving import lists
from serving.lists import PackedList
from serving.schemas import RecommendRequest
from training.data.consolidation import consolidate

NOW = datetime.now(UTC).replace(microsecond=0)
LISTENERS = 24
KEPT = {
    "recommendations_cache": "recommendation_id, user_id, cache_key, recommended_tracks_json,"
    " metadata_json, generated_at, expires_at, is_valid",
    "music_recommendations": "recommendation_id, user_id, position, track_id, score, propensity,"
    " components, model_versions",
}
"""Table -> all that a list is. How often it was served tells of attempts: a part that is done again
finds its lists and puts them into the first cache once more."""


@pytest.mark.parametrize("value", ["0", "-1", "1000", "two", "tcp://host", "http://host:8786"])
def test_setting_is_checked(value: str) -> None:
    with pytest.raises(ValidationError, match="bondhu_dask"):
        Settings(bondhu_dask=value)


def test_what_is_sent_to_workers_shows_no_password(engine: sa.Engine) -> None:
    addresses = ("postgresql://ada:sesame@db/b", "redis://:sesame@cache", "postgresql://sesame@db")
    settings = Settings(
        database_url=addresses[0],
        redis_url=addresses[1],
        mlflow_tracking_uri=addresses[2],
        bondhu_webhook_url=SecretStr("https://sesame"),
    )
    place = precompute.Place.of(Environment(settings, *addresses, engine))
    assert (place.database_url, place.redis_url, place.tracking_uri) == addresses
    assert "sesame" not in repr(ListsOfPart(place, NOW.date(), NOW, NOW))
    assert "sesame" not in place.settings.model_dump_json()


def test_nobody_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.workers.CONNECT_SECONDS", 0.3)
    with (
        pytest.raises(WorkersError, match=r"no scheduler answers at tcp://127\.0\.0\.1:9"),
        open_workers(Settings(bondhu_dask="tcp://127.0.0.1:9")),
    ):
        pass


def test_table_of_two_processes_with_one_killed_has_the_same_bytes(
    engine: sa.Engine, tmp_path: Path
) -> None:
    _feedback(engine)
    here = consolidate(engine, now=NOW)
    mark = tmp_path / "mark"
    with open_workers(Settings(bondhu_dask="2", bondhu_home=tmp_path)) as spread:

        def with_a_death(work: Any, items: Any) -> Iterator[Any]:
            return spread(DiesOnce(work, mark, PARTS // 2, None), items)

        there = consolidate(engine, now=NOW, spread=with_a_death)
    assert not psutil.pid_exists(int(mark.read_text()))
    assert there.used == here.used
    assert there.table.to_files() == here.table.to_files()
    assert there.without_fold.to_files() == here.without_fold.to_files()


def test_lists_of_forks_and_of_a_cluster_with_a_worker_killed_are_the_same(
    engine: sa.Engine,
    database_url: str,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from distributed import LocalCluster  # noqa: PLC0415 - a second

    make_world(engine)
    register(engine, tmp_path, 1, PRIOR)
    _listeners(engine)

    def lists_with(setting: str | None) -> tuple[Any, ...]:
        settings = Settings(bondhu_home=tmp_path / "home", bondhu_dask=setting)
        place = Environment(settings, database_url, redis_url, mlflow_uri(database_url), engine)
        with engine.begin() as connection:
            connection.execute(sa.text(f"TRUNCATE {', '.join(KEPT)}"))
        with redis.Redis.from_url(redis_url) as client:
            client.flushall()
        said = precompute.precompute(Night(NOW.date(), NOW, place, lambda: NOW, lambda _: None))
        with engine.connect() as connection:
            tables = [
                connection.execute(sa.text(f"SELECT {columns} FROM {table} ORDER BY 1, 3")).all()
                for table, columns in KEPT.items()
            ]
        cached: dict[bytes, Any] = {}
        with redis.Redis.from_url(redis_url) as client:
            names: Any = client.keys("*lists*")
            for name in names:
                fields: Any = client.hgetall(name)
                cached[name] = {field: content(value) for field, value in fields.items()}
        return said, tables, cached

    here = lists_with(None)
    with monkeypatch.context() as patch:
        patch.setattr(precompute, "MANY", LISTENERS)  # as many as that: in forks
        forked = lists_with(None)
    mark = tmp_path / "mark"
    monkeypatch.setattr(
        precompute, "ListsOfPart", lambda *asked: DiesOnce(ListsOfPart(*asked), mark, 3, 0.3)
    )
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path)
    ) as cluster:
        there = lists_with(cluster.scheduler_address)
    assert not psutil.pid_exists(int(mark.read_text()))
    assert here[0] == {"lists": LISTENERS + 1}
    assert len(here[2]) == LISTENERS + 1
    for other in (forked, there):
        assert other[:2] == here[:2]
        assert other[2].keys() == here[2].keys()
        for key, fields in here[2].items():
            assert other[2][key] == fields, key


def content(value: bytes) -> Any:
    """Return what a cached value says: Postgres keeps the keys of an object in an order of its own,
    so that a list that was found there has them in other places."""
    if value.isdigit():
        return int(value)
    packed = msgspec.msgpack.decode(value, type=PackedList)
    answer = json.loads(
        lists.answer(packed, "", RecommendRequest(), "hit", started=0, degraded=())[0]
    )
    del answer["metadata"]["response_time_ms"]
    return packed.track_ids, answer


def test_parts_part_everybody(engine: sa.Engine) -> None:
    make_world(engine)
    _listeners(engine)
    since = NOW - timedelta(days=40)
    found = [
        user
        for part in range(precompute.LIST_PARTS)
        for users in precompute.active(engine, since=since, until=NOW, part=part, batch=2)
        for user in users
    ]
    assert len(found) == len(set(found)) == LISTENERS + 1


def test_results_come_in_the_order_of_items() -> None:
    def slow_first(n: int) -> int:
        time.sleep(0.05 if n == 0 else 0)
        return n * n

    assert list(in_this_process(slow_first, range(9))) == [n * n for n in range(9)]


def _listeners(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        for n in range(LISTENERS):
            connection.execute(
                sa.text("INSERT INTO users VALUES (:user, :at, 'test')"),
                {"user": f"user{n:02}", "at": NOW - timedelta(days=400)},
            )
            for i in range(4):
                connection.execute(
                    sa.text("SELECT upsert_listening_history(:user, :track, :at, 180000, 'test')"),
                    {
                        "user": f"user{n:02}",
                        "track": f"track-{(7 * n + i) % 300:03}",
                        "at": NOW - timedelta(days=1 + i),
                    },
                )
        connection.execute(
            sa.text("SELECT upsert_listening_history('ada', 'track-001', :at, 180000, 'test')"),
            {"at": NOW - timedelta(days=1)},
        )


def _feedback(engine: sa.Engine) -> None:
    """Write feedback whose sums show the order in which they were added."""
    rng = np.random.default_rng(1)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO tracks (track_id, track_name, artist_name, artist_key, source,"
                " trainable) VALUES ('t', 'T', 'A', 'a', 'test', true)"
            )
        )
        connection.execute(
            sa.text("INSERT INTO users (user_id, source) VALUES (:user, 'test')"),
            [{"user": f"u{n}"} for n in range(200)],
        )
        connection.execute(
            sa.text(
                "INSERT INTO music_interactions (event_id, user_id, episode, track_id,"
                " feedback_type, reward, state, occurred_at, received_at, source, trainable)"
                " VALUES (gen_random_uuid(), :user, :episode, 't', 'play', :reward, :state, :at,"
                " :at, 'api', true)"
            ),
            [
                {
                    "user": f"u{n % 200}",
                    "episode": n // 200 + 1,
                    "reward": float(rng.uniform(-1.5, 2.2)),
                    "state": f"extraversion_low|energy_low|genre_{'abc'[n % 3]}",
                    "at": NOW - timedelta(days=float(rng.uniform(0.1, 100))),
                }
                for n in range(4_000)
            ],
        )
