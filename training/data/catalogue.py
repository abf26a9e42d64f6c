"""The catalogue without the tracks that may not be trained on."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import sqlalchemy as sa

from features.catalogue import load_catalogue
from recommender.tracks import Catalogue, IndexArray

_UNTRAINABLE = sa.text(
    """
    SELECT t.track_id FROM tracks t LEFT JOIN audio_features a USING (track_id)
    WHERE NOT t.trainable OR NOT (coalesce(a.trainable, true) OR a.estimated)
    """
)
_NAMES = sa.text(
    """
    SELECT artist_key, mode() WITHIN GROUP (ORDER BY artist_name)
    FROM tracks WHERE trainable GROUP BY artist_key
    """
)


def load_trainable_catalogue(engine: sa.Engine) -> Catalogue:
    """Read the tracks of which both the entry and the audio features may be trained on.

    Estimates come from such rows alone: they are judged with here as they are in the service, and
    learned from as the truth nowhere.
    """
    catalogue = load_catalogue(engine).catalogue
    with engine.connect() as connection:
        barred: Sequence[str] = connection.scalars(_UNTRAINABLE).all()
    keep = np.ones(len(catalogue), dtype=np.bool_)
    rows = catalogue.rows_of(barred)
    keep[rows[rows >= 0]] = False
    return catalogue if keep.all() else _restricted(catalogue, np.flatnonzero(keep))


def artist_names(engine: sa.Engine) -> dict[str, str]:
    """Return artist key -> the name as most tracks spell it, of tracks that may be trained on."""
    with engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(_NAMES)}


def _restricted(catalogue: Catalogue, rows: IndexArray) -> Catalogue:
    """Return a catalogue of these rows alone, with rows and artists numbered anew."""
    tracks = catalogue.tracks.take(rows)
    place = np.full(len(catalogue), -1, dtype=np.int64)
    place[rows] = row = np.arange(len(rows), dtype=np.int64)
    # Where the canonical track is left out, each of the others stands for itself.
    recording = np.where(place[tracks.recording] >= 0, place[tracks.recording], row)
    artists, artist = np.unique(tracks.artist, return_inverse=True)
    return Catalogue(
        ids=catalogue.ids[rows],
        tracks=replace(tracks, row=row, recording=recording, artist=artist.astype(np.int64)),
        artist_keys=catalogue.artist_keys[artists],
        genres=[catalogue.genres[row] for row in rows.tolist()],
    )
