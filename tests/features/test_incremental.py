"""The incremental build: whatever happened, in whatever order, it ends where a full build does."""

import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.build import build_features
from features.imports import append

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PLAYS = ("user_id", "track_id", "played_at", "ms_played", "source", "trainable", "arrived_at")
# Without what says when a row was written.
TABLES = {
    "listening_history": "user_id, track_id, track_name, artist_name, played_at, play_count,"
    " total_listen_time_ms, counted",
    "listener_genres": "*",
    "track_listeners": "*",
    "popular_tracks": "*",
    "artist_audio_features": "artist_key, artist_name, energy, popularity, category, track_count",
    "tracks": "track_id, canonical_id",
}

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("play"), st.integers(0, 3), st.integers(0, 11), st.integers(-900, 30)),
        st.tuples(st.just("upsert"), st.integers(0, 3), st.integers(0, 11), st.integers(-900, 30)),
        st.tuples(st.just("forget"), st.integers(0, 3), st.integers(0, 11)),
        st.tuples(st.just("rename"), st.integers(0, 11), st.sampled_from(["Old", "New"])),
        st.tuples(st.just("category"), st.integers(0, 11), st.sampled_from(["pop_anthems", None])),
        st.tuples(st.just("artist"), st.integers(0, 11), st.integers(0, 3)),
        st.tuples(st.just("popularity"), st.integers(0, 11), st.integers(0, 3)),
        st.tuples(st.just("isrc"), st.integers(0, 11), st.sampled_from(["I1", "I2", None])),
        st.tuples(st.just("energy"), st.integers(0, 11), st.sampled_from([0.25, 0.5, None])),
        st.tuples(st.just("undated"), st.integers(0, 3), st.integers(0, 3), st.integers(1, 9)),
        st.tuples(st.just("delete"), st.integers(0, 3)),
        st.tuples(st.just("build")),
    ),
    max_size=25,
)
STATEMENTS = {
    "play": "INSERT INTO plays SELECT user_id, 't' || :b, CAST(:now AS timestamptz)"
    " + make_interval(days => :c), 1000 + :c, 'test', true FROM users WHERE user_id = 'u' || :a"
    " ON CONFLICT DO NOTHING",
    "upsert": "SELECT upsert_listening_history(user_id, 't' || :b, CAST(:now AS timestamptz)"
    " + make_interval(days => :c), 500, 'test') FROM users WHERE user_id = 'u' || :a",
    "forget": "DELETE FROM plays WHERE user_id = 'u' || :a AND track_id = 't' || :b",
    "rename": "UPDATE tracks SET track_name = :b WHERE track_id = 't' || :a",
    "category": "UPDATE tracks SET category = :b WHERE track_id = 't' || :a",
    "artist": "UPDATE tracks SET artist_key = 'a' || :b WHERE track_id = 't' || :a",
    "popularity": "UPDATE tracks SET popularity = :b WHERE track_id = 't' || :a",
    "isrc": "UPDATE tracks SET isrc = :b WHERE track_id = 't' || :a",
    "energy": "UPDATE audio_features SET energy = :b WHERE track_id = 't' || :a",
    "undated": "INSERT INTO artist_plays SELECT user_id, 'A', 'a' || :b, :c, 'test', true, :now"
    " FROM users WHERE user_id = 'u' || :a"
    " ON CONFLICT (user_id, artist_key, source) DO UPDATE SET play_count = :c",
    "delete": "DELETE FROM users WHERE user_id = 'u' || :a",
}


@pytest.fixture
def music(engine: sa.Engine) -> sa.Engine:
    execute(
        engine,
        "INSERT INTO tracks (track_id, track_name, artist_name, artist_key, title_key, duration_ms,"
        " category, popularity, source, trainable)"
        " SELECT 't' || i, 'T', 'A', 'a' || i % 4, 'same' || i / 8, 200000 + i * 300,"
        " CASE WHEN i % 2 = 0 THEN 'dance_floor' END, i % 3, 'test', true"
        " FROM generate_series(0, 11) i",
        "INSERT INTO audio_features (track_id, energy, source, trainable)"
        " SELECT track_id, 0.75, 'test', true FROM tracks",
    )
    return engine


