"""What test listeners are given does not depend on the blocks that processes take them in."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa

from recommender.cold_start import Stage
from recommender.scoring import PRIOR, Scorer
from training.data.dataset import read_dataset
from training.evaluation import listed
from training.evaluation.list_metrics import ListJudge
from training.evaluation.listed import WAYS, Listed, listed_for_test

if TYPE_CHECKING:
    from tests.training.conftest import World

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SCORERS = {"prior": PRIOR, "popular": Scorer.of({stage: {"popularity": 1.0} for stage in Stage})}


def test_blocks_and_processes_change_nothing(
    engine: sa.Engine, world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    world.plant(listeners=90)
    dataset = read_dataset(engine, seed=7)
    assert len(dataset.test) > 10
    judge = ListJudge.of(
        dataset.catalogue, np.zeros(len(dataset.catalogue.artist_keys), dtype=np.int64), 1
    )
    # Samples that end within a block, at its border, and in the first of several.
    monkeypatch.setattr(listed, "SAMPLE", 7)
    monkeypatch.setattr(listed, "DRAWN", 9)

    def of(block: int, processes: int) -> Listed:
        monkeypatch.setattr(listed, "BLOCK", block)
        return listed_for_test(dataset, SCORERS, judge=judge, now=NOW, processes=processes)

    whole = of(1000, 1)
    assert whole.leak.values > 0
    for block, processes in ((2, 2), (4, 1), (6, 2)):
        parted = of(block, processes)
        assert parted.leak == whole.leak
        for stage in Stage:
            assert np.array_equal(parted.rows[stage].features, whole.rows[stage].features)
            assert np.array_equal(parted.rows[stage].listener, whole.rows[stage].listener)
            assert len(np.unique(whole.rows[stage].listener)) <= 9
            for way in WAYS:
                for name in SCORERS:
                    one, other = (x.lists[way][stage][name] for x in (parted, whole))
                    assert np.array_equal(one.values, other.values)
                    assert len(one.rows) == len(dataset.test)
                    assert all(map(np.array_equal, one.rows, other.rows))
