"""A planted log of impressions: true weights, a policy of other weights, places seldom seen."""

import numpy as np

from recommender.cold_start import Stage
from recommender.components import KEYS
from training.data.impressions import STAGES, Impressions


def plant_impressions(
    truth: dict[str, float],
    shown_by: dict[str, float],
    *,
    eta: float,
    seed: int,
    listeners: int = 300,
    lists: int = 10,
    places: int = 20,
    candidates: int = 60,
    explored_each: int = 5,
    strength: float = 5.0,
) -> Impressions:
    """Return lists ranked by other weights than those that listeners like by.

    Every `explored_each`-th place is drawn from all candidates that are left. What stands at place
    k is liked with k^-eta exp(strength truth . (x - 1)): the position-based model, exactly.

    Parameters
    ----------
    truth, shown_by
        Key -> weight; components are uniform in [0, 1] and independent.
    listeners, lists, places
        So many lists for each listener, of so many places.
    """
    rng = np.random.default_rng(seed)
    theta = strength * np.array([truth.get(key, 0.0) for key in KEYS])
    policy = np.array([shown_by.get(key, 0.0) for key in KEYS])
    shown = listeners * lists
    x = rng.uniform(size=(shown, candidates, len(KEYS)))
    order = np.argsort(-(x @ policy), axis=1)
    components = np.empty((shown, places, len(KEYS)))
    propensity = np.ones((shown, places))
    for place in range(places):
        pick = np.zeros(shown, dtype=np.int64)
        left = candidates - place
        if (place + 1) % explored_each == 0:
            pick = rng.integers(left, size=shown)
            propensity[:, place] = 1 / left
        taken = order[np.arange(shown), pick]
        components[:, place] = x[np.arange(shown), taken]
        keep = np.ones((shown, left), dtype=np.bool_)
        keep[np.arange(shown), pick] = False
        order = order[keep].reshape(shown, left - 1)
    position = np.tile(np.arange(1, places + 1), (shown, 1))
    worth = np.exp(components @ theta - theta.sum())
    liked = rng.random((shown, places)) < position ** (-eta) * worth
    n = shown * places
    return Impressions(
        components=components.reshape(n, len(KEYS)),
        reward=np.where(liked, 1.0, 0.0).ravel(),
        position=position.ravel(),
        propensity=propensity.ravel(),
        shown_at=np.full(n, 20_000.0),
        stage=np.full(n, STAGES.index(Stage.MONTH_2_PLUS)),
        list=np.repeat(np.arange(shown), places),
        listener=np.repeat(np.arange(listeners), lists * places),
        users=[f"user{number:04}" for number in range(listeners)],
        refused={},
        sha256="planted",
        window=("2024-10-04", "2024-10-04"),
    )
