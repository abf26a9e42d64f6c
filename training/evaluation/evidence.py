"""Evidence: what a training run leaves for the gates and for whoever reviews it.

The candidate and its baseline (the champion) list for the same test listeners; everything else here
follows from those lists. It goes to the run twice: as metrics, and as the file `evaluation.json`
with one row per listener under a pseudonym.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from recommender.audio import FloatArray
from recommender.cold_start import Stage
from recommender.scoring import Scorer
from recommender.tracks import Catalogue
from training.data.choices import ChoiceRows
from training.data.dataset import ColistenFor, Dataset
from training.data.histories import stage_today
from training.data.holdout import draw_of
from training.evaluation.example_lists import BASELINE_LISTS, CANDIDATE, example_lists
from training.evaluation.groups import Members, groups_of
from training.evaluation.intervals import Interval, bootstrap, bootstrap_columns, effective_n
from training.evaluation.list_metrics import COVERAGE, METRICS, K, ListJudge, coverage
from training.evaluation.listed import SERVED, WAYS, Pair, listed_for_test
from training.evaluation.served_lists import GAIN, Lists, Timer

EVALUATION_FILE = "evaluation.json"


@dataclass(frozen=True)
class Evidence:
    """What the test listeners say of a candidate and its baseline.

    Attributes
    ----------
    ids
        Pseudonyms of the n test listeners: equal in runs of equal seed, but whoever can guess an
        id can check the guess.
    stages
        The stage that each is in today.
    values
        Way -> stage -> (2, n, 6): candidate and baseline, columns in the order of `METRICS`.
    intervals
        Metric -> interval, see `evidence_of`.
    groups, members
        Group -> (its size, the interval of its gain), and (n,) who belongs to it.
    facts
        Metrics without an interval.
    examples
        A few listeners' lists before and after.
    rows
        Stage -> the judged candidates of the first of them, see `Listed`.
    """

    ids: Sequence[str]
    stages: Sequence[Stage]
    values: Mapping[str, Mapping[Stage, FloatArray]]
    intervals: Mapping[str, Interval]
    groups: Mapping[str, tuple[int, Interval]]
    members: Mapping[str, Members]
    facts: Mapping[str, float]
    timings: Mapping[str, float]
    examples: Sequence[Mapping[str, object]]
    rows: Mapping[Stage, ChoiceRows]

    def metrics(self) -> dict[str, float]:
        """Return name, name_low and name_high of every interval, and the facts."""
        flat = dict(self.facts) | dict(self.timings)
        gains = {f"group/{name}/{GAIN}": gain for name, (_, gain) in self.groups.items()}
        for name, interval in (dict(self.intervals) | gains).items():
            flat |= {name: interval.mean, f"{name}_low": interval.low}
            flat[f"{name}_high"] = interval.high
        return flat | {f"group/{name}/listeners": float(n) for name, (n, _) in self.groups.items()}

    def to_file(self) -> bytes:
        """Return `evaluation.json`; equal seed and data give equal bytes (no timings in it)."""
        document = {
            "schema": 1,
            "k": K,
            "n": len(self.ids),
            "facts": self.facts,
            "metric_names": METRICS,
            "intervals": {name: _triple(one) for name, one in self.intervals.items()},
            "groups": {
                name: {"n": n, "gain": _triple(gain)} for name, (n, gain) in self.groups.items()
            },
            "listeners": [
                {
                    "id": name,
                    "stage": self.stages[place].value,
                    "groups": [group for group, isin in self.members.items() if isin[place]],
                }
                | self._values_of(place)
                for place, name in enumerate(self.ids)
            ],
            "examples": self.examples,
        }
        return json.dumps(document, sort_keys=True, allow_nan=False).encode()

    def _values_of(self, place: int) -> dict[str, object]:
        return {
            way: {
                stage.value: {
                    name: np.round(table[which, place], 6).tolist()
                    for which, name in enumerate((CANDIDATE, BASELINE_LISTS))
                }
                for stage, table in by_stage.items()
            }
            for way, by_stage in self.values.items()
        }


def evidence_of(
    dataset: Dataset,
    candidate: Scorer,
    baseline: Scorer,
    *,
    seed: int,
    now: datetime,
    colisten_for: ColistenFor | None = None,
    artist_names: Mapping[str, str] | None = None,
    processes: int | None = None,
    timer: Timer = time.perf_counter,
) -> Evidence:
    """List for every test listener at every stage with both scorers, and compare.

    `ndcg_10`, `recall_10`, `map_10`, `entropy`, `novelty`, `new_artist_share`, `artist_coverage`
    and `track_coverage` are the candidate's, of the lists that the service would make;
    `champion_NAME` is the baseline's and `gain_NAME` the difference, paired by listener. Before any
    of them stands `STAGE/` for one stage; without it, each listener counts at the stage they are in
    today, so that a gain in a stage that hardly anybody is in does not speak for the others.
    `full_` before the name: of lists out of the whole catalogue (`gain_full_ndcg_10`).

    `effective_n` is Kish's sample size of the listeners' weights in the gain (all equal here: their
    number), `gain_carriers` the same of the sizes of their differences: how many listeners carry
    the gain. `leaking_values` of `leak_checked_values` components depend on hidden rows
    (`training.evaluation.leaks`). `latency_ms` is the median time of ranking a list.

    Parameters
    ----------
    colisten_for
        Returns the co-listening model that judges a listener: one fitted without them.
    artist_names
        Artist key -> what examples call the artist; None: the key.
    processes
        See `training.data.forks.forked`; the evidence is the same for any number.
    """
    scorers = {CANDIDATE: candidate, BASELINE_LISTS: baseline}
    judge = ListJudge.of(dataset.catalogue, _played_by(dataset), len(dataset.fit))
    listed = listed_for_test(
        dataset,
        scorers,
        judge=judge,
        now=now,
        colisten_for=colisten_for,
        processes=processes,
        timer=timer,
    )
    lists, leak = listed.lists, listed.leak
    stages = [stage_today(holdout.history, now) for holdout in dataset.test]
    values = {way: {s: _table(pair) for s, pair in lists[way].items()} for way in WAYS}
    today = {way: _today(values[way], stages) for way in WAYS}
    gains = today[SERVED][0, :, 0] - today[SERVED][1, :, 0]
    members = groups_of(dataset, stages)
    ids = [pseudonym(holdout.history.user_id, seed) for holdout in dataset.test]
    return Evidence(
        ids=ids,
        stages=stages,
        values=values,
        intervals=_intervals(lists, values, today, stages, catalogue=dataset.catalogue, seed=seed),
        groups={
            name: (int(isin.sum()), bootstrap(gains[isin], seed)) for name, isin in members.items()
        },
        members=members,
        facts={
            "effective_n": effective_n(np.ones(len(gains))),
            "gain_carriers": effective_n(np.abs(gains)),
            "leaking_values": float(leak.leaking),
            "leak_checked_values": float(leak.values),
        },
        timings=_latencies([lists[SERVED][stage] for stage in Stage]),
        examples=example_lists(
            dataset, lists[SERVED], stages, ids, now=now, artist_names=artist_names or {}
        ),
        rows=listed.rows,
    )


def pseudonym(user_id: str, seed: int) -> str:
    """Return what a run calls a listener.

    Examples
    --------
    >>> len(pseudonym("ada", 7)), pseudonym("ada", 7) == pseudonym("ada", 8)
    (13, False)
    """
    return f"L{draw_of(user_id, seed, 'pseudonym') >> 16:012x}"


def _played_by(dataset: Dataset) -> np.ndarray:
    counts = np.zeros(len(dataset.catalogue.artist_keys), dtype=np.int64)
    for holdout in dataset.fit:
        counts[dataset.catalogue.artists_of(sorted(holdout.known))] += 1
    return counts


def _table(pair: Pair) -> FloatArray:
    return np.stack([pair[CANDIDATE].values, pair[BASELINE_LISTS].values])


def _today(by_stage: Mapping[Stage, FloatArray], stages: Sequence[Stage]) -> FloatArray:
    """Return (2, n, 6): of each listener the row of the stage that they are in."""
    return np.stack([by_stage[stage][:, place] for place, stage in enumerate(stages)], axis=1)


def _intervals(
    lists: Mapping[str, Mapping[Stage, Pair]],
    values: Mapping[str, Mapping[Stage, FloatArray]],
    today: Mapping[str, FloatArray],
    stages: Sequence[Stage],
    *,
    catalogue: Catalogue,
    seed: int,
) -> dict[str, Interval]:
    found: dict[str, Interval] = {}
    for way, mark in zip(WAYS, ("", "full_"), strict=True):
        tables = {f"{stage}/": values[way][stage] for stage in Stage} | {"": today[way]}
        pairs = {f"{stage}/": lists[way][stage] for stage in Stage}
        pairs[""] = _pair_today(lists[way], stages)
        for prefix, table in tables.items():
            for part, columns in _parts(table).items():
                intervals = bootstrap_columns(columns, seed)
                for name, interval in zip(METRICS, intervals, strict=True):
                    found[f"{prefix}{part}{mark}{name}"] = interval
            found |= _coverages(pairs[prefix], catalogue, prefix, mark)
    return found


def _parts(table: FloatArray) -> dict[str, FloatArray]:
    return {"": table[0], "champion_": table[1], "gain_": table[0] - table[1]}


def _pair_today(by_stage: Mapping[Stage, Pair], stages: Sequence[Stage]) -> Pair:
    return {
        name: Lists(
            [by_stage[stage][name].rows[place] for place, stage in enumerate(stages)],
            np.empty((0, len(METRICS))),
            np.empty(0),
        )
        for name in (CANDIDATE, BASELINE_LISTS)
    }


def _coverages(pair: Pair, catalogue: Catalogue, prefix: str, mark: str) -> dict[str, Interval]:
    found: dict[str, Interval] = {}
    artist = catalogue.tracks.artist
    for name, size in zip(COVERAGE, (len(catalogue.artist_keys), len(catalogue)), strict=True):
        after, before = (
            coverage(
                [artist[rows] if name == COVERAGE[0] else rows for rows in pair[which].rows], size
            )
            for which in (CANDIDATE, BASELINE_LISTS)
        )
        found[f"{prefix}{mark}{name}"] = after.interval
        found[f"{prefix}champion_{mark}{name}"] = before.interval
        found[f"{prefix}gain_{mark}{name}"] = after.gain_over(before)
    return found


def _latencies(pairs: Sequence[Pair]) -> dict[str, float]:
    """Return the median milliseconds that ranking one list takes, over all stages."""
    return {
        name: float(np.median(np.concatenate([pair[which].milliseconds for pair in pairs])))
        for name, which in (("latency_ms", CANDIDATE), ("champion_latency_ms", BASELINE_LISTS))
    }


def _triple(interval: Interval) -> list[float]:
    return [round(value, 6) for value in (interval.mean, interval.low, interval.high)]
