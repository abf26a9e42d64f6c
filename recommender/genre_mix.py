"""Which genres an artist stands for: the mean over the artist's tracks, shrunk to everybody's."""

from dataclasses import dataclass

import numpy as np

from recommender.audio import FloatArray
from recommender.tracks import Catalogue, IndexArray

GENRES = 64
"""The most common genres of a catalogue take part."""
SHRINKAGE = 5.0
"""Everybody's mix counts as much as this many labels of the artist's own."""
FLOOR = 0.02


@dataclass(frozen=True)
class GenreMix:
    """Shares of genres.

    Attributes
    ----------
    everybody
        (g,) shares over the catalogue, summing to 1.
    artists
        (artists, g) float32 shares of each artist of the catalogue.
    """

    everybody: FloatArray
    artists: np.ndarray

    @classmethod
    def of(cls, catalogue: Catalogue) -> "GenreMix":
        """Return (labels of the artist + 5 x everybody) / (their number + 5) for every artist."""
        labels = [genre for genres in catalogue.genres for genre in genres]
        row = np.repeat(np.arange(len(catalogue)), [len(genres) for genres in catalogue.genres])
        names, code = np.unique(np.array(labels, dtype=np.str_), return_inverse=True)
        common = np.argsort(-np.bincount(code, minlength=len(names)), kind="stable")[:GENRES]
        column = np.full(len(names), -1)
        column[np.sort(common)] = np.arange(len(common))
        used = column[code] >= 0
        flat = catalogue.tracks.artist[row[used]] * len(common) + column[code[used]]
        shape = len(catalogue.artist_keys), len(common)
        counts = np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)
        everybody = counts.sum(axis=0) / max(1, counts.sum())
        mine = counts.sum(axis=1, keepdims=True)
        artists = (counts + SHRINKAGE * everybody) / (mine + SHRINKAGE)
        return cls(everybody, artists.astype(np.float32))

    def affinity(self, artists: IndexArray, weight: FloatArray, of: IndexArray) -> FloatArray:
        """Return how much a listener's genres speak for each artist in `of`, 0 as for anybody.

        ln(sum_g artist_g listener_g / everybody_g + .02) - ln(1.02), listener_g the weighted mean
        of the artists in the history; 0 without any.
        """
        if not len(self.everybody) or not len(artists) or weight.sum() <= 0:
            return np.zeros(len(of))
        listener = weight @ self.artists[artists] / weight.sum()
        beside = (listener / self.everybody).astype(np.float32)
        # Picking most rows of a matrix costs more than multiplying all of them.
        most = 2 * len(of) > len(self.artists)
        lift = (self.artists @ beside)[of] if most else self.artists[of] @ beside
        result: FloatArray = np.log(lift.astype(np.float64) + FLOOR) - np.log(1 + FLOOR)
        return result
