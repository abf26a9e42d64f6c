import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sqlalchemy as sa
from impression_log import START, Log
from msgspec.structs import replace

import training.data.dataset as dataset_module
import training.scorer as scorer_module
from features.listeners import Profile
from features.rights import delete_rows
from recommender.cold_start import Stage
from recommender.components import KEYS
from recommender.scoring import PRIOR
from training.data import histories, impression_statements
from training.data import impressions as impressions_module
from training.data.barred_rows import barred_rows_used
from training.data.choices import choices_of
from training.data.dataset import read_dataset
from training.data.histories import ArtistCount, History, Play, read_histories
from training.data.impressions import read_impressions
from training.data.profiles import profile_of
from training.evaluation import leaks
from training.evaluation.served_lists import GAIN
from training.fit.fitting import Evidence
from training.fit.weights import fit_scorer
from training.review.comparison import comparison_of
from training.review.comparison_page import page_of
from training.review.margins import Margins
from training.review.promotion import history, promote, rollback
from training.review.reproduction import reproduce
from training.runs import SCORER
from training.scorer import TrainedRun, train_scorer
from training.scorer_flavour import KIND

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
    world.plant(follows="popularity", listeners=160)
    world.count_plays("user000", 59, 9, source="withheld", trainable=False)
    ticks = count()

    def train(seed: int, processes: int) -> TrainedRun:
        return train_scorer(
            engine,
            registry,
            seed=seed,
            now=NOW,
            processes=processes,
            timer=lambda: float(next(ticks)),
        )

    first, again, other = train(7, 2), train(7, 1), train(8, 2)
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
    # Popular artists alone are worth naming in this world: lists may grow alike.
    assert promote(registry, SCORER, 2, margins=Margins(coverage=1.0)).promoted
    champion = registry.champion(SCORER)
    assert champion is not None
    assert champion.number == 2
    assert promote(registry, SCORER, 3).gate == "evidence"
    assert "decision.1" in registry.version(SCORER, 3).tags

    kept = registry.artifact(first.run_id, "evaluation.json")
    assert kept == registry.artifact(again.run_id, "evaluation.json")
    assert b"user0" not in kept
    document = json.loads(kept)
    assert document["n"] == logged["effective_n"] == first.listeners_test
    assert document["intervals"][GAIN][0] == pytest.approx(first.metrics[GAIN].mean, abs=1e-6)
    assert logged["leak_checked_values"] > 0
    assert logged["leaking_values"] == logged["barred_rows_used"] == 0
    assert 0 < logged["full_ndcg_10"] <= 1

    compared = comparison_of(registry, first.run_id, again.run_id)
    assert (compared.paired, compared.tested) == (first.listeners_test, 2)
    assert not compared.differences.any()
    assert "personality_unknown" in {line.name for line in compared.groups}
    page = page_of(compared)
    assert "No difference beyond chance" in page
    assert "user0" not in page

    assert rollback(registry, SCORER, reason="as an exercise").promoted
    assert [entry.kind for entry in history(registry, SCORER)][-1] == "rollback"
    champion = registry.champion(SCORER)
    assert champion is not None
    assert champion.number == 1


