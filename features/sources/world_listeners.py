"""Simulated listeners: who they are, what they like, and what they heard and when."""

from dataclasses import dataclass

import numpy as np

from features.sources.world_figures import (
    GENRES,
    TASTE_CORRELATION,
    TRAIT_CORRELATION,
    TRAIT_DEVIATION,
    TRAIT_MEAN,
)
from features.sources.world_music import Music
from recommender.audio import FEATURES, FloatArray
from recommender.tracks import IndexArray

DAY_MS = 86_400_000
GENRE_WEIGHT, AUDIO_WEIGHT, POPULARITY_WEIGHT, ARTIST_WEIGHT = 1.5, 0.6, 0.8, 0.7
"""What one standard deviation of each taste is worth in the logit of hearing a track."""
PLAYS_PER_DAY = 1.2
"""The median listener's."""
PLAYS_PER_SITTING = 6


@dataclass(frozen=True)
class Listeners:
    """m listeners.

    Attributes
    ----------
    scores
        (m, 5) Big Five, 0-100, in the order of `recommender.personality.TRAITS`.
    genre_taste
        (m, genres) standard normal.
    audio_taste
        (m, 7) the favourite sound, in standard deviations of the world's tracks.
    age_days
        (m,) of the account: of ten, one is in its first week, one in weeks 2 to 4, eight are older.
    """

    scores: FloatArray
    genre_taste: FloatArray
    audio_taste: FloatArray
    age_days: FloatArray


def draw_listeners(rng: np.random.Generator, m: int) -> Listeners:
    """Draw m listeners whose tastes follow their traits as far as was published.

    With traits z ~ N(0, C) and the published correlations r_g of genre g, taste_g = b_g . z + rest,
    b_g = C^-1 r_g, the rest normal with variance 1 - r_g . b_g: then corr(taste_g, z_t) = r_gt.
    Half of the rest is shared by the subgenres of one genre.
    """
    correlation = np.array(TRAIT_CORRELATION)
    z = rng.standard_normal((m, len(correlation))) @ np.linalg.cholesky(correlation).T
    r = np.array([TASTE_CORRELATION[genre.published] for genre in GENRES.values()])
    b = np.linalg.solve(correlation, r.T).T
    parents = list(dict.fromkeys(genre.parent for genre in GENRES.values()))
    parent = [parents.index(genre.parent) for genre in GENRES.values()]
    shared, own = rng.standard_normal((m, len(parents))), rng.standard_normal((m, len(GENRES)))
    rest = (shared[:, parent] + own) / np.sqrt(2)
    turn = np.arange(m) % 10
    low = np.select([turn == 0, turn == 1], [0.2, 8.0], default=29.0)
    high = np.select([turn == 0, turn == 1], [7.9, 28.9], default=365.0)
    return Listeners(
        scores=(np.array(TRAIT_MEAN) + z * np.array(TRAIT_DEVIATION)).clip(0, 100).round(1),
        genre_taste=z @ b.T + rest * np.sqrt(1 - (r * b).sum(axis=1)),
        audio_taste=rng.standard_normal((m, len(FEATURES))),
        age_days=rng.uniform(low, high),
    )


def utilities(music: Music, listeners: Listeners, listener: int) -> FloatArray:
    """Return (n,) how much one listener wants each track: the logit of hearing it."""
    sound = (music.audio - music.audio.mean(axis=0)) / music.audio.std(axis=0)
    fame = (music.popularity - music.popularity.mean()) / music.popularity.std()
    distance = ((sound - listeners.audio_taste[listener]) ** 2).mean(axis=1)
    wanted: FloatArray = (
        GENRE_WEIGHT * listeners.genre_taste[listener, music.genre]
        - AUDIO_WEIGHT * distance
        + POPULARITY_WEIGHT * fame
    )
    return wanted


@dataclass(frozen=True)
class Plays:
    """Plays of one listener in the order of time: track, milliseconds since joining, how long."""

    track: IndexArray
    start_ms: IndexArray
    ms_played: IndexArray


def draw_plays(
    rng: np.random.Generator, music: Music, wanted: FloatArray, age_days: float
) -> Plays:
    """Draw what one listener heard since joining.

    A library of tracks is drawn without replacement in proportion to exp(wanted + artist taste),
    and played with weight rank^-0.7; plays come in sittings, one track after another; what ranks
    high is heard to its end more often (90% down to 60%), else skipped at a random share.
    """
    activity = PLAYS_PER_DAY * rng.lognormal(sigma=0.6)
    n = int(rng.poisson(activity * (age_days + 5)))
    size = min(len(music), 1 + int(n**0.9))
    loyalty = ARTIST_WEIGHT * rng.standard_normal(len(music.artists))
    drawn = wanted + loyalty[music.artist] + rng.gumbel(size=len(music))
    library = np.argsort(-drawn, kind="stable")[:size]
    weight = np.arange(1, size + 1) ** -0.7
    rank = rng.choice(size, size=n, p=weight / weight.sum())
    track = library[rank]
    finished = rng.random(n) < 0.9 - 0.3 * rank / size
    share = np.where(finished, 1.0, rng.uniform(0.05, 0.95, size=n))
    ms_played = (music.duration_ms[track] * share).astype(np.int64)
    span = int(age_days * DAY_MS)
    sittings = np.sort(rng.integers(span, size=1 + n // PLAYS_PER_SITTING))
    start = np.sort(sittings[rng.integers(len(sittings), size=n)])
    # A play begins when the one before has ended: start_i = max(start_i, end_(i-1)).
    before = np.cumsum(ms_played) - ms_played
    start_ms = before + np.maximum.accumulate(start - before) if n else start
    past = start_ms + ms_played <= span
    return Plays(track[past], start_ms[past], ms_played[past])
