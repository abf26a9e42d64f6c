"""Two versions of the personality match, in worlds of four declared effect sizes.

Listeners of week 1: of a pool of tracks, one per subgenre of the built-in figures with its sound,
each version ranks ten; what those earn, less what ten at random do, is the worth of the match.
Tastes follow published genre correlations, multiplied by the declared effect and with noise of sd
.03 on each (this population is not the published one). Worlds made of genre correlations cannot
speak for version 1's audio ideals: no data at hand holds both Big Five and listening.
"""

from dataclasses import replace

import numpy as np

from benchmarks.results import Row
from features.sources.world_figures import GENRES
from recommender.audio import FloatArray, audio_rows
from recommender.personality import TRAITS, genre_terms, match
from recommender.published_taste import match_published
from training.evaluation.intervals import bootstrap
from training.simulation.behaviour import expected_reward
from training.simulation.population import draw_population
from training.simulation.world import World

EFFECTS = {"none": 0.0, "half": 0.5, "published": 1.0, "double": 2.0}
WORLD = World("week 1", categories=len(GENRES), popularity_sd=0.0, transfer_sd=0.03, listeners=200)
SEEDS = tuple(range(1, 21))
TOP = 10


def personality(scores: FloatArray | None, seeds: tuple[int, ...] = SEEDS) -> list[Row]:
    """Return one row per declared effect."""
    rows, wins = [], 0
    names = list(GENRES)
    for label, effect in EFFECTS.items():
        world = replace(WORLD, name=label, trait_effect=effect)
        differences, worth_1, worth_2 = [], [], []
        for seed in seeds:
            rng = np.random.default_rng([seed, 1])
            genres = [GENRES[name].published for name in names]
            people = draw_population(world, rng, scores, genres=genres)
            truth = expected_reward(1 / (1 + np.exp(-(world.base_logit + people.taste))), world)
            sound = np.random.default_rng([seed, 2])
            audio = audio_rows(
                np.array([sound.normal(g.mean, g.deviation).clip(0.01) for g in GENRES.values()])
            )
            terms = genre_terms([[name, GENRES[name].parent] for name in names])
            first, second = [], []
            for u, values in enumerate(people.traits.tolist()):
                traits = dict(zip(TRAITS, values, strict=True))
                tie = 1e-9 * sound.random(len(names))
                one = np.argsort(-(match(traits, audio, terms) + tie))[:TOP]
                two = np.argsort(-(match_published(traits, [[g] for g in names]) + tie))[:TOP]
                first.append(truth[u, one].mean() - truth[u].mean())
                second.append(truth[u, two].mean() - truth[u].mean())
            worth_1.append(np.mean(first))
            worth_2.append(np.mean(second))
            differences.append(np.mean(second) - np.mean(first))
        over = bootstrap(np.array(differences), seed=1)
        wins += over.low > 0
        rows.append(
            Row(
                f"personality, effects {label}",
                "reward of version 2 - version 1, ten tracks",
                over.mean,
                interval=(over.low, over.high),
                peers={
                    "version 1 - random": float(np.mean(worth_1)),
                    "version 2 - random": float(np.mean(worth_2)),
                },
            )
        )
    rows.append(
        Row(
            "personality",
            "worlds that version 2 wins",
            float(wins),
            target="version 2 is served from 3 of 4 on",
        )
    )
    return rows
