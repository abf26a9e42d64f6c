"""Speed of the weights: the fit on impressions, its bootstrap by listener, a process each."""

import json
import math
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.results import Row
from recommender.cold_start import Stage
from recommender.components import KEYS
from recommender.scoring import PRIOR
from training.fit.conditional_logit import Lists, maximise, refitted, resampled
from training.fit.examination import examined
from training.fit.impression_rows import Correction, impression_rows
from training.fit.weights import RESAMPLES, RIDGE, fit_stage
from training.simulation.shown_lists import plant_impressions

SIZES = (100_000, 1_000_000)
PLACES, LISTS = 50, 10
GIB = 1024**3
TRUTH = {"history": 0.2, "popularity": 0.5, "novelty": 0.3}
SHOWN_BY = {"history": 0.8, "novelty": 0.2}
STAGE = Stage.MONTH_2_PLUS
DRAWING_NOISE = math.sqrt(0.025 * 0.975 / RESAMPLES) / 0.0584
"""Standard error of the 2.5% quantile of so many normal draws, the density there being .0584."""


def run() -> list[Row]:
    """Return the times, the memory, the exponent, and how far one step is from whole fits."""
    small, large = (_in_own_process(size) for size in SIZES)
    exponent = math.log10(large["fit"] / small["fit"])
    task = f"{SIZES[1]:,} impressions, {len(KEYS)} components"
    return [
        Row(
            task,
            "point fit: corrections and weights, seconds",
            large["fit"],
            target="at most 60",
            met=large["fit"] <= 60,
        ),
        Row(
            task,
            "point fit: peak of the process, GiB (the rows take part of it)",
            large["peak"] / GIB,
            floor=large["rows"] / GIB,
            target="at most 4",
            met=large["peak"] <= 4 * GIB,
        ),
        Row(
            task,
            f"point fit: exponent of seconds in rows, from {SIZES[0]:,}",
            exponent,
            target="linear: at most 1.15",
            met=exponent <= 1.15,
        ),
        Row(
            task,
            f"{RESAMPLES} bootstraps by listener, one step each: seconds",
            large["one_step"],
            peers={"whole fits": large["whole"]},
            target="at most 300",
            met=large["one_step"] <= 300,
        ),
        Row(
            task,
            "largest distance of an interval's end from that by whole fits, in standard errors",
            large["distance"],
            peers={f"{SIZES[0]:,} impressions": small["distance"]},
            target=f"below the noise of {RESAMPLES} draws: {DRAWING_NOISE:.2f}",
            met=max(large["distance"], small["distance"]) < DRAWING_NOISE,
        ),
        Row(
            task,
            "largest error of a weight; uncorrected for place and exposure as a peer",
            large["error"],
            peers={"uncorrected": large["uncorrected"]},
            target="at most 0.05, where the uncorrected fit is off by 0.2 or more",
            met=large["error"] <= 0.05 and large["uncorrected"] >= 0.2,
        ),
    ]


def _in_own_process(size: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.training_parts.weights", str(size)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return dict(json.loads(done.stdout))


def _measure(size: int) -> dict[str, float]:
    log = plant_impressions(
        TRUTH, SHOWN_BY, eta=0.7, seed=1, listeners=size // (PLACES * LISTS), lists=LISTS,
        places=PLACES, candidates=2 * PLACES, explored_each=10,
    )  # fmt: skip
    prior = PRIOR.weights[STAGE]
    with threadpool_limits(limits=1):
        times = []
        for _ in range(3):
            began = time.perf_counter()
            examination = examined(log.components, log.is_liked, log.position, log.propensity)
            rows = impression_rows(log, STAGE, Correction(examination, clip=30.0))
            fit = fit_stage(rows, prior, shrinkage=0)
            times.append(time.perf_counter() - began)
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        bare = impression_rows(log, STAGE, Correction(examination, clip=1.0))
        uncorrected = fit_stage(bare, prior, shrinkage=0)
        lists = _lists_of(rows.features, rows.target, rows.exposure, rows.list, rows.listener)
        theta = maximise(lists, RIDGE)
        began = time.perf_counter()
        one_step = resampled(lists, theta, RIDGE, resamples=RESAMPLES, seed=1)
        one_step_seconds = time.perf_counter() - began
        began = time.perf_counter()
        whole = refitted(lists, theta, RIDGE, resamples=RESAMPLES, seed=1)
        whole_seconds = time.perf_counter() - began
    ends = [np.quantile(by, [0.025, 0.975], axis=0) for by in (one_step, whole)]
    moves = whole.std(axis=0) > 0
    distance = np.abs(ends[0] - ends[1])[:, moves] / whole.std(axis=0)[moves]
    return {
        "fit": min(times),
        "peak": peak,
        "rows": float(log.components.nbytes),
        "one_step": one_step_seconds,
        "whole": whole_seconds,
        "distance": float(distance.max()),
        "error": _error(fit.weights_),
        "uncorrected": _error(uncorrected.weights_),
    }


def _lists_of(
    x: np.ndarray, target: np.ndarray, exposure: np.ndarray, of: np.ndarray, who: np.ndarray
) -> Lists:
    """Return the lists with a choice, each listener's of one weight."""
    starts = np.flatnonzero(np.diff(of, prepend=-1))
    sizes = np.diff(np.append(starts, len(x)))
    chosen = np.add.reduceat(target, starts) > 0
    keep = np.repeat(chosen, sizes)
    kept = sizes[chosen]
    return Lists(
        x[keep],
        (target * exposure)[keep] / LISTS,
        np.log(exposure[keep]),
        np.cumsum(kept) - kept,
        np.unique(who[starts][chosen], return_inverse=True)[1].astype(np.int64),
    )


def _error(found: dict[str, float]) -> float:
    return max(abs(found[key] - TRUTH.get(key, 0.0)) for key in KEYS)


if __name__ == "__main__":
    print(json.dumps(_measure(int(sys.argv[1]))))
