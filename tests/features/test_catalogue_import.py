"""The catalogue import: every row accounted for, nothing half done, again changes nothing."""

import csv
import gzip
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from features.imports import ALREADY_STORED, InputError, Report
from features.sources.catalogue import ANOTHER_ROW, import_catalogue

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TABLES = ("tracks", "audio_features", "artist_audio_features", "imports", "quarantine")
ROW = {
    "track_id": "t1", "track_name": "One", "track_artist": "Ann", "track_popularity": "40",
    "track_album_release_date": "2019-06-14", "playlist_id": "p1", "playlist_genre": "pop",
    "playlist_subgenre": "dance pop", "danceability": "0.7", "energy": "0.8", "key": "5",
    "loudness": "-4.5", "mode": "1", "speechiness": "0.05", "acousticness": "0.1",
    "instrumentalness": "0", "liveness": "0.1", "valence": "0.5", "tempo": "120.5",
    "duration_ms": "200000",
}  # fmt: skip
MEANS = {
    "artists": "Ann", "count": "3", "danceability": "0.5", "energy": "0.5", "valence": "0.5",
    "tempo": "100", "acousticness": "0.5", "instrumentalness": "0.5", "speechiness": "0.5",
    "popularity": "33.3",
}  # fmt: skip


def write(path: Path, rows: Iterable[Mapping[str, str]]) -> Path:
    rows = list(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def counts(engine: sa.Engine) -> dict[str, int]:
    with engine.connect() as connection:
        found = {t: connection.scalar(sa.text(f"SELECT count(*) FROM {t}")) for t in TABLES}
    return {table: int(n or 0) for table, n in found.items()}


def one(engine: sa.Engine, query: str) -> tuple[Any, ...]:
    with engine.connect() as connection:
        return tuple(connection.execute(sa.text(query)).one())


def test_real_data_is_accounted_for_row_by_row(engine: sa.Engine, data_folder: Path) -> None:
    songs = pd.read_csv(data_folder / "spotify_songs.csv.gz", keep_default_na=False)
    means = pd.read_csv(data_folder / "artist_audio_features.csv.gz", keep_default_na=False)
    nameless = (songs.track_name == "") | (songs.track_artist == "")
    tracks = songs[~nameless].track_id.nunique()

    report = import_catalogue(engine, data_folder, now=NOW)

    assert report.read == len(songs) + len(means)
    assert report.read == report.stored + sum(report.skipped.values())
    assert report.skipped["track_name is missing"] == nameless.sum()
    assert report.skipped[ANOTHER_ROW] == (~nameless).sum() - tracks
    found = counts(engine)
    assert found["tracks"] == found["audio_features"] == tracks
    assert found["tracks"] + found["artist_audio_features"] == report.stored
    assert found["quarantine"] == nameless.sum()
    silent = "SELECT count(*), count(tempo), count(danceability) FROM artist_audio_features"
    artists, tempos, danceabilities = one(engine, silent)
    assert (artists, tempos) == (found["artist_audio_features"], danceabilities)
    assert artists - tempos == 47
    share = one(engine, "SELECT avg((category IS NOT NULL)::int) FROM tracks")[0]
    assert share == 1

    again = import_catalogue(engine, data_folder, now=NOW + timedelta(days=1))

    assert again.stored == 0
    assert again.skipped[ALREADY_STORED] == report.stored
    assert counts(engine) == {**found, "imports": 2}
    assert one(engine, "SELECT max(updated_at) FROM tracks")[0] == NOW


def test_one_track_of_many_playlists(engine: sa.Engine, tmp_path: Path) -> None:
    rows = [
        ROW,
        ROW | {"playlist_id": "p2", "playlist_genre": "edm", "playlist_subgenre": "pop edm"},
        ROW | {"playlist_id": "p3", "playlist_genre": "edm", "playlist_subgenre": "pop edm"},
        ROW | {"playlist_id": "p3", "playlist_genre": "edm", "playlist_subgenre": "big room"},
        ROW | {"track_id": "t2", "track_name": "NA", "tempo": "0", "track_artist": "Béla"},
    ]
    report = import_catalogue(engine, write(tmp_path / "songs.csv", rows), now=NOW)
    assert report == Report("catalogue", 5, 2, {ANOTHER_ROW: 3}, report.notes)
    genres, category = one(engine, "SELECT genres, category FROM tracks WHERE track_id = 't1'")
    assert genres == ["pop-edm", "big-room", "dance-pop", "edm", "pop"]
    assert category == "dance_floor"
    t2 = "SELECT track_name, artist_key, tempo FROM tracks JOIN audio_features USING (track_id)"
    assert one(engine, f"{t2} WHERE track_id = 't2'") == ("NA", "bela", None)


@pytest.mark.parametrize(
    ("cell", "stored"),
    [("1975", date(1975, 1, 1)), ("1999-07", date(1999, 7, 1)), ("", None), ("0000", None)],
)
def test_release_dates(engine: sa.Engine, tmp_path: Path, cell: str, stored: date | None) -> None:
    path = write(tmp_path / "songs.csv", [ROW | {"track_album_release_date": cell}])
    import_catalogue(engine, path, now=NOW)
    assert one(engine, "SELECT release_date FROM tracks")[0] == stored


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("energy", "1.2", "energy outside 0 to 1"),
        ("energy", "inf", "energy outside 0 to 1"),
        ("valence", "happy", "valence is not a number"),
        ("loudness", "-61", "loudness outside -60 to 10"),
        ("tempo", "-1", "tempo outside 0 to 500"),
        ("track_popularity", "101", "popularity outside 0 to 100"),
        ("duration_ms", "0", "duration_ms outside 1 to 2147483647"),
        ("track_album_release_date", "2019-02-30", "release_date is not a date"),
        ("track_name", " ", "track_name is missing"),
        ("track_artist", "", "artist_name is missing"),
        ("track_id", "x" * 129, "track_id is too long or holds a NUL"),
        ("track_name", "a\0b", "track_name is too long or holds a NUL"),
    ],
)
def test_what_cannot_be_goes_to_quarantine(
    engine: sa.Engine, tmp_path: Path, column: str, cell: str, reason: str
) -> None:
    good = ROW | {"track_id": "t2"}
    report = import_catalogue(
        engine, write(tmp_path / "s.csv", [ROW | {column: cell}, good]), now=NOW
    )
    assert (report.stored, report.skipped) == (1, {reason: 1})
    kept, entry = one(engine, "SELECT reason, entry FROM quarantine")
    assert kept == reason
    assert entry["line"] == 2
    assert entry[column] == cell.replace("\0", "\ufffd")


