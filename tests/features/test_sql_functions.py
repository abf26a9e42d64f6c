"""The SQL functions of the contract, called as other programs call them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from recommender.history import play_weight

NOW = datetime.now(UTC)


@pytest.fixture
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    connection = engine.connect()
    connection.execute(sa.text("INSERT INTO users VALUES ('ada', now(), 'test')"))
    connection.execute(
        sa.text(
            "INSERT INTO tracks (track_id, track_name, artist_name, artist_key, source, trainable)"
            " SELECT 't' || i, 'T' || i, 'A', 'a', 'test', true FROM generate_series(1, 60) i"
        )
    )
    yield connection
    connection.close()


def upsert(connection: sa.Connection, track: str, at: datetime, ms: int, source: str) -> bool:
    call = "SELECT upsert_listening_history('ada', :track, :at, :ms, :source)"
    return bool(
        connection.scalar(sa.text(call), {"track": track, "at": at, "ms": ms, "source": source})
    )


def test_upsert_counts_a_play_once(connection: sa.Connection) -> None:
    at = NOW - timedelta(days=1)
    assert upsert(connection, "t1", at, 1000, "export")
    assert not upsert(connection, "t1", at, 1000, "export")  # again
    assert not upsert(connection, "t1", at + timedelta(seconds=59), 900, "spotify")  # seen by both
    assert upsert(connection, "t1", at + timedelta(seconds=59), 900, "export")  # a real second play
    assert upsert(connection, "t1", at + timedelta(seconds=200), 500, "spotify")
    row = connection.execute(
        sa.text("SELECT play_count, total_listen_time_ms, played_at FROM listening_history")
    ).one()
    assert tuple(row) == (3, 2400, at + timedelta(seconds=200))


def test_top_50_is_weighted_as_the_core_says(connection: sa.Connection) -> None:
    for i in range(1, 61):
        for play in range(1 + i % 3):
            upsert(connection, f"t{i}", NOW - timedelta(days=5 * i, minutes=play), 1000, "export")
    rows = (
        connection.execute(sa.text("SELECT * FROM get_user_top_50_tracks('ada')")).mappings().all()
    )
    assert len(rows) == 50
    assert [row["weight"] for row in rows] == sorted((r["weight"] for r in rows), reverse=True)
    for row in rows:
        age_days = (datetime.now(UTC) - row["played_at"]).total_seconds() / 86_400
        assert row["weight"] == pytest.approx(play_weight(row["play_count"], age_days), rel=1e-5)


def test_the_active_profile_is_the_latest(connection: sa.Connection) -> None:
    insert = (
        "INSERT INTO personality_scores (user_id, openness, assessment_confidence,"
        " assessment_method, is_active) VALUES ('ada', :score, 1, 'bfi44', :active)"
    )
    connection.execute(sa.text(insert), {"score": 20, "active": False})
    connection.execute(sa.text(insert), {"score": 80, "active": True})
    rows = connection.execute(
        sa.text("SELECT openness FROM get_active_personality_profile(user_id => 'ada')")
    ).all()
    assert [tuple(row) for row in rows] == [(80.0,)]


def test_clean_returns_how_many_went(connection: sa.Connection) -> None:
    insert = (
        "INSERT INTO recommendations_cache (recommendation_id, user_id, cache_key,"
        " recommended_tracks_json, scores_json, metadata_json, recommendation_type,"
        " total_candidates, final_count, expires_at, user_account_age_days, personality_snapshot)"
        " VALUES (gen_random_uuid(), 'ada', 'k', '[]', '{}', '{}', 'week_1', 0, 0,"
        " now() + :hours * interval '1 hour', 0, '{}')"
    )
    for hours in (-1, -2, 3):
        connection.execute(sa.text(insert), {"hours": hours})
    clean = sa.text("SELECT clean_expired_recommendations()")
    assert connection.scalar(clean) == 2
    assert connection.scalar(clean) == 0
