"""Co-listening: the model `colisten`, learned from all listeners' histories.

Two grains (artists, tracks) say what those who play this play as well. A track that nobody in them
played is reached by its artist, its artist's genres, and by how it sounds, how old and how popular
it is beside the listener's own music. Fixed weights, fitted in training, add these up.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from recommender.audio import AudioArray, FloatArray
from recommender.background import COLUMNS, Background
from recommender.errors import ModelFormatError
from recommender.grain import Grain

COLISTEN_FILE = "colisten.json"
REASONS = (
    "artist", "same_artist", "track", "genre", "audio", "near", "age", "popularity", "release",
)  # fmt: skip
"""What a taste sees in a track, in the order of a `Mix`: see `recommender.taste`."""
TRACKS_FOR_TASTE = 5
"""From this many tracks on, a history is judged by its tracks, before by its artists."""


@dataclass(frozen=True)
class Mix:
    """How reasons add up, z = sum of weight x reason, and where z lies in [0, 1].

    Attributes
    ----------
    weights
        (9,) >= 0 in the order of `REASONS`.
    low, high
        The z of a middling and of the best track, which become 0 and 1.

    Examples
    --------
    >>> Mix(np.ones(9), 0.0, 4.0).unit(np.array([-1.0, 1.0, 5.0])).tolist()
    [0.0, 0.25, 1.0]
    """

    weights: FloatArray
    low: float
    high: float

    def unit(self, z: FloatArray) -> FloatArray:
        """Return clip((z - low) / (high - low), 0, 1)."""
        return np.clip((z - self.low) / (self.high - self.low), 0.0, 1.0)


BY_TRACKS = Mix(np.array([0.1, 3.5, 0.2, 0.8, 0.45, 0.25, 2.0, 1.6, 1.2]), -5.5, 15.0)
"""Without enough histories of tracks to fit to: rounded from a fit to public playlists."""
BY_ARTISTS = Mix(np.array([3.6, 0.0, 0.0, 0.5, 0.1, 0.0, 0.0, 0.0, 0.0]), -0.2, 12.0)
"""Without enough histories of artists to fit to: rounded from a fit to Last.fm listeners."""


@dataclass(frozen=True)
class Listened:
    """A history as co-listening sees it.

    Attributes
    ----------
    artists, plays
        Artist keys, whether the catalogue has them or not, and (m,) how often each was played.
    tracks
        Ids of the tracks that were played.
    audio
        (h, 7) how what was played sounds; may be all that is known of it.
    """

    artists: Sequence[str] = ()
    plays: FloatArray = field(default_factory=lambda: np.empty(0))
    tracks: Sequence[str] = ()
    audio: AudioArray = field(
        default_factory=lambda: np.empty((0, len(COLUMNS) - 2), dtype=np.float32)
    )


@dataclass(frozen=True)
class Colisten:
    """The model.

    Attributes
    ----------
    artists, tracks
        Co-listening at both grains.
    background
        What a listener's own music is compared with.
    by_tracks, by_artists
        The weights for histories of tracks, and for those of artists alone.

    Examples
    --------
    >>> model = Colisten(Grain.empty(), Grain.empty(), Background(np.zeros(9), np.ones(9), 0))
    >>> Colisten.from_files(model.to_files()).to_files() == model.to_files()
    True
    """

    artists: Grain
    tracks: Grain
    background: Background
    by_tracks: Mix = BY_TRACKS
    by_artists: Mix = BY_ARTISTS

    def to_files(self) -> Mapping[str, bytes]:
        """Return the model's files: colisten.json and an array per part of a grain."""
        document = {
            "schema": 1,
            "reasons": list(REASONS),
            "by_tracks": _written(self.by_tracks),
            "by_artists": _written(self.by_artists),
            "background": {
                "columns": list(COLUMNS),
                "mean": self.background.mean.tolist(),
                "spread": self.background.spread.tolist(),
                "newest": self.background.newest,
            },
        }
        text = json.dumps(document, indent=1, sort_keys=True) + "\n"
        grains = dict(self.artists.to_files("artists")) | dict(self.tracks.to_files("tracks"))
        return {COLISTEN_FILE: text.encode()} | grains

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "Colisten":
        """Read the model's files; raises ModelFormatError where they are not a colisten's."""
        try:
            document = json.loads(files[COLISTEN_FILE])
            if (document["schema"], document["reasons"]) != (1, list(REASONS)):
                raise ModelFormatError("colisten: this schema is not known here: train it again")
            background = document["background"]
            mean, spread = (np.array(background[part], dtype=float) for part in ("mean", "spread"))
            if mean.shape != (len(COLUMNS),) or spread.shape != mean.shape or spread.min() <= 0:
                raise ModelFormatError("colisten: the background is damaged")
            mixes = [_mix(document[name]) for name in ("by_tracks", "by_artists")]
            newest = int(background["newest"])
        except (ValueError, KeyError, TypeError) as error:
            raise ModelFormatError(f"colisten: {COLISTEN_FILE} is damaged ({error})") from None
        return cls(
            Grain.from_files("artists", files),
            Grain.from_files("tracks", files),
            Background(mean, spread, newest),
            *mixes,
        )


def _written(mix: Mix) -> dict[str, object]:
    weights = dict(zip(REASONS, mix.weights.tolist(), strict=True))
    return {"weights": weights, "low": mix.low, "high": mix.high}


def _mix(document: Mapping[str, object]) -> Mix:
    named = document["weights"]
    if not isinstance(named, Mapping):
        raise TypeError("weights are no mapping")
    weights = np.array([named[reason] for reason in REASONS], dtype=np.float64)
    low, high = float(str(document["low"])), float(str(document["high"]))
    if not (np.isfinite(weights).all() and weights.min() >= 0 and low < high):
        raise ValueError("weights must be finite and >= 0, and low < high")
    return Mix(weights, low, high)
