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
from training.fit.colisten import ColistenFit, grain_tasks, side_by_side


def cross_fitted(dataset: Dataset, *, seed: int, processes: int | None = None) -> ColistenFor:
    """Return which model judges whom.

    Test listeners: one fitted to all who fit. Who fits the weights: one whose grains know only the
    other half of them; its mixes are those of all who fit, 18 numbers that say little of anyone.

    Parameters
    ----------
    processes
        See `training.data.forks.forked`; no model depends on it.
    """
    halves: list[list[Holdout]] = [[], []]
    for holdout in dataset.fit:
        halves[_half(holdout, seed)].append(holdout)
    catalogue = dataset.catalogue
    fit = ColistenFit(_listenings(dataset.fit), lambda _: catalogue, seed)
    tasks = fit.tasks
    for others in (halves[1], halves[0]):
        tasks += grain_tasks(_listenings(others), seed=seed)
    mixes, tracks, artists, *of_halves = side_by_side(tasks, processes=processes)
    whole = fit.model(mixes, tracks, artists)
    for_tests = ColistenIn.of(whole, catalogue)
    for_halves = [
        ColistenIn.of(replace(whole, tracks=tracks, artists=artists), catalogue)
        for tracks, artists in zip(of_halves[::2], of_halves[1::2], strict=True)
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
