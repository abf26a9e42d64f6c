"""One training run of the model `colisten`, from Postgres to a registered version."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from recommender.audio import FloatArray
from recommender.cold_start import Stage
from recommender.colisten import REASONS, Colisten
from recommender.grain import Grain
from recommender.tracks import Catalogue, IndexArray
from training.code_version import code_version
from training.data.data_parts import DATA_FILE, Part, hash_of, to_file
from training.data.dataset import Dataset, Holdout, catalogue_part, read_dataset, visible
from training.data.drawing import MOST_LISTENING, draw_listeners
from training.data.holdout import draw_of
from training.data.listening import Listened, listening_of, read_listening
from training.evaluation.intervals import Interval, bootstrap
from training.evaluation.served_lists import GAIN, K, ndcg
from training.figures import learning_curve_figure
from training.fit.colisten import ColistenFit, fit_colisten, side_by_side
from training.fit.grains import fit_grain
from training.packaging import sha256
from training.runs import BASELINE, COLISTEN, COMPARED_WITH, FITTED_FROM_TAG, LISTENING, Run

if TYPE_CHECKING:  # importing it takes seconds
    from training.registry import Registry

Progress = Callable[[str], None]


SHARES = (0.1, 0.3)
"""Of the listeners who fit, for the learning curve; its last point is all of them."""


@dataclass(frozen=True)
class TrainedColisten:
    """What a training run came to; see `training.scorer.TrainedRun`."""

    run_id: str
    version: int
    colisten: Colisten
    metrics: Mapping[str, Interval]
    sha256: str
    seconds: float


def train_colisten(
    engine: sa.Engine,
    registry: "Registry",
    *,
    seed: int = 7,
    now: datetime,
    until: datetime | None = None,
    most: int = MOST_LISTENING,
    processes: int | None = None,
    progress: Progress | None = None,
    timer: Callable[[], float] = time.perf_counter,
) -> TrainedColisten:
    """Fit co-listening to a sample of histories, and register it; it is not promoted here.

    What it is worth is measured apart: grains fitted to the listeners who fit scorers find the
    hidden artists of the others, beside popularity. The registered model is then fitted to
    listeners drawn from all of them. Equal seed and data give a model of equal bytes.

    Parameters
    ----------
    until
        See `training.data.histories.read_histories`.
    most
        Listeners that it is fitted to, where there are more.
    processes
        See `training.data.forks.forked`; the run comes out the same for any number.

    Raises
    ------
    NothingTrainableError
        No row may be used, or too few listeners have enough of them.
    """
    from training.colisten_flavour import KIND  # noqa: PLC0415 - imports pandas

    say = progress or (lambda line: None)
    began = timer()
    say("reading histories")
    drawn = draw_listeners(engine, seed=seed, most_listening=most, until=until)
    dataset = read_dataset(engine, seed=seed, until=until, drawn=drawn)
    histories = dataset.histories
    listened = read_listening(engine, drawn.listening, until=histories.until)
    catalogue = dataset.catalogue
    say(f"fitting to {len(drawn.listening)} listeners, and testing on {len(dataset.test)} others")
    fit = ColistenFit(listened.listenings, lambda _: catalogue, seed)
    tests = [lambda: worth(dataset, seed=seed), lambda: learning_curve(dataset, seed=seed)]
    # One thread: sums in another order would differ in their last bits.
    with threadpool_limits(limits=1):
        *model, metrics, curve = side_by_side([*fit.tasks, *tests], processes=processes)
    colisten = fit.model(*model)
    curve |= {len(dataset.fit): metrics[f"ndcg_{K}"]}
    parts = parts_of(listened, catalogue)
    say("registering the version")
    champion = registry.champion(COLISTEN)
    files = colisten.to_files()
    digest = sha256(b"".join(sha256(files[name]).encode() for name in sorted(files)))
    evidence = {
        FITTED_FROM_TAG: LISTENING,
        COMPARED_WITH: "popularity, on listeners kept aside",
        BASELINE: str(champion.number) if champion else "none",
    }
    seconds = timer() - began
    flat: dict[str, float] = {
        "seconds": seconds,
        "listeners": float(drawn.listeners),
        "listeners_fit": float(len(listened.listenings)),
        "listeners_test": float(len(dataset.test)),
    }
    for name, interval in metrics.items():
        flat |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
    for kind, mix in (("by_tracks", colisten.by_tracks), ("by_artists", colisten.by_artists)):
        flat |= {
            f"{kind}/weight_{reason}": float(weight)
            for reason, weight in zip(REASONS, mix.weights, strict=True)
        }
    version = registry.log_run(
        Run(
            name=f"colisten seed {seed}",
            params={
                "seed": seed,
                "now": now.isoformat(),
                "read_until": histories.until.isoformat(),
                "k": K,
                "most_listening": most,
                "artists": len(colisten.artists),
                "tracks": len(colisten.tracks),
                "data_from": histories.window[0],
                "data_to": histories.window[1],
            },
            metrics=flat,
            tags=evidence
            | {
                "data_sha256": hash_of(parts),
                "code_version": code_version(Path(__file__).parent),
                "colisten_sha256": digest,
                "refused": ", ".join(f"{n} {name}" for name, n in histories.refused.items()),
            },
            data=("histories", hash_of(parts), " to ".join(histories.window)),
            figures={
                "learning_curve.png": learning_curve_figure(
                    curve,
                    of="listeners that fit",
                    measured=f"NDCG@{K} of hidden artists",
                    peer=("popularity", metrics[f"popularity_ndcg_{K}"].mean),
                )
            },
            files={DATA_FILE: to_file(parts)},
            started_at=now,
            seconds=seconds,
        ),
        KIND,
        colisten,
        evidence,
    )
    return TrainedColisten(version.run_id, version.number, colisten, metrics, digest, seconds)


def fit_to(listened: Listened, catalogue: Catalogue, *, seed: int) -> Colisten:
    """Return the model of these listeners."""
    return fit_colisten(listened.listenings, lambda _: catalogue, seed=seed)


def parts_of(listened: Listened, catalogue: Catalogue) -> dict[str, Part]:
    """Return what a model is fitted to, part by part."""
    return {**listened.parts, "catalogue": catalogue_part(catalogue)}


def learning_curve(dataset: Dataset, *, seed: int) -> dict[int, Interval]:
    """Return NDCG@10 of the same test listeners where only some of the others fit the grain."""
    order = sorted(dataset.fit, key=lambda one: draw_of(one.history.user_id, seed, "curve"))
    sizes = sorted({max(1, int(share * len(order))) for share in SHARES})
    stage = Stage.MONTH_2_PLUS
    return {
        size: bootstrap(_found(replace(dataset, fit=order[:size]), (stage,), seed)[stage][0], seed)
        for size in sizes
    }


def worth(dataset: Dataset, *, seed: int) -> dict[str, Interval]:
    """Return NDCG@10 of hidden artists per stage and over all, ours, popularity's, and the gain.

    All artists that two listeners play are ranked but those seen; a listener of week 1 has nothing
    to fold in, so that both rank by popularity there.
    """
    metrics: dict[str, Interval] = {}
    for stage, (ours, popular) in _found(dataset, tuple(Stage), seed).items():
        parts = {f"ndcg_{K}": ours, f"popularity_ndcg_{K}": popular, GAIN: ours - popular}
        for name, part in parts.items():
            metrics[f"{stage}/{name}"] = bootstrap(part, seed)
    for name in (f"ndcg_{K}", f"popularity_ndcg_{K}", GAIN):
        metrics[name] = metrics[f"{Stage.MONTH_2_PLUS}/{name}"]
    return metrics


def _found(
    dataset: Dataset, stages: Sequence[Stage], seed: int
) -> dict[Stage, tuple[FloatArray, FloatArray]]:
    """Return per stage the NDCG of each test listener: the grain's, and popularity's."""
    plays = [listening_of(holdout.history).artists for holdout in dataset.fit]
    grain = fit_grain(plays, seed=seed)
    listeners = np.zeros(len(grain))
    for one in plays:
        at = grain.places(list(one))
        listeners[at[at >= 0]] += 1
    found = {}
    for stage in stages:
        values = np.array([_one(holdout, stage, grain, listeners) for holdout in dataset.test])
        found[stage] = values[:, 0], values[:, 1]
    return found


def _one(
    holdout: Holdout, stage: Stage, grain: Grain, listeners: FloatArray
) -> tuple[float, float]:
    plays, counts = visible(holdout, stage)
    seen: dict[str, float] = {}
    for play in plays:
        seen[play.artist_key] = seen.get(play.artist_key, 0.0) + 1.0
    for count in counts:
        seen[count.artist_key] = seen.get(count.artist_key, 0.0) + count.play_count
    names = sorted(seen)
    ours = grain.scores(names, np.array([seen[name] for name in names]))
    if not ours.any():
        ours = listeners
    heard = grain.places(names)
    wanted = sorted(holdout.known - seen.keys())
    at = grain.places(wanted)
    # Those that the grain does not know cannot be found, and still count.
    relevant = np.where(at >= 0, at, -1 - np.arange(len(at)))
    found = []
    for scores in (ours, listeners):
        open_scores = scores.astype(np.float64).copy()
        open_scores[heard[heard >= 0]] = -np.inf
        found.append(ndcg(highest(open_scores, K).tolist(), relevant))
    return found[0], found[1]


def highest(scores: FloatArray, k: int) -> IndexArray:
    """Return the places of the k highest scores, the highest first, of equals the first.

    Examples
    --------
    >>> highest(np.array([0.5, 0.9, 0.1, 0.9, 0.5]), 3).tolist()
    [1, 3, 0]
    """
    if k >= len(scores):
        return np.argsort(-scores, kind="stable")
    near = np.flatnonzero(scores >= np.partition(scores, -k)[-k])  # k, and equals of the last
    places: IndexArray = near[np.argsort(-scores[near], kind="stable")][:k]
    return places
