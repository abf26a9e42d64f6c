"""One training run of the model `scorer`, from Postgres to a registered version."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from recommender.scoring import Scorer
from training.code_version import code_version
from training.data.barred_rows import BARRED_ROWS_USED, barred_rows_used
from training.data.catalogue import artist_names
from training.data.choices import CANDIDATES, rows_to_fit
from training.data.data_parts import DATA_FILE, Part, hash_of, to_file
from training.data.dataset import ColistenFor, Dataset, read_dataset
from training.data.holdout import is_test
from training.data.impressions import Impressions, read_impressions
from training.evaluation.evidence import EVALUATION_FILE, evidence_of
from training.evaluation.intervals import Interval
from training.evaluation.mismatch import mismatch
from training.evaluation.off_policy_gain import off_policy_metrics
from training.evaluation.served_lists import K
from training.fit.challenger import challenger_gain
from training.fit.crossfit import cross_fitted
from training.fit.fitting import Evidence, FitSettings, Fitted, enough_impressions, fit_evidence
from training.fit.weights import RESAMPLES, SHRINKAGE
from training.packaging import sha256
from training.runs import (
    BASELINE,
    COLISTEN,
    COLISTEN_TAG,
    FITTED_FROM_TAG,
    HISTORIES,
    IMPRESSIONS,
    SCORER,
    Run,
)
from training.scorer_figures import scorer_figures
from training.scorer_flavour import KIND

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
        Name -> interval, see `training.evaluation.evidence.evidence_of`.
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
    settings: FitSettings | None = None,
    evidence_from: Evidence = Evidence.AUTO,
    since: datetime | None = None,
    until: datetime | None = None,
    processes: int | None = None,
    progress: Progress | None = None,
    timer: Callable[[], float] = time.perf_counter,
) -> TrainedRun:
    """Fit a scorer, compare it with the champion on other listeners, and register it.

    It is not promoted here. Equal seed and data give a scorer of equal bytes.

    Parameters
    ----------
    shrinkage
        Of the settings, where those are not given whole.
    evidence_from
        What the weights are fitted to.
    since, until
        The data window: plays and impressions from then on and before then. None: no bound; for
        impressions, `now` and `training.data.impressions.WINDOW_DAYS` before it.
    processes
        See `training.data.forks.forked`; the run comes out the same for any number.
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
    dataset = read_dataset(engine, seed=seed, since=since, until=until)
    impressions = read_impressions(engine, seed=seed, since=since, until=until or now)
    is_enough = enough_impressions(
        impressions, evidence_from, is_wanted=lambda user: not is_test(user, seed)
    )
    used = impressions if is_enough else None
    # One thread: sums in another order would differ in their last bits.
    with threadpool_limits(limits=1):
        colisten = registry.champion(COLISTEN)
        settings = settings or FitSettings(shrinkage=shrinkage)
        fit, colisten_for = fit_to(
            dataset,
            used,
            seed=seed,
            now=now,
            settings=settings,
            weighs_colisten=colisten is not None,
            progress=say,
            processes=processes,
        )
        scorer = fit.scorer
        say("fitting the challenger, to see what a sum leaves out")
        left_out = challenger_gain(
            fit.rows, fit.prior, shrinkage=settings.shrinkage, ridge=settings.ridge, seed=seed
        )
        say(f"testing them on {len(dataset.test)} others")
        evidence = evidence_of(
            dataset,
            scorer,
            served,
            seed=seed,
            now=now,
            colisten_for=colisten_for,
            artist_names=artist_names(engine),
            processes=processes,
        )
        say("drawing")
        figures, calibration = scorer_figures(
            scorer,
            served,
            evidence.rows,
            weights={stage: one.intervals_ for stage, one in fit.stages.items()},
            groups=evidence.groups,
        )
    off_policy = off_policy_metrics(
        impressions, impressions.of(lambda user: is_test(user, seed)), scorer, served
    )
    barred = barred_rows_used(engine, dataset, used)
    say("registering the version")
    seconds = timer() - began
    digest = sha256(scorer.to_json().encode())
    histories = dataset.histories
    parts = parts_of(dataset, used)
    refused = _refused(dataset, impressions)
    basis = {FITTED_FROM_TAG: fit.fitted_from, BASELINE: str(champion.number)}
    if colisten is not None:
        basis[COLISTEN_TAG] = str(colisten.number)
    version = registry.log_run(
        Run(
            name=f"scorer seed {seed}",
            params=fit.params()
            | {
                "seed": seed,
                "now": now.isoformat(),
                "read_until": histories.until.isoformat(),
                "candidates": CANDIDATES,
                "k": K,
                "data_from": histories.window[0],
                "data_to": histories.window[1],
                "since": since.isoformat() if since else "",
                "evidence_from": evidence_from.value,
            }
            | impressions.sample,
            metrics=evidence.metrics()
            | _flat(left_out)
            | fit.metrics()
            | off_policy
            | calibration
            | mismatch(engine, registry, now=now).metrics()
            | _facts(dataset, impressions, refused)
            | {"seconds": seconds, BARRED_ROWS_USED: float(sum(barred.values()))},
            tags=basis
            | {
                "data_sha256": hash_of(parts),
                "code_version": code_version(Path(__file__).parent),
                "scorer_sha256": digest,
                "refused": ", ".join(f"{n} {name}" for name, n in refused.items()),
                "barred_rows": ", ".join(f"{n} {name}" for name, n in barred.items()),
            },
            figures=figures,
            data=(
                HISTORIES if used is None else f"{IMPRESSIONS} and {HISTORIES}",
                hash_of(parts),
                " to ".join(histories.window if used is None else used.window),
            ),
            files={DATA_FILE: to_file(parts), EVALUATION_FILE: evidence.to_file()},
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
        refused=refused,
        listeners_fit=len(dataset.fit),
        listeners_test=len(dataset.test),
        sha256=digest,
        seconds=seconds,
    )


def fit_to(
    dataset: Dataset,
    impressions: Impressions | None,
    *,
    seed: int,
    now: datetime,
    settings: FitSettings,
    weighs_colisten: bool,
    progress: Progress,
    processes: int | None = None,
) -> tuple[Fitted, ColistenFor | None]:
    """Fit weights to a data set; return them with the co-listening that judged.

    Parameters
    ----------
    impressions
        None: too few, or not asked for.
    weighs_colisten
        Whether there is a co-listening model to weigh. It is fitted here, without the listeners
        that it judges: the champion has seen what is hidden from them.
    """
    colisten_for = None
    if weighs_colisten:
        progress("fitting co-listening without the listeners that it judges")
        colisten_for = cross_fitted(dataset, seed=seed, processes=processes)
    progress(f"fitting weights to {len(dataset.fit)} listeners")
    fit = fit_evidence(
        rows_to_fit(dataset, dataset.fit, now=now, colisten_for=colisten_for, processes=processes),
        impressions,
        settings=settings,
        is_wanted=lambda user: not is_test(user, seed),
        resamples=RESAMPLES,
        seed=seed,
    )
    return fit, colisten_for


def parts_of(dataset: Dataset, impressions: Impressions | None) -> dict[str, Part]:
    """Return what weights were fitted to, part by part."""
    shown = {} if impressions is None else {IMPRESSIONS: impressions.part}
    return {**dataset.parts, **shown}


def _refused(dataset: Dataset, impressions: Impressions) -> dict[str, int]:
    """Return 'table from source' -> rows, impressions apart from the tables that bar them."""
    barred = {f"impressions barred by {name}": n for name, n in impressions.refused.items()}
    return dict(dataset.histories.refused) | barred


def _flat(metrics: Mapping[str, Interval]) -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, interval in metrics.items():
        flat |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return flat


def _facts(
    dataset: Dataset, impressions: Impressions, refused: Mapping[str, int]
) -> dict[str, float]:
    return impressions.sizes | {
        "listeners_fit": float(len(dataset.fit)),
        "listeners_test": float(len(dataset.test)),
        "rows": float(dataset.histories.rows),
        "listeners_who_liked": float(impressions.listeners_who_liked),
        "rows_refused": float(sum(refused.values())),
    }
