"""A new listener's first ten songs, with and without what others said; and the planted world."""

from dataclasses import replace

import numpy as np

from benchmarks.results import Row
from recommender.audio import FloatArray
from recommender.exploration import Thompson
from training.evaluation.intervals import bootstrap
from training.simulation.arms import SHARE
from training.simulation.learners import PooledRule
from training.simulation.population import Population, draw_population
from training.simulation.session import run
from training.simulation.world import read_worlds

SEEDS = tuple(range(1, 21))
FIRST = 10
PLANTED_STEPS = 80
"""Feedbacks after which the always liked category must stand first and the always skipped last."""


def _half(population: Population, part: slice) -> Population:
    return replace(population, traits=population.traits[part], taste=population.taste[part])


def cold_start(scores: FloatArray | None, seeds: tuple[int, ...] = SEEDS) -> list[Row]:
    """Return a row per world: half of the listeners teach the table, the others start from it."""
    rows = []
    for world in read_worlds():
        regrets: dict[str, list[float]] = {"consolidated": [], "empty": [], "popularity": []}
        n = world.listeners
        for seed in seeds:
            people = draw_population(
                replace(world, listeners=2 * n), np.random.default_rng([seed, 1]), scores
            )
            teachers, newcomers = _half(people, slice(n)), _half(people, slice(n, None))
            c = people.taste.shape[1]
            table = PooledRule(teachers.traits, c)
            policy = Thompson(SHARE, np.random.default_rng([seed, 2]))
            run(world, teachers, table, policy, np.random.default_rng([seed, 3]))
            first = replace(world, interactions=FIRST)
            for name, found in regrets.items():
                learner = PooledRule(
                    newcomers.traits,
                    c,
                    levels="category" if name == "popularity" else "personality",
                    start=None if name == "empty" else table,
                    learns_together=False,
                )
                policy = Thompson(SHARE, np.random.default_rng([seed, 4]))
                trace = run(first, newcomers, learner, policy, np.random.default_rng([seed, 5]))
                found.append(float(trace.regret.mean()))
        ours, empty = np.array(regrets["consolidated"]), np.array(regrets["empty"])
        over = bootstrap(ours - 0.8 * empty, seed=1)
        ratio = float(ours.mean() / empty.mean())
        rows.append(
            Row(
                f"new listener, world {world.name}",
                "regret per song, first 10 (interval: of ours - .8 x empty)",
                float(ours.mean()),
                interval=(over.low, over.high),
                peers={name: float(np.mean(v)) for name, v in regrets.items()},
                ratio=ratio,
                target="at most .8 x an empty table",
                met=ratio <= 0.8,
            )
        )
    return rows


def planted(seeds: tuple[int, ...] = SEEDS) -> list[Row]:
    """Return the share of seeds in which both rules rank a planted world right in time."""
    right = [planted_is_found(seed) for seed in seeds]
    return [
        Row(
            "planted world",
            f"share of seeds ranked right after {PLANTED_STEPS} feedbacks",
            float(np.mean(right)),
            target="every seed",
            met=all(right),
        )
    ]


def planted_is_found(seed: int) -> bool:
    """Return whether both rules put what is always liked first and always skipped last."""
    from recommender.qtable import QTable  # noqa: PLC0415
    from recommender.replay import replay_log  # noqa: PLC0415
    from recommender.rewards import Feedback, reward  # noqa: PLC0415

    rng = np.random.default_rng(seed)
    states = [f"genre_{name}" for name in ("liked", "skipped", "other_1", "other_2")]
    log: list[tuple[str, float]] = []
    for _ in range(PLANTED_STEPS):
        state = states[rng.integers(len(states))]
        likes = state == states[0] or (state != states[1] and rng.random() < 0.4)
        kind = Feedback.LIKE if likes else Feedback.SKIP
        log.append((state, reward(kind, share=float(rng.uniform(0.0, 0.5)))))
    seed_rule = replay_log(f"planted-{seed}", log)
    own: dict[str, tuple[float, float]] = {}
    for state, earned in log:
        weight, total = own.get(state, (0.0, 0.0))
        own[state] = (weight + 1.0, total + earned)
    pooled, _ = QTable().believed(states, own)
    q = np.array([seed_rule.get(state, 0.0) for state in states])
    return all(int(v.argmax()) == 0 and int(v.argmin()) == 1 for v in (q, pooled))