def test_a_changed_row_is_updated_and_only_that(engine: sa.Engine, tmp_path: Path) -> None:
    rows = [ROW, ROW | {"track_id": "t2"}, ROW | {"track_id": "t3"}]
    import_catalogue(engine, write(tmp_path / "s.csv", rows), now=NOW)
    rows[1] |= {"valence": "0.9"}
    rows[2] |= {"track_name": 'Tab\tand "quote" and \\'}
    later = NOW + timedelta(days=1)
    report = import_catalogue(engine, write(tmp_path / "s.csv", rows), now=later)
    assert (report.stored, report.skipped) == (2, {ALREADY_STORED: 1})
    changed = "SELECT array_agg(track_id ORDER BY 1) FROM {} WHERE updated_at > '2026-03-01 12:00Z'"
    assert one(engine, changed.format("tracks"))[0] == ["t3"]
    assert one(engine, changed.format("audio_features"))[0] == ["t2"]
    name = one(engine, "SELECT track_name FROM tracks WHERE track_id = 't3'")[0]
    assert name == 'Tab\tand "quote" and \\'


def test_other_names_for_columns_and_parquet(engine: sa.Engine, tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "id": ["t1", "t2"],
            "Name": ["One", "Two"],
            "artists": ["['Ann', 'Bob']", "['Cy']"],
            "track_genre": ["indie-pop", "grindcore"],
            "popularity": [50.0, None],
            "explicit": [True, False],
            "BPM": [120.0, 90.0],
            "release_date": [pd.Timestamp("2020-02-03"), pd.NaT],
        }
    )
    frame.to_parquet(tmp_path / "songs.parquet")
    report = import_catalogue(engine, tmp_path / "songs.parquet", trainable=False, now=NOW)
    assert report.stored == 2
    query = "SELECT artist_name, explicit, popularity, tempo, release_date, genres, t.trainable"
    query += " FROM tracks t JOIN audio_features USING (track_id) WHERE track_id = "
    expected = ("Ann", True, 50, 120.0, date(2020, 2, 3), ["indie-pop"], False)
    assert one(engine, f"{query}'t1'") == expected
    assert one(engine, f"{query}'t2'")[:5] == ("Cy", False, None, 90.0, None)


