"""The search for a scorer's hyper-parameters: Optuna's trials, as nested runs of one parent.

Whoever fits weights is parted once more: most fit, the others say how good a trial is. Who tests a
model is never asked. A search goes by its data: the same call on the same data goes on where it
ended or was killed, and comes to the same trials as one that nobody interrupted, since each trial
is drawn from the trials before it and the seed alone.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import optuna
import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from recommender.audio import FloatArray
from recommender.cold_start import Stage
from recommender.components import KEYS
from recommender.scoring import Scorer
from training.code_version import code_version
from training.data.choices import ChoiceRows, Choices, choices_of, rows_to_fit
from training.data.dataset import Dataset, read_dataset
from training.data.histories import stage_today
from training.data.holdout import draw_of, is_test
from training.data.impressions import Impressions, read_impressions
from training.evaluation.intervals import Interval, bootstrap
from training.evaluation.row_metrics import ndcg_by_list
from training.evaluation.served_lists import K, listed_artists, ndcg
from training.fit.crossfit import cross_fitted
from training.fit.examination import examined
from training.fit.fitting import Evidence, FitSettings, Fitted, enough_impressions, fit_evidence
from training.fit.impression_rows import Correction, impression_rows
from training.packaging import sha256
from training.runs import COLISTEN, DATA_TAG, Run
from training.trial_store import open_study

if TYPE_CHECKING:  # importing it takes seconds
    from training.registry import Registry

VALIDATION = 0.3
"""The share of the listeners who fit that judges trials."""
SEARCH_TAG = "search"
"""Tag of the parent run: the name of the search."""
TRIAL_TAG = "trial"
VALUE = f"validation_ndcg_{K}"
"""Metric: NDCG@10 of validation listeners, each at the stage they are in."""
STARTUP_TRIALS = 8
"""Trials that are drawn at random before the sampler learns from them."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Searched:
    """What a search came to.

    Attributes
    ----------
    run_id
        Of the parent run.
    best, best_value
        The settings of the best trial, and its NDCG@10.
    default_value
        That of the settings that `bondhu train scorer` has by default.
    trials
        How many were made in all, earlier calls included.
    """

    run_id: str
    name: str
    best: FitSettings
    best_value: float
    default_value: float
    trials: int


@dataclass(frozen=True)
class SearchData:
    """What trials are fitted to and judged by; a trial changes the settings alone.

    Attributes
    ----------
    fit_rows
        From histories of the listeners who fit.
    validation
        Stage -> choices of the validation listeners who are in it.
    impressions
        None: histories alone.
    """

    fit_rows: Mapping[Stage, ChoiceRows]
    validation: Mapping[Stage, list[Choices]]
    impressions: Impressions | None
    seed: int
    sha256: str
    window: tuple[str, str]

    def fits(self, user_id: str) -> bool:
        """Return whether a listener fits."""
        return not is_test(user_id, self.seed) and not is_validation(user_id, self.seed)

    def validates(self, user_id: str) -> bool:
        """Return whether a listener judges trials."""
        return not is_test(user_id, self.seed) and is_validation(user_id, self.seed)

    def fitted(self, settings: FitSettings) -> Fitted:
        """Return the scorer that these settings give."""
        return fit_evidence(self.fit_rows, self.impressions, settings=settings, is_wanted=self.fits)

    def judged(self, scorer: Scorer) -> FloatArray:
        """Return (n,) NDCG@10 of each validation listener who chose something."""
        if self.impressions is not None:
            return self._by_impressions(self.impressions, scorer)
        return np.array(
            [
                ndcg(listed_artists(one, scorer.weights[stage]), one.relevant)
                for stage in Stage
                for one in self.validation[stage]
            ]
        )

    def _by_impressions(self, impressions: Impressions, scorer: Scorer) -> FloatArray:
        """Judge by likes that are corrected in one way, whatever the trial corrects by."""
        asked = impressions.of(lambda user: not is_test(user, self.seed))
        examination = examined(
            impressions.components[asked],
            impressions.is_liked[asked],
            impressions.position[asked],
            impressions.propensity[asked],
        )
        fixed = Correction(examination, half_life_days=float("inf"))
        values: dict[int, list[float]] = {}
        for stage in Stage:
            rows = impression_rows(impressions, stage, fixed, is_wanted=self.validates)
            starts = np.flatnonzero(np.diff(rows.list, prepend=-1))
            if not len(starts):
                continue
            score = rows.features @ np.array([scorer.weights[stage][key] for key in KEYS])
            found = ndcg_by_list(score, rows.target, starts, K)
            chosen = np.add.reduceat(rows.target, starts) > 0
            for listener, value in zip(
                rows.listener[starts][chosen].tolist(), found[chosen].tolist(), strict=True
            ):
                values.setdefault(listener, []).append(value)
        return np.array([np.mean(of_one) for _, of_one in sorted(values.items())])


