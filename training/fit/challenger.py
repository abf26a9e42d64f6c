"""The challenger: gradient-boosted trees on the same components, to see what a sum leaves out.

It is never served: a score has to be explained. Both models are fitted to one half of the listeners
who fit the weights and order the rows of the other half, and the other way round; nobody who tests
the model is asked.
"""

from collections.abc import Mapping

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from recommender.audio import FloatArray
from recommender.cold_start import Stage
from recommender.scoring import Scorer
from training.data.choices import ChoiceRows
from training.evaluation.intervals import Interval, bootstrap
from training.evaluation.row_metrics import ndcg_by_list
from training.fit.weights import fit_stage

CHALLENGER_GAIN = "challenger_gain_ndcg_10"
"""Metric: NDCG@10 of the trees less that of the weights, the mean over listeners."""
MOST_LISTENERS = 400
FEWEST_LISTENERS = 20
ITERATIONS = 60


def challenger_gain(
    rows: Mapping[Stage, ChoiceRows], prior: Scorer, *, shrinkage: float, ridge: float, seed: int
) -> dict[str, Interval]:
    """Return metric -> interval, per stage and over all of a listener's stages.

    Stages with fewer than `FEWEST_LISTENERS` who chose have none. Of many listeners a sample of
    `MOST_LISTENERS` is taken: trees over everybody would take longer than the weights.
    """
    by_listener: dict[int, list[float]] = {}
    metrics = {}
    for stage in Stage:
        gains = stage_gains(
            rows[stage], prior.weights[stage], shrinkage=shrinkage, ridge=ridge, seed=seed
        )
        if not gains:
            continue
        metrics[f"{stage}/{CHALLENGER_GAIN}"] = bootstrap(np.array(list(gains.values())), seed)
        for listener, gain in gains.items():
            by_listener.setdefault(listener, []).append(gain)
    if by_listener:
        means = [float(np.mean(gains)) for _, gains in sorted(by_listener.items())]
        metrics[CHALLENGER_GAIN] = bootstrap(np.array(means), seed)
    return metrics


def stage_gains(
    rows: ChoiceRows, prior: Mapping[str, float], *, shrinkage: float, ridge: float, seed: int
) -> dict[int, float]:
    """Return listener -> NDCG@10 of the trees less that of the weights; none where few chose."""
    rng = np.random.default_rng(seed)
    chose = np.unique(rows.listener[rows.target > 0])
    if len(chose) < FEWEST_LISTENERS:
        return {}
    asked = rng.permutation(chose)[:MOST_LISTENERS]
    half = rng.permutation(len(asked)) % 2
    gains: dict[int, float] = {}
    for fold in (0, 1):
        fit = rows.where(np.isin(rows.listener, asked[half != fold]))
        test = rows.where(np.isin(rows.listener, asked[half == fold]))
        weights = fit_stage(fit, prior, shrinkage=shrinkage, ridge=ridge)
        trees = HistGradientBoostingRegressor(
            loss="poisson", max_iter=ITERATIONS, early_stopping=False, random_state=seed
        )
        with threadpool_limits(limits=1):  # sums in another order would differ in their last bits
            # Rows that all stand for one candidate need no weights, which take as long as the rest.
            weight = None if (fit.exposure == 1).all() else fit.exposure
            trees.fit(fit.features, fit.target, sample_weight=weight)
            predicted = trees.predict(test.features)
        gains |= _differences(test, predicted, weights.predict(test.features))
    return dict(sorted(gains.items()))


def _differences(rows: ChoiceRows, ours: FloatArray, theirs: FloatArray) -> dict[int, float]:
    """Return listener -> the mean over lists with a choice of NDCG by `ours` less by `theirs`."""
    starts = np.flatnonzero(np.diff(rows.list, prepend=-1))
    chosen = np.add.reduceat(rows.target, starts) > 0
    difference = ndcg_by_list(ours, rows.target, starts) - ndcg_by_list(theirs, rows.target, starts)
    who = rows.listener[starts]
    return {
        int(one): float(difference[chosen & (who == one)].mean())
        for one in np.unique(who[chosen]).tolist()
    }
