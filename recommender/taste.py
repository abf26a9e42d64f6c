"""A taste: what co-listening makes of one listener, ready to judge any tracks of a catalogue."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recommender.audio import FloatArray
from recommender.background import AUDIO_COLUMNS, log_ratio, nearness
from recommender.colisten import REASONS, TRACKS_FOR_TASTE, Colisten, Listened, Mix
from recommender.genre_mix import GenreMix
from recommender.keys import places
from recommender.tracks import UNKNOWN_DATE, Catalogue, IndexArray, Tracks

FAR = -3.0
"""Nearness of a track, or to a history, of which no audio is known."""


@dataclass(frozen=True)
class ColistenIn:
    """The model joined to a catalogue, by artist key and track id; worked out once for all.

    Attributes
    ----------
    model_artist, model_track
        Per artist and per row of the catalogue its row in the model's grain, -1 where unknown.
    """

    model: Colisten
    catalogue: Catalogue
    model_artist: IndexArray
    model_track: IndexArray
    genres: GenreMix

    @classmethod
    def of(cls, model: Colisten, catalogue: Catalogue) -> "ColistenIn":
        """Join a model to a catalogue."""
        return cls(
            model,
            catalogue,
            _rows(model.artists.keys, catalogue.artist_keys),
            _rows(model.tracks.keys, catalogue.ids),
            GenreMix.of(catalogue),
        )

    def taste(self, listened: Listened) -> "Taste | None":
        """Fold a listener in; None for one without any history."""
        if not len(listened.artists) and not len(listened.tracks):
            return None
        return Taste(self, listened)


def _rows(keys: np.ndarray, wanted: np.ndarray) -> IndexArray:
    if not len(keys) or not len(wanted):
        return np.full(len(wanted), -1, dtype=np.int64)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    rows: IndexArray = np.where(keys[at] == wanted, at, -1)
    return rows


class Taste:
    """What one listener's history says of tracks.

    z(c) = sum_i weight_i reason_i(c) with these reasons, 0 where nothing is known:

    | artist | ln(1 + max(0, score of c's artist in the grain of artists)) |
    | same_artist | ln(1 + tracks of c's artist in the history) |
    | track | as artist, in the grain of tracks |
    | genre | `GenreMix.affinity` of c's artist |
    | audio | the sum of `log_ratio` over the seven audio columns |
    | near | `nearness` to what was heard |
    | age, popularity | `log_ratio` of these columns, beside the tracks of the history |
    | release | 1 if the history has a track of the same artist and day of release |
    """

    def __init__(self, joined: ColistenIn, listened: Listened) -> None:
        self._joined, self._listened = joined, listened
        catalogue, model = joined.catalogue, joined.model
        heard = places(catalogue.ids, listened.tracks)
        self._heard = heard[heard >= 0]
        by_tracks = len(self._heard) >= TRACKS_FOR_TASTE
        self.mix: Mix = model.by_tracks if by_tracks else model.by_artists
        artists = catalogue.artists_of(listened.artists)
        known = artists >= 0
        self._artists, self._plays = artists[known], np.asarray(listened.plays)[known]
        own = catalogue.tracks.take(self._heard)
        self._own = model.background.of_tracks(own)
        self._audio = model.background.of_audio(listened.audio)
        self._releases = np.unique(_release(own)) if len(own) else np.empty(0, dtype=np.int64)

    @cached_property
    def of_artists(self) -> FloatArray:
        """(artists,) the score of each of the catalogue's artists, 0 where the grain has none."""
        grain = self._joined.model.artists
        return _spread(
            grain.scores(self._listened.artists, self._listened.plays), self._joined.model_artist
        )

    @cached_property
    def _of_tracks(self) -> FloatArray:
        tracks = self._listened.tracks
        return self._joined.model.tracks.scores(tracks, np.ones(len(tracks)))

    @cached_property
    def _per_artist(self) -> FloatArray:
        """(artists, 3): the reasons that tracks of one artist share, in their order."""
        size = len(self._joined.catalogue.artist_keys)
        heard = np.bincount(self._joined.catalogue.tracks.artist[self._heard], minlength=size)
        heard[self._artists] = np.maximum(heard[self._artists], 1)
        weight = np.log1p(self._plays)
        genre = self._joined.genres.affinity(self._artists, weight)
        return np.column_stack([np.log1p(np.maximum(0.0, self.of_artists)), np.log1p(heard), genre])

    def reasons(self, tracks: Tracks) -> FloatArray:
        """Return (n, 9) what speaks for each track, in the order of `REASONS`."""
        artist, same_artist, genre = self._per_artist[tracks.artist].T
        columns = self._joined.model.background.of_tracks(tracks)
        of_audio, other = columns[:, :AUDIO_COLUMNS], columns[:, AUDIO_COLUMNS:]
        near = np.full(len(tracks), FAR)
        if len(self._audio):
            heard_nothing = np.isnan(of_audio).all(axis=1)
            near = np.where(heard_nothing, FAR, nearness(of_audio, self._audio))
        age, popularity = log_ratio(other, self._own[:, AUDIO_COLUMNS:]).T
        by_track = _spread(self._of_tracks, self._joined.model_track[tracks.row])
        reasons = {
            "artist": artist,
            "same_artist": same_artist,
            "track": np.log1p(np.maximum(0.0, by_track)),
            "genre": genre,
            "audio": log_ratio(of_audio, self._audio).sum(axis=1),
            "near": near,
            "age": age,
            "popularity": popularity,
            "release": np.isin(_release(tracks), self._releases).astype(np.float64),
        }
        return np.column_stack([reasons[reason] for reason in REASONS])

    def z(self, tracks: Tracks) -> FloatArray:
        """Return (n,) how much speaks for each track, without bounds."""
        return self.reasons(tracks) @ self.mix.weights

    def worth(self, tracks: Tracks) -> FloatArray:
        """Return (n,) the same in [0, 1]."""
        return self.mix.unit(self.z(tracks))


def _spread(scores: FloatArray, at: IndexArray) -> FloatArray:
    if not len(scores):
        return np.zeros(len(at))
    return np.where(at >= 0, scores[at], 0.0)


def _release(tracks: Tracks) -> IndexArray:
    """Return a number that tracks of one artist and one day share; unknown days share with none."""
    dated = tracks.released != UNKNOWN_DATE
    day = np.where(dated, tracks.released, 0)
    number = tracks.artist * 1_000_000 + day + 500_000
    return np.where(dated, number, -1 - tracks.row)