def is_validation(user_id: str, seed: int) -> bool:
    """Return whether a listener who fits judges trials instead."""
    return draw_of(user_id, seed, "validation") < VALIDATION * 2**64


def search_scorer(
    engine: sa.Engine,
    registry: "Registry",
    *,
    trials: int,
    seed: int = 7,
    now: datetime,
    evidence_from: Evidence = Evidence.AUTO,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Progress | None = None,
) -> Searched:
    """Make trials until there are so many of this search in all; nothing is registered.

    Raises
    ------
    NothingTrainableError
        No row may be used, or too few listeners have enough of them.
    TrainingError
        The same search is running already.
    """
    say = progress or (lambda line: None)
    with threadpool_limits(limits=1):
        data = read_search_data(
            engine,
            seed=seed,
            now=now,
            evidence_from=evidence_from,
            since=since,
            until=until,
            has_colisten=registry.champion(COLISTEN) is not None,
            say=say,
        )
        source = "histories" if data.impressions is None else "impressions"
        name = f"scorer {source} seed {seed} {data.sha256[:12]}"
        with open_study(engine, name) as study:
            parent = _parent(registry, study.study_name, data, seed=seed, now=now)
            _log_missing(registry, parent, study)
            while len(done := _completed(study)) < trials:
                say(f"trial {len(done) + 1} of {trials}")
                _make_trial(study, data, len(done))
                _log_missing(registry, parent, study)
            best = study.best_trial
            return Searched(
                run_id=parent,
                name=name,
                best=_settings(best.params),
                best_value=study.best_value,
                default_value=float(done[0].values[0]),
                trials=len(done),
            )


def read_search_data(
    engine: sa.Engine,
    *,
    seed: int,
    now: datetime,
    evidence_from: Evidence,
    since: datetime | None,
    until: datetime | None,
    has_colisten: bool,
    say: Progress,
) -> SearchData:
    """Read what may be used, and judge every candidate once for all trials."""
    say("reading histories and impressions")
    dataset = read_dataset(engine, seed=seed, since=since, until=until)
    impressions = read_impressions(engine, seed=seed, since=since, until=until or now)
    use_impressions = enough_impressions(
        impressions,
        evidence_from,
        is_wanted=lambda user: not is_test(user, seed) and not is_validation(user, seed),
    )
    colisten_for = cross_fitted(dataset, seed=seed) if has_colisten else None
    say("judging candidates")
    validates = [h for h in dataset.fit if is_validation(h.history.user_id, seed)]
    fits = [h for h in dataset.fit if not is_validation(h.history.user_id, seed)]

    def choices(stage: Stage) -> list[Choices]:
        there = [h for h in validates if stage_today(h.history, now) is stage]
        examples = dataset.examples(there, stage, now=now, colisten_for=colisten_for)
        return list(choices_of(dataset.catalogue, examples, index=dataset.index))

    return SearchData(
        fit_rows=rows_to_fit(dataset, fits, now=now, colisten_for=colisten_for),
        validation={stage: [] if use_impressions else choices(stage) for stage in Stage},
        impressions=impressions if use_impressions else None,
        seed=seed,
        sha256=_hash(dataset, impressions if use_impressions else None),
        window=dataset.histories.window if not use_impressions else impressions.window,
    )


