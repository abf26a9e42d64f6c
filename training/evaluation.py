"""Evaluation: the list that a listener would get, against what they turned out to play.

Candidates, components and ranking are those of the service; artists count, in the order in which
the list first names them, those heard before left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recommender.audio import FloatArray
from recommender.cold_start import Stage
from recommender.exploration import EpsilonSlots
from recommender.ranking import Rules, rank
from recommender.scoring import Scorer, Weights
from recommender.tracks import IndexArray
from training.choices import Choices
from training.intervals import Interval, bootstrap

K = 10
GAIN = f"gain_ndcg_{K}"
"""Metric: NDCG@10 less the champion's, the mean over listeners, each at the stage they are in."""


def ndcg(ranked: Sequence[int], relevant: IndexArray, k: int = K) -> float:
    """Return NDCG@k = DCG / (the DCG of a perfect list), in [0, 1].

    DCG = sum over the finds at positions i <= k of 1 / log2(i + 1).

    Parameters
    ----------
    ranked
        Artists, best first, none twice.
    relevant
        At least one artist to be found.

    Examples
    --------
    Of two artists one is found, in the second place: (1 / log2 3) / (1 / log2 2 + 1 / log2 3).

    >>> round(ndcg([5, 8, 9], np.array([4, 8])), 4)
    0.3869
    """
    wanted = set(relevant.tolist())
    found = [i for i, artist in enumerate(ranked[:k], start=1) if artist in wanted]
    perfect = range(1, min(k, len(wanted)) + 1)
    return float(sum(1 / np.log2(i + 1) for i in found) / sum(1 / np.log2(i + 1) for i in perfect))


def recall(ranked: Sequence[int], relevant: IndexArray, k: int = K) -> float:
    """Return which share of the artists to be found stands among the first k.

    Examples
    --------
    >>> recall([5, 8, 9], np.array([4, 8]))
    0.5
    """
    return len(set(ranked[:k]) & set(relevant.tolist())) / len(set(relevant.tolist()))


def listed_artists(choices: Choices, weights: Weights) -> list[int]:
    """Return the artists new to the listener, in the order in which the list names them."""
    nothing = np.zeros(len(choices.tracks), dtype=np.bool_)
    ranking = rank(
        choices.tracks,
        choices.components,
        weights=weights,
        rl_adjustment=np.zeros(len(nothing)),
        rules=Rules(
            never=nothing,
            heard=np.isin(choices.tracks.row, choices.listener.heard),
            shown=nothing,
        ),
        policy=EpsilonSlots(0.0, np.random.default_rng(0)),
    )
    new = ranking.place[~choices.is_known[ranking.place]]
    return list(dict.fromkeys(choices.tracks.artist[new].tolist()))


@dataclass(frozen=True)
class Results:
    """What one scorer reached: stage -> (n,) float64, one value per listener in the same order."""

    ndcg: Mapping[Stage, FloatArray]
    recall: Mapping[Stage, FloatArray]


def evaluate(
    choices: Mapping[Stage, Iterable[Choices]], scorers: Mapping[str, Scorer]
) -> dict[str, Results]:
    """Rank each listener's candidates with each scorer; return the results by scorer's name."""
    ndcgs: dict[str, dict[Stage, FloatArray]] = {name: {} for name in scorers}
    recalls: dict[str, dict[Stage, FloatArray]] = {name: {} for name in scorers}
    for stage in Stage:
        values = [
            [_measured(one, scorer.weights[stage]) for scorer in scorers.values()]
            for one in choices[stage]
        ]
        table = np.array(values, dtype=np.float64).reshape(len(values), len(scorers), 2)
        for place, name in enumerate(scorers):
            ndcgs[name][stage], recalls[name][stage] = table[:, place].T
    return {name: Results(ndcgs[name], recalls[name]) for name in scorers}


def _measured(choices: Choices, weights: Weights) -> tuple[float, float]:
    ranked = listed_artists(choices, weights)
    return ndcg(ranked, choices.relevant), recall(ranked, choices.relevant)


def compare(
    challenger: Results, champion: Results, stages: Sequence[Stage], seed: int
) -> dict[str, Interval]:
    """Return metric -> interval, per stage (`month_2_plus/ndcg_10`) and over all listeners.

    `ndcg_10` and `recall_10` are the challenger's, `champion_ndcg_10` the champion's, and
    `gain_ndcg_10` is the difference, paired by listener.

    Parameters
    ----------
    stages
        The stage that each listener is in today: over all listeners each counts there, so that
        a gain in a stage that hardly anybody is in does not speak for the others.
    """
    metrics = {}
    parts: Mapping[str, Mapping[Stage, FloatArray]] = {
        f"ndcg_{K}": challenger.ndcg,
        f"champion_ndcg_{K}": champion.ndcg,
        GAIN: {stage: challenger.ndcg[stage] - champion.ndcg[stage] for stage in Stage},
        f"recall_{K}": challenger.recall,
    }
    for name, per_stage in parts.items():
        for stage in Stage:
            metrics[f"{stage}/{name}"] = bootstrap(per_stage[stage], seed)
        today = np.array([per_stage[stage][place] for place, stage in enumerate(stages)])
        metrics[name] = bootstrap(today, seed)
    return metrics
