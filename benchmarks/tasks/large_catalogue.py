"""A catalogue of a million tracks: real ones many times over, each copy with a sound of its own."""

from dataclasses import replace

import numpy as np

from benchmarks.tasks.playlists import Playlists
from recommender.genres import CATEGORY_SLUGS
from recommender.tracks import Catalogue, build_tracks

NOISE = 0.03
"""Standard deviation of what a copy's audio features differ by; all stay within [0, 1]."""


def enlarged(playlists: Playlists, size: int, *, seed: int) -> Catalogue:
    """Return `size` tracks; rows below the real catalogue's length are the real tracks as they are.

    A copy has an artist of its own copy, the same genres and release date, and popularity and audio
    features that differ a little.
    """
    rng = np.random.default_rng(seed)
    real = playlists.catalogue(np.arange(len(playlists.membership)))
    n, artists = len(real), len(real.artist_keys)
    source = np.concatenate([np.arange(n), rng.integers(0, n, max(0, size - n))])[:size]
    copy = np.concatenate([np.zeros(n, np.int64), 1 + np.arange(max(0, size - n)) // n])[:size]
    audio = real.tracks.audio[source]
    noise = rng.normal(0, NOISE, audio.shape) * (copy > 0)[:, None]
    popularity = real.tracks.popularity[source] + rng.normal(0, 0.05, size) * (copy > 0)
    tracks = build_tracks(
        audio=np.clip(audio + noise, 0, 1).astype(np.float32),
        artist=real.tracks.artist[source] + artists * copy,
        popularity=np.clip(popularity, 0, 1),
        category=[CATEGORY_SLUGS[at % len(CATEGORY_SLUGS)] for at in source.tolist()],
        genres=[()] * size,
        released=real.tracks.released[source],
    )
    tracks = replace(tracks, genre_terms=np.repeat(tracks.genre_terms[:1], size, axis=0))
    copies = int(copy.max()) + 1
    names = [
        key if number == 0 else b"~%03d%s" % (number, key)
        for number in range(copies)
        for key in real.artist_keys.tolist()
    ]
    return Catalogue(
        ids=np.array(
            [real.ids[row] if at < n else b"~%08d" % at for at, row in enumerate(source.tolist())],
            dtype=np.bytes_,
        ),
        tracks=tracks,
        artist_keys=np.array(names, dtype=np.bytes_),
        genres=[real.genres[row] for row in source.tolist()],
    )
