"""One training run of the model `scorer`, from Postgres to a registered version."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from recommender.cold_start import Stage
from recommender.scoring import PRIOR, Scorer
from training.barred_rows import BARRED_ROWS_USED, barred_rows_used
from training.choices import CANDIDATES, Choices, choices_of
from training.code_version import code_version
from training.crossfit import cross_fitted
from training.data_parts import DATA_FILE, to_file
from training.dataset import ColistenFor, Dataset, Holdout, read_dataset
from training.evaluation import K
from training.evidence import EVALUATION_FILE, evidence_of
from training.intervals import Interval
from training.packaging import sha256
from training.runs import BASELINE, COLISTEN, COLISTEN_TAG, FITTED_FROM_TAG, HISTORIES, SCORER, Run
from training.scorer_figures import MOST, scorer_figures
from training.scorer_flavour import KIND
from training.weights import RIDGE, SHRINKAGE, StageWeights, fit_scorer

if TYPE_CHECKING:  # importing it takes seconds
    from training.registry import Registry

Progress = Callable[[str], None]


@dataclass(frozen=True)
class TrainedRun:
    """What a training run came to.

    Attributes
    ----------
    version
        The number of the registered version.
    metrics
        Name -> interval, see `training.evidence.evidence_of`.
    refused
        'table from source' -> rows that may not be trained on.
    sha256
        Of the scorer's file.
    """

    run_id: str
    version: int
    scorer: Scorer
    metrics: Mapping[str, Interval]
    refused: Mapping[str, int]
    listeners_fit: int
    listeners_test: int
    sha256: str
    seconds: float


def train_scorer(
    engine: sa.Engine,
    registry: "Registry",
    *,
    seed: int = 7,
    now: datetime,
    shrinkage: float = SHRINKAGE,
    progress: Progress | None = None,
    timer: Callable[[], float] = time.perf_counter,
) -> TrainedRun:
    """Fit a scorer, compare it with the champion on other listeners, and register it.

    It is not promoted here. Equal seed and data give a scorer of equal bytes.

    Parameters
    ----------
    progress
        Gets one line before each step.

    Raises
    ------
    NothingTrainableError
        No row may be used, or too few listeners have enough of them.
    """
    say = progress or (lambda line: None)
    began = timer()
    registry.ensure_prior()
    champion = registry.champion(SCORER) or registry.version(SCORER, 1)
    served = registry.load(KIND, champion.number)
    say("reading histories")
    dataset = read_dataset(engine, seed=seed)
    # One thread: sums in another order would differ in their last bits.
    with threadpool_limits(limits=1):
        colisten = registry.champion(COLISTEN)
        scorer, fitted, colisten_for = fit_to(
            dataset,
            seed=seed,
            now=now,
            shrinkage=shrinkage,
            weighs_colisten=colisten is not None,
            progress=say,
        )
        say(f"testing them on {len(dataset.test)} others")
        evidence = evidence_of(
            dataset,
            _choices(dataset, dataset.test, now, colisten_for, add_relevant=False),
            scorer,
            served,
            seed=seed,
            now=now,
            colisten_for=colisten_for,
        )
        say("drawing")
        drawn = _choices(dataset, dataset.test[:MOST], now, colisten_for, add_relevant=False)
        figures, calibration = scorer_figures(scorer, served, drawn, groups=evidence.groups)
    barred = barred_rows_used(engine, dataset)
    say("registering the version")
    seconds = timer() - began
    digest = sha256(scorer.to_json().encode())
    histories = dataset.histories
    basis = {FITTED_FROM_TAG: HISTORIES, BASELINE: str(champion.number)}
    if colisten is not None:
        basis[COLISTEN_TAG] = str(colisten.number)
    version = registry.log_run(
        Run(
            name=f"scorer seed {seed}",
            params={
                "seed": seed,
                "now": now.isoformat(),
                "read_until": histories.until.isoformat(),
                "shrinkage": shrinkage,
                "ridge": RIDGE,
                "candidates": CANDIDATES,
                "k": K,
                "data_from": histories.window[0],
                "data_to": histories.window[1],
            },
            metrics=evidence.metrics()
            | _facts(dataset, scorer, fitted)
            | calibration
            | {"seconds": seconds, BARRED_ROWS_USED: float(sum(barred.values()))},
            tags=basis
            | {
                "data_sha256": dataset.sha256,
                "code_version": code_version(Path(__file__).parent),
                "scorer_sha256": digest,
                "refused": ", ".join(f"{n} {name}" for name, n in histories.refused.items()),
                "barred_rows": ", ".join(f"{n} {name}" for name, n in barred.items()),
            },
            figures=figures,
            data=("histories", dataset.sha256, " to ".join(histories.window)),
            files={DATA_FILE: to_file(dataset.parts), EVALUATION_FILE: evidence.to_file()},
            started_at=now,
            seconds=seconds,
        ),
        KIND,
        scorer,
        basis,
    )
    return TrainedRun(
        run_id=version.run_id,
        version=version.number,
        scorer=scorer,
        metrics=evidence.intervals,
        refused=histories.refused,
        listeners_fit=len(dataset.fit),
        listeners_test=len(dataset.test),
        sha256=digest,
        seconds=seconds,
    )


def fit_to(
    dataset: Dataset,
    *,
    seed: int,
    now: datetime,
    shrinkage: float,
    weighs_colisten: bool,
    progress: Progress,
) -> tuple[Scorer, Mapping[Stage, StageWeights], ColistenFor | None]:
    """Fit weights to a data set; return them, the fits, and the co-listening that judged.

    Parameters
    ----------
    weighs_colisten
        Whether there is a co-listening model to weigh. It is fitted here, without the listeners
        that it judges: the champion has seen what is hidden from them.
    """
    colisten_for = None
    if weighs_colisten:
        progress("fitting co-listening without the listeners that it judges")
        colisten_for = cross_fitted(dataset, seed=seed)
    progress(f"fitting weights to {len(dataset.fit)} listeners")
    scorer, fitted = fit_scorer(
        _choices(dataset, dataset.fit, now, colisten_for, add_relevant=True),
        PRIOR,
        shrinkage=shrinkage,
    )
    return scorer, fitted, colisten_for


def _choices(
    dataset: Dataset,
    holdouts: Sequence[Holdout],
    now: datetime,
    colisten_for: ColistenFor | None,
    *,
    add_relevant: bool,
) -> dict[Stage, Iterator[Choices]]:
    return {
        stage: choices_of(
            dataset.catalogue,
            dataset.examples(holdouts, stage, now=now, colisten_for=colisten_for),
            add_relevant=add_relevant,
        )
        for stage in Stage
    }


def _facts(
    dataset: Dataset, scorer: Scorer, fitted: Mapping[Stage, StageWeights]
) -> dict[str, float]:
    facts = {
        "listeners_fit": float(len(dataset.fit)),
        "listeners_test": float(len(dataset.test)),
        "rows": float(dataset.histories.rows),
        "rows_refused": float(sum(dataset.histories.refused.values())),
    }
    for stage in Stage:
        facts[f"{stage}/listeners_fit"] = float(fitted[stage].n_listeners_)
        for key, weight in scorer.weights[stage].items():
            facts[f"{stage}/weight_{key}"] = weight
    return facts
