"""How each kind of model is fitted once more to what a run was fitted to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime

import sqlalchemy as sa

from recommender.audio_estimator import MODEL as AUDIO_ESTIMATOR
from training import colisten_run, scorer
from training.data.audio_examples import read_examples
from training.data.catalogue import load_trainable_catalogue
from training.data.consolidation import consolidate, read_parts
from training.data.data_parts import Part
from training.data.dataset import Dataset, read_dataset
from training.data.drawing import draw_listeners
from training.data.impressions import MOST_LISTENERS, MOST_ROWS, read_impressions
from training.data.listening import read_listening
from training.fit.audio_fit import fit
from training.fit.fitting import FitSettings
from training.qtable_flavour import QTABLE
from training.runs import COLISTEN, COLISTEN_TAG, IMPRESSIONS, SCORER, StoredRun

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Rebuilt:
    """A run's data as they are now, by part, and the fit to them, which returns a model's files."""

    parts: Mapping[str, Part]
    fit: Callable[[], Files]


Rebuild = Callable[[sa.Engine, StoredRun], Rebuilt]
"""Raises KeyError or ValueError where the run lacks a parameter."""


def _dataset(engine: sa.Engine, run: StoredRun) -> Dataset:
    return read_dataset(
        engine,
        seed=int(run.params["seed"]),
        since=_moment(run.params.get("since", "")),
        until=datetime.fromisoformat(run.params["read_until"]),
    )


def _moment(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def rebuild_scorer(engine: sa.Engine, run: StoredRun) -> Rebuilt:
    """Return the weights of the score again; see `training.scorer.fit_to`."""
    seed, now = int(run.params["seed"]), datetime.fromisoformat(run.params["now"])
    settings = FitSettings(**{one.name: float(run.params[one.name]) for one in fields(FitSettings)})
    dataset, impressions = _dataset(engine, run), None
    if run.params["fitted_from"] == IMPRESSIONS:
        impressions = read_impressions(
            engine,
            seed=seed,
            # Runs of before there was a window and a most say neither; those that fit into both
            # come out again.
            since=_moment(run.params.get("impressions_since", run.params["since"])),
            until=datetime.fromisoformat(run.params["impressions_until"]),
            most=int(run.params.get("impressions_most", MOST_ROWS)),
            listeners=int(run.params.get("impressions_most_listeners", MOST_LISTENERS)),
        )

    def fit_again() -> Files:
        fitted, _ = scorer.fit_to(
            dataset,
            impressions,
            seed=seed,
            now=now,
            settings=settings,
            weighs_colisten=COLISTEN_TAG in run.tags,
            progress=lambda _: None,
        )
        return fitted.scorer.to_files()

    return Rebuilt(scorer.parts_of(dataset, impressions), fit_again)


def rebuild_colisten(engine: sa.Engine, run: StoredRun) -> Rebuilt:
    """Return co-listening again; see `training.colisten_run.fit_to`."""
    seed, until = int(run.params["seed"]), datetime.fromisoformat(run.params["read_until"])
    most = int(run.params["most_listening"])
    drawn = draw_listeners(engine, seed=seed, most_listening=most, until=until)
    listened = read_listening(engine, drawn.listening, until=until)
    catalogue = load_trainable_catalogue(engine)
    return Rebuilt(
        colisten_run.parts_of(listened, catalogue),
        lambda: colisten_run.fit_to(listened, catalogue, seed=seed).to_files(),
    )


def rebuild_qtable(engine: sa.Engine, run: StoredRun) -> Rebuilt:
    """Return the pooled Q-table again; see `training.qtables.consolidate`."""
    now = datetime.fromisoformat(run.params["now"])
    half_life = float(run.params["half_life_days"])

    def fit_again() -> Files:
        return consolidate(engine, now=now, half_life_days=half_life).table.to_files()

    return Rebuilt(read_parts(engine, now=now), fit_again)


def rebuild_audio_estimator(engine: sa.Engine, _run: StoredRun) -> Rebuilt:
    """Return the audio estimator again; see `training.fit.audio_fit.fit`."""
    examples = read_examples(engine)
    return Rebuilt(
        examples.parts,
        lambda: fit(examples.audio, examples.artist, examples.genres).to_files(),
    )


REBUILDS: Mapping[str, Rebuild] = {
    SCORER: rebuild_scorer,
    COLISTEN: rebuild_colisten,
    QTABLE: rebuild_qtable,
    AUDIO_ESTIMATOR: rebuild_audio_estimator,
}
