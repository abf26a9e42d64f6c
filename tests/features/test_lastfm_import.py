"""The Last.fm import: counts per artist, and how much of them joins the catalogue."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from features.imports import ALREADY_STORED, InputError
from features.sources.catalogue import import_catalogue
from features.sources.coverage import coverage
from features.sources.lastfm import ANOTHER_SPELLING, REPEATED, import_lastfm
from features.sources.names import name_key

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def _folder(folder: Path, plays: str, artists: str) -> Path:
    (folder / "lastfm_user_artists.csv").write_text(plays, encoding="utf-8")
    (folder / "lastfm_artists.csv").write_text(artists, encoding="utf-8")
    return folder


def _rows(engine: sa.Engine, query: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def test_real_data_and_its_join(engine: sa.Engine, data_folder: Path) -> None:
    plays = pd.read_csv(data_folder / "lastfm_user_artists.csv.gz")
    names = pd.read_csv(data_folder / "lastfm_artists.csv.gz", keep_default_na=False)
    import_catalogue(engine, data_folder, now=NOW)

    report = import_lastfm(engine, data_folder, now=NOW)

    assert report.read == len(plays) == report.stored + report.skipped[ANOTHER_SPELLING]
    key = plays.artistID.map(dict(zip(names.id, names.name.map(name_key), strict=True)))
    assert report.stored == len(set(zip(plays.userID, key, strict=True)))
    total = "SELECT count(DISTINCT user_id), sum(play_count) FROM artist_plays"
    assert _rows(engine, total) == [(plays.userID.nunique(), int(plays.weight.sum()))]

    tracks, means, either = coverage(engine)
    measured = [(tracks.rows, tracks.plays), (means.rows, means.plays), (either.rows, either.plays)]
    expected = [(0.48, 0.61), (0.72, 0.81), (0.73, 0.82)]  # data/README.md
    for ours, theirs in zip(measured, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=0.01)
    assert tracks.listeners_without == 14
    # Its shares of artists are over all names in the file, heard or not.
    known = [
        {row[0] for row in _rows(engine, f"SELECT artist_key FROM {table}")}
        for table in ("tracks", "artist_audio_features")
    ]
    shares = [names.name.map(name_key).isin(keys).mean() for keys in known]
    assert shares == pytest.approx([0.10, 0.29], abs=0.01)
    assert report.notes == tuple(map(str, (tracks, means, either)))

    again = import_lastfm(engine, data_folder, now=NOW + timedelta(days=1))
    assert again.stored == 0
    assert again.skipped == {**report.skipped, ALREADY_STORED: report.stored}
    assert _rows(engine, "SELECT DISTINCT created_at, source FROM users") == [(NOW, "lastfm")]


def test_spellings_add_up_and_bad_rows_are_set_aside(engine: sa.Engine, tmp_path: Path) -> None:
    _folder(
        tmp_path,
        "userID,artistID,weight\n2,1,10\n2,2,5\n3,2,7\n3,2,7\n3,9,1\n3,3,0\n,1,4\n3,1,many\n",
        "id,name\n1,Björk\n2,bjork\n3,!!!\n",
    )
    report = import_lastfm(engine, tmp_path, trainable=False, now=NOW)
    assert (report.read, report.stored) == (8, 2)
    assert report.skipped == {
        ANOTHER_SPELLING: 1,
        REPEATED: 1,
        "artistID is not in lastfm_artists, or has no name": 1,
        "weight outside 1 to 9007199254740992": 1,
        "userID is missing": 1,
        "weight is not a number": 1,
    }
    stored = "SELECT user_id, artist_name, artist_key, play_count, source, trainable"
    assert _rows(engine, f"{stored} FROM artist_plays ORDER BY user_id") == [
        ("lastfm-2", "Björk", "bjork", 15, "lastfm", False),
        ("lastfm-3", "Björk", "bjork", 7, "lastfm", False),
    ]
    reasons = Counter(row[0] for row in _rows(engine, "SELECT reason FROM quarantine"))
    assert reasons.total() == 4
    import_lastfm(engine, tmp_path, trainable=False, now=NOW)
    assert _rows(engine, "SELECT count(*) FROM quarantine") == [(4,)]


def test_a_changed_count_is_updated(engine: sa.Engine, tmp_path: Path) -> None:
    artists = "id,name\n1,Ann\n2,Bob\n"
    import_lastfm(
        engine, _folder(tmp_path, "userID,artistID,weight\n2,1,1\n2,2,1\n", artists), now=NOW
    )
    report = import_lastfm(
        engine, _folder(tmp_path, "userID,artistID,weight\n2,1,1\n2,2,3\n", artists), now=NOW
    )
    assert (report.stored, report.skipped) == (1, {ALREADY_STORED: 1})


@pytest.mark.parametrize(
    ("plays", "artists", "message"),
    [
        ("user,artistID,weight\n2,1,1\n", "id,name\n1,A\n", "has no column userid"),
        ("userID,artistID,weight\n2,1,1\n", "id,title\n1,A\n", "has no column name"),
        ("userID,artistID,weight\n2,1\n", "id,name\n1,A\n", "line 2: 2 cells"),
        ("", "id,name\n1,A\n", "is empty"),
    ],
)
def test_a_bad_file_is_one_line_and_leaves_nothing(
    engine: sa.Engine, tmp_path: Path, plays: str, artists: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        import_lastfm(engine, _folder(tmp_path, plays, artists), now=NOW)
    assert "\n" not in str(caught.value)
    assert _rows(
        engine, "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM imports)"
    ) == [(0,)]


def test_a_missing_file_is_named(engine: sa.Engine, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no lastfm_user_artists\.csv\.gz"):
        import_lastfm(engine, tmp_path, now=NOW)


def test_coverage_of_nothing_is_nothing(engine: sa.Engine) -> None:
    assert {(c.artists, c.rows, c.plays, c.listeners_without) for c in coverage(engine)} == {
        (0, 0, 0, 0)
    }
