"""The simulated world: equal for equal seeds, calibrated by its figures, marked as simulated."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from features.imports import InputError
from features.sources import world_figures
from features.sources.world import build_world, remove_world
from features.sources.world_figures import GENRES, TASTE_CORRELATION
from features.sources.world_listeners import draw_listeners, draw_plays, utilities
from features.sources.world_music import draw_music
from recommender.audio import FEATURES
from recommender.cold_start import Stage, account_age_days, stage_of
from recommender.personality import TRAITS
from recommender.questionnaires import score

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
TABLES = ("tracks", "audio_features", "users", "personality_scores", "plays")


def _content(engine: sa.Engine) -> dict[str, str]:
    """Return a digest of each table's rows, in no order of their arrival."""
    query = 'SELECT md5(string_agg(t::text, chr(10) ORDER BY t::text COLLATE "C")) FROM {} t'
    with engine.connect() as connection:
        return {t: str(connection.scalar(sa.text(query.format(t)))) for t in TABLES}


def _clear(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("TRUNCATE users, tracks, imports RESTART IDENTITY CASCADE"))


def test_equal_seeds_give_equal_tables(engine: sa.Engine) -> None:
    contents = []
    for seed in (7, 7, 8):
        _clear(engine)
        build_world(engine, seed=seed, tracks=200, listeners=12, now=NOW)
        contents.append(_content(engine))
    assert contents[0] == contents[1]
    assert all(contents[0][table] != contents[2][table] for table in TABLES)


def test_a_second_time_changes_nothing_and_another_world_is_refused(engine: sa.Engine) -> None:
    first = build_world(engine, tracks=200, listeners=12, now=NOW)
    before = _content(engine)
    again = build_world(engine, tracks=200, listeners=12, now=NOW + timedelta(days=3))
    assert (again.read, again.stored) == (first.stored, 0)
    with pytest.raises(InputError, match="another simulated world"):
        build_world(engine, seed=8, tracks=200, listeners=12, now=NOW)
    assert _content(engine) == before


def test_too_small_a_world_is_refused(engine: sa.Engine) -> None:
    with pytest.raises(InputError, match="a world of 5 tracks"):
        build_world(engine, tracks=5, now=NOW)


def test_everything_is_marked_and_all_stages_occur(engine: sa.Engine) -> None:
    report = build_world(engine, now=NOW)
    with engine.connect() as connection:
        marks = connection.execute(
            sa.text(
                "SELECT (SELECT bool_and(simulated AND source = 'simulated') FROM users),"
                " (SELECT bool_and(source = 'simulated' AND album_name LIKE '%(simulated)')"
                "    FROM tracks), (SELECT bool_and(source = 'simulated') FROM plays),"
                " (SELECT bool_and(assessment_method = 'simulated') FROM personality_scores),"
                " (SELECT bool_and(category IS NOT NULL) FROM tracks)"
            )
        ).one()
        listeners = connection.execute(
            sa.text(
                "SELECT u.created_at, min(p.played_at), max(p.played_at) FROM users u"
                " LEFT JOIN plays p USING (user_id) GROUP BY u.user_id, u.created_at"
            )
        ).all()
        plays = connection.scalar(sa.text("SELECT count(*) FROM plays"))
        overlaps = connection.scalar(
            sa.text(
                "SELECT count(*) FROM (SELECT played_at, lag(played_at + ms_played * interval"
                " '1 ms') OVER (PARTITION BY user_id ORDER BY played_at) AS ended FROM plays) p"
                " WHERE played_at < ended"
            )
        )
    assert tuple(marks) == (True,) * 5
    assert plays is not None
    assert plays + 4000 + 2 * 300 == report.stored
    assert overlaps == 0
    stages = [stage_of(account_age_days(NOW, joined, first)) for joined, first, _ in listeners]
    assert [stages.count(stage) for stage in Stage] == [30, 30, 240]
    for joined, first, last in listeners:
        assert NOW - timedelta(days=366) < joined < NOW
        assert first is None or joined <= first <= last < NOW
    assert sum(first is None for _, first, _ in listeners) >= 10


def test_genres_sound_as_their_figures_say() -> None:
    music = draw_music(np.random.default_rng(7), 20_000)
    sizes = np.bincount(music.genre, minlength=len(GENRES)) / len(music)
    figures = list(GENRES.values())
    shares = np.array([genre.tracks for genre in figures]) / sum(g.tracks for g in figures)
    assert np.abs(sizes - shares).max() < 0.001
    for place, genre in enumerate(figures):
        rows = music.audio[music.genre == place]
        error = np.array(genre.deviation) / np.sqrt(len(rows))
        assert (np.abs(rows.mean(axis=0) - genre.mean) < 4.5 * error).all()
        assert rows.std(axis=0) == pytest.approx(genre.deviation, rel=0.2, abs=0.035)
    quantiles = np.quantile(music.popularity, np.linspace(0, 1, 21))
    assert np.abs(quantiles - world_figures.POPULARITY).max() <= 1
    assert music.audio.min() >= 0
    assert np.delete(music.audio, FEATURES.index("tempo"), axis=1).max() <= 1


