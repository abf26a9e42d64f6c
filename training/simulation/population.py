"""Simulated listeners: Big Five from real questionnaires or published figures, tastes from them."""

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from features.sources.world_figures import (
    TASTE_CORRELATION,
    TRAIT_CORRELATION,
    TRAIT_DEVIATION,
    TRAIT_MEAN,
)
from recommender.audio import FloatArray
from recommender.personality import TRAITS
from recommender.questionnaires import KEYS
from training.simulation.world import World

ANSWERS = "ipip50_responses.csv.gz"
LARGEST_CORRELATION = 0.16


@dataclass(frozen=True)
class Population:
    """n listeners and c categories.

    Attributes
    ----------
    traits
        (n, 5) in [0, 1], in the order of `TRAITS`.
    popularity
        (c,) on the logit.
    taste
        (n, c) on the logit.
    genres
        c published genres, whose correlations the categories take.
    source
        Where the traits are from.
    """

    traits: FloatArray
    popularity: FloatArray
    taste: FloatArray
    genres: list[str]
    source: str


def read_traits(folder: Path | None) -> FloatArray | None:
    """Return (m, 5) scores 0-100 of everybody who answered all items; None without the file.

    The scores are those of `recommender.questionnaires.score`, for all rows at once (a test holds
    the two together).
    """
    if folder is None or not (folder / ANSWERS).exists():
        return None
    names = [f"{scale}{item}" for scale in "ENACO" for item in range(1, 11)]
    with gzip.open(folder / ANSWERS, "rt", encoding="utf-8", newline="") as file:
        rows = [[row[name] or "0" for name in names] for row in csv.DictReader(file)]
    answers = np.array(rows, dtype=np.float64)
    complete = ((answers >= 1) & (answers <= 5)).all(axis=1) & (answers.std(axis=1) > 0)
    answers = answers[complete]
    scores = np.empty((len(answers), len(TRAITS)))
    for column, trait in enumerate(TRAITS):
        key = np.array(KEYS["ipip50"][trait])
        raw = answers[:, np.abs(key) - 1]
        scores[:, column] = (np.where(key < 0, 6.0 - raw, raw).mean(axis=1) - 1.0) * 25.0
    return scores


def draw_population(
    world: World,
    rng: np.random.Generator,
    scores: FloatArray | None = None,
    *,
    genres: list[str] | None = None,
) -> Population:
    """Draw a world's listeners.

    taste_c = taste_sd (z . b_c + rest), z the traits in standard deviations, b_c = C^-1 r_c with
    C their correlations and r_c the category's published ones times `trait_effect`; the rest is
    normal with variance 1 - r_c . b_c. So corr(taste_c, z_t) = r_ct and sd(taste_c) = taste_sd.

    Parameters
    ----------
    scores
        (m, 5) real scores to draw from; None: normal with the built-in figures.
    genres
        The published genre of each category; None: drawn.
    """
    correlation = np.array(TRAIT_CORRELATION)
    if scores is None:
        source = "built-in figures"
        z: FloatArray = (
            rng.standard_normal((world.listeners, 5)) @ np.linalg.cholesky(correlation).T
        )
        drawn = np.array(TRAIT_MEAN) + z * np.array(TRAIT_DEVIATION)
    else:
        source = "questionnaires"
        correlation = np.asarray(np.corrcoef(scores.T))
        drawn = scores[rng.integers(len(scores), size=world.listeners)]
        deviation: FloatArray = np.asarray(scores.std(axis=0))
        z = (drawn - scores.mean(axis=0)) / deviation
    names = list(TASTE_CORRELATION)
    if genres is None:
        genres = [names[i] for i in rng.integers(len(names), size=world.categories)]
    published: FloatArray = np.array([TASTE_CORRELATION[genre] for genre in genres])
    here = published + world.transfer_sd * rng.standard_normal(published.shape)
    bounded = np.clip(here, -LARGEST_CORRELATION, LARGEST_CORRELATION)
    r = np.multiply(world.trait_effect, bounded)
    b = np.linalg.solve(correlation, r.T).T
    rest = np.sqrt(np.maximum(0.0, 1.0 - (r * b).sum(axis=1)))
    noise = rng.standard_normal((world.listeners, world.categories))
    return Population(
        traits=np.clip(drawn, 0, 100) / 100,
        popularity=world.popularity_sd * rng.standard_normal(world.categories),
        taste=world.taste_sd * (z @ b.T + noise * rest),
        genres=genres,
        source=source,
    )
