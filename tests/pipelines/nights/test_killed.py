"""A night killed in the middle and at the end of every step ends as one undisturbed."""

import json
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import night_driver
import redis
import sqlalchemy as sa
from nights_world import NightsWorld

from features.database import connect
from features.imports import Report, record
from serving import lists
from serving.lists import PackedList
from serving.schemas import RecommendRequest

LISTENERS = 40
NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
VARIES = {"run_id", "report", "started_at", "finished_at", "attempts", "seconds", "holder"}
"""What tells of an attempt, not of the night."""
TABLES = {
    "nights": "night, as_of, status, exit_code, outcome",
    "night_steps": "step, status, outcome",
    "listening_history": "user_id, track_id, played_at, play_count, total_listen_time_ms",
    "artist_audio_features": "artist_key, energy, track_count",
    "feature_builds": "build_id, tracks, artists, listeners",
    "recommendations_cache": "recommendation_id, user_id, cache_key, recommended_tracks_json,"
    " metadata_json, is_valid",
    "music_recommendations": "recommendation_id, position, track_id, score, propensity,"
    " model_versions",
    "mlflow.model_versions": "name, version, (SELECT value FROM mlflow.model_version_tags t WHERE"
    " t.name = model_versions.name AND t.version = model_versions.version"
    " AND t.key = 'manifest_sha256')",
    "mlflow.registered_model_aliases": "name, alias, version",
    "mlflow.runs WHERE status = 'FINISHED'": "name",  # a killed training leaves one that is RUNNING
}


def test_equals_an_undisturbed_night(
    database_url: str, mlflow_tables: None, redis_url: str, tmp_path: Path
) -> None:
    engine = connect(database_url)
    start = NOW - timedelta(days=1)
    world = NightsWorld(
        engine, listeners=LISTENERS, artists=16, tracks_each=3, circles=2, start=start
    )
    world.plant()
    world.live(start)
    with engine.begin() as connection:  # as an import of what came in leaves it
        report = Report("planted", 9, 9, {})
        record(connection, report, sha256="0" * 64, now=NOW - timedelta(hours=2))
    for user in range(0, LISTENERS, 2):
        at = NOW - timedelta(hours=2)
        tracks = world.tracks[user : user + 5]
        world.say(user, tracks, world.judge(user, tracks).tolist(), at)
    engine.dispose()
    copy = f"bondhu_copy_{uuid.uuid4().hex}"
    copy_url = sa.make_url(database_url).set(database=copy).render_as_string(hide_password=False)
    admin = connect(
        sa.make_url(database_url).set(database="postgres").render_as_string(hide_password=False)
    ).execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        original = sa.make_url(database_url).database
        connection.execute(sa.text(f"CREATE DATABASE {copy} TEMPLATE {original}"))
    try:
        places = (tmp_path / "whole", database_url, tmp_path / "killed", copy_url)
        arguments = [sys.executable, night_driver.__file__, redis_url, str(NOW), *map(str, places)]
        with subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as ran:
            assert ran.stdout is not None
            whole = ran.stdout.readline()
            cached = cached_lists(redis_url)
            empty(redis_url)
            killed, _ = ran.communicate("go on\n", timeout=300)
        assert ran.returncode == 0
        assert killed == whole == "0\n"
        assert len(cached) == 2 * LISTENERS  # each with its reserves
        assert cached_lists(redis_url) == cached
        expected, found = contents(database_url), contents(copy_url)
        for table, rows in expected.items():
            assert rows, table
            assert found[table] == rows, table
        assert attempts(copy_url) == {night_driver.KILLS + 1}
    finally:
        with admin.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {copy} WITH (FORCE)"))
        admin.dispose()


def contents(url: str) -> dict[str, list[Any]]:
    engine = connect(url)
    found = {}
    with engine.connect() as connection:
        for table, columns in TABLES.items():
            rows = connection.execute(sa.text(f"SELECT {columns} FROM {table}")).all()
            found[table] = sorted(repr(_settled(list(row))) for row in rows)
    engine.dispose()
    return found


def attempts(url: str) -> set[int]:
    engine = connect(url)
    with engine.connect() as connection:
        found = set(connection.scalars(sa.text("SELECT attempts FROM night_steps")))
    engine.dispose()
    return found


def cached_lists(url: str) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter("lists:*"):
            for field, value in client.hgetall(key).items():
                if field != b"revision":
                    packed = msgspec.msgpack.decode(value, type=PackedList)
                    said, _ = lists.answer(
                        packed, "", RecommendRequest(), "hit", started=0, degraded=()
                    )
                    answer = json.loads(said)
                    del answer["metadata"]["response_time_ms"]
                    tracks = json.loads(b"[" + packed.tracks + b"]")
                    found[key, field] = (packed.track_ids, tracks, answer)
    return found


def empty(url: str) -> None:
    for db in range(4):
        with redis.Redis.from_url(url, db=db) as client:
            client.flushdb()


def _settled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _settled(value[key]) for key in sorted(value) if key not in VARIES}
    return [_settled(one) for one in value] if isinstance(value, list) else value
