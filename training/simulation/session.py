"""Lists shown, judged and learned from, until every listener has judged enough."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommender.audio import FloatArray
from recommender.exploration import Policy
from training.simulation.behaviour import TRACK_SECONDS, expected_reward, judge
from training.simulation.learners import Learner
from training.simulation.population import Population
from training.simulation.world import World

PLAYED_SECONDS = 30.0


@dataclass(frozen=True)
class Trace:
    """What came of a run.

    Attributes
    ----------
    regret
        (n, interactions) the oracle's expected reward at the same position of a list from the same
        pool, less that of the track shown; by each listener's interaction.
    reward
        (n, interactions) as earned.
    category
        (n, interactions) what was judged.
    played
        Share of judged tracks heard for over 30 s.
    """

    regret: FloatArray
    reward: FloatArray
    category: NDArray[np.int64]
    played: float


class Oracle:
    """Knows what each listener likes."""

    def __init__(self) -> None:
        self.truth: FloatArray = np.empty((0, 0))

    def values(self) -> tuple[FloatArray, FloatArray]:
        """Return the truth."""
        return self.truth, np.zeros_like(self.truth)

    def learn(self, *verdicts: object) -> None:
        """Learn nothing: there is nothing left to learn."""


class Anyhow:
    """A learner that learns nothing; with `AllSlots`, the random end."""

    def __init__(self, n: int, c: int) -> None:
        self._zero = np.zeros((n, c))

    def values(self) -> tuple[FloatArray, FloatArray]:
        """Return zeros."""
        return self._zero, self._zero

    def learn(self, *verdicts: object) -> None:
        """Learn nothing."""


def run(
    world: World,
    population: Population,
    learner: Learner,
    policy: Policy,
    rng: np.random.Generator,
    *,
    after_list: Callable[[int], None] | None = None,
) -> Trace:
    """Show lists until every listener has judged `world.interactions` tracks.

    All listeners get a list at a time; what they say is learned before the next one (settled
    question 12: feedback shows in the next response). The world's draws come from `rng` in an order
    that no policy changes, so policies meet the same listeners, pools and patience.
    """
    n, c = population.taste.shape
    taste = population.taste.copy()
    kept = np.sqrt(1.0 - world.drift)
    done = np.zeros(n, dtype=np.int64)
    shape = (n, world.interactions)
    regret, earned = np.zeros(shape), np.zeros(shape)
    judged_category = np.zeros(shape, dtype=np.int64)
    played = 0
    lists = 0
    ranks = np.arange(1, world.slots + 1) ** -world.position_bias
    everyone = np.arange(n)
    # The other components of a score part what is valued alike, differently for each listener.
    tie = 1e-9 * rng.random((n, c))
    while (done < world.interactions).any():
        pool = rng.multinomial(world.pool, np.full(c, 1.0 / c), size=n)
        luck = rng.random((3, n, world.slots))
        truth = expected_reward(_sigmoid(world.base_logit + population.popularity + taste), world)
        if isinstance(learner, Oracle):
            learner.truth = truth
        mean, spread = learner.values()
        shown, propensity = _list(mean + tie, spread, pool.copy(), policy, world.slots)
        value = np.take_along_axis(truth, shown, axis=1)
        best = _best(truth, pool, world.slots)
        chance = _sigmoid(
            world.base_logit
            + population.popularity[shown]
            + np.take_along_axis(taste, shown, axis=1)
        )
        likes = luck[0] < chance
        _, share, reward = judge(likes, world, rng)
        on = np.where(likes, world.goes_on_liked, world.goes_on_disliked)
        goes_on = luck[1] < on
        reached = np.ones(n, dtype=np.bool_)
        for k in range(world.slots):
            looks = reached & (luck[2][:, k] < ranks[k]) & (done < world.interactions)
            who = everyone[looks]
            at = done[who]
            regret[who, at] = best[who, k] - value[who, k]
            earned[who, at] = reward[who, k]
            judged_category[who, at] = shown[who, k]
            played += int((share[who, k] * TRACK_SECONDS > PLAYED_SECONDS).sum())
            done[who] += 1
            learner.learn(who, shown[who, k], reward[who, k], propensity[who, k])
            # Who did not look had nothing to stop at.
            reached &= np.where(looks, goes_on[:, k], True)
        taste = kept * taste + np.sqrt(world.drift) * world.taste_sd * rng.standard_normal((n, c))
        lists += 1
        if after_list is not None:
            after_list(lists)
    return Trace(regret, earned, judged_category, played / (n * world.interactions))


def _list(
    mean: FloatArray, spread: FloatArray, pool: np.ndarray, policy: Policy, slots: int
) -> tuple[np.ndarray, FloatArray]:
    n = len(mean)
    shown, propensity = np.empty((n, slots), dtype=np.int64), np.ones((n, slots))
    rows = np.arange(n)
    score = np.where(pool > 0, mean, -np.inf)
    for k in range(slots):
        if policy.explores(k + 1):
            choice, propensity[:, k] = policy.choose(score, spread)
        else:
            choice = score.argmax(axis=1)
        shown[:, k] = choice
        pool[rows, choice] -= 1
        gone = pool[rows, choice] == 0
        score[rows[gone], choice[gone]] = -np.inf
    return shown, propensity


def _best(truth: FloatArray, pool: np.ndarray, slots: int) -> FloatArray:
    """Return the (n, slots) best expected rewards of a pool, the highest first."""
    order = np.argsort(-truth, axis=1)
    reach = np.take_along_axis(pool, order, axis=1).cumsum(axis=1)
    places = np.stack([(reach <= k).sum(axis=1) for k in range(slots)], axis=1)
    return np.take_along_axis(np.take_along_axis(truth, order, axis=1), places, axis=1)


def _sigmoid(logit: FloatArray) -> FloatArray:
    value: FloatArray = 1.0 / (1.0 + np.exp(-logit))
    return value
