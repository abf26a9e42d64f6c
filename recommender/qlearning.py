"""Q-learning: the state of a (listener, track), the seed's update, and what it does to a score.

SEED.md section 2, settled questions 9 and 10. Two actions: recommend, whose value is learned, and
not_recommend, which stays 0 and is the baseline.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from recommender.audio import FEATURES, AudioArray, FloatArray

LEARNING_RATE = 0.1
HIGHEST_BASE_REWARD = 1.8
LARGEST_ADJUSTMENT = 0.05

STATE_TRAITS = ("extraversion", "openness", "conscientiousness", "agreeableness", "neuroticism")
STATE_FEATURES = ("energy", "valence", "danceability", "tempo")

BANDS = ("low", "med", "high", "none")
"""A band's code is its place: low < 1/3 <= med < 2/3 <= high, none where the value is missing."""


def band_codes(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return each value's place in `BANDS`.

    Examples
    --------
    >>> [BANDS[code] for code in band_codes(np.array([0, 0.333, 1 / 3, 2 / 3, np.nan]))]
    ['low', 'low', 'med', 'high', 'none']
    """
    x = np.asarray(values, dtype=np.float64)
    # float32 rows stand for the decimals of their source: one third is where 1/3 rounds to there.
    third = (x >= 1 / 3).astype(np.int64) + (x >= 2 / 3)
    return np.where(np.isnan(x), 3, third)


def listener_state(traits: Mapping[str, float]) -> str:
    """Return the listener's half of a state.

    Examples
    --------
    >>> listener_state({"extraversion": 0.8, "openness": 0.5})
    'extraversion_high|openness_med|conscientiousness_none|agreeableness_none|neuroticism_none'
    """
    codes = band_codes(np.array([traits.get(trait, np.nan) for trait in STATE_TRAITS]))
    return "|".join(f"{t}_{BANDS[c]}" for t, c in zip(STATE_TRAITS, codes, strict=True))


def track_states(
    audio: AudioArray, categories: Sequence[str]
) -> tuple[list[str], NDArray[np.int64]]:
    """Return the distinct track halves of states, and each track's place among them.

    Parameters
    ----------
    audio
        (n, 7) audio rows.
    categories
        n category slugs.

    Examples
    --------
    >>> rows = np.array([[.7, .9, .8, .5, .1, 0, .1]] * 2, dtype=np.float32)
    >>> track_states(rows, ["pop_anthems", "pop_anthems"])
    (['energy_high|valence_high|danceability_high|tempo_med|genre_pop_anthems'], array([0, 0]))
    """
    codes = band_codes(audio[:, [FEATURES.index(f) for f in STATE_FEATURES]])
    names, place = np.unique(np.asarray(categories, dtype=np.str_), return_inverse=True)
    packed = codes @ np.array([64, 16, 4, 1]) + 256 * place
    distinct, inverse = np.unique(packed, return_inverse=True)
    halves = []
    for code in distinct.tolist():
        bands = [BANDS[code >> shift & 3] for shift in (6, 4, 2, 0)]
        parts = [f"{f}_{b}" for f, b in zip(STATE_FEATURES, bands, strict=True)]
        halves.append("|".join([*parts, f"genre_{names[code >> 8]}"]))
    return halves, inverse


def join_state(listener_half: str, track_half: str) -> str:
    """Return the whole state."""
    return f"{listener_half}|{track_half}"


def updated(q: float, reward: float, learning_rate: float = LEARNING_RATE) -> float:
    """Return Q + alpha (reward - Q), the seed's rule.

    Examples
    --------
    >>> updated(0.0, 1.0), round(updated(0.1, -0.4), 3)
    (0.1, 0.05)
    """
    return q + learning_rate * (reward - q)


def learn(q_table: dict[str, float], experiences: Iterable[tuple[str, float]]) -> None:
    """Apply the seed's rule to each (state, reward) in turn, in place; an unseen state starts at 0.

    Examples
    --------
    >>> table = {}
    >>> learn(table, [("s", 1.0), ("s", 1.0)])
    >>> table
    {'s': 0.19}
    """
    for state, reward in experiences:
        q_table[state] = updated(q_table.get(state, 0.0), reward)


def adjustment(q: NDArray[np.floating] | float) -> FloatArray:
    """Return what Q(s, recommend) adds to a score: 0.05 clip(Q / 1.8, -1, 1).

    Examples
    --------
    >>> adjustment(np.array([0.9, -5.0]))
    array([ 0.025, -0.05 ])
    """
    scaled = np.clip(np.asarray(q, dtype=np.float64) / HIGHEST_BASE_REWARD, -1.0, 1.0)
    return LARGEST_ADJUSTMENT * scaled


def adjustments(
    q_table: Mapping[str, float],
    traits: Mapping[str, float],
    halves: Sequence[str],
    place: NDArray[np.int64],
) -> FloatArray:
    """Return the adjustment of each track for this listener.

    Parameters
    ----------
    q_table
        State -> Q(state, recommend); a state not in it has 0.
    halves, place
        From `track_states`.

    Returns
    -------
    (len(place),) float64 in [-0.05, 0.05].
    """
    if not q_table:
        return np.zeros(len(place))
    prefix = listener_state(traits) + "|"
    q = np.zeros(len(halves))
    where = {half: at for at, half in enumerate(halves)}
    for state, value in q_table.items():
        at = where.get(state.removeprefix(prefix)) if state.startswith(prefix) else None
        if at is not None:
            q[at] = value
    return adjustment(q)[place]
