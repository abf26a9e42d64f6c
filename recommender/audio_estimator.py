"""The model `audio_estimator`: what a track probably sounds like, from its artist and its genres.

For tracks of which nobody published audio features. An estimate is flagged as one wherever it is
kept, and where neither artist nor genre is known there is none: missing stays missing.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommender.audio import FEATURES, FloatArray
from recommender.errors import ModelFormatError

MODEL = "audio_estimator"
DESCRIPTION_FILE, COEFFICIENTS_FILE = "audio_estimator.json", "coefficients.npy"


@dataclass(frozen=True)
class AudioEstimator:
    """Estimates in [0, 1], the tempo scaled as in `recommender.audio`.

    genre part: g = intercept + the mean of the track's genres' coefficients
    estimate:   (n m + k g) / (n + k), m the mean of the artist's n tracks with audio features

    A track of an artist without tracks has g; without a known genre, g is the intercept, and where
    n is 0 too there is no estimate.

    Attributes
    ----------
    genres
        Normalised raw genres in order; row i of `coefficients` is genre i's.
    coefficients
        (number of genres, 7) float64.
    intercept
        (7,) float64.
    shrinkage
        (7,) float64 k >= 0: after how many of the artist's tracks they count as much as the genre.

    Examples
    --------
    Two tracks of energy .9 by the artist, a genre of energy .6, k = 2: (2 x .9 + 2 x .6) / 4.

    >>> seven = np.ones(7)
    >>> model = AudioEstimator(("rock",), 0.1 * np.ones((1, 7)), 0.5 * seven, 2 * seven)
    >>> model.estimate(0.9 * seven[None], np.array([2]), [("rock", "polka")])[0, :2].round(9)
    array([0.75, 0.75])
    >>> model.estimate(np.full((1, 7), np.nan), np.array([0]), [("polka",)])[0, :2]
    array([nan, nan])
    """

    genres: tuple[str, ...]
    coefficients: FloatArray
    intercept: FloatArray
    shrinkage: FloatArray

    def __post_init__(self) -> None:
        """Refuse what does not fit together.

        Raises
        ------
        ModelFormatError
            A shape is wrong, or a number is not finite.
        """
        features = len(FEATURES)
        shapes = (self.coefficients.shape, self.intercept.shape, self.shrinkage.shape)
        if shapes != ((len(self.genres), features), (features,), (features,)):
            raise ModelFormatError(f"{MODEL}: the shapes {shapes} do not fit together")
        arrays = (self.coefficients, self.intercept, self.shrinkage)
        if not all(np.isfinite(array).all() for array in arrays) or (self.shrinkage < 0).any():
            raise ModelFormatError(f"{MODEL}: a number is not finite, or a shrinkage negative")

    def of_genres(self, genres: Sequence[Sequence[str]]) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Return the genre part of each track (n, 7), and whether a genre of it is known (n,)."""
        place = {genre: i for i, genre in enumerate(self.genres)}
        part = np.repeat(self.intercept[None], len(genres), axis=0)
        is_known = np.zeros(len(genres), dtype=np.bool_)
        for row, names in enumerate(genres):
            known = [place[name] for name in names if name in place]
            if known:
                part[row] += self.coefficients[known].mean(axis=0)
                is_known[row] = True
        return part, is_known

    def estimate(
        self,
        artist_mean: NDArray[np.floating],
        artist_tracks: NDArray[np.integer],
        genres: Sequence[Sequence[str]],
    ) -> FloatArray:
        """Return (n, 7) estimates in [0, 1], NaN where there is none.

        Parameters
        ----------
        artist_mean
            (n, 7) means over the artist's tracks, the tempo scaled; NaN where not known.
        artist_tracks
            (n,) how many tracks they are over.
        genres
            Of each track.
        """
        part, is_known = self.of_genres(genres)
        mean = np.asarray(artist_mean, dtype=np.float64)
        count = np.where(np.isnan(mean), 0, np.asarray(artist_tracks)[:, None])
        total = count + self.shrinkage
        # k = 0 and no tracks: the genre alone says it.
        weighted = count * np.nan_to_num(mean) + self.shrinkage * part
        estimates = np.where(total > 0, weighted / np.where(total > 0, total, 1.0), part)
        estimates[~is_known[:, None] & (count == 0)] = np.nan
        return np.clip(estimates, 0.0, 1.0)

    def to_files(self) -> Mapping[str, bytes]:
        """Return the model's files: the same model always gives the same bytes."""
        description = {
            "schema": 1,
            "features": list(FEATURES),
            "genres": list(self.genres),
            "intercept": self.intercept.tolist(),
            "shrinkage": self.shrinkage.tolist(),
        }
        array = io.BytesIO()
        np.save(array, np.ascontiguousarray(self.coefficients), allow_pickle=False)
        text = json.dumps(description, indent=1, sort_keys=True) + "\n"
        return {DESCRIPTION_FILE: text.encode(), COEFFICIENTS_FILE: array.getvalue()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "AudioEstimator":
        """Read the model's files.

        Raises
        ------
        ModelFormatError
            They are not an estimator's.
        """
        try:
            description = json.loads(files[DESCRIPTION_FILE])
            if (description["schema"], tuple(description["features"])) != (1, FEATURES):
                raise ModelFormatError(f"{MODEL}: made for other features than these")
            loaded = np.load(io.BytesIO(files[COEFFICIENTS_FILE]), allow_pickle=False)
            return cls(
                tuple(map(str, description["genres"])),
                np.asarray(loaded, dtype=np.float64),
                np.array(description["intercept"], dtype=np.float64),
                np.array(description["shrinkage"], dtype=np.float64),
            )
        except (ValueError, KeyError, TypeError, EOFError) as error:
            raise ModelFormatError(f"{MODEL}: the artifact is damaged ({error})") from None
