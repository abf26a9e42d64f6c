"""Fitting a mix: how much each reason of a taste counts, learned from histories with a part hidden.

A part of each history is hidden from grains that were fitted to other histories; what was hidden
was chosen among 2,500 others: P(c) = exp(z_c) / sum exp(z). Weights are never negative: a track
must not gain by being unknown, which it would where every track of a catalogue is in some history
that was kept aside.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from recommender.audio import AudioArray, FloatArray
from recommender.background import Background
from recommender.colisten import (
    BY_ARTISTS,
    BY_TRACKS,
    REASONS,
    TRACKS_FOR_TASTE,
    Colisten,
    Listened,
    Mix,
)
from recommender.grain import Grain
from recommender.taste import ColistenIn
from recommender.tracks import Catalogue, IndexArray
from training.data.listening import Listening
from training.fit.grains import fit_grain

FOLDS = 3
MOST_HISTORIES = 150
MOST_INSIDE = 2_000
"""Histories that the grains of a fold are fitted to: nine weights are told from each other by a
sample, and the grains that are served are fitted to everybody."""
FEWEST_HISTORIES = 30
FEWEST_ITEMS = 10
OTHERS = 2_500
HIDDEN_ARTISTS = 0.2
PENALTY = 1e-3
ROUNDS = 4
FOCUS = 1.0
"""How far the loss looks at the top of a list alone: 0 counts all hidden tracks alike."""
DECIMALS = 6


CatalogueOf = Callable[[Sequence[Listening]], Catalogue]
"""The catalogue as it is known where only these histories are: genres may come from them."""


@dataclass(frozen=True)
class Choice:
    """(n, 9) reasons of the hidden tracks and others, the hidden ones first."""

    reasons: FloatArray
    hidden: int
    scale: float


def fit_mixes(
    listenings: Sequence[Listening],
    catalogue_of: CatalogueOf,
    *,
    seed: int,
    focus: float = FOCUS,
) -> tuple[Mix, Mix]:
    """Return the mixes by tracks and by artists; where too few histories tell, the constants."""
    rng = np.random.default_rng(seed)
    most = MOST_INSIDE * FOLDS // (FOLDS - 1)
    if len(listenings) > most:
        drawn = np.sort(rng.choice(len(listenings), most, replace=False))
        listenings = [listenings[at] for at in drawn.tolist()]
    fold = rng.permutation(len(listenings)) % FOLDS
    by_tracks: list[Choice] = []
    by_artists: list[Choice] = []
    for held in range(FOLDS):
        inside = [one for one, at in zip(listenings, fold, strict=True) if at != held]
        outside = [one for one, at in zip(listenings, fold, strict=True) if at == held]
        if not inside or not outside:
            return BY_TRACKS, BY_ARTISTS
        catalogue = catalogue_of(inside)
        joined = ColistenIn.of(fit_grains(inside, catalogue, seed=seed), catalogue)
        outside = [outside[at] for at in rng.permutation(len(outside))]
        for choices, make in ((by_tracks, _tracks_hidden), (by_artists, _artists_hidden)):
            made: list[Choice] = []
            for one in outside:
                if len(made) == MOST_HISTORIES // FOLDS:
                    break
                choice = make(one, joined, rng)
                if choice is not None:
                    made.append(choice)
            choices.extend(made)
    return _fit(by_tracks, BY_TRACKS, focus), _fit(by_artists, BY_ARTISTS, focus)


def fit_grains(listenings: Sequence[Listening], catalogue: Catalogue, *, seed: int) -> Colisten:
    """Return a model of these histories with the mixes still to be fitted."""
    return Colisten(
        grain_of_artists(listenings, seed=seed),
        grain_of_tracks(listenings, seed=seed),
        Background.of(catalogue.tracks),
    )


def grain_of_artists(listenings: Sequence[Listening], *, seed: int) -> Grain:
    """Return which artists go together."""
    return fit_grain([one.artists for one in listenings], seed=seed)


def grain_of_tracks(listenings: Sequence[Listening], *, seed: int) -> Grain:
    """Return which tracks go together; empty where nobody's are known."""
    played = [dict.fromkeys(one.tracks, 1.0) for one in listenings if one.tracks]
    return fit_grain(played, seed=seed) if played else Grain.empty()


