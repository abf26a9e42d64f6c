"""Means of Spotify audio features per artist, from a file: for artists without tracks here.

Where the catalogue has tracks of an artist, `features.build` takes the means from those: such a row
has source 'tracks', and no file replaces it.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import sqlalchemy as sa

from features.imports import ALREADY_STORED, Reject, merge
from features.sources.cells import RejectedError, number, text, whole
from features.sources.files import Table
from features.sources.names import name_key
from recommender.audio import FEATURES

SOURCE = "catalogue"
COLUMNS = (
    "artist_key",
    "artist_name",
    *FEATURES,
    "popularity",
    "track_count",
    "source",
    "trainable",
)

ANOTHER_SPELLING = "another spelling of the same artist"
OWN_TRACKS = "the artist's own tracks say more"

_KNOWN = {  # 47 artists of the '1921-2020' data have tempo 0 and danceability 0: never analysed
    "tempo": partial(number, low=0, high=500, zero=False),
    "danceability": partial(number, low=0, high=1, zero=False),
    "popularity": partial(number, low=0, high=100),
}
_SHARE = partial(number, low=0, high=1)


@dataclass
class ArtistMeans:
    """What a file says of artists; read = artists + other spellings + rejects."""

    by_key: dict[str, dict[str, object]] = field(default_factory=dict)
    read: int = 0
    rejects: list[Reject] = field(default_factory=list)


def read_artist_means(table: Table) -> ArtistMeans:
    """Read artist_audio_features.csv; of two rows with one key the one over more tracks stays.

    Raises
    ------
    InputError
        A column is missing, or the file is damaged.
    """
    name_at, count_at = table.place("artists"), table.place("count")
    where = {name: table.place(name) for name in (*FEATURES, "popularity")}
    means, counts = ArtistMeans(), dict[str, int]()
    for line, row in table.rows:
        means.read += 1
        try:
            name = text("artists", row[name_at])
            count = whole("count", row[count_at], low=1, high=2**31 - 1)
            if count is None:
                raise RejectedError("count is missing")
            values = {
                feature: _KNOWN.get(feature, _SHARE)(feature, row[place])
                for feature, place in where.items()
            }
        except RejectedError as error:
            entry = {"line": line, **dict(zip(table.columns, row, strict=True))}
            means.rejects.append(Reject(f"artist: {error}", entry))
            continue
        artist: dict[str, object] = {"artist_name": name, "track_count": count, **values}
        key = name_key(name)
        if count > counts.get(key, 0):
            means.by_key[key], counts[key] = artist, count
    return means


@dataclass(frozen=True)
class Written:
    """How many artists changed, and why others did not."""

    stored: int
    skipped: Counter[str]


def write_artist_means(
    connection: sa.Connection, means: ArtistMeans, *, trainable: bool, now: datetime
) -> Written:
    """Merge the means, leaving alone what was taken from the artist's own tracks."""
    own = set(
        connection.scalars(
            sa.text("SELECT artist_key FROM artist_audio_features WHERE source = 'tracks'")
        )
    )
    free = {key: artist for key, artist in means.by_key.items() if key not in own}
    rows = (
        (key, *map(artist.get, COLUMNS[1:-2]), SOURCE, trainable) for key, artist in free.items()
    )
    changed = merge(connection, "artist_audio_features", COLUMNS, rows, key="artist_key", now=now)
    skipped = Counter(
        {
            ANOTHER_SPELLING: means.read - len(means.rejects) - len(means.by_key),
            OWN_TRACKS: len(means.by_key) - len(free),
            ALREADY_STORED: len(free) - len(changed),
        }
    )
    return Written(len(changed), skipped)
