"""Feedback from a file: judged and learned from as if it had come in one by one."""

import uuid
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from features import interactions
from features.imports import ALREADY_STORED, InputError
from features.sources.interactions import REPEATED, UNKNOWN, import_interactions
from recommender.replay import replay_log

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def tracks(engine: sa.Engine) -> sa.Engine:
    with engine.begin() as connection:
        for track_id, duration in (("t1", 200_000), ("t2", None)):
            connection.execute(
                sa.text("INSERT INTO tracks (track_id, track_name, artist_name, artist_key,"
                        " duration_ms, category, source, trainable)"
                        " VALUES (:id, 'T', 'A', 'a', :ms, 'pop_anthems', 'test', true)"),
                {"id": track_id, "ms": duration},
            )  # fmt: skip
        connection.execute(
            sa.text("INSERT INTO audio_features (track_id, energy, tempo, source, trainable)"
                    " VALUES ('t1', .9, 150, 'test', true)")
        )  # fmt: skip
    return engine


def test_rewards_by_hand(tracks: sa.Engine, tmp_path: Path) -> None:
    event_id = uuid.uuid4()
    path = tmp_path / "said.csv"
    path.write_text(
        "user_id,track_id,feedback_type,occurred_at,listen_duration_ms,track_duration_ms,context,event_id\n"
        f"bob,t1,like,2026-01-02T00:00:00Z,100000,,workout,{event_id}\n"
        "bob,t1,play,2026-01-01T00:00:00Z,50000,100000,,\n"
        "eve,t2,skip,2026-01-01T00:00:00Z,5000,20000,,\n"
    )
    report = import_interactions(tracks, path, now=NOW)
    assert (report.read, report.stored, report.skipped) == (3, 3, {})
    with tracks.connect() as connection:
        found = connection.execute(
            sa.text("SELECT user_id, episode, feedback_type, reward, context, trainable, state"
                    " FROM music_interactions ORDER BY user_id, episode")
        ).all()  # fmt: skip
        said = connection.scalar(
            sa.text("SELECT feedback_type FROM music_interactions WHERE event_id = :id"),
            {"id": event_id},
        )
    # A play of half of it; then a like: half heard, a repeat, and it fits a workout.
    assert [tuple(row[:6]) for row in found] == [
        ("bob", 1, "play", pytest.approx(0.85), None, True),
        ("bob", 2, "like", pytest.approx(1 + 0.05 + 0.1 + 0.05), "workout", True),
        ("eve", 1, "skip", pytest.approx(-0.3), None, True),
    ]
    assert "energy_high|valence_none" in found[0][6]
    assert found[0][6].endswith("genre_pop_anthems")
    assert said == "like"


def test_the_q_table_is_that_of_the_log(tracks: sa.Engine, tmp_path: Path) -> None:
    path = tmp_path / "said.csv"
    rows = [f"bob,t{1 + n % 2},{('like', 'skip', 'play')[n % 3]},2026-01-01T00:{n:02}:00Z"
            for n in range(34)]  # fmt: skip
    path.write_text("\n".join(["user_id,track_id,feedback_type,occurred_at", *rows[:17]]))
    import_interactions(tracks, path, now=NOW)
    path.write_text("\n".join(["user_id,track_id,feedback_type,occurred_at", *rows]))
    report = import_interactions(tracks, path, now=NOW)
    assert (report.stored, report.skipped) == (17, {ALREADY_STORED: 17})
    with tracks.connect() as connection:
        q = interactions.q_state(connection, "bob")
        log = connection.execute(
            sa.text("SELECT state, reward FROM music_interactions ORDER BY episode")
        ).all()
    assert q.table == replay_log("bob", [(state, reward) for state, reward in log])
    assert q.episode == 34


def test_bad_rows_are_set_aside(tracks: sa.Engine, tmp_path: Path) -> None:
    same = uuid.uuid4()
    path = tmp_path / "said.csv"
    path.write_text(
        "user_id,track_id,feedback_type,occurred_at,listen_duration_ms,context,event_id\n"
        f"bob,t1,like,,,,{same}\nbob,t1,like,,,,{same}\nbob,nothing,like,,,,\n,t1,like,,,,\n"
        "bob,t1,loved,,,,\nbob,t1,like,2099-01-01,,,\nbob,t1,like,,-5,,\nbob,t1,like,,,gym,\n"
        "bob,t1,like,,,,not-a-uuid\nbob,t1,like,soon,,,\n"
    )
    report = import_interactions(tracks, path, now=NOW)
    assert (report.read, report.stored) == (10, 1)
    assert report.skipped[UNKNOWN] == report.skipped[REPEATED] == 1
    assert sum(report.skipped.values()) == 9
    with tracks.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM quarantine")) == 7


def test_parquet_and_no_train(tracks: sa.Engine, tmp_path: Path) -> None:
    path = tmp_path / "said.parquet"
    frame = {"user_id": ["bob"], "track_id": ["t1"], "feedback_type": ["save"]}
    pd.DataFrame(frame | {"occurred_at": [pd.Timestamp("2026-01-01", tz="UTC")]}).to_parquet(path)
    assert import_interactions(tracks, path, trainable=False, now=NOW).stored == 1
    with tracks.connect() as connection:
        row = connection.execute(
            sa.text("SELECT reward, occurred_at, trainable FROM music_interactions")
        ).one()
    assert tuple(row) == (1.5, datetime(2026, 1, 1, tzinfo=UTC), False)


def test_a_missing_column_is_named(tracks: sa.Engine, tmp_path: Path) -> None:
    path = tmp_path / "said.csv"
    path.write_text("user_id,track_id\nbob,t1\n")
    with pytest.raises(InputError, match="feedback_type"):
        import_interactions(tracks, path, now=NOW)
