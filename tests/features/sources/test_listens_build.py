"""Plays that an export brought, and the feature build after it: no play counts twice."""

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from features.build import build_features
from features.sources.listenbrainz import import_listenbrainz

NOW = datetime(2026, 6, 1, tzinfo=UTC)
AT = int(datetime(2024, 1, 1, 10, tzinfo=UTC).timestamp())
ARTISTS = ("bjork", "abba", "caribou")


def export(folder: Path, name: str, starts: range) -> Path:
    """One listen an hour, of three artists in turn."""
    path = folder / f"{name}.jsonl"
    rows = [
        {
            "listened_at": AT + 3600 * n,
            "track_metadata": {
                "artist_name": ARTISTS[n % 3],
                "track_name": f"song of {ARTISTS[n % 3]}",
                "additional_info": {"duration_ms": 1000 * (100 + n)},
            },
        }
        for n in starts
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def counted(engine: sa.Engine) -> dict[str, list[tuple[object, ...]]]:
    """What the derived tables say, and what plays says of the same."""
    asked = {
        "history": "SELECT user_id, track_id, play_count, total_listen_time_ms, played_at"
        " FROM listening_history",
        "plays": "SELECT user_id, track_id, count(*), sum(ms_played), max(played_at) FROM plays"
        " GROUP BY 1, 2",
        "genres": "SELECT user_id, sum(plays) FROM listener_genres GROUP BY 1",
        "plays per listener": "SELECT user_id, count(*) FROM plays GROUP BY 1",
        "listeners": "SELECT track_id, listeners, plays FROM track_listeners",
        "listeners in plays": "SELECT track_id, count(DISTINCT user_id), count(*) FROM plays"
        " GROUP BY 1",
    }
    with engine.connect() as connection:
        return {
            name: sorted(tuple(row) for row in connection.execute(sa.text(query)))
            for name, query in asked.items()
        }


def check(engine: sa.Engine, plays: int) -> None:
    said = counted(engine)
    assert sum(int(str(row[2])) for row in said["plays"]) == plays
    assert said["history"] == said["plays"]
    assert said["genres"] == said["plays per listener"]
    assert said["listeners"] == said["listeners in plays"]


@pytest.mark.parametrize("builds_between", [True, False])
def test_counts_are_those_of_the_plays(
    engine: sa.Engine, tmp_path: Path, builds_between: bool
) -> None:
    with engine.begin() as connection:
        for artist in ARTISTS:
            connection.execute(
                sa.text(
                    "INSERT INTO tracks (track_id, track_name, artist_name, artist_key, title_key,"
                    " genres, category, source, trainable) VALUES (:a, 'song of ' || :a, :a, :a,"
                    " 'songof' || :a, ARRAY['pop'], 'pop_anthems', 'catalogue', true)"
                ),
                {"a": artist},
            )
    stored = Counter[str]()
    for user, name, starts in (
        ("ada", "first", range(30)),
        ("bob", "other", range(10, 25)),
        ("ada", "overlapping", range(20, 50)),
        ("ada", "again", range(30)),
    ):
        path = export(tmp_path, name, starts)
        stored[user] += import_listenbrainz(engine, path, user_id=user, now=NOW).stored
        if builds_between:
            build_features(engine, now=NOW)
            check(engine, stored.total())
    assert stored == {"ada": 50, "bob": 15}
    with engine.begin() as connection:  # and one that comes by itself
        connection.execute(
            sa.text("SELECT upsert_listening_history('ada', 'abba', now(), 90000, 'test')")
        )
    build_features(engine, now=NOW)
    check(engine, 66)
    assert not build_features(engine, now=NOW).is_new
    check(engine, 66)
