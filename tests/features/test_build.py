"""The feature build: what is derived equals its origin; a second build does nothing."""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from features.assessments import save_assessment
from features.build import Build, build_features
from features.sources.catalogue import import_catalogue
from features.sources.lastfm import import_lastfm
from features.sources.world import build_world
from recommender.personality import ideals_of, trait_weight
from recommender.questionnaires import Assessment

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
DERIVED = (
    "listening_history", "artist_audio_features", "personality_features", "feature_builds",
    "listener_genres", "track_listeners", "popular_tracks", "feature_changes",
)  # fmt: skip

# Every aggregate that differs from its plays, in either direction.
DIFFERENCES = """
    SELECT count(*) FROM listening_history h FULL JOIN (
        SELECT p.user_id, p.track_id, t.track_name, t.artist_name, max(played_at) AS played_at,
               count(*) AS n, sum(ms_played) AS ms
        FROM plays p JOIN tracks t USING (track_id) GROUP BY 1, 2, 3, 4
    ) p USING (user_id, track_id)
    WHERE (h.track_name, h.artist_name, h.played_at, h.play_count, h.total_listen_time_ms)
        IS DISTINCT FROM (p.track_name, p.artist_name, p.played_at, p.n, p.ms)
"""


def _content(engine: sa.Engine) -> dict[str, object]:
    query = 'SELECT md5(string_agg(t::text, chr(10) ORDER BY t::text COLLATE "C")) FROM {} t'
    with engine.connect() as connection:
        return {t: connection.scalar(sa.text(query.format(t))) for t in DERIVED}


def _execute(engine: sa.Engine, statement: str, **values: object) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(statement), values)


