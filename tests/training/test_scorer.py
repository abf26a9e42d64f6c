from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from recommender.cold_start import Stage
from recommender.scoring import PRIOR
from training.choices import choices_of
from training.dataset import read_dataset
from training.evaluation import GAIN
from training.promotion import promote
from training.runs import SCORER
from training.scorer import TrainedRun, train_scorer
from training.scorer_flavour import KIND
from training.weights import fit_scorer

if TYPE_CHECKING:
    from tests.training.conftest import World
    from training.registry import Registry

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def weights_of(engine: sa.Engine, seed: int) -> dict[str, float]:
    dataset = read_dataset(engine, seed=seed)
    choices = {
        stage: choices_of(
            dataset.catalogue,
            dataset.examples(dataset.fit, stage, now=NOW),
            add_relevant=True,
        )
        for stage in Stage
    }
    scorer, _ = fit_scorer(choices, PRIOR, shrinkage=5)
    return dict(scorer.weights[Stage.MONTH_2_PLUS])


@pytest.mark.parametrize("seed", range(3))
def test_where_sound_decides_history_gets_the_weight(
    engine: sa.Engine, world: "World", seed: int
) -> None:
    world.plant(seed=seed, follows="sound")
    weights = weights_of(engine, seed)
    assert weights["history"] > 0.4
    assert weights["popularity"] < 0.05


@pytest.mark.parametrize("seed", range(3))
def test_where_popularity_decides_it_gets_the_weight(
    engine: sa.Engine, world: "World", seed: int
) -> None:
    world.plant(seed=seed, follows="popularity")
    weights = weights_of(engine, seed)
    assert weights["popularity"] > 0.3
    assert weights["history"] < 0.2


def test_a_run_is_complete_and_repeatable(
    engine: sa.Engine, world: "World", registry: "Registry"
) -> None:
    world.plant(follows="popularity")
    world.count_plays("user000", 59, 9, source="withheld", trainable=False)
    ticks = count()

    def train(seed: int) -> TrainedRun:
        return train_scorer(engine, registry, seed=seed, now=NOW, timer=lambda: float(next(ticks)))

    first, again, other = train(7), train(7), train(8)
    assert (first.version, again.version, other.version) == (2, 3, 4)
    assert first.sha256 == again.sha256 != other.sha256
    assert first.refused == {"artist_plays from withheld": 1}
    assert registry.load(KIND, 2) == first.scorer
    assert first.seconds == 1
    logged = registry.metrics(first.run_id)
    assert logged[f"{GAIN}_low"] == first.metrics[GAIN].low
    assert logged["rows_refused"] == 1
    tags = registry.version(SCORER, 2).tags
    assert (tags["fitted_from"], tags["baseline_version"]) == ("histories", "1")

    assert first.metrics[GAIN].low > 0
    assert promote(registry, SCORER, 2).promoted
    champion = registry.champion(SCORER)
    assert champion is not None
    assert champion.number == 2
    assert promote(registry, SCORER, 3).gate == "evidence"
    assert "decision.1" in registry.version(SCORER, 3).tags


def test_personality_that_nobody_stated_keeps_its_weight(engine: sa.Engine, world: "World") -> None:
    world.plant(follows="popularity")
    assert weights_of(engine, 7)["personality"] == 0.4
    assert weights_of(engine, 7)["diversity"] == 0.1
    assert weights_of(engine, 7)["colisten"] == 0.0
