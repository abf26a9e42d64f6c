"""Speed of the evaluation: 10,000 listeners, full ranking over every track of the catalogue.

The catalogue and the histories are those of BONDHU_DATA, else the built-in world. Real listeners
come several times until there are 10,000, each after building their profile once: profiles are
timed apart, on as many listeners as there are.
"""

import time
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from benchmarks.learning_parts.speed import servers
from benchmarks.results import Row
from features.build import build_features
from features.sources.catalogue import import_catalogue
from features.sources.lastfm import import_lastfm
from features.sources.world import build_world
from recommender.cold_start import Stage
from recommender.scoring import Scorer
from recommender.taste import ColistenIn
from training.data.dataset import read_dataset
from training.data.listening import listening_of
from training.evaluation.list_metrics import ListJudge
from training.evaluation.served_lists import evaluate_full
from training.fit.colisten import fit_colisten

LISTENERS = 10_000
SEED = 7
WEIGHTS = {
    "history": 0.2,
    "personality": 0.1,
    "diversity": 0.1,
    "novelty": 0.1,
    "popularity": 0.2,
    "colisten": 0.3,
}
"""Every component counts, so that none is left out of the work."""


def run(data: Path | None) -> list[Row]:
    """Return the seconds."""
    now = datetime.now(UTC)
    with servers() as (engine, _, _):
        if data is None:
            build_world(engine, tracks=26_000, listeners=1_000, now=now)
        else:
            import_catalogue(engine, data, now=now)
            import_lastfm(engine, data, now=now)
        build_features(engine, now=now)
        dataset = read_dataset(engine, seed=SEED)
    catalogue = dataset.catalogue
    holdouts = [*dataset.fit, *dataset.test]
    colisten = ColistenIn.of(
        fit_colisten(
            [listening_of(h.history) for h in dataset.fit], lambda _: catalogue, seed=SEED
        ),
        catalogue,
    )
    began = time.perf_counter()
    examples = list(
        dataset.examples(holdouts, Stage.MONTH_2_PLUS, now=now, colisten_for=lambda _: colisten)
    )
    profiles = time.perf_counter() - began
    played = np.bincount(
        np.concatenate([example.listener.heard_artists for example in examples]),
        minlength=len(catalogue.artist_keys),
    )
    judge = ListJudge.of(catalogue, played.astype(np.int64), len(examples))
    scorers = {"ours": Scorer.of(dict.fromkeys(Stage, WEIGHTS))}
    began = time.perf_counter()
    lists = evaluate_full(catalogue, islice(cycle(examples), LISTENERS), scorers, judge=judge)[
        "ours"
    ]
    took = time.perf_counter() - began
    task = f"{len(lists.rows):,} listeners, full ranking over {len(catalogue):,} tracks"
    return [
        Row(
            task,
            "lists and metrics, seconds",
            took,
            peers={f"profiles of {len(examples):,} listeners": profiles},
            target="at most 60",
            met=took <= 60 and len(lists.rows) == LISTENERS,
        )
    ]
