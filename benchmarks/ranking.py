"""bench-ranking: scoring and selecting 50 of 500 for one listener, beside the bare arithmetic.

One thread each, as in a worker that shares its machine. The floor, taken in the same run, in
float32: the product of 500 x k components with the weights, the 500 x 500 similarity, and 50 rounds
of adding a row of it to a running sum and one argmax.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.results import Row, publish
from benchmarks.tasks import playlists as task
from recommender.cold_start import Stage
from recommender.components import STATIC
from recommender.exploration import EpsilonSlots
from recommender.ranking import Rules, rank
from recommender.scoring import PRIOR
from recommender.tracks import Tracks

CANDIDATES, LIMIT, ROUNDS = 500, 50, 400


def once(work: Callable[[], object]) -> float:
    """Return how long one call takes, in ms."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def floor_of(tracks: Tracks, components: np.ndarray, weights: np.ndarray) -> Callable[[], object]:
    """Return the bare arithmetic over the same candidates."""
    audio = np.nan_to_num(tracks.audio)
    unit = audio / np.sqrt((audio * audio).sum(axis=1, keepdims=True))

    def work() -> list[int]:
        base = components @ weights
        similarity = unit @ unit.T
        total = np.zeros(len(base), dtype=np.float32)
        chosen = []
        for _ in range(LIMIT):
            best = int(base.argmax())
            chosen.append(best)
            total += similarity[best]
        return chosen

    return work


def main() -> None:
    """Measure and publish."""
    folder = os.environ.get("BONDHU_DATA")
    if not folder:
        sys.exit("bench-ranking needs BONDHU_DATA: the folder of real data")
    catalogue = task.read(Path(folder)).bare
    rng = np.random.default_rng(7)
    weights = PRIOR.weights[Stage.MONTH_2_PLUS]
    ours, floor = [], []
    for _ in range(ROUNDS):
        rows = np.sort(rng.choice(len(catalogue), CANDIDATES, replace=False))
        tracks = catalogue.tracks.take(rows)
        components = {key: rng.random(CANDIDATES) for key in STATIC}
        matrix = np.stack(list(components.values()), axis=1).astype(np.float32)
        few = np.array([weights[key] for key in STATIC], dtype=np.float32)
        nothing = np.zeros(CANDIDATES, dtype=np.bool_)
        rules = Rules(never=nothing, heard=nothing, shown=nothing)
        adjustment = rng.uniform(-0.05, 0.05, CANDIDATES)
        policy = EpsilonSlots(0.0, rng)
        bare = floor_of(tracks, matrix, few)

        work = partial(
            rank,
            tracks,
            components,
            weights=weights,
            rl_adjustment=adjustment,
            rules=rules,
            policy=policy,
            limit=LIMIT,
        )
        floor.append(once(bare))
        ours.append(once(work))
    median, bare_median = float(np.median(ours)), float(np.median(floor))
    ratio = median / bare_median
    name = f"{LIMIT} of {CANDIDATES}"
    publish(
        "ranking",
        [
            Row(name, "score and select, ms, median", median, target="under 1 ms", met=median < 1),
            Row(name, "score and select, by the floor", median, floor=bare_median, ratio=ratio,
                target="at most 4 x", met=ratio <= 4),
            Row(name, "score and select, ms, p99", float(np.quantile(ours, 0.99))),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    with threadpool_limits(limits=1):
        main()
