"""The catalogue import: tracks with audio features, and means per artist.

A file of Spotify-like rows says one thing per (track, playlist, subgenre); the tables hold one row
per track. The genre columns describe playlists, so a track's genres are those of its playlists.
"""

from collections import Counter
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from features.imports import ALREADY_STORED, InputError, Report, merge, one_at_a_time, record
from features.sources.artist_means import read_artist_means, write_artist_means
from features.sources.catalogue_tracks import Tracks, read_tracks
from features.sources.files import find, read_table, sha256_of
from features.sources.names import name_key
from recommender.audio import FEATURES
from recommender.genres import categorise

SOURCE = "catalogue"
SONGS, ARTIST_MEANS = "spotify_songs.csv.gz", "artist_audio_features.csv.gz"
ANOTHER_ROW = "another row of the same track"

TRACK_VALUES = (
    "isrc", "track_name", "artist_name", "album_name", "release_date", "duration_ms", "explicit",
    "popularity",
)  # fmt: skip
AUDIO_VALUES = (*FEATURES, "loudness", "liveness", "key", "mode")
TRACK_COLUMNS = (
    "track_id", *TRACK_VALUES, "artist_key", "title_key", "genres", "category", "source",
    "trainable",
)  # fmt: skip
AUDIO_COLUMNS = ("track_id", *AUDIO_VALUES, "source", "trainable")


def import_catalogue(
    engine: sa.Engine, path: Path, *, trainable: bool = True, now: datetime
) -> Report:
    """Import the folder of BONDHU_DATA, or one CSV or Parquet file of Spotify-like rows.

    A track is what the latest import says of it. A row with a cell that cannot be goes to
    quarantine; a track's other rows still count.

    Parameters
    ----------
    path
        A folder with spotify_songs.csv.gz and perhaps artist_audio_features.csv.gz, or a file.
    trainable
        May models be trained on these rows?
    now
        Written to updated_at of what changed.

    Raises
    ------
    InputError
        The input as a whole cannot be used; nothing was stored.
    """
    songs, means = _inputs(path)
    tracks = read_tracks(read_table(songs))
    artists = read_artist_means(read_table(means)) if means else None
    with one_at_a_time(engine) as connection:
        changed = _write(connection, tracks, trainable=trainable, now=now)
        read, stored = tracks.read, len(changed)
        skipped = Counter({ANOTHER_ROW: tracks.merged})
        skipped[ALREADY_STORED] = len(tracks.by_id) - stored
        rejects, notes = list(tracks.rejects), list(tracks.notes)
        if artists:
            written = write_artist_means(connection, artists, trainable=trainable, now=now)
            read, stored = read + artists.read, stored + written.stored
            skipped.update(written.skipped)
            rejects += artists.rejects
            notes.append(f"{len(artists.by_key)} artists with audio means of their own")
        skipped.update(reject.reason for reject in rejects)
        report = Report(SOURCE, read, stored, dict(+skipped), tuple(notes))
        files = [songs, *([means] if means else [])]
        record(connection, report, sha256=sha256_of(files), rejects=rejects, now=now)
    return report


def _inputs(path: Path) -> tuple[Path, Path | None]:
    if not path.is_dir():
        return path, None
    songs = find(path, SONGS)
    if songs is None:
        raise InputError(
            f"{path} has no {SONGS}: name the folder that has it, or one CSV or Parquet file"
        )
    return songs, find(path, ARTIST_MEANS)


def _write(
    connection: sa.Connection, tracks: Tracks, *, trainable: bool, now: datetime
) -> set[str]:
    """Merge tracks and their audio; return the ids of those of which anything changed."""
    origin = (SOURCE, trainable)
    rows, audio = [], []
    for track_id, track in tracks.by_id.items():
        values, genres = track.values, track.genres
        keys = name_key(str(values["artist_name"])), name_key(str(values["track_name"]))
        tagged = genres, categorise(genres)
        rows.append((track_id, *map(values.get, TRACK_VALUES), *keys, *tagged, *origin))
        heard = tuple(map(values.get, AUDIO_VALUES))
        if any(value is not None for value in heard):
            audio.append((track_id, *heard, *origin))
    changed = merge(connection, "tracks", TRACK_COLUMNS, rows, key="track_id", now=now)
    return changed | merge(
        connection, "audio_features", AUDIO_COLUMNS, audio, key="track_id", now=now
    )