def test_of_two_spellings_the_one_over_more_tracks_stays(engine: sa.Engine, tmp_path: Path) -> None:
    write(tmp_path / "spotify_songs.csv", [ROW])
    means = [
        MEANS | {"artists": "Beyonce", "count": "2"},
        MEANS | {"artists": "Beyoncé", "count": "9", "tempo": "0", "danceability": "0"},
        MEANS | {"artists": "BEYONCÉ", "count": "4"},
    ]
    write(tmp_path / "artist_audio_features.csv", means)
    report = import_catalogue(engine, tmp_path, now=NOW)
    assert report.stored == 2
    assert report.skipped == {"another spelling of the same artist": 2}
    row = one(engine, "SELECT artist_key, artist_name, track_count, tempo, danceability, source"
              " FROM artist_audio_features")  # fmt: skip
    assert row == ("beyonce", "Beyoncé", 9, None, None, "catalogue")


def _bad_inputs(folder: Path) -> dict[str, Path]:
    whole = write(folder / "whole.csv", [ROW, ROW])
    text = whole.read_text(encoding="utf-8")
    header, row, _ = text.splitlines()
    packed = gzip.compress(text.encode() * 50)
    bad = {
        "has no column track_id": text.replace("track_id", "nr").encode(),
        "line 3: 2 cells where the header has 20": f"{header}\n{row}\na,b\n".encode(),
        "is not UTF-8": text.encode() + b"\xff\xfe,",
        "cut off": packed[: len(packed) // 2],
        "is empty": b"",
        "not a whole Parquet file": b"PAR1 and nothing else",
        "unexpected end": (text + '"unclosed').encode(),
    }
    paths = {}
    for number, (message, content) in enumerate(bad.items()):
        paths[message] = folder / f"bad{number}.csv"
        paths[message].write_bytes(content)
    (folder / "empty").mkdir()
    return paths | {
        "cannot be read: No such file": folder / "none.csv",
        "has no spotify_songs.csv.gz": folder / "empty",
    }


def test_a_bad_input_is_one_line_and_leaves_nothing(engine: sa.Engine, tmp_path: Path) -> None:
    import_catalogue(engine, write(tmp_path / "good.csv", [ROW | {"track_id": "t0"}]), now=NOW)
    before = counts(engine)
    for message, path in _bad_inputs(tmp_path).items():
        with pytest.raises(InputError, match=message) as caught:
            import_catalogue(engine, path, now=NOW)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
        assert counts(engine) == before


def test_a_bad_second_file_leaves_nothing_of_the_first(engine: sa.Engine, tmp_path: Path) -> None:
    write(tmp_path / "spotify_songs.csv", [ROW])
    means = [{name: cell for name, cell in MEANS.items() if name != "energy"}]
    write(tmp_path / "artist_audio_features.csv", means)
    before = counts(engine)
    with pytest.raises(InputError, match="has no column energy"):
        import_catalogue(engine, tmp_path, now=NOW)
    assert counts(engine) == before


def test_an_interrupted_import_leaves_nothing_and_runs_again(
    engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, before = write(tmp_path / "s.csv", [ROW]), counts(engine)
    with monkeypatch.context() as patch:

        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("features.sources.catalogue.record", interrupt)
        with pytest.raises(KeyboardInterrupt):
            import_catalogue(engine, path, now=NOW)
    assert counts(engine) == before
    assert import_catalogue(engine, path, now=NOW).stored == 1


def test_a_report_that_does_not_add_up_is_refused() -> None:
    with pytest.raises(ValueError, match="3 read is not 1 stored"):
        Report("catalogue", 3, 1, {"another row": 1})
