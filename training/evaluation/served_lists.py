"""Evaluation: the list that a listener would get, against what they turned out to play.

Two ways. `served`: candidates, components and ranking are those of the service; it decides on
promotion. `full`: the best list out of every track of the catalogue, whatever the sources of
candidates pass over.

A benchmark calls `evaluate_full(catalogue, examples, scorers, judge=judge)`: examples are any
iterable of `training.data.dataset.Example`, scorers name -> Scorer, and `judge` is
`ListJudge.of(catalogue, played_by, listeners)`. It returns name -> `Lists`; the weights are those
of each listener's own stage.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recommender.audio import FloatArray
from recommender.exploration import EpsilonSlots
from recommender.ranking import Ranking, Rules, rank
from recommender.scoring import Scorer, Weights
from recommender.tracks import Catalogue, IndexArray
from training.data.choices import Choices
from training.data.dataset import Example
from training.data.forks import blocks, forked
from training.evaluation.full_ranking import LIMIT, FullRanking
from training.evaluation.list_metrics import METRICS, K, ListJudge, average_precision, ndcg, recall

__all__ = [
    "GAIN",
    "METRICS",
    "K",
    "Lists",
    "average_precision",
    "evaluate_full",
    "evaluate_served",
    "full_lists",
    "joined_lists",
    "listed_artists",
    "ndcg",
    "ranking_of",
    "recall",
]

GAIN = f"gain_ndcg_{K}"
"""Metric: NDCG@10 less the champion's, the mean over listeners, each at the stage they are in."""
BLOCK = 64
"""Listeners that a process lists for at a time."""

Timer = Callable[[], float]


@dataclass(frozen=True)
class Lists:
    """What one scorer listed for n listeners.

    Attributes
    ----------
    rows
        n lists of catalogue rows, best first.
    values
        (n, 6) float64, columns in the order of `METRICS`.
    milliseconds
        (n,) how long ranking took, judged components given; 0 where it was not measured.
    """

    rows: Sequence[IndexArray]
    values: FloatArray
    milliseconds: FloatArray


def ranking_of(choices: Choices, weights: Weights) -> Ranking:
    """Rank a listener's candidates as the service does, with no feedback and no exploration."""
    nothing = np.zeros(len(choices.tracks), dtype=np.bool_)
    return rank(
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


def listed_artists(choices: Choices, weights: Weights) -> list[int]:
    """Return the artists new to the listener, in the order in which the list names them."""
    place = ranking_of(choices, weights).place
    new = place[~choices.is_known[place]]
    return list(dict.fromkeys(choices.tracks.artist[new].tolist()))


def evaluate_served(
    choices: Iterable[Choices],
    scorers: Mapping[str, Scorer],
    judge: ListJudge,
    *,
    timer: Timer = time.perf_counter,
) -> dict[str, Lists]:
    """Rank each listener's candidates with each scorer, and measure the lists.

    Which scorer comes first alternates, so that neither finds the memory warm more often.
    """
    kept: dict[str, list[_Measured]] = {name: [] for name in scorers}
    for number, one in enumerate(choices):
        names = list(scorers) if number % 2 else list(scorers)[::-1]
        for name in names:
            began = timer()
            ranking = ranking_of(one, scorers[name].weights[one.listener.stage])
            took = 1000.0 * (timer() - began)
            rows = one.tracks.row[ranking.place]
            kept[name].append((rows, judge.measure(rows, one.listener, one.relevant), took))
    return {name: _lists(measured) for name, measured in kept.items()}


def evaluate_full(
    catalogue: Catalogue,
    examples: Iterable[Example],
    scorers: Mapping[str, Scorer],
    *,
    judge: ListJudge,
    limit: int = LIMIT,
    processes: int | None = None,
) -> dict[str, Lists]:
    """Rank every track of the catalogue for each listener with each scorer, and measure the lists.

    Linear in listeners x tracks. The lists are the same for any number of processes.
    """
    ranking = FullRanking.of(catalogue)
    ranking.warm()
    listed = list(examples)

    def of(block: range) -> dict[str, Lists]:
        some = listed[block.start : block.stop]
        return full_lists(ranking, some, scorers, judge=judge, limit=limit)

    parts = blocks(len(listed), BLOCK) or [range(0)]
    return joined_lists(list(forked(of, parts, processes=processes)))


def full_lists(
    ranking: FullRanking,
    examples: Iterable[Example],
    scorers: Mapping[str, Scorer],
    *,
    judge: ListJudge,
    limit: int = LIMIT,
) -> dict[str, Lists]:
    """Do the same for some listeners, here, one after the other."""
    kept: dict[str, list[_Measured]] = {name: [] for name in scorers}
    for example in examples:
        listener = example.listener
        weights = [scorer.weights[listener.stage] for scorer in scorers.values()]
        lists = ranking.lists(listener, weights, limit)
        for name, rows in zip(scorers, lists, strict=True):
            kept[name].append((rows, judge.measure(rows, listener, example.relevant), 0.0))
    return {name: _lists(measured) for name, measured in kept.items()}


def joined_lists(parts: Sequence[Mapping[str, Lists]]) -> dict[str, Lists]:
    """Return the lists of all listeners, whose parts come in their order; at least one part."""
    return {
        name: Lists(
            rows=[rows for part in parts for rows in part[name].rows],
            values=np.concatenate([part[name].values for part in parts]),
            milliseconds=np.concatenate([part[name].milliseconds for part in parts]),
        )
        for name in parts[0]
    }


_Measured = tuple[IndexArray, tuple[float, ...], float]


def _lists(measured: Sequence[_Measured]) -> Lists:
    values = [values for _, values, _ in measured]
    return Lists(
        rows=[rows for rows, _, _ in measured],
        values=np.array(values, dtype=np.float64).reshape(len(measured), len(METRICS)),
        milliseconds=np.array([took for _, _, took in measured], dtype=np.float64),
    )
