"""Listed: what test listeners are given, at every stage, by a candidate and by its baseline.

Everything that is asked of one listener is asked together, while what is known of them is at hand:
both ways of listing, the check for leaks, and the judged rows that a calibration is drawn from.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from recommender.cold_start import Stage
from recommender.scoring import Scorer
from training.data.choices import ChoiceRows, choices_of, joined_rows, rows_of
from training.data.dataset import ColistenFor, Dataset
from training.data.forks import blocks, forked
from training.evaluation.full_ranking import FullRanking
from training.evaluation.leaks import SAMPLE, AsOf, LeakCheck, checked
from training.evaluation.list_metrics import ListJudge
from training.evaluation.served_lists import Lists, Timer, evaluate_served, full_lists, joined_lists

SERVED, FULL = "served", "full"
WAYS = (SERVED, FULL)
BLOCK = 20
"""Listeners that a process lists for at a time; even, as scorers take turns in being first."""
DRAWN = 300
"""Test listeners per stage whose judged rows are kept: some 100,000 candidates."""

Pair = Mapping[str, Lists]
"""Name of a scorer -> what it listed for the same listeners."""


@dataclass(frozen=True)
class Listed:
    """What n test listeners are given.

    Attributes
    ----------
    lists
        Way -> stage -> name of a scorer -> lists.
    rows
        Stage -> the judged candidates of the first `DRAWN` of them.
    leak
        Of the first `SAMPLE` of them at each stage.
    """

    lists: Mapping[str, Mapping[Stage, Pair]]
    rows: Mapping[Stage, ChoiceRows]
    leak: LeakCheck


def listed_for_test(
    dataset: Dataset,
    scorers: Mapping[str, Scorer],
    *,
    judge: ListJudge,
    now: datetime,
    colisten_for: ColistenFor | None = None,
    processes: int | None = None,
    timer: Timer = time.perf_counter,
) -> Listed:
    """List for every test listener of a data set; equal for any number of processes.

    Parameters
    ----------
    colisten_for
        Returns the co-listening model that judges a listener: one fitted without them.
    """
    dataset.warm([] if colisten_for is None else map(colisten_for, dataset.test))
    ranking = FullRanking.of(dataset.catalogue)
    ranking.warm()
    as_of = AsOf(dataset, now, colisten_for)

    def of(block: range) -> Listed:
        holdouts = dataset.test[block.start : block.stop]
        lists: dict[str, dict[Stage, Pair]] = {way: {} for way in WAYS}
        rows: dict[Stage, ChoiceRows] = {}
        leaks: list[LeakCheck] = []
        for stage in Stage:
            examples = list(dataset.examples(holdouts, stage, now=now, colisten_for=colisten_for))
            judged = choices_of(dataset.catalogue, examples, index=dataset.index)
            left = max(0, SAMPLE - block.start)
            choices = list(checked(judged, holdouts, as_of, stage, leaks.append, sample=left))
            rows[stage] = rows_of(choices[: max(0, DRAWN - block.start)])
            lists[SERVED][stage] = evaluate_served(choices, scorers, judge, timer=timer)
            lists[FULL][stage] = full_lists(ranking, examples, scorers, judge=judge)
        return Listed(lists, rows, sum(leaks, LeakCheck()))

    parts = blocks(len(dataset.test), BLOCK)
    return _joined(parts, list(forked(of, parts, processes=processes)))


def _joined(parts: Sequence[range], listed: Sequence[Listed]) -> Listed:
    return Listed(
        lists={
            way: {stage: joined_lists([one.lists[way][stage] for one in listed]) for stage in Stage}
            for way in WAYS
        },
        rows={
            stage: joined_rows(
                [(part.start, one.rows[stage]) for part, one in zip(parts, listed, strict=True)]
            )
            for stage in Stage
        },
        leak=sum((one.leak for one in listed), LeakCheck()),
    )