def test_a_leaking_feature_is_caught(
    engine: sa.Engine, world: "World", registry: "Registry", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the profile's history tells of all that the listener plays, hidden or not."""
    world.plant(follows="sound", listeners=120)
    honest = profile_of

    def leaking(
        history: History, plays: Sequence[Play], counts: Sequence[ArtistCount], **rest: Any
    ) -> Profile:
        everything = honest(history, history.plays, history.counts, **rest)
        return replace(honest(history, plays, counts, **rest), history=everything.history)

    monkeypatch.setattr(dataset_module, "profile_of", leaking)
    monkeypatch.setattr(leaks, "profile_of", leaking)
    trained = train_scorer(engine, registry, seed=7, now=NOW)
    decision = promote(registry, SCORER, trained.version)
    assert (decision.promoted, decision.gate) == (False, "leak")


def test_a_row_that_may_not_be_trained_on_is_caught(
    engine: sa.Engine, world: "World", registry: "Registry", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the query of counts no longer asks what is trainable."""
    world.plant(follows="popularity", listeners=120)
    world.count_plays("user000", 59, 9, source="withheld", trainable=False)
    unguarded = str(histories._ARTIST_PLAYS).replace("WHERE trainable", "WHERE true")
    monkeypatch.setattr(histories, "_ARTIST_PLAYS", sa.text(unguarded))
    trained = train_scorer(engine, registry, seed=7, now=NOW)
    decision = promote(registry, SCORER, trained.version)
    assert (decision.promoted, decision.gate) == (False, "trainable")
    assert "it used 1 rows that may not be trained on (1 artist_plays from withheld)" in (
        decision.message
    )


def test_few_test_listeners_are_said_plainly(
    engine: sa.Engine, world: "World", registry: "Registry"
) -> None:
    world.plant(follows="popularity", listeners=40)
    trained = train_scorer(engine, registry, seed=7, now=NOW)
    decision = promote(registry, SCORER, trained.version)
    assert decision.gate == "effective_n"
    assert f"rests on {trained.listeners_test}.0 listeners in effect, the floor is 30" in (
        decision.message
    )


def test_a_deleted_listener_is_gone_from_the_next_run(
    engine: sa.Engine, world: "World", registry: "Registry"
) -> None:
    world.plant(follows="popularity", listeners=50)
    before = train_scorer(engine, registry, seed=7, now=NOW)
    someone = read_dataset(engine, seed=7).fit[0].history.user_id
    with engine.begin() as connection:
        delete_rows(connection, someone)
    after = train_scorer(engine, registry, seed=7, now=NOW)
    then, now = registry.run(before.run_id), registry.run(after.run_id)
    assert now.tags["data_sha256"] != then.tags["data_sha256"]
    assert now.metrics["listeners_fit"] == then.metrics["listeners_fit"] - 1
    dataset = read_dataset(engine, seed=7)
    assert someone not in {h.history.user_id for h in [*dataset.fit, *dataset.test]}
    assert now.params["fitted_from"] == "histories"
    for name in ("challenger_gain_ndcg_10", "month_2_plus/weight_popularity"):
        assert now.metrics[f"{name}_low"] <= now.metrics[name] <= now.metrics[f"{name}_high"]


def test_impressions_teach_what_histories_do_not(
    engine: sa.Engine, world: "World", registry: "Registry", monkeypatch: pytest.MonkeyPatch
) -> None:
    world.plant(follows="popularity", listeners=90)
    log, rng = Log(engine), np.random.default_rng(1)
    for number in range(90):
        user = f"user{number:03}"
        for _ in range(2):
            tracks = rng.permutation(60)[:8].tolist()
            values = {key: rng.uniform(size=8).round(3).tolist() for key in KEYS}
            shown = log.show(user, START, tracks, components=values)
            best = int(np.argmax(values["novelty"]))  # the least known is what they like
            log.say(user, shown, tracks[best], START + timedelta(hours=1))
    run = train_scorer(engine, registry, seed=7, now=NOW, since=START, evidence_from=Evidence.AUTO)
    stored = registry.run(run.run_id)
    assert stored.tags["fitted_from"] == "impressions"
    assert stored.data is not None
    assert stored.data[0] == "impressions and histories"
    assert stored.metrics["impressions"] == 90 * 2 * 8
    assert reproduce(engine, registry, run.run_id).equal
    other = train_scorer(engine, registry, seed=7, now=NOW, evidence_from=Evidence.HISTORIES)
    assert registry.run(other.run_id).tags["fitted_from"] == "histories"
    # Their counts came later: when they were shown something, they were new.
    for stage in (Stage.WEEK_2_4, Stage.MONTH_2_PLUS):
        assert run.scorer.weights[stage] == other.scorer.weights[stage]
    learned, before = (r.scorer.weights[Stage.WEEK_1]["novelty"] for r in (run, other))
    assert learned > before + 0.3

    monkeypatch.setattr(scorer_module, "read_impressions", partial(read_impressions, most=720))
    drawn = train_scorer(engine, registry, seed=7, now=NOW, since=START)
    stored = registry.run(drawn.run_id)
    assert stored.metrics["impressions"] == 90 * 8 == 720
    assert stored.metrics["impressions_listeners"] == stored.metrics["impressions_lists"] / 2 == 45
    assert stored.params["impressions_most"] == "720"
    monkeypatch.undo()
    assert reproduce(engine, registry, drawn.run_id).equal


def test_an_impression_that_may_not_be_trained_on_is_caught(
    engine: sa.Engine, world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the query of impressions bars nothing any more."""
    world.plant(follows="popularity", listeners=20)
    world.add_artist(70, np.full(7, 0.5), 50, source="spotify", trainable=False)
    log = Log(engine)
    log.show("user000", START, (1, 70, 3))
    dataset = read_dataset(engine, seed=7)
    honest = read_impressions(engine, seed=7, since=START, until=NOW)
    assert len(honest) == 2
    assert barred_rows_used(engine, dataset, honest) == {}
    unguarded = str(impression_statements.ROWS)
    for guard in ("NOT t.trainable", "NOT (coalesce(a.trainable, true) OR a.estimated)"):
        assert guard in unguarded
        unguarded = unguarded.replace(guard, "false")
    monkeypatch.setattr(impressions_module, "ROWS", sa.text(unguarded))
    careless = read_impressions(engine, seed=7, since=START, until=NOW)
    assert barred_rows_used(engine, dataset, careless) == {"impressions": 1}


def test_a_window_is_kept_to(engine: sa.Engine, world: "World") -> None:
    world.add_listener("ada")
    for number in range(10):
        world.add_artist(number, np.full(7, 0.5), 50)
        world.play("ada", number, day=number)
    since, until = (datetime(2026, 1, day, tzinfo=UTC) for day in (3, 6))
    found = read_histories(engine, since=since, until=until)
    assert found.window == ("2026-01-03", "2026-01-05")  # `until` itself is outside
    assert found.rows == 3


def test_personality_that_nobody_stated_keeps_its_weight(engine: sa.Engine, world: "World") -> None:
    world.plant(follows="popularity")
    assert weights_of(engine, 7)["personality"] == 0.4
    assert weights_of(engine, 7)["diversity"] == 0.1
    assert weights_of(engine, 7)["colisten"] == 0.0