def _rows(engine: sa.Engine, query: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def _tracks(engine: sa.Engine) -> None:
    _execute(
        engine,
        """
        INSERT INTO tracks (track_id, track_name, artist_name, artist_key, popularity, category,
                            source, trainable, updated_at)
        VALUES ('a1', 'A1', 'Ann', 'ann', 40, 'pop_anthems', 'catalogue', true, :now),
               ('a2', 'A2', 'Ann', 'ann', 60, 'dance_floor', 'catalogue', true, :now),
               ('a3', 'A3', 'ANN', 'ann', null, 'dance_floor', 'spotify', false, :now),
               ('b1', 'B1', 'Bob', 'bob', 10, null, 'catalogue', true, :now),
               ('c1', 'C1', 'Cy', 'cy', 10, null, 'spotify', false, :now)
        """,
        now=NOW,
    )
    _execute(
        engine,
        """
        INSERT INTO audio_features (track_id, energy, tempo, source, trainable, updated_at)
        VALUES ('a1', 0.25, 100, 'catalogue', true, :now),
               ('a2', 0.75, null, 'catalogue', true, :now),
               ('a3', 0.5, 140, 'catalogue', true, :now), ('b1', 0.5, 90, 'catalogue', true, :now)
        """,
        now=NOW,
    )
    _execute(
        engine,
        """
        INSERT INTO artist_audio_features
            (artist_key, artist_name, energy, track_count, source, trainable, updated_at)
        VALUES ('ann', 'Ann', 0.9, 30, 'catalogue', true, :now),
               ('cy', 'Cy', 0.9, 30, 'catalogue', true, :now)
        """,
        now=NOW,
    )


def test_an_artists_own_tracks_win_over_means_from_a_file(engine: sa.Engine) -> None:
    _tracks(engine)
    build = build_features(engine, now=LATER)
    assert build.artists == 2
    query = """
        SELECT artist_key, artist_name, energy, tempo, popularity, category, track_count, source,
               trainable, updated_at
        FROM artist_audio_features ORDER BY artist_key
    """
    assert _rows(engine, query) == [
        # A mean with one track that may not be trained on may not be trained on.
        ("ann", "Ann", 0.5, 120.0, 50.0, "dance_floor", 3, "tracks", False, LATER),
        ("bob", "Bob", 0.5, 90.0, 10.0, None, 1, "tracks", True, LATER),
        # Cy's track has no audio features: the file's means are all there is.
        ("cy", "Cy", 0.9, None, None, None, 30, "catalogue", True, NOW),
    ]


def test_a_second_build_does_nothing_and_says_so(engine: sa.Engine) -> None:
    build_world(engine, tracks=300, listeners=20, now=NOW)
    steps: list[tuple[str, float]] = []
    first = build_features(engine, now=NOW, progress=lambda *step: steps.append(step))
    assert first.is_new
    assert len(steps) >= 5
    assert steps[-1][1] == 1.0
    assert (first.tracks, first.listeners, first.personality) == (300, 20, 20)
    before = _content(engine)
    second = build_features(engine, now=LATER)
    assert second == Build(
        0, 0, 0, 0, first.tracks, first.artist_total, 20, build_id=first.build_id, is_new=False
    )
    assert str(second).startswith(f"nothing changed since build {first.build_id}")
    assert _content(engine) == before


def test_a_change_makes_a_new_build(engine: sa.Engine) -> None:
    build_world(engine, tracks=300, listeners=20, now=NOW)
    ids = [build_features(engine, now=NOW).build_id]
    changes = [
        "UPDATE tracks SET genres = '{jazz}', updated_at = :now WHERE track_id = 'sim-track-0001'",
        "UPDATE audio_features SET mode = 1, updated_at = :now WHERE track_id = 'sim-track-0001'",
        "DELETE FROM plays WHERE user_id = 'sim-003'",
        "INSERT INTO users (user_id, source) VALUES ('new', 'test')",
    ]
    for day, change in enumerate(changes, start=1):
        now = NOW + timedelta(days=day)
        _execute(engine, change, **({"now": now} if ":now" in change else {}))
        ids.append(build_features(engine, now=now).build_id)
        assert not build_features(engine, now=now).is_new
    assert ids == [1, 2, 3, 4, 5]


def test_history_equals_plays_whatever_happened_to_them(engine: sa.Engine) -> None:
    build_world(engine, tracks=300, listeners=20, now=NOW)
    build_features(engine, now=NOW)
    assert _rows(engine, DIFFERENCES) == [(0,)]
    assert _rows(engine, "SELECT sum(play_count) = (SELECT count(*) FROM plays)"
                 " FROM listening_history") == [(True,)]  # fmt: skip
    for change in (
        "DELETE FROM plays WHERE user_id IN ('sim-003', 'sim-004')",
        "UPDATE plays SET ms_played = 1 WHERE user_id = 'sim-005'",
        "UPDATE tracks SET track_name = 'New name' WHERE track_id < 'sim-track-0100'",
        "SELECT upsert_listening_history('sim-006', 'sim-track-0007', '2026-02-27Z', 5, 'test')",
        "INSERT INTO plays SELECT user_id, 'sim-track-0001', now(), 3, 'test', true FROM users",
    ):
        _execute(engine, change)
        build_features(engine, now=LATER)
        assert _rows(engine, DIFFERENCES) == [(0,)]


def test_only_new_assessments_are_worked_out(engine: sa.Engine) -> None:
    build_world(engine, tracks=300, listeners=20, now=NOW)
    build_features(engine, now=NOW)
    with engine.begin() as connection:
        scores = {"openness": 80.0, "neuroticism": 20.0}
        assessment = Assessment(scores, {})
        save_assessment(connection, "sim-002", assessment, method="test", now=LATER)
        connection.execute(sa.text("DELETE FROM personality_features WHERE user_id = 'sim-002'"))
        connection.execute(
            sa.text("UPDATE personality_scores SET is_active = false WHERE user_id = 'sim-001'")
        )
    assert build_features(engine, now=LATER).personality == 2
    query = "SELECT user_id, traits, ideals, weights FROM personality_features WHERE updated_at > "
    traits = {"openness": 0.8, "neuroticism": 0.2}
    weights = {trait: trait_weight(value) for trait, value in traits.items()}
    assert _rows(engine, f"{query} '2026-03-01Z'") == [
        ("sim-002", traits, ideals_of(traits), weights)
    ]
    assert _rows(engine, "SELECT count(*) FROM personality_features") == [(19,)]


def test_an_interrupted_build_is_continued(engine: sa.Engine) -> None:
    _tracks(engine)

    def interrupt(step: str, _: float) -> None:
        if "history" in step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_features(engine, now=LATER, progress=interrupt)
    # The artists are done; the number that lists are kept under rises only with the whole.
    assert _rows(engine, "SELECT count(*) FROM artist_audio_features WHERE source = 'tracks'"
                 " UNION ALL SELECT count(*) FROM feature_builds") == [(2,), (0,)]  # fmt: skip
    again = build_features(engine, now=LATER)
    assert (again.artists, again.is_new) == (0, True)


def test_means_of_own_tracks_survive_the_next_import(engine: sa.Engine, tmp_path: Path) -> None:
    songs = {"id": "b9", "name": "B9", "artist": "Bob", "energy": "0.5"}
    means = {
        "artists": "Bob", "count": "9", "danceability": "0.1", "energy": "0.1", "valence": "0.1",
        "tempo": "90", "acousticness": "0.1", "instrumentalness": "0.1", "speechiness": "0.1",
        "popularity": "1",
    }  # fmt: skip
    for name, row in (("spotify_songs.csv", songs), ("artist_audio_features.csv", means)):
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows([row.keys(), row.values()])
    assert import_catalogue(engine, tmp_path, now=NOW).stored == 2
    assert build_features(engine, now=NOW).artists == 1
    again = import_catalogue(engine, tmp_path, now=LATER)
    assert (again.stored, again.skipped["the artist's own tracks say more"]) == (0, 1)
    assert _rows(engine, "SELECT source, energy FROM artist_audio_features") == [("tracks", 0.5)]
    assert not build_features(engine, now=LATER).is_new


def test_real_data(engine: sa.Engine, data_folder: Path) -> None:
    import_catalogue(engine, data_folder, now=NOW)
    import_lastfm(engine, data_folder, now=NOW)
    build = build_features(engine, now=NOW)
    own = "SELECT count(DISTINCT artist_key) FROM tracks"
    assert _rows(engine, own) == [(build.artists,)]
    assert _rows(
        engine,
        """
        SELECT count(*) FROM artist_audio_features m
        WHERE m.source = 'tracks' AND abs(m.energy - (
            SELECT avg(a.energy) FROM tracks t JOIN audio_features a USING (track_id)
            WHERE t.artist_key = m.artist_key)) > 1e-6
        """,
    ) == [(0,)]
    assert not build_features(engine, now=LATER).is_new
    assert import_catalogue(engine, data_folder, now=LATER).stored == 0