def execute(engine: sa.Engine, *statements: str, **values: object) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement), values)


def content(engine: sa.Engine) -> dict[str, list[tuple[object, ...]]]:
    with engine.connect() as connection:
        return {
            table: sorted(
                (tuple(row) for row in connection.execute(sa.text(f"SELECT {what} FROM {table}"))),
                key=repr,
            )
            for table, what in TABLES.items()
        }


def full(engine: sa.Engine) -> dict[str, list[tuple[object, ...]]]:
    """What a build makes of the same plays and tracks, from nothing."""
    execute(
        engine,
        "TRUNCATE listening_history, listener_genres, track_listeners, popular_tracks,"
        " artist_audio_features, feature_changes",
        "UPDATE tracks SET canonical_id = NULL",
        "INSERT INTO feature_changes (kind)"
        " SELECT unnest(ARRAY['plays', 'tracks', 'undated', 'counts'])",
    )
    build_features(engine, now=NOW)
    return content(engine)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, batch=st.sampled_from([1, 1000]))
def test_incremental_equals_full(
    music: sa.Engine, steps: list[tuple[object, ...]], batch: int
) -> None:
    execute(
        music,
        "DELETE FROM users",
        "INSERT INTO users (user_id, source) SELECT 'u' || i, 'test' FROM generate_series(0, 3) i",
    )
    for name, *values in steps:
        if name == "build":
            build_features(music, now=NOW, pairs_per_batch=batch)
        else:
            asked = dict(zip("abc", values, strict=False))
            execute(music, STATEMENTS[str(name)], now=NOW, **asked)
    build_features(music, now=NOW, pairs_per_batch=batch)
    assert not build_features(music, now=NOW).is_new
    found = content(music)
    assert found == full(music)


def test_commits_out_of_order_and_old_plays_are_found(music: sa.Engine) -> None:
    execute(
        music,
        "INSERT INTO users (user_id, source) VALUES ('u0', 'test')",
        "INSERT INTO plays VALUES ('u0', 't9', '2026-01-01Z', 1, 'test', true)",
    )
    build_features(music, now=NOW)
    slow, fast = music.connect(), music.connect()
    insert = sa.text("INSERT INTO plays VALUES ('u0', :track, :at, 1000, 'test', true)")
    slow.execute(insert, {"track": "t1", "at": NOW - timedelta(days=3000)})
    fast.execute(insert, {"track": "t2", "at": NOW})
    fast.commit()
    assert build_features(music, now=NOW).history == 1
    slow.commit()  # began before the build, ends after it, and is older than all that was there
    assert build_features(music, now=NOW).history == 1
    assert {row[1] for row in content(music)["listening_history"]} == {"t1", "t2", "t9"}
    slow.close()
    fast.close()


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from features.build import build_features
from features.database import connect

def watch(step, share):
    if 0.25 < share < 1:
        os.kill(os.getpid(), signal.SIGKILL)