def test_tastes_follow_traits_as_published_and_no_further() -> None:
    people = draw_listeners(np.random.default_rng(7), 40_000)
    assert people.scores.mean(axis=0) == pytest.approx(world_figures.TRAIT_MEAN, abs=2)
    assert people.scores.std(axis=0) == pytest.approx(world_figures.TRAIT_DEVIATION, abs=2)
    assert people.genre_taste.std(axis=0) == pytest.approx(1, abs=0.03)
    for place, genre in enumerate(GENRES.values()):
        measured = [
            np.corrcoef(people.genre_taste[:, place], people.scores[:, t])[0, 1] for t in range(5)
        ]
        assert measured == pytest.approx(TASTE_CORRELATION[genre.published], abs=0.025)
    assert max(abs(r) for row in TASTE_CORRELATION.values() for r in row) <= 0.16


def test_listeners_hear_what_they_want_more_than_chance() -> None:
    music = draw_music(np.random.default_rng(1), 2000)
    people = draw_listeners(np.random.default_rng(2), 30)
    for i in range(2, 30):
        wanted = utilities(music, people, i)
        plays = draw_plays(np.random.default_rng(i), music, wanted, 200.0)
        assert wanted[plays.track].mean() > wanted.mean() + 0.5 * wanted.std()


def test_the_music_does_not_depend_on_the_number_of_listeners(engine: sa.Engine) -> None:
    build_world(engine, tracks=200, listeners=3, now=NOW)
    few = _content(engine)
    _clear(engine)
    build_world(engine, tracks=200, listeners=30, now=NOW)
    assert _content(engine)["tracks"] == few["tracks"]


def test_the_figures_are_those_of_the_data(data_folder: Path) -> None:
    songs = pd.read_csv(data_folder / "spotify_songs.csv.gz", keep_default_na=False)
    rows = songs.drop_duplicates(["track_id", "playlist_subgenre"])
    year = rows.track_album_release_date.str[:4].astype(int)
    for name, genre in GENRES.items():
        mine = rows.playlist_subgenre == name
        assert genre.tracks == mine.sum()
        assert {genre.parent} == set(rows[mine].playlist_genre)
        for f, feature in enumerate(FEATURES):
            scale = 0.06 if feature == "tempo" else 0.0006
            assert genre.mean[f] == pytest.approx(rows[mine][feature].mean(), abs=scale)
            assert genre.deviation[f] == pytest.approx(rows[mine][feature].std(ddof=0), abs=scale)
        age = (2020 - year[mine]).clip(lower=0).mean() + 0.5
        assert genre.age_years == pytest.approx(age, abs=0.06)
    tracks = songs.drop_duplicates("track_id")
    quantiles = tracks.track_popularity.quantile(np.linspace(0, 1, 21))
    assert list(world_figures.POPULARITY) == quantiles.round().tolist()
    lengths = (tracks.duration_ms.mean(), tracks.duration_ms.std(ddof=0))
    assert pytest.approx(lengths, abs=1000) == world_figures.DURATION_MS

    answers = pd.read_csv(data_folder / "ipip50_responses.csv.gz")
    items = answers[[f"{trait}{i}" for trait in "ENACO" for i in range(1, 11)]].to_numpy()
    people = pd.DataFrame([score("ipip50", list(map(int, row))).scores for row in items])
    people = people[list(TRAITS)]
    assert list(world_figures.TRAIT_MEAN) == pytest.approx(people.mean().tolist(), abs=0.06)
    assert list(world_figures.TRAIT_DEVIATION) == pytest.approx(people.std().tolist(), abs=0.06)
    assert np.abs(people.corr().to_numpy() - world_figures.TRAIT_CORRELATION).max() < 0.006

    published = pd.read_csv(data_folder / "genre_trait_correlations.csv").set_index("Genres")
    published["Neuroticism"] = -published["Stability"]
    columns = [trait.capitalize() for trait in TRAITS]
    for genre_name, expected in TASTE_CORRELATION.items():
        assert list(expected) == published.loc[genre_name, columns].tolist()
    assert {genre.published for genre in GENRES.values()} == set(TASTE_CORRELATION)


def test_a_world_is_not_mixed_with_imported_tracks(engine: sa.Engine) -> None:
    insert = (
        "INSERT INTO tracks (track_id, track_name, artist_name, artist_key, source, trainable)"
        " VALUES ('real', 'T', 'A', 'a', 'catalogue', true)"
    )
    build_world(engine, tracks=200, listeners=12, now=NOW)
    with engine.begin() as connection:
        connection.execute(sa.text(insert))
    assert remove_world(engine) == 200
    assert remove_world(engine) == 0
    with engine.connect() as connection:
        left = connection.execute(
            sa.text(
                "SELECT (SELECT count(*) FROM tracks), (SELECT count(*) FROM users),"
                " (SELECT count(*) FROM plays), (SELECT count(*) FROM artist_audio_features)"
            )
        ).one()
    assert tuple(left) == (1, 0, 0, 0)
    with pytest.raises(InputError, match="imported tracks"):
        build_world(engine, tracks=200, listeners=12, now=NOW)
