"""Co-listening without leaks: every listener is judged by a model that was fitted without them.

The weights of a scorer are fitted to listeners with a part of their history hidden. A co-listening
model that had seen that part would look better than it will be, and get too much weight.
"""

from collections.abc import Sequence
from dataclasses import replace

from recommender.taste import ColistenIn
from training.data.dataset import ColistenFor, Dataset, Holdout
from training.data.holdout import draw_of
from training.data.listening import Listening, listening_of
from training.fit.colisten import fit_colisten
from training.fit.mixes import fit_grains


def cross_fitted(dataset: Dataset, *, seed: int) -> ColistenFor:
    """Return which model judges whom.

    Test listeners: one fitted to all who fit. Who fits the weights: one whose grains know only the
    other half of them; its mixes are those of all who fit, 18 numbers that say little of anyone.
    """
    halves: list[list[Holdout]] = [[], []]
    for holdout in dataset.fit:
        halves[_half(holdout, seed)].append(holdout)
    catalogue = dataset.catalogue
    whole = fit_colisten(_listenings(dataset.fit), lambda _: catalogue, seed=seed)
    for_tests = ColistenIn.of(whole, catalogue)
    for_halves = [
        ColistenIn.of(
            replace(
                fit_grains(_listenings(others), catalogue, seed=seed),
                by_tracks=whole.by_tracks,
                by_artists=whole.by_artists,
            ),
            catalogue,
        )
        for others in (halves[1], halves[0])
    ]
    fits = {holdout.history.user_id for holdout in dataset.fit}

    def judge(holdout: Holdout) -> ColistenIn:
        is_fit = holdout.history.user_id in fits
        return for_halves[_half(holdout, seed)] if is_fit else for_tests

    return judge


def _half(holdout: Holdout, seed: int) -> int:
    return draw_of(holdout.history.user_id, seed, "crossfit") % 2


def _listenings(holdouts: Sequence[Holdout]) -> list[Listening]:
    return [listening_of(holdout.history) for holdout in holdouts]
