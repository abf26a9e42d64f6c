"""A co-listening model of the small world, and a scorer that weighs it."""

import sqlalchemy as sa

from features.catalogue import load_catalogue
from recommender.background import Background
from recommender.cold_start import Stage
from recommender.colisten import Colisten
from recommender.grain import Grain
from recommender.scoring import Scorer
from training.fit.grains import fit_grain

WEIGHED = Scorer.of({stage: {"colisten": 0.8, "novelty": 0.2} for stage in Stage})


def colisten_of(engine: sa.Engine, neighbours: int = 10) -> Colisten:
    """Of listeners who play so many artists in a row of the world's hundred."""
    histories = [
        {f"artist{(start + step) % 100}": 1.0 for step in range(neighbours)} for start in range(100)
    ]
    catalogue = load_catalogue(engine).catalogue
    return Colisten(fit_grain(histories, seed=1), Grain.empty(), Background.of(catalogue.tracks))
