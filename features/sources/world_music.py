"""Simulated music: tracks whose genres sound as those of the catalogue do, by `world_figures`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.sources.world_figures import DURATION_MS, GENRES, POPULARITY
from features.sources.world_names import artist_names, titles
from recommender.audio import FEATURES, TEMPO, FloatArray
from recommender.tracks import IndexArray

TRACKS_PER_ARTIST = 2.5
ARTIST_SHARE = 0.4
"""Share of the variance of a sound, within its genre, that is the artist's."""


@dataclass(frozen=True)
class Music:
    """n tracks, column by column.

    Attributes
    ----------
    genre
        (n,) place in `GENRES`.
    artist
        (n,) place in `artists`.
    audio
        (n, 7) as sources publish it, tempo in BPM.
    popularity
        (n,) 0-100.
    age_days
        (n,) since the release, at least 1.
    """

    titles: list[str]
    artists: list[str]
    genre: IndexArray
    artist: IndexArray
    audio: FloatArray
    popularity: IndexArray
    age_days: IndexArray
    duration_ms: IndexArray

    def __len__(self) -> int:
        """Return n."""
        return len(self.genre)


def draw_music(rng: np.random.Generator, n: int) -> Music:
    """Draw n tracks.

    Genres have the catalogue's shares exactly. Within a genre a feature is Beta distributed (tempo:
    normal) with the genre's mean and deviation; the draws are handed out in the order of a latent
    sound, in which tracks of one artist are alike. Popularity follows the catalogue's quantiles
    exactly, in the order of a latent fame with as much of the artist in it.
    """
    sizes = np.array([genre.tracks for genre in GENRES.values()], dtype=np.float64)
    upto = np.cumsum(sizes) / sizes.sum()
    genre = rng.permutation(np.searchsorted(upto, (np.arange(n) + 0.5) / n)).astype(np.int64)
    artist = _artists(rng, genre)
    artists = int(artist.max()) + 1
    # One latent column per feature, and one for fame.
    own, shared = rng.standard_normal((n, 8)), rng.standard_normal((artists, 8))
    latent = np.sqrt(1 - ARTIST_SHARE) * own + np.sqrt(ARTIST_SHARE) * shared[artist]
    age_years = np.array([figures.age_years for figures in GENRES.values()])[genre]
    rank = latent[:, -1].argsort(kind="stable").argsort(kind="stable") / max(1, n - 1)
    popularity = np.interp(rank, np.linspace(0, 1, len(POPULARITY)), POPULARITY)
    return Music(
        titles=titles(rng, n),
        artists=artist_names(rng, artists),
        genre=genre,
        artist=artist,
        audio=_audio(rng, genre, latent),
        popularity=np.rint(popularity).astype(np.int64),
        age_days=1 + (rng.exponential(age_years) * 365.25).astype(np.int64),
        duration_ms=rng.normal(*DURATION_MS, size=n).clip(90_000, 480_000).astype(np.int64),
    )


def _artists(rng: np.random.Generator, genre: IndexArray) -> IndexArray:
    """Give each track an artist of its genre; the r-th artist of a genre has weight 1 / r."""
    artist = np.empty(len(genre), dtype=np.int64)
    artists = 0
    for place in range(len(GENRES)):
        members = np.flatnonzero(genre == place)
        weight = 1.0 / np.arange(1, 2 + int(len(members) / TRACKS_PER_ARTIST))
        drawn = rng.choice(len(weight), size=len(members), p=weight / weight.sum())
        used, compact = np.unique(drawn, return_inverse=True)
        artist[members] = artists + compact
        artists += len(used)
    return artist


def _audio(rng: np.random.Generator, genre: IndexArray, latent: NDArray[np.float64]) -> FloatArray:
    audio = np.empty((len(genre), len(FEATURES)))
    for place, figures in enumerate(GENRES.values()):
        members = np.flatnonzero(genre == place)
        for f, (mean, deviation) in enumerate(zip(figures.mean, figures.deviation, strict=True)):
            if f == TEMPO:
                draws = rng.normal(mean, deviation, size=len(members)).clip(40.0, 220.0)
            else:  # a Beta of this mean and variance
                size = mean * (1 - mean) / deviation**2 - 1
                draws = rng.beta(mean * size, (1 - mean) * size, size=len(members))
            audio[members[latent[members, f].argsort(kind="stable")], f] = np.sort(draws)
    return audio.round(4)
