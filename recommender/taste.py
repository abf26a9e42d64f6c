"""A taste: what co-listening makes of one listener, ready to judge any tracks of a catalogue."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recommender.audio import FloatArray
from recommender.background import AUDIO_COLUMNS, COLUMNS, nearness, powers, ratio_terms
from recommender.colisten import REASONS, TRACKS_FOR_TASTE, Colisten, Listened, Mix
from recommender.genre_mix import GenreMix
from recommender.grain import Direction, Items
from recommender.keys import places
from recommender.tracks import UNKNOWN_DATE, Catalogue, IndexArray, Tracks

_FEW = 4
"""Tracks are scored without the others where the model has more than so many times as many."""

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

    @cached_property
    def artists_here(self) -> Items:
        """Those artists, together in memory: what every listener's history is multiplied with."""
        items = self.model.artists.items
        return items if len(self.here) == len(items.rarity) else items.take(self.here)

    def warm(self) -> None:
        """Work out what every listener needs, so that no first caller waits for it."""
        _ = self.artists_here, self.model.artists.sums, self.model.tracks.sums
        _ = self.model.artists.basis, self.model.tracks.basis

    @cached_property
    def canonical(self) -> "Described":
        """What is the same of the catalogue's canonical tracks: most lists look at all of them."""
        return self._describe(self.catalogue.canonical_tracks)

    @cached_property
    def place(self) -> IndexArray:
        """Per row of the catalogue its place among the canonical ones, -1 for the others."""
        place = np.full(len(self.catalogue), -1, dtype=np.int64)
        place[self.catalogue.canonical] = np.arange(len(self.catalogue.canonical))
        return place

    def described(self, tracks: Tracks) -> "Described":
        """Return what is the same of these tracks whoever listens."""
        is_kept = tracks is self.catalogue.canonical_tracks
        return self.canonical if is_kept else self._describe(tracks)

    def _describe(self, tracks: Tracks) -> "Described":
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

    @cached_property
    def powers(self) -> NDArray[np.float32]:
        """(n, 27) `background.powers` of the columns, side by side: half as much to read."""
        return powers(self.columns).astype(np.float32).reshape(len(self.columns), -1)


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
        # The rest waits until something is to be judged: a list of kept candidates judges nothing.
        self._joined, self._listened = joined, listened
        self._of_canonical: FloatArray | None = None

    @cached_property
    def mix(self) -> Mix:
        """The weights for a history like this one."""
        model = self._joined.model
        return model.by_tracks if len(self._heard) >= TRACKS_FOR_TASTE else model.by_artists

    @cached_property
    def _heard(self) -> IndexArray:
        """Rows of what was heard."""
        heard = places(self._joined.catalogue.ids, self._listened.tracks)
        return heard[heard >= 0]

    @cached_property
    def _artists_and_plays(self) -> tuple[IndexArray, FloatArray]:
        """Places of the artists in the history that the catalogue has, and how often each."""
        artists = self._joined.catalogue.artists_of(self._listened.artists)
        known = artists >= 0
        return artists[known], np.asarray(self._listened.plays)[known]

    @cached_property
    def _own_tracks(self) -> Tracks:
        return self._joined.catalogue.tracks.take(self._heard)

    @cached_property
    def _of_artists(self) -> FloatArray:
        """(artists of the catalogue,): 0 for those that the model does not know."""
        joined = self._joined
        scores = np.zeros(len(joined.catalogue.artist_keys))
        towards = joined.model.artists.direction(self._listened.artists, self._listened.plays)
        if towards is not None:
            scores[joined.catalogue_artist[joined.here]] = towards.of(joined.artists_here)
        return scores

    def alike(self, count: int) -> IndexArray:
        """Return the places of the catalogue's artists that co-listening favours most."""
        here = self._joined.catalogue_artist[self._joined.here]
        if count < len(here):
            here = here[np.argpartition(-self._of_artists[here], count)[:count]]
        return here

    @property
    def listened(self) -> Listened:
        """The history that it was made of."""
        return self._listened

    def take_over(
        self, *, of_artists: FloatArray | None = None, of_tracks: FloatArray | None = None
    ) -> None:
        """Take what was worked out for several listeners at once (`recommender.tastes`).

        Parameters
        ----------
        of_artists
            (artists of the catalogue,) scores, 0 for those that the model does not know.
        of_tracks
            (tracks of the model,) scores.
        """
        if of_artists is not None:
            self._of_artists = of_artists
        if of_tracks is not None:
            self._of_tracks = of_tracks

    @cached_property
    def _towards_tracks(self) -> Direction | None:
        tracks = self._listened.tracks
        return self._joined.model.tracks.direction(tracks, np.ones(len(tracks)))

    @cached_property
    def _of_tracks(self) -> FloatArray:
        """(tracks of the model,)."""
        items, towards = self._joined.model.tracks.items, self._towards_tracks
        return np.zeros(len(items.rarity)) if towards is None else towards.of(items)

    @cached_property
    def _favoured(self) -> FloatArray:
        """(artists of the catalogue,) the reason `artist`."""
        at = self._joined.catalogue_artist[self._joined.here]
        favoured = np.zeros(len(self._of_artists))
        favoured[at] = np.log1p(np.maximum(0.0, self._of_artists[at]))
        return favoured

    @cached_property
    def _heard_of(self) -> FloatArray:
        """(artists of the catalogue,) the reason `same_artist`: one track where none is known."""
        artists, counts = np.unique(
            self._joined.catalogue.tracks.artist[self._heard], return_counts=True
        )
        heard = np.zeros(len(self._joined.catalogue.artist_keys))
        heard[self._artists_and_plays[0]] = np.log1p(1.0)
        heard[artists] = np.log1p(counts)
        return heard

    def _by_artist(self, artists: IndexArray) -> FloatArray:
        """Return (artists, 3): the reasons that tracks of one artist share, in their order."""
        played, plays = self._artists_and_plays
        genre = self._joined.genres.affinity(played, np.log1p(plays), artists)
        return np.column_stack([self._favoured[artists], self._heard_of[artists], genre])

    @cached_property
    def _ratio(self) -> FloatArray:
        """(3, 9): what the powers of each column count for in its `log_ratio`."""
        of_own = np.zeros((3, len(COLUMNS) - AUDIO_COLUMNS))
        if len(self._heard):  # counts of artists alone say nothing of age and popularity
            own = self._joined.model.background.of_tracks(self._own_tracks)
            of_own = ratio_terms(own[:, AUDIO_COLUMNS:])
        return np.concatenate([ratio_terms(self._audio), of_own], axis=1)

    @cached_property
    def _audio(self) -> FloatArray:
        """(h, 7) the audio columns of what was heard."""
        return self._joined.model.background.of_audio(self._listened.audio)

    @property
    def joined(self) -> ColistenIn:
        """The model that it was folded into."""
        return self._joined

    def reasons(self, tracks: Tracks, *, with_near: bool = True) -> FloatArray:
        """Return (n, 9) what speaks for each track, in the order of `REASONS`.

        Nearness costs most: without it, its column is `FAR`.
        """
        known = self._joined.described(tracks)
        artist, same_artist, genre = self._by_artist(known.artists)[known.at].T
        ratio = (powers(known.columns) * self._ratio).sum(axis=1)
        age, popularity = ratio[:, AUDIO_COLUMNS:].T
        reasons = {
            "artist": artist,
            "same_artist": same_artist,
            "track": self._by_track(known),
            "genre": genre,
            "audio": ratio[:, :AUDIO_COLUMNS].sum(axis=1),
            "near": self._near(known) if with_near else np.full(len(tracks), FAR),
            "age": age,
            "popularity": popularity,
            "release": self._released(known),
        }
        return np.column_stack([reasons[reason] for reason in REASONS])

    def _by_track(self, known: Described) -> FloatArray:
        score = np.zeros(len(known.model_track))
        at = np.flatnonzero(known.model_track >= 0)
        items, rows = self._joined.model.tracks.items, known.model_track[at]
        few = len(rows) * _FEW < len(items.rarity) and "_of_tracks" not in vars(self)
        if few and self._towards_tracks is not None:
            score[at] = self._towards_tracks.of(items.take(rows))
        elif not few:
            score[at] = self._of_tracks[rows]
        return np.log1p(np.maximum(0.0, score))

    def _near(self, known: Described) -> FloatArray:
        of_audio = known.columns[:, :AUDIO_COLUMNS]
        if not len(self._audio):
            return np.full(len(of_audio), FAR)
        heard_nothing = np.isnan(of_audio).all(axis=1)
        return np.where(heard_nothing, FAR, nearness(of_audio, self._audio))

    def _released(self, known: Described) -> FloatArray:
        releases = np.unique(_release(self._own_tracks))
        return np.isin(known.release, releases).astype(np.float64)

    def z(self, tracks: Tracks) -> FloatArray:
        """Return (n,) how much speaks for each track, without bounds.

        The sum that `reasons` and the weights give, by shorter ways: what tracks of an artist share
        is added up per artist, the ratios of all columns are one product, and a reason without
        weight is not worked out.
        """
        if self._of_canonical is not None:  # candidates were taken from all of them
            place = self._joined.place[tracks.row]
            if (place >= 0).all():
                return self._of_canonical[place]
        known = self._joined.described(tracks)
        weight = dict(zip(REASONS, self.mix.weights.tolist(), strict=True))
        shared = np.array([weight["artist"], weight["same_artist"], weight["genre"]])
        z: FloatArray = (self._by_artist(known.artists) @ shared)[known.at]
        counted = np.full(self._ratio.shape[1], weight["audio"])
        counted[AUDIO_COLUMNS:] = weight["age"], weight["popularity"]
        z += known.powers @ (self._ratio * counted).ravel().astype(np.float32)
        other = {"near": self._near, "track": self._by_track, "release": self._released}
        for reason, of in other.items():
            if weight[reason]:
                z += weight[reason] * of(known)
        if tracks is self._joined.catalogue.canonical_tracks:
            self._of_canonical = z
        return z

    def worth(self, tracks: Tracks) -> FloatArray:
        """Return (n,) the same in [0, 1]."""
        return self.mix.unit(self.z(tracks))


def _release(tracks: Tracks) -> IndexArray:
    """Return a number that tracks of one artist and one day share; unknown days share with none."""
    dated = tracks.released != UNKNOWN_DATE
    day = np.where(dated, tracks.released, 0)
    number = tracks.artist * 1_000_000 + day + 500_000
    return np.where(dated, number, -1 - tracks.row)
