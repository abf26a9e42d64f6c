from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from recommender.scoring import PRIOR
from training.errors import RegistryError
from training.evaluation.served_lists import GAIN
from training.review.appraisal import appraise
from training.scorer import train_scorer

if TYPE_CHECKING:
    from tests.training.conftest import World
    from training.registry import Registry

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def test_a_version_beside_the_prior(
    engine: sa.Engine, world: "World", registry: "Registry"
) -> None:
    world.plant(follows="sound")
    with pytest.raises(RegistryError, match="no scorer is champion"):
        appraise(engine, registry, now=NOW)
    trained = train_scorer(engine, registry, seed=7, now=NOW)
    champion = appraise(engine, registry, now=NOW)
    fitted = appraise(engine, registry, number=trained.version, now=NOW)
    assert champion.version.number == 1
    assert champion.metrics[GAIN].low == champion.metrics[GAIN].high == 0.0  # it is the prior
    assert trained.scorer != PRIOR
    assert fitted.version.number == trained.version
    assert fitted.listeners == trained.listeners_test
    # The same listeners, at the same stages.
    assert fitted.metrics[GAIN].mean == pytest.approx(trained.metrics[GAIN].mean)
    lines = fitted.lines()
    assert [line.split()[0] for line in lines] == ["week_1", "week_2_4", "month_2_plus", "all"]
    assert str(fitted.metrics[GAIN]) in lines[-1]
