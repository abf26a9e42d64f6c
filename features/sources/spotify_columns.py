"""Spotify-like columns: what others call them, and what each may hold.

The published ranges stand here once; a cell outside its range makes the whole row a reject.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from features.sources.cells import (
    artist,
    day,
    flag,
    genres,
    key,
    number,
    optional_text,
    text,
    whole,
)
from features.sources.files import Table

Reader = Callable[[str, str], object]

_share = partial(number, low=0, high=1)


@dataclass(frozen=True)
class Column:
    """How one of our columns is called elsewhere (the first found counts), and read."""

    read: Reader
    synonyms: tuple[str, ...] = ()
    required: bool = False


COLUMNS: Mapping[str, Column] = {
    "track_id": Column(
        partial(text, longest=128), ("spotify_id", "spotify_track_id", "id"), required=True
    ),
    "track_name": Column(text, ("name", "title", "track", "song"), required=True),
    "artist_name": Column(text, ("track_artist", "artist"), required=True),
    "album_name": Column(optional_text, ("track_album_name", "album")),
    "release_date": Column(day, ("track_album_release_date", "album_release_date", "year")),
    "isrc": Column(optional_text),
    "explicit": Column(flag),
    "duration_ms": Column(
        partial(whole, low=1, high=2**31 - 1), ("track_duration_ms", "track_duration")
    ),
    "popularity": Column(partial(whole, low=0, high=100), ("track_popularity",)),
    "playlist": Column(optional_text, ("playlist_id", "playlist_name")),
    "genre": Column(genres, ("playlist_genre", "track_genre", "genres", "artist_genres")),
    "subgenre": Column(genres, ("playlist_subgenre", "sub_genre")),
    "danceability": Column(_share),
    "energy": Column(_share),
    "valence": Column(_share),
    "tempo": Column(partial(number, low=0, high=500, zero=False), ("bpm", "tempo_bpm")),
    "acousticness": Column(_share),
    "instrumentalness": Column(_share),
    "speechiness": Column(_share),
    "loudness": Column(partial(number, low=-60, high=10)),
    "liveness": Column(_share),
    "key": Column(key),
    "mode": Column(partial(whole, low=0, high=1)),
}
"""Our column -> the rest. Header spelling is free: 'Track Name' is track_name."""

ARTIST_LISTS = ("artists", "artist_names", "artist_name_s")
"""Columns that name all of a track's artists: the first is taken."""


def places(table: Table) -> dict[str, tuple[int, Reader]]:
    """Return for each of our columns that a file has: where it stands, and how it is read.

    Raises
    ------
    InputError
        A required column is missing.
    """
    found: dict[str, tuple[int, Reader]] = {}
    for name, column in COLUMNS.items():
        known = [other for other in (name, *column.synonyms) if other in table.columns]
        lists = [other for other in ARTIST_LISTS if other in table.columns]
        if name == "artist_name" and not known and lists:
            found[name] = table.place(lists[0]), artist
        elif known or column.required:
            found[name] = table.place(name, synonyms=column.synonyms), column.read
    return found


def read_row(
    row: Sequence[str],
    where: Mapping[str, tuple[int, Reader]],
) -> dict[str, object]:
    """Return a row's values by our column names.

    Raises
    ------
    RejectedError
        With the reason of the first cell that cannot be.
    """
    return {name: read(name, row[place]) for name, (place, read) in where.items()}
