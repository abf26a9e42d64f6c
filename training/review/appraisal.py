"""Appraisal: a registered scorer beside the prior, on today's listeners."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from recommender.audio import FloatArray
from recommender.cold_start import Stage
from recommender.scoring import PRIOR, Scorer
from training.data.choices import BLOCK, Choices, choices_of
from training.data.dataset import read_dataset
from training.data.forks import blocks, forked
from training.data.histories import stage_today
from training.errors import RegistryError
from training.evaluation.intervals import Interval, bootstrap
from training.evaluation.served_lists import GAIN, K, listed_artists, ndcg, recall
from training.fit.crossfit import cross_fitted
from training.runs import COLISTEN, SCORER, Version
from training.scorer_flavour import KIND

if TYPE_CHECKING:  # importing it takes seconds
    from training.registry import Registry

NAMES = (f"ndcg_{K}", f"prior_ndcg_{K}", GAIN, f"recall_{K}")
WORDS = (f"NDCG@{K}", "prior", "gain", f"recall@{K}")

SEED = 7
"""Of the split that `bondhu train scorer` makes by default."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Appraisal:
    """What a version is worth today.

    Attributes
    ----------
    metrics
        `ndcg_10`, `prior_ndcg_10`, `gain_ndcg_10` (paired by listener) and `recall_10`, per stage
        (`month_2_plus/ndcg_10`) and over all listeners, each at the stage that they are in today.
    listeners
        Tested on: none of those that a scorer of this seed is fitted to.
    refused
        'table from source' -> rows left out because they may not be trained on.
    """

    version: Version
    metrics: Mapping[str, Interval]
    listeners: int
    refused: Mapping[str, int]

    def lines(self) -> list[str]:
        """Return a line per stage and one over all, where each is at the stage of today."""
        lines = []
        for title, prefix in [*((stage.value, f"{stage}/") for stage in Stage), ("all today", "")]:
            parts = (
                f"{word} {self.metrics[prefix + name]}"
                for word, name in zip(WORDS, NAMES, strict=True)
            )
            lines.append(f"{title:<14}{', '.join(parts)}")
        return lines


def appraise(
    engine: sa.Engine,
    registry: "Registry",
    *,
    number: int | None = None,
    seed: int = SEED,
    now: datetime,
    progress: Progress | None = None,
) -> Appraisal:
    """Evaluate a scorer and the prior on the listeners that test scorers of this seed.

    Co-listening, where there is a champion, is fitted without the listeners that it judges.

    Parameters
    ----------
    number
        The version; None: the champion.

    Raises
    ------
    RegistryError
        There is no such version.
    NothingTrainableError
        No row may be used, or too few listeners have enough of them.
    """
    say = progress or (lambda line: None)
    version = registry.champion(SCORER) if number is None else registry.version(SCORER, number)
    if version is None:
        raise RegistryError("no scorer is champion: run 'bondhu train scorer' and 'bondhu promote'")
    scorer = registry.load(KIND, version.number)
    say("reading histories")
    dataset = read_dataset(engine, seed=seed)
    # One thread: sums in another order would differ in their last bits.
    with threadpool_limits(limits=1):
        colisten_for = None
        if registry.champion(COLISTEN) is not None:
            say("fitting co-listening without the listeners that it judges")
            colisten_for = cross_fitted(dataset, seed=seed)
        say(f"testing on {len(dataset.test)} listeners")
        dataset.warm([] if colisten_for is None else map(colisten_for, dataset.test))

        def of(block: range) -> list[FloatArray]:
            some = dataset.test[block.start : block.stop]
            return [
                _measured(
                    choices_of(
                        dataset.catalogue,
                        dataset.examples(some, stage, now=now, colisten_for=colisten_for),
                        index=dataset.index,
                    ),
                    stage,
                    scorer,
                )
                for stage in Stage
            ]

        made = list(forked(of, blocks(len(dataset.test), BLOCK)))
        values = {
            stage: np.concatenate([tables[at] for tables in made]) for at, stage in enumerate(Stage)
        }
    stages = [stage_today(holdout.history, now) for holdout in dataset.test]
    today = np.array([values[stage][place] for place, stage in enumerate(stages)])
    metrics = {
        f"{prefix}{name}": bootstrap(table[:, column], seed)
        for prefix, table in [*((f"{stage}/", values[stage]) for stage in Stage), ("", today)]
        for column, name in enumerate(NAMES)
    }
    return Appraisal(version, metrics, len(dataset.test), dataset.histories.refused)


def _measured(choices: Iterable[Choices], stage: Stage, scorer: Scorer) -> FloatArray:
    """Return (n, 4), columns in the order of `NAMES`."""
    rows = []
    for one in choices:
        ours, prior = (listed_artists(one, s.weights[stage]) for s in (scorer, PRIOR))
        found, base = ndcg(ours, one.relevant), ndcg(prior, one.relevant)
        rows.append((found, base, found - base, recall(ours, one.relevant)))
    return np.array(rows, dtype=np.float64)
