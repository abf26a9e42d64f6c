"""One recording under many ids is one track of a list."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from features.build import build_features
from features.catalogue import load_catalogue
from features.sources.catalogue import import_catalogue
from recommender.candidates import propose
from recommender.cold_start import Stage
from recommender.listener import Listener

NOW = datetime(2026, 3, 1, tzinfo=UTC)

TRACKS = [
    # id, isrc, artist, title, seconds, popularity, canonical
    ("a1", None, "x", "song", 200.0, 50, "a2"),
    ("a2", None, "x", "song", 201.9, 90, "a2"),
    ("a3", None, "x", "song", 203.5, 10, "a2"),  # 1.6 s from its neighbour
    ("a4", None, "x", "song", 210.0, 99, "a4"),  # another version
    ("a5", None, "x", "song", None, 99, "a5"),  # nobody knows how long
    ("a6", None, "x", "song", None, 98, "a6"),
    ("b1", None, "y", "song", 200.0, 50, "b1"),  # another artist
    ("c1", "I1", "x", "song", 200.0, 40, "c2"),  # an ISRC decides alone
    ("c2", "I1", "z", "another", 320.0, 41, "c2"),
    ("d1", None, "x", None, 200.0, 50, "d1"),  # no title: its own recording
]


@pytest.fixture
def tracks(engine: sa.Engine) -> sa.Engine:
    with engine.begin() as connection:
        for track_id, isrc, artist, title, seconds, popularity, _ in TRACKS:
            connection.execute(
                sa.text(
                    "INSERT INTO tracks (track_id, isrc, track_name, artist_name, artist_key,"
                    " title_key, duration_ms, popularity, source, trainable) VALUES (:id, :isrc,"
                    " 'T', 'A', :artist, :title, :ms, :popularity, 'test', true)"
                ),
                {
                    "id": track_id,
                    "isrc": isrc,
                    "artist": artist,
                    "title": title,
                    "ms": None if seconds is None else int(seconds * 1000),
                    "popularity": popularity,
                },
            )
    return engine


def test_recordings_are_found(tracks: sa.Engine) -> None:
    build = build_features(tracks, now=NOW)
    assert build.recordings == sum(row[0] != row[-1] for row in TRACKS)
    with tracks.connect() as connection:
        found: dict[str, str] = dict(
            connection.execute(
                sa.text("SELECT track_id, coalesce(canonical_id, track_id) FROM tracks")
            ).all()
        )
    assert found == {row[0]: row[-1] for row in TRACKS}
    assert build_features(tracks, now=NOW).recordings == 0


def test_a_build_of_everything_knows_how_large_the_table_is(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("ANALYZE tracks"))  # as autovacuum does with an empty table
        connection.execute(
            sa.text(
                "INSERT INTO tracks (track_id, track_name, artist_name, artist_key, title_key,"
                " duration_ms, source, trainable) SELECT 't' || i, 'T', 'A', 'a' || i, 'song',"
                " 200000, 'test', true FROM generate_series(1, 3000) i"
            )
        )
        connection.execute(sa.text("INSERT INTO feature_changes (kind) VALUES ('tracks')"))
    build_features(engine, now=NOW)
    with engine.connect() as connection:
        known = "SELECT reltuples FROM pg_class WHERE oid = 'tracks'::regclass"
        assert connection.scalar(sa.text(known)) == 3000


def test_a_recording_is_one_candidate_and_heard_under_any_id(tracks: sa.Engine) -> None:
    build_features(tracks, now=NOW)
    catalogue = load_catalogue(tracks).catalogue
    rows, _ = propose(catalogue, Listener(Stage.WEEK_1))
    assert {catalogue.id_of(row) for row in rows.tolist()} == {row[-1] for row in TRACKS}
    heard = catalogue.recordings_of(["a1", "a3", "unknown"])
    assert [catalogue.id_of(row) for row in heard.tolist()] == ["a2"]


def test_the_real_catalogue_holds_recordings_under_many_ids(
    engine: sa.Engine, data_folder: Path
) -> None:
    import_catalogue(engine, data_folder, now=NOW)
    build = build_features(engine, now=NOW)
    assert 0.01 < build.recordings / build.tracks < 0.2
    with engine.connect() as connection:
        apart = connection.scalar(
            sa.text(
                "SELECT count(*) FROM tracks t JOIN tracks c ON c.track_id = t.canonical_id"
                " WHERE (t.artist_key, t.title_key) <> (c.artist_key, c.title_key)"
                "    OR c.canonical_id IS NOT NULL OR c.popularity < t.popularity"
            )
        )
    assert apart == 0
