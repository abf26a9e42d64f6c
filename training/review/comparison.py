"""Two runs beside each other: everything that the compare page shows, and nothing of how it looks.

Where both tested the same listeners (equal data and seed), differences are paired by listener.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.stats import norm

from recommender.audio import FloatArray
from recommender.cold_start import Stage
from training.errors import RegistryError, TrainingError
from training.evaluation.evidence import EVALUATION_FILE
from training.evaluation.intervals import Interval, bootstrap_columns
from training.evaluation.list_metrics import COVERAGE, METRICS
from training.review.changes import Change, changes_of
from training.review.gates import Case, Finding, findings
from training.review.margins import Margins
from training.review.promotion import Entry, Versions, history
from training.runs import DATA_TAG, MODEL_TAG, StoredRun, Version

POWER, LEVEL = 0.8, 0.95
SEED_OF_DRAWS = 7


class Runs(Versions, Protocol):
    """What a comparison needs of `training.registry.Registry`."""

    def runs(self, tags: Mapping[str, str] | None = None) -> list[StoredRun]:
        """Return the runs that have these tags."""
        ...

    def artifact(self, run_id: str, path: str) -> bytes:
        """Return a run's file."""
        ...


@dataclass(frozen=True)
class Side:
    """One of the two runs.

    Attributes
    ----------
    version
        What it was registered as, None where it was not.
    evaluation
        Its `evaluation.json`, None where it left none.
    gates
        What the gates say of it today, against today's champion.
    gates_note
        Why they say nothing.
    decisions
        What was decided about it.
    """

    run: StoredRun
    version: Version | None
    evaluation: Mapping[str, Any] | None
    gates: Sequence[Finding]
    gates_note: str
    decisions: Sequence[Entry]


@dataclass(frozen=True)
class Line:
    """One metric, or one group's, in both runs; difference is after less before."""

    name: str
    before: Interval | None
    after: Interval | None
    difference: Interval | None
    n: int = 0


@dataclass(frozen=True)
class Comparison:
    """Two runs.

    Attributes
    ----------
    paired
        How many listeners both tested; 0: differences are of separate samples.
    detectable
        The smallest gain in NDCG@10 that this test finds with a chance of .8, None where unknown.
    tested
        How many runs used the same holdout (equal data and seed), these two among them.
    differences
        (paired,) each listener's difference in NDCG@10, ascending.
    """

    before: Side
    after: Side
    changes: Sequence[Change]
    metrics: Sequence[Line]
    stages: Sequence[Line]
    full: Sequence[Line]
    groups: Sequence[Line]
    examples: Sequence[Mapping[str, Any]]
    paired: int
    detectable: float | None
    tested: int
    differences: FloatArray


def comparison_of(registry: Runs, before: str, after: str) -> Comparison:
    """Read two runs and compare them.

    Raises
    ------
    RegistryError
        There is no such run.
    """
    first, second = _side(registry, before), _side(registry, after)
    pairs = _paired_values(first.evaluation, second.evaluation)
    full = _paired_values(first.evaluation, second.evaluation, way="full")
    ndcg = pairs[:, :, 0] if len(pairs) else np.empty((0, 2))
    differences = np.sort(ndcg[:, 1] - ndcg[:, 0])
    return Comparison(
        before=first,
        after=second,
        changes=changes_of(first.run, second.run),
        metrics=_lines(first, second, "", pairs),
        stages=[
            line
            for stage in Stage
            for line in _lines(
                first,
                second,
                f"{stage}/",
                _paired_values(first.evaluation, second.evaluation, stage=stage),
            )[:1]
        ],
        full=_lines(first, second, "full_", full),
        groups=_groups(first.evaluation, second.evaluation),
        examples=_examples(first.evaluation, second.evaluation),
        paired=len(pairs),
        detectable=smallest_detectable(differences),
        tested=_times_tested(registry, second.run),
        differences=differences,
    )


def smallest_detectable(differences: FloatArray) -> float | None:
    """Return the smallest mean that a two-sided 5% test of n differences finds in 80% of cases.

    (z_.975 + z_.8) sd / sqrt n = 2.80 standard errors; None for fewer than two.

    Examples
    --------
    >>> round(smallest_detectable(np.array([-1.0, 1.0] * 50)), 3)
    0.282
    """
    if len(differences) < 2:
        return None
    z = norm.ppf((1 + LEVEL) / 2) + norm.ppf(POWER)
    return float(z * differences.std(ddof=1) / len(differences) ** 0.5)


