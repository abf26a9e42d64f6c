"""Training colisten: registered, repeatable, promoted by evidence, and judged without leaks."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa

from features.rights import delete_rows
from recommender.cold_start import Stage
from recommender.colisten import BY_ARTISTS, BY_TRACKS
from training.colisten_run import fit_to, train_colisten
from training.data.catalogue import load_trainable_catalogue
from training.data.dataset import read_dataset
from training.data.drawing import draw_listeners
from training.data.listening import listening_of, read_listening
from training.evaluation.served_lists import GAIN
from training.fit.colisten import fit_colisten
from training.fit.crossfit import cross_fitted
from training.fit.grains import fit_grain
from training.review.margins import Margins
from training.review.promotion import promote
from training.runs import COLISTEN, COLISTEN_TAG, SCORER
from training.scorer import train_scorer

if TYPE_CHECKING:
    from tests.training.conftest import World
    from training.registry import Registry

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def circles(engine: sa.Engine, world: "World") -> sa.Engine:
    """Sixty artists of which sound says nothing: two circles of thirty are played together."""
    rng = np.random.default_rng(4)
    for number in range(60):
        world.add_artist(number, rng.uniform(0.1, 0.9, 7), int(rng.integers(1, 99)))
    for user in range(80):
        world.add_listener(f"user{user:03}")
        circle = np.arange(30) + 30 * (user % 2)
        for number in rng.choice(circle, 20, replace=False).tolist():
            world.count_plays(f"user{user:03}", number, int(rng.integers(1, 50)))
    return engine


def test_it_is_registered_promoted_weighed_and_served_by_the_scorer(
    circles: sa.Engine, registry: "Registry"
) -> None:
    registry.ensure_prior()
    trained = train_colisten(circles, registry, seed=3, now=NOW)
    assert trained.metrics[GAIN].low > 0.1  # popularity knows nothing of circles
    assert trained.metrics[f"{Stage.WEEK_1}/{GAIN}"].mean == 0  # there is nothing to fold in
    assert promote(registry, COLISTEN, trained.version).promoted

    again = train_colisten(circles, registry, seed=3, now=NOW)
    assert again.sha256 == trained.sha256
    declined = promote(registry, COLISTEN, again.version)
    assert (declined.promoted, declined.gate) == (False, "effective_n")
    # Two circles and two dozen test listeners.
    margins = Margins(effective_n=20, coverage=1.0, entropy=9.0)
    decision = promote(registry, COLISTEN, again.version, margins=margins)
    assert decision.promoted
    assert "over popularity" in decision.message

    scorer = train_scorer(circles, registry, seed=3, now=NOW, shrinkage=5)
    assert scorer.scorer.weights[Stage.MONTH_2_PLUS]["colisten"] > 0.1
    version = registry.version(SCORER, scorer.version)
    assert version.tags[COLISTEN_TAG] == str(again.version)
    assert promote(registry, SCORER, scorer.version, margins=margins).promoted


def test_who_is_judged_did_not_teach_the_judge(circles: sa.Engine, world: "World") -> None:
    """The grain that judges a half is, number for number, the one fitted to the other half."""
    dataset = read_dataset(circles, seed=3)
    judge = cross_fitted(dataset, seed=3)
    models = {id(judge(holdout)): judge(holdout) for holdout in (*dataset.fit, *dataset.test)}
    assert len(models) == 3
    for model in models.values():
        judged = [h for h in (*dataset.fit, *dataset.test) if judge(h) is model]
        others = [h for h in dataset.fit if judge(h) is not model]
        taught = others if judged[0] in dataset.fit else list(dataset.fit)
        expected = fit_grain([listening_of(h.history).artists for h in taught], seed=3)
        if judged[0] in dataset.fit:
            assert not {h.history.user_id for h in judged} & {h.history.user_id for h in taught}
        np.testing.assert_allclose(model.model.artists.factors, expected.factors, atol=1e-3)


def test_too_few_histories_leave_the_constants(engine: sa.Engine, world: "World") -> None:
    from training.data.listening import Listening  # noqa: PLC0415

    rng = np.random.default_rng(4)
    for number in range(12):
        world.add_artist(number, rng.uniform(0.1, 0.9, 7), 50)
    from training.data.catalogue import load_trainable_catalogue  # noqa: PLC0415

    catalogue = load_trainable_catalogue(engine)
    some = [Listening({f"artist{n:03}": 1.0 for n in range(k, k + 6)}) for k in range(5)]
    model = fit_colisten(some, lambda _: catalogue, seed=1)
    assert (model.by_tracks, model.by_artists) == (BY_TRACKS, BY_ARTISTS)


def files_of(engine: sa.Engine) -> dict[str, bytes]:
    """The model that a run would register now."""
    listened = read_listening(engine, draw_listeners(engine, seed=3).listening)
    return dict(fit_to(listened, load_trainable_catalogue(engine), seed=3).to_files())


def test_after_a_deletion_the_model_is_that_of_histories_without_the_listener(
    circles: sa.Engine, world: "World"
) -> None:
    without = files_of(circles)
    world.add_listener("to be forgotten")
    for number in range(0, 60, 2):
        world.count_plays("to be forgotten", number, 40)
    whole = files_of(circles)
    with circles.begin() as connection:
        assert delete_rows(connection, "to be forgotten")["artist_plays"] == 30
    assert whole != without
    assert files_of(circles) == without