now = datetime(2026, 3, 1, tzinfo=UTC)
build_features(connect(sys.argv[1]), now=now, progress=watch, pairs_per_batch=2)
"""


def test_a_killed_build_goes_on_where_it_was(music: sa.Engine, database_url: str) -> None:
    execute(music, "INSERT INTO users (user_id, source) VALUES ('u0', 'test'), ('u1', 'test')")
    build_features(music, now=NOW)
    execute(
        music,
        "INSERT INTO plays SELECT user_id, track_id, CAST(:now AS timestamptz), 1000, 'test', true"
        " FROM users, tracks",
        now=NOW,
    )
    killed = subprocess.run([sys.executable, "-c", KILLED, database_url], check=False)
    assert killed.returncode == -signal.SIGKILL
    done = len(content(music)["listening_history"])
    assert 0 < done < 24
    rest = build_features(music, now=NOW)
    assert rest.history == 24 - done
    assert rest.is_new
    found = content(music)
    assert found == full(music)


def test_genres_and_popular_tracks_by_hand(music: sa.Engine) -> None:
    execute(
        music,
        "INSERT INTO users (user_id, source) VALUES ('u0', 'test'), ('u1', 'test')",
        "INSERT INTO plays VALUES ('u0', 't0', '2026-01-01Z', 1, 'test', true),"
        " ('u0', 't0', '2026-01-02Z', 1, 'test', true),"
        " ('u0', 't2', '2026-01-01Z', 1, 'test', true),"
        " ('u1', 't1', '2026-01-01Z', 1, 'test', true)",
        "INSERT INTO artist_plays VALUES ('u0', 'A', 'a1', 6, 'test', true, now())",
        "UPDATE tracks SET popularity = NULL, title_key = NULL",
    )
    build_features(music, now=NOW)
    with music.connect() as connection:

        def rows(query: str) -> list[tuple[object, ...]]:
            return [tuple(row) for row in connection.execute(sa.text(query))]

        assert rows("SELECT category, plays, share FROM get_user_genre_distribution('u0')") == [
            ("other", 6, 6 / 9),
            ("dance_floor", 3, 3 / 9),
        ]
        assert rows("SELECT rank, track_id, listeners FROM get_popular_tracks('other', 2)") == [
            (1, "t1", 1),
            (2, "t11", 0),
        ]
        assert rows("SELECT track_id FROM get_popular_tracks(max_results => 4)") == [
            ("t0",), ("t1",), ("t2",), ("t10",),
        ]  # fmt: skip


def test_a_large_load_is_the_same_as_a_small_one(
    music: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(music, "INSERT INTO users (user_id, source) VALUES ('u0', 'test')")
    rows = [("u0", f"t{i % 12}", NOW + timedelta(seconds=i % 40), i, "test", True, NOW)
            for i in range(60)]  # fmt: skip
    found = []
    for large in (False, True):
        execute(music, "DELETE FROM plays")
        if large:
            monkeypatch.setattr("features.imports._BATCH", 10)
        with music.begin() as connection:
            stored = append(connection, "plays", PLAYS, iter(rows))
            again = append(connection, "plays", PLAYS, iter(rows))
        with music.connect() as connection:
            kept = connection.execute(sa.text("SELECT * FROM plays ORDER BY 1, 2, 3")).all()
        build_features(music, now=NOW)
        found.append((stored, again, kept, content(music)))
    assert found[0][:3] == found[1][:3]
    assert found[0][3] == found[1][3]
    strangers = [("nobody", *row[1:]) for row in rows]
    with music.connect() as connection:
        connection.execute(sa.text("DELETE FROM plays"))
        with pytest.raises(sa.exc.IntegrityError):
            append(connection, "plays", PLAYS, strangers)
    with music.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM plays")) == len(found[0][2])


def test_a_play_that_an_upsert_counted_is_not_added_again(music: sa.Engine) -> None:
    """An import is noted as a sum; an upsert that sees its plays counts them itself."""
    execute(music, "INSERT INTO users (user_id, source) VALUES ('u0', 'test')")
    build_features(music, now=NOW)
    added = "INSERT INTO plays VALUES ('u0', 't1', :at, 1000, 'test', true)"
    upsert = "SELECT upsert_listening_history('u0', 't1', :at, 500, 'other')"
    execute(music, added, at=NOW)
    build_features(music, now=NOW)
    execute(music, added, at=NOW + timedelta(hours=1))
    execute(music, upsert, at=NOW + timedelta(hours=2))  # holds both
    slow = music.connect()  # not seen by the upsert that follows, committed before the build
    slow.execute(sa.text(added), {"at": NOW - timedelta(hours=1)})
    execute(music, upsert, at=NOW + timedelta(hours=3))
    slow.commit()
    slow.close()
    build_features(music, now=NOW, pairs_per_batch=1)
    found = content(music)
    assert [row[4:] for row in found["listening_history"]] == [
        (NOW + timedelta(hours=3), 5, 4000, 5)
    ]
    assert found == full(music)
