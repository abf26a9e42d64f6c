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
    catalogue_artist
        Per artist of the model its place in the catalogue, -1 where it has none.
    """

    model: Colisten
    catalogue: Catalogue
    model_artist: IndexArray
    model_track: IndexArray
    catalogue_artist: IndexArray
    genres: GenreMix

    @classmethod
    def of(cls, model: Colisten, catalogue: Catalogue) -> "ColistenIn":
        """Join a model to a catalogue."""
        return cls(
            model,
            catalogue,
            _rows(model.artists.keys, catalogue.artist_keys),
            _rows(model.tracks.keys, catalogue.ids),
            _rows(catalogue.artist_keys, model.artists.keys),
            GenreMix.of(catalogue),
        )

    @cached_property
    def here(self) -> IndexArray:
        """Rows of the model whose artist the catalogue has."""
        return np.flatnonzero(self.catalogue_artist >= 0)

    def described(self, tracks: Tracks) -> "Described":
        """Return what is the same of these tracks whoever listens."""
        artists, at = np.unique(tracks.artist, return_inverse=True)
        return Described(
            artists=artists,
            at=at,
            columns=self.model.background.of_tracks(tracks),
            release=_release(tracks),
            model_track=self.model_track[tracks.row],
        )

    def taste(self, listened: Listened) -> "Taste | None":
        """Fold a listener in; None for one without any history."""
        if not len(listened.artists) and not len(listened.tracks):
            return None
        return Taste(self, listened)


@dataclass(frozen=True)
class Described:
    """What co-listening needs of n tracks, worked out once where many listeners are judged.

    Attributes
    ----------
    artists, at
        The distinct artists, and (n,) each track's place among them.
    columns
        (n, 9) those of `Background.of_tracks`.
    release, model_track
        (n,) the release's number and the row in the model's grain of tracks.
    """

    artists: IndexArray
    at: IndexArray
    columns: FloatArray
    release: IndexArray
    model_track: IndexArray


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
    def _of_artists(self) -> FloatArray:
        grain = self._joined.model.artists
        return grain.scores(self._listened.artists, self._listened.plays)

    def alike(self, count: int) -> IndexArray:
        """Return the places of the catalogue's artists that co-listening favours most."""
        here = self._joined.here
        scores = self._of_artists[here]
        if count < len(here):
            here = here[np.argpartition(-scores, count)[:count]]
        return self._joined.catalogue_artist[here]

    @cached_property
    def _of_tracks(self) -> FloatArray:
        tracks = self._listened.tracks
        return self._joined.model.tracks.scores(tracks, np.ones(len(tracks)))

    @cached_property
    def _heard_of(self) -> tuple[IndexArray, FloatArray]:
        """The heard artists, and how many tracks of each were heard: one if none is known."""
        artists, counts = np.unique(
            self._joined.catalogue.tracks.artist[self._heard], return_counts=True
        )
        heard = np.union1d(artists, self._artists)
        tracks = np.ones(len(heard))
        tracks[np.searchsorted(heard, artists)] = counts
        return heard, tracks

    def _by_artist(self, artists: IndexArray) -> FloatArray:
        """Return (artists, 3): the reasons that tracks of one artist share, in their order."""
        score = _spread(self._of_artists, self._joined.model_artist[artists])
        heard, tracks = self._heard_of
        count = np.zeros(len(artists))
        if len(heard):
            at = np.minimum(np.searchsorted(heard, artists), len(heard) - 1)
            count = np.where(heard[at] == artists, tracks[at], 0.0)
        weight = np.log1p(self._plays)
        genre = self._joined.genres.affinity(self._artists, weight, artists)
        return np.column_stack([np.log1p(np.maximum(0.0, score)), np.log1p(count), genre])

    @property
    def joined(self) -> ColistenIn:
        """The model that it was folded into."""
        return self._joined

    def reasons(
        self, tracks: Tracks, *, with_near: bool = True, described: Described | None = None
    ) -> FloatArray:
        """Return (n, 9) what speaks for each track, in the order of `REASONS`.

        Nearness costs most: without it, its column is `FAR`.

        Parameters
        ----------
        described
            What the model says of these tracks by itself; None: it is worked out.
        """
        known = described or self._joined.described(tracks)
        artist, same_artist, genre = self._by_artist(known.artists)[known.at].T
        of_audio, other = known.columns[:, :AUDIO_COLUMNS], known.columns[:, AUDIO_COLUMNS:]
        near = np.full(len(tracks), FAR)
        if with_near and len(self._audio):
            heard_nothing = np.isnan(of_audio).all(axis=1)
            near = np.where(heard_nothing, FAR, nearness(of_audio, self._audio))
        age, popularity = log_ratio(other, self._own[:, AUDIO_COLUMNS:]).T
        by_track = _spread(self._of_tracks, known.model_track)
        reasons = {
            "artist": artist,
            "same_artist": same_artist,
            "track": np.log1p(np.maximum(0.0, by_track)),
            "genre": genre,
            "audio": log_ratio(of_audio, self._audio).sum(axis=1),
            "near": near,
            "age": age,
            "popularity": popularity,
            "release": np.isin(known.release, self._releases).astype(np.float64),
        }
        return np.column_stack([reasons[reason] for reason in REASONS])

    def z(self, tracks: Tracks, described: Described | None = None) -> FloatArray:
        """Return (n,) how much speaks for each track, without bounds."""
        counts = bool(self.mix.weights[REASONS.index("near")] > 0)
        return self.reasons(tracks, with_near=counts, described=described) @ self.mix.weights

    def worth(self, tracks: Tracks, described: Described | None = None) -> FloatArray:
        """Return (n,) the same in [0, 1]."""
        return self.mix.unit(self.z(tracks, described))


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