def _hash(dataset: Dataset, impressions: Impressions | None) -> str:
    parts = [dataset.histories.sha256, *([impressions.sha256] if impressions else [])]
    return sha256(" ".join(parts).encode())


def _make_trial(study: optuna.Study, data: SearchData, before: int) -> None:
    """Draw settings from the trials before, fit, judge; the first are the defaults."""
    study.sampler = optuna.samplers.TPESampler(
        n_startup_trials=STARTUP_TRIALS,
        constant_liar=False,
        seed=draw_of(f"trial {before}", data.seed, "search") % 2**32,
    )
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    if not before and not waiting:
        study.enqueue_trial(_searched(FitSettings(), data))
    trial = study.ask()
    settings = _settings(_suggested(trial, data))
    began = time.perf_counter()
    value = bootstrap(data.judged(data.fitted(settings).scorer), data.seed)
    trial.set_user_attr("interval", [value.low, value.high])
    trial.set_user_attr("seconds", time.perf_counter() - began)
    study.tell(trial, value.mean)


def _suggested(trial: optuna.Trial, data: SearchData) -> dict[str, float]:
    params = {
        "shrinkage": trial.suggest_float("shrinkage", 0.5, 1000.0, log=True),
        "ridge": trial.suggest_float("ridge", 1e-6, 0.1, log=True),
    }
    if data.impressions is not None:
        params["clip"] = trial.suggest_float("clip", 1.0, 100.0, log=True)
        params["half_life_days"] = trial.suggest_float("half_life_days", 7.0, 1000.0, log=True)
    return params


def _searched(settings: FitSettings, data: SearchData) -> dict[str, float]:
    """Return of the settings those that a search on these data turns."""
    unused = () if data.impressions is not None else ("clip", "half_life_days")
    return {key: value for key, value in asdict(settings).items() if key not in unused}


def _settings(params: Mapping[str, float]) -> FitSettings:
    return FitSettings(**params)


def _completed(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _parent(registry: "Registry", name: str, data: SearchData, *, seed: int, now: datetime) -> str:
    """Return the id of the search's parent run; it is logged the first time."""
    known = registry.runs({SEARCH_TAG: name})
    if known:
        return known[0].run_id
    return registry.log_plain_run(
        Run(
            name=f"search {name}",
            params={"seed": seed, "sampler": "TPE", "startup_trials": STARTUP_TRIALS},
            metrics={} if data.impressions is None else data.impressions.sizes,
            tags={
                SEARCH_TAG: name,
                DATA_TAG: data.sha256,
                "code_version": code_version(Path(__file__).parent),
            },
            data=("search", data.sha256, " to ".join(data.window)),
            started_at=now,
        )
    )


def _log_missing(registry: "Registry", parent: str, study: optuna.Study) -> None:
    """Log the trials that are done and have no run yet: a kill may have come between."""
    logged = {run.tags.get(TRIAL_TAG) for run in registry.children(parent)}
    for trial in _completed(study):
        if str(trial.number) in logged:
            continue
        interval = Interval(float(trial.values[0]), *trial.user_attrs["interval"])
        registry.log_plain_run(
            Run(
                name=f"trial {trial.number}",
                params=trial.params,
                metrics={
                    VALUE: interval.mean,
                    f"{VALUE}_low": interval.low,
                    f"{VALUE}_high": interval.high,
                },
                tags={TRIAL_TAG: str(trial.number)},
                parent=parent,
                started_at=trial.datetime_start,
                seconds=float(trial.user_attrs["seconds"]),
            )
        )
