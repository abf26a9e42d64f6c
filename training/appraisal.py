"""Appraisal: a registered scorer beside the prior, on today's listeners."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from recommender.cold_start import Stage
from recommender.scoring import PRIOR
from training.choices import choices_of
from training.crossfit import cross_fitted
from training.dataset import read_dataset
from training.errors import RegistryError
from training.evaluation import GAIN, K, compare, evaluate
from training.histories import stage_today
from training.intervals import Interval
from training.runs import COLISTEN, SCORER, Version
from training.scorer_flavour import KIND

if TYPE_CHECKING:  # importing it takes seconds
    from training.registry import Registry

SEED = 7
"""Of the split that `bondhu train scorer` makes by default."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Appraisal:
    """What a version is worth today.

    Attributes
    ----------
    metrics
        Name -> interval as in `training.evaluation.compare`, the prior in the champion's place.
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
        names = (f"ndcg_{K}", f"champion_ndcg_{K}", GAIN, f"recall_{K}")
        words = (f"NDCG@{K}", "prior", "gain", f"recall@{K}")
        lines = []
        for title, prefix in [*((stage.value, f"{stage}/") for stage in Stage), ("all today", "")]:
            parts = (
                f"{word} {self.metrics[prefix + name]}"
                for word, name in zip(words, names, strict=True)
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
        choices = {
            stage: choices_of(
                dataset.catalogue,
                dataset.examples(dataset.test, stage, now=now, colisten_for=colisten_for),
            )
            for stage in Stage
        }
        results = evaluate(choices, {"version": scorer, "prior": PRIOR})
        today = [stage_today(holdout.history, now) for holdout in dataset.test]
        metrics = compare(results["version"], results["prior"], today, seed)
    return Appraisal(version, metrics, len(dataset.test), dataset.histories.refused)
