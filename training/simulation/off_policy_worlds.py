"""Worlds in which the truth of an off-policy estimate is known.

In each world listeners of 8 kinds are shown one of 12 tracks per randomised slot by a logged policy
(half uniform, half softmax of a rough guess); another softmax is to be judged. Rewards hold what
the kind thinks of the track, a mood of each listener's own and noise, so that a listener's rows
depend on each other. Plain Monte Carlo draws as many rows of as many listeners under the target
itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recommender.audio import FloatArray
from recommender.tracks import IndexArray
from training.evaluation.off_policy import Log, RewardModel, clustered, estimates

KINDS, TRACKS = 8, 12
LISTENERS, ROWS = 200, 10
MOOD, NOISE, GUESS = 0.3, 0.8, 0.3
SHRINKAGE = 2.0


@dataclass(frozen=True)
class World:
    """What kinds of listeners think of tracks, and how two policies show them.

    Attributes
    ----------
    share
        (KINDS,) summing to 1.
    reward
        (KINDS, TRACKS) the mean reward.
    logged, target
        (KINDS, TRACKS) rows summing to 1.
    """

    share: FloatArray
    reward: FloatArray
    logged: FloatArray
    target: FloatArray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "World":
        """Draw a world."""
        reward = rng.normal(0.3, 0.4, (KINDS, TRACKS))
        guess, better = (reward + rng.normal(0, GUESS, reward.shape) for _ in range(2))
        logged = 0.5 / TRACKS + 0.5 * _softmax(guess)
        return cls(rng.dirichlet(np.full(KINDS, 5.0)), reward, logged, _softmax(2 * better))

    @property
    def truth(self) -> float:
        """The target's mean reward."""
        return float(self.share @ (self.target * self.reward).sum(axis=1))

    def play(
        self, policy: FloatArray, rng: np.random.Generator
    ) -> tuple[Log, IndexArray, IndexArray]:
        """Draw LISTENERS x ROWS impressions; return them with each one's kind and track."""
        kind = np.repeat(rng.choice(KINDS, LISTENERS, p=self.share), ROWS)
        ladder = policy[kind].cumsum(axis=1)
        track = (ladder < rng.random(len(kind))[:, None]).sum(axis=1).clip(max=TRACKS - 1)
        mood = np.repeat(rng.normal(0, MOOD, LISTENERS), ROWS)
        reward = self.reward[kind, track] + mood + rng.normal(0, NOISE, len(kind))
        listener = np.repeat(np.arange(LISTENERS), ROWS)
        return Log(listener, reward, policy[kind, track]), kind, track


def fitted(log: Log, kind: IndexArray, track: IndexArray, target: FloatArray) -> RewardModel:
    """Return a model of rewards: means per kind and track, each half fitted to the other."""
    shown, under = np.empty(len(kind)), np.empty(len(kind))
    half = log.listener % 2
    for part in (0, 1):
        at = half != part
        overall = float(log.reward[at].mean())
        sums = np.full((KINDS, TRACKS), SHRINKAGE * overall)
        counts = np.full((KINDS, TRACKS), SHRINKAGE)
        np.add.at(sums, (kind[at], track[at]), log.reward[at])
        np.add.at(counts, (kind[at], track[at]), 1.0)
        mean = sums / counts
        asked = half == part
        shown[asked] = mean[kind[asked], track[asked]]
        under[asked] = (target * mean).sum(axis=1)[kind[asked]]
    return RewardModel(shown, under)


@dataclass(frozen=True)
class Outcome:
    """One estimator in one world: did the interval hold the truth, how wide, beside what."""

    covers: bool
    width: float
    monte_carlo: float


def outcomes(worlds: int) -> Iterator[dict[str, Outcome]]:
    """Yield estimator -> outcome for the worlds of seeds 0, 1, 2 ..."""
    for seed in range(worlds):
        rng = np.random.default_rng(seed)
        world = World.draw(rng)
        log, kind, track = world.play(world.logged, rng)
        target = world.target[kind, track]
        found = estimates(log, target, fitted(log, kind, track, world.target))
        own, _, _ = world.play(world.target, rng)
        mean = float(own.reward.mean())
        plain = clustered(mean, own.reward - mean, own.listener)
        yield {
            name: Outcome(
                covers=one.interval.low <= world.truth <= one.interval.high,
                width=one.interval.high - one.interval.low,
                monte_carlo=plain.high - plain.low,
            )
            for name, one in found.items()
        }


def _softmax(values: FloatArray) -> FloatArray:
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    chance: FloatArray = raised / raised.sum(axis=1, keepdims=True)
    return chance
