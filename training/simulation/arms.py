"""What is compared: rules with policies, by name, on the same listeners of a world."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommender.audio import FloatArray
from recommender.exploration import (
    EPSILON,
    Choices,
    EpsilonSlots,
    Greedy,
    Policy,
    Thompson,
    Ucb,
    UntemperedThompson,
    drawn,
)
from training.simulation.learners import (
    Learner,
    LinearRule,
    PooledRule,
    SeedRule,
    SharedSeedRule,
)
from training.simulation.population import draw_population
from training.simulation.session import Anyhow, Oracle, Trace, run
from training.simulation.world import World

SHARE = 0.1
"""BONDHU_EXPLORATION's default."""
DEFAULT = "pooled + thompson"
"""What is served by default where a consolidated table stands (docs/decisions/40)."""
SEED = "seed rule"


@dataclass(frozen=True)
class EverySlot:
    """A policy that fills every position by drawing: the random end."""

    inner: EpsilonSlots
    name: str = "random"

    def explores(self, position: int) -> bool:
        """Return True."""
        return True

    def choose(self, score: FloatArray, spread: FloatArray) -> Choices:
        """Draw uniformly."""
        return self.inner.choose(score, spread)

    def draw(self, score: FloatArray, beliefs: object) -> tuple[int, float]:
        """Draw uniformly."""
        return int(self.inner.rng.integers(len(score))), 1.0 / len(score)


@dataclass(frozen=True)
class SeedEpsilon:
    """SEED.md's epsilon-greedy as it stands: with probability epsilon any position is drawn."""

    rng: np.random.Generator
    name: str = "epsilon_greedy:0.1"

    def explores(self, position: int) -> bool:
        """Return True: any may be."""
        return True

    def choose(self, score: FloatArray, spread: FloatArray) -> Choices:
        """Return the best with 1 - epsilon, plus epsilon / n for each."""
        eligible = score > -np.inf
        chance = EPSILON * eligible / eligible.sum(axis=1, keepdims=True)
        chance[np.arange(len(score)), score.argmax(axis=1)] += 1.0 - EPSILON
        return drawn(chance, self.rng)

    def draw(self, score: FloatArray, beliefs: object) -> tuple[int, float]:
        """Choose for one list."""
        choice, chance = self.choose(score[None], np.zeros((1, len(score))))
        return int(choice[0]), float(chance[0])


Arm = Callable[[FloatArray, int, np.random.Generator], tuple[Learner, Policy]]
"""(traits, categories, generator) -> a fresh learner with its policy."""


def _pooled(policy: type[EpsilonSlots | Greedy | Thompson | Ucb], levels: str, share: float) -> Arm:
    def arm(traits: FloatArray, c: int, rng: np.random.Generator) -> tuple[Learner, Policy]:
        return PooledRule(traits, c, levels=levels), policy(share, rng)

    return arm


ARMS: Mapping[str, Arm] = {
    "random": lambda x, c, rng: (Anyhow(len(x), c), EverySlot(EpsilonSlots(0.5, rng))),
    "oracle": lambda _x, _c, rng: (Oracle(), Greedy(0.0, rng)),
    "popularity": _pooled(Greedy, "category", SHARE),
    SEED: lambda x, c, rng: (SeedRule(len(x), c), SeedEpsilon(rng)),
    "seed rule, one table": lambda x, c, rng: (SharedSeedRule(len(x), c), SeedEpsilon(rng)),
    "pooled + greedy": _pooled(Greedy, "personality", SHARE),
    "pooled + epsilon": _pooled(EpsilonSlots, "personality", SHARE),
    "pooled + ucb": _pooled(Ucb, "personality", SHARE),
    DEFAULT: _pooled(Thompson, "personality", SHARE),
    "pooled + thompson, untempered": _pooled(UntemperedThompson, "personality", SHARE),
    "pooled + thompson, no personality": _pooled(Thompson, "own", SHARE),
    "pooled + thompson, share .3": _pooled(Thompson, "personality", 0.3),
    "linear + thompson": lambda x, c, rng: (
        LinearRule(x, c),
        UntemperedThompson(SHARE, rng),
    ),
}


def play(world: World, arm: Arm, seed: int, scores: FloatArray | None = None) -> Trace:
    """Run one arm in one world: equal seeds give equal listeners, pools and patience."""
    population = draw_population(world, np.random.default_rng([seed, 1]), scores)
    c = population.taste.shape[1]
    learner, policy = arm(population.traits, c, np.random.default_rng([seed, 2]))
    return run(world, population, learner, policy, np.random.default_rng([seed, 3]))


ARTISTS = 40
"""Per category: which artist a track is by is drawn uniformly."""


def engagement(trace: Trace, categories: int, seed: int) -> dict[str, float]:
    """Return SEED.md's engagement criteria: played over 30 s, new artists, entropy in bits.

    New artists are those met in a listener's interactions; entropy is that of a listener's judged
    categories, both as means over listeners.
    """
    n, m = trace.category.shape
    rng = np.random.default_rng([seed, 4])
    artist = trace.category * ARTISTS + rng.integers(ARTISTS, size=(n, m))
    return {
        "played_over_30s": trace.played,
        "new_artists": float(np.mean([len(np.unique(row)) for row in artist])),
        "entropy_bits": float(np.mean([_entropy(row, categories) for row in trace.category])),
    }


def _entropy(categories: NDArray[np.int64], c: int) -> float:
    p = np.bincount(categories, minlength=c) / len(categories)
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())