def _side(registry: Runs, run_id: str) -> Side:
    run = registry.run(run_id)
    name = run.tags.get(MODEL_TAG, "")
    versions = registry.versions(name) if name else []
    version = next((one for one in versions if one.run_id == run.run_id), None)
    try:
        evaluation = json.loads(registry.artifact(run_id, EVALUATION_FILE))
    except RegistryError:
        evaluation = None
    found: Sequence[Finding] = ()
    note = "it is no registered version: the gates are asked of versions"
    if version is not None:
        note = ""
        champion = registry.champion(name)
        is_champion = champion is not None and champion.number == version.number
        try:
            found = findings(
                Case(version, None if is_champion else champion, run.metrics, run.tags, Margins())
            )
        except TrainingError as error:
            note = str(error)
        if is_champion:
            note = "it is the champion: only the gates that ask no comparison apply"
    decided = [] if version is None else history(registry, name)
    mine = [one for one in decided if version is not None and one.number == version.number]
    return Side(run, version, evaluation, found, note, mine)


def _interval(run: StoredRun, name: str) -> Interval | None:
    ends = [run.metrics.get(name + end) for end in ("", "_low", "_high")]
    known = [end for end in ends if end is not None]
    return Interval(*known) if len(known) == 3 else None


def _lines(before: Side, after: Side, prefix: str, pairs: FloatArray) -> list[Line]:
    """Return every metric of this prefix that either run has; means are paired where they can be.

    Coverage is of the set of lists: it has no pairs.
    """
    paired: dict[str, Interval] = {}
    if len(pairs):
        columns = bootstrap_columns(pairs[:, 1] - pairs[:, 0], SEED_OF_DRAWS)
        paired = dict(zip(METRICS, columns, strict=True))
    lines = []
    for metric in (*METRICS, *COVERAGE):
        name = prefix + metric
        one, other = _interval(before.run, name), _interval(after.run, name)
        if one is not None or other is not None:
            lines.append(Line(name, one, other, paired.get(metric) or _separate(one, other)))
    return lines


def _separate(before: Interval | None, after: Interval | None) -> Interval | None:
    """Return the difference of two means as if their samples were independent: wider than pairs."""
    if before is None or after is None:
        return None
    half = np.hypot(before.high - before.low, after.high - after.low) / 2
    mean = after.mean - before.mean
    return Interval(mean, mean - float(half), mean + float(half))


def _by_id(evaluation: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    return {one["id"]: one for one in evaluation["listeners"]} if evaluation else {}


def _values(
    listener: Mapping[str, Any], way: str = "served", stage: Stage | None = None
) -> list[float]:
    """Return the candidate's metrics for one listener, at a stage or at that of today."""
    values: list[float] = listener[way][stage or listener["stage"]]["candidate"]
    return values


def _paired_values(
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    *,
    way: str = "served",
    stage: Stage | None = None,
) -> FloatArray:
    """Return (listeners, 2, metrics): each run's candidate, for listeners that both tested."""
    one, other = _by_id(before), _by_id(after)
    shared = [
        [_values(side[name], way, stage) for side in (one, other)] for name in other if name in one
    ]
    return np.array(shared, dtype=np.float64).reshape(len(shared), 2, len(METRICS))


def _groups(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[Line]:
    """Return the NDCG@10 of each group's listeners that both tested."""
    one, other = _by_id(before), _by_id(after)
    shared = [name for name in other if name in one]
    values = np.array([[_values(side[name])[0] for side in (one, other)] for name in shared])
    names = sorted({group for name in shared for group in other[name].get("groups", [])})
    lines = []
    for group in names:
        rows = values[[group in other[name]["groups"] for name in shared]]
        if len(rows) == 1:  # its interval has no width: any difference would seem beyond chance
            continue
        three = np.column_stack([rows, rows[:, 1] - rows[:, 0]])
        first, second, difference = bootstrap_columns(three, SEED_OF_DRAWS)
        lines.append(Line(group, first, second, difference, len(rows)))
    return lines


def _examples(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> list[Mapping[str, Any]]:
    """Return lists before and after: of both runs for whom both drew, else against the champion."""
    if after is None:
        return []
    known = {one["id"]: one for one in before["examples"]} if before else {}
    examples = []
    for one in after["examples"]:
        twin = known.get(one["id"])
        lists = {"before": twin["after"], "against": "the run before"} if twin else {}
        examples.append({"against": "the champion it was compared with"} | one | lists)
    return examples


def _times_tested(registry: Runs, run: StoredRun) -> int:
    """Return how many runs were tested on the same listeners with the same rows hidden."""
    digest = run.tags.get(DATA_TAG)
    if not digest:
        return 1
    return sum(
        one.params.get("seed") == run.params.get("seed")
        and one.tags.get(MODEL_TAG) == run.tags.get(MODEL_TAG)
        and one.status == "FINISHED"
        for one in registry.runs({DATA_TAG: digest})
    )