def _tracks_hidden(one: Listening, joined: ColistenIn, rng: np.random.Generator) -> Choice | None:
    """Hide half of a history's tracks."""
    rows = joined.catalogue.rows_of(list(one.tracks))
    rows = np.unique(rows[rows >= 0])
    if len(rows) < max(FEWEST_ITEMS, 2 * TRACKS_FOR_TASTE):
        return None
    rows = rng.permutation(rows)
    seen, hidden = rows[: (len(rows) + 1) // 2], rows[(len(rows) + 1) // 2 :]
    others = rng.choice(len(joined.catalogue), min(OTHERS, len(joined.catalogue)), replace=False)
    return _choice(listened_to(joined.catalogue, seen), joined, hidden, others, np.sort(rows))


def _artists_hidden(one: Listening, joined: ColistenIn, rng: np.random.Generator) -> Choice | None:
    """Hide a fifth of a history's artists; each artist stands for its most popular track."""
    names = list(one.artists)
    at = joined.catalogue.artists_of(names)
    findable = np.flatnonzero(at >= 0)
    if len(names) < FEWEST_ITEMS or len(findable) < TRACKS_FOR_TASTE:
        return None
    count = max(1, round(HIDDEN_ARTISTS * len(findable)))
    hidden = rng.choice(findable, count, replace=False)
    kept = np.setdiff1d(np.arange(len(names)), hidden)
    rows, starts = joined.catalogue.by_artist
    plays = np.array(list(one.artists.values()), dtype=np.float64)[kept]
    seen = at[kept]
    audio = artist_audio(joined.catalogue, seen[seen >= 0])
    listened = Listened([names[place] for place in kept.tolist()], plays, (), audio)
    others = rng.choice(len(starts) - 1, min(OTHERS, len(starts) - 1), replace=False)
    first = rows[starts[:-1]]
    return _choice(listened, joined, first[at[hidden]], first[others], first[at[findable]])


def listened_to(catalogue: Catalogue, rows: IndexArray) -> Listened:
    """Return the history of a listener who played each of these tracks once."""
    artists, plays = np.unique(catalogue.tracks.artist[rows], return_counts=True)
    keys = [catalogue.artist_keys[artist].decode() for artist in artists.tolist()]
    audio = catalogue.tracks.audio[rows]
    ids = [catalogue.id_of(row) for row in rows.tolist()]
    return Listened(keys, plays.astype(np.float64), ids, audio)


def artist_audio(catalogue: Catalogue, artists: IndexArray) -> AudioArray:
    """Return (m, 7) the mean audio of each artist's tracks."""
    rows, starts = catalogue.by_artist
    means = np.full((len(artists), catalogue.tracks.audio.shape[1]), np.nan, dtype=np.float32)
    for place, artist in enumerate(artists.tolist()):
        audio = catalogue.tracks.audio[rows[starts[artist] : starts[artist + 1]]]
        known = ~np.isnan(audio)
        n = known.sum(axis=0)
        total = np.where(known, audio, 0).sum(axis=0)
        np.divide(total, n, out=means[place], where=n > 0)
    return means[~np.isnan(means).all(axis=1)]


def _choice(
    listened: Listened,
    joined: ColistenIn,
    hidden: IndexArray,
    others: IndexArray,
    known: IndexArray,
) -> Choice | None:
    taste = joined.taste(listened)
    others = np.setdiff1d(others, known)
    if taste is None or not len(hidden) or not len(others):
        return None
    rows = np.concatenate([hidden, others])
    scale = len(joined.catalogue) / len(others)
    return Choice(taste.reasons(joined.catalogue.tracks.take(rows)), len(hidden), scale)


def _fit(choices: Sequence[Choice], without: Mix, focus: float) -> Mix:
    if len(choices) < FEWEST_HISTORIES:
        return without

    weights = np.full(len(REASONS), 0.1)
    shares = [np.full(choice.hidden, 1 / choice.hidden) for choice in choices]
    for _ in range(ROUNDS):
        weights = _maximise(choices, shares, weights)
        shares = [_top_shares(choice, weights, focus) for choice in choices]
    weights = np.round(weights, DECIMALS)
    z = [choice.reasons @ weights for choice in choices]
    low = float(np.median([np.median(one) for one in z]))
    high = float(np.quantile([one.max() for one in z], 0.95))
    if high <= low:
        return without
    return Mix(weights, round(low, DECIMALS), round(high, DECIMALS))


def _top_shares(choice: Choice, weights: FloatArray, focus: float) -> FloatArray:
    """Return (hidden,) how much each hidden track counts, by its rank among all; they sum to 1."""
    z = choice.reasons @ weights
    others = np.sort(z[choice.hidden :])
    above = (len(others) - np.searchsorted(others, z[: choice.hidden])) * choice.scale
    share = 1 / (1 + above) ** focus
    result: FloatArray = share / share.sum()
    return result


def _maximise(
    choices: Sequence[Choice], shares: Sequence[FloatArray], start: FloatArray
) -> FloatArray:
    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = PENALTY * float(weights @ weights), 2 * PENALTY * weights
        for choice, share in zip(choices, shares, strict=True):
            z = choice.reasons @ weights
            top = z.max()
            raised = np.exp(z - top)
            total = raised.sum()
            value += float(top + np.log(total) - share @ z[: choice.hidden]) / len(choices)
            wanted = share @ choice.reasons[: choice.hidden]
            gradient += (raised / total @ choice.reasons - wanted) / len(choices)
        return value, gradient

    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * len(REASONS))
    weights: FloatArray = found.x
    return weights
