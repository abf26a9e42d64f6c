"""The simulator: deterministic, its effects as small as published, its cascade working."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features.sources.world_figures import TASTE_CORRELATION, TRAIT_DEVIATION, TRAIT_MEAN
from recommender.personality import TRAITS
from recommender.published_taste import CORRELATIONS, DEVIATION, MEAN
from recommender.questionnaires import score
from recommender.replay import replay_log
from training.simulation.arms import ARMS, DEFAULT, SEED, engagement, play
from training.simulation.learners import SeedRule
from training.simulation.population import draw_population, read_traits
from training.simulation.world import World, WorldError, read_worlds

SMALL = World("small", categories=8, listeners=40, interactions=20)


@pytest.mark.parametrize("name", ARMS)
def test_equal_seeds_give_equal_runs(name: str) -> None:
    first, again, other = (play(SMALL, ARMS[name], seed) for seed in (1, 1, 2))
    assert (first.regret == again.regret).all()
    assert (first.category == again.category).all()
    assert (first.reward != other.reward).any()


def test_the_oracle_regrets_nothing_and_random_most() -> None:
    regret = {name: play(SMALL, arm, 3).regret.mean() for name, arm in ARMS.items()}
    assert regret["oracle"] == pytest.approx(0.0, abs=1e-12)
    assert max(regret, key=lambda name: regret[name]) == "random"
    assert regret[DEFAULT] < regret[SEED]


def test_effects_are_as_published() -> None:
    world = World("effects", categories=12, listeners=60_000)
    people = draw_population(world, np.random.default_rng(1))
    z = (people.traits - people.traits.mean(axis=0)) / people.traits.std(axis=0)
    for column, genre in enumerate(people.genres):
        taste = people.taste[:, column]
        found = (z * (taste / taste.std())[:, None]).mean(axis=0)
        assert found == pytest.approx(TASTE_CORRELATION[genre], abs=0.02)
        assert abs(found).max() <= 0.18  # .16, and what chance adds


def test_what_is_not_reached_is_not_judged() -> None:
    shown_first = replace(SMALL, goes_on_liked=0.0, goes_on_disliked=0.0, position_bias=0.0)
    whole = replace(SMALL, goes_on_liked=1.0, goes_on_disliked=1.0, position_bias=0.0)
    lists: dict[str, int] = {}

    for world in (shown_first, whole):
        population = draw_population(world, np.random.default_rng(1))
        learner, policy = ARMS["pooled + greedy"](population.traits, 8, np.random.default_rng(2))
        from training.simulation.session import run  # noqa: PLC0415

        def count(number: int, name: str = str(world.goes_on_liked)) -> None:
            lists[name] = number

        run(world, population, learner, policy, np.random.default_rng(3), after_list=count)
    # One judged track a list, or all ten of it.
    assert lists == {"0.0": 20, "1.0": 2}


def test_the_vectorised_seed_rule_is_the_seeds() -> None:
    rule, log = SeedRule(2, 3, seed=5), []
    rng = np.random.default_rng(4)
    for _ in range(25):
        category, reward = int(rng.integers(3)), float(rng.normal())
        log.append((str(category), reward))
        one = np.array([1])
        rule.learn(one, np.array([category]), np.array([reward]), np.ones(1))
    expected = replay_log("5-1", log)
    found = rule.values()[0]
    assert found[1].tolist() == [expected.get(str(c), 0.0) for c in range(3)]
    assert (found[0] == 0).all()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "no file of worlds"),
        ('{"schema": 2, "worlds": []}', "schema 1"),
        ('{"schema": 1, "worlds": [{"name": "a", "taste": 1}]}', "no field taste"),
        ('{"schema": 1, "worlds": [{"name": "a", "taste_sd": -1}]}', "taste_sd is -1"),
        ('{"schema": 1, "worlds": [{"name": "a", "slots": "ten"}]}', "no file of worlds"),
        ('{"schema": 1, "worlds": [{"name": "a"}, {"name": "a"}]}', "one name"),
    ],
)
def test_a_wrong_file_of_worlds_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "worlds.json"
    path.write_text(text)
    with pytest.raises(WorldError, match=complaint):
        read_worlds(path)


def test_anybodys_worlds_run(tmp_path: Path) -> None:
    path = tmp_path / "worlds.json"
    path.write_text(
        '{"schema": 1, "worlds": [{"name": "mine", "categories": 3, "listeners": 5,'
        ' "interactions": 4}]}'
    )
    (world,) = read_worlds(path)
    trace = play(world, ARMS[DEFAULT], 1)
    assert trace.regret.shape == (5, 4)
    assert engagement(trace, 3, 1)["entropy_bits"] <= np.log2(3)


def test_real_traits_are_those_of_the_questionnaire(data_folder: Path) -> None:
    traits = read_traits(data_folder)
    assert traits is not None
    assert traits.mean(axis=0) == pytest.approx(TRAIT_MEAN, abs=1.0)
    answers = np.random.default_rng(1).integers(1, 6, 50).tolist()
    assert set(score("ipip50", answers).scores) == set(TRAITS)


def test_version_2_knows_the_published_figures() -> None:
    spelt = {"R&B": "r-b"}
    for genre, row in TASTE_CORRELATION.items():
        assert CORRELATIONS[spelt.get(genre, genre.lower().replace(" ", "-"))] == row
    assert pytest.approx(np.array(TRAIT_MEAN) / 100) == MEAN
    assert pytest.approx(np.array(TRAIT_DEVIATION) / 100) == DEVIATION
