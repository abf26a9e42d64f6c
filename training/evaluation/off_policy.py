"""Off-policy value: what a policy would have earned, estimated from the log of another one.

Only randomised slots say anything of what was not chosen anyway: rows of propensity below 1. With
w = pi(a | x) / p(a | x), the target's probability of what was shown over the logged propensity:

    IPS    mean(w r)
    SNIPS  sum(w r) / sum(w)
    DR     mean(m + w (r - q)), q the model's reward of what was shown, m its mean under the target

Intervals cluster by listener: theta -+ t(u - 1) sqrt(u / (u - 1) sum_g (sum_{i in g} psi_i)^2) / n
over u listeners, psi the row's influence on the estimate. Source: Horvitz and Thompson, 1952;
Swaminathan and Joachims, NIPS 2015; Dudik et al., ICML 2011; Liang and Zeger, Biometrika 1986.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from recommender.audio import FloatArray
from recommender.tracks import IndexArray
from training.errors import NothingTrainableError, TrainingError
from training.evaluation.intervals import LEVEL, Interval, effective_n

FEWEST_LISTENERS = 2


@dataclass(frozen=True)
class Log:
    """n impressions at randomised slots.

    Attributes
    ----------
    listener
        (n,) int64, whose impression it was.
    reward
        (n,) float64.
    propensity
        (n,) in (0, 1): how likely the shown track was at its place, as it was logged.
    """

    listener: IndexArray
    reward: FloatArray
    propensity: FloatArray

    def __post_init__(self) -> None:
        """Refuse rows that are no chance."""
        if not len(self.reward) == len(self.propensity) == len(self.listener):
            raise TrainingError("a log needs a listener, a reward and a propensity per row")
        if not ((self.propensity > 0) & (self.propensity <= 1)).all():
            raise TrainingError("a propensity lies in (0, 1]: the log is damaged")

    @property
    def randomised(self) -> "Log":
        """The rows that were drawn."""
        drawn = self.propensity < 1
        return Log(self.listener[drawn], self.reward[drawn], self.propensity[drawn])


@dataclass(frozen=True)
class RewardModel:
    """What a model expects, fitted to other listeners than it is asked about.

    Attributes
    ----------
    of_shown
        (n,) the expected reward of what was shown.
    under_target
        (n,) the mean of it over what the target policy would show there.
    """

    of_shown: FloatArray
    under_target: FloatArray


@dataclass(frozen=True)
class Estimate:
    """A policy's mean reward per randomised slot.

    Attributes
    ----------
    effective_rows
        Kish's sample size of the weights.
    effective_listeners
        The same of each listener's sum of weights: whose log decides.
    """

    interval: Interval
    effective_rows: float
    effective_listeners: float


def estimates(
    log: Log,
    target: FloatArray,
    model: RewardModel | None = None,
    *,
    clip: float = np.inf,
) -> dict[str, Estimate]:
    """Return the target policy's value by `ips`, `snips` and, with a model, `dr`.

    Parameters
    ----------
    target
        (n,) the target policy's probability of what was shown.
    clip
        The largest weight; less variance, and a bias towards the logged policy's value.

    Raises
    ------
    NothingTrainableError
        Fewer than two listeners have randomised rows that the target could show.

    Examples
    --------
    Two tracks were drawn evenly; the target always shows the one that earns 1.

    >>> log = Log(np.array([0, 0, 1, 1]), np.array([1.0, 0.0, 1.0, 0.0]), np.full(4, 0.5))
    >>> found = estimates(log, np.array([1.0, 0.0, 1.0, 0.0]))
    >>> found["ips"].interval.mean, found["snips"].interval.mean, found["ips"].effective_rows
    (1.0, 1.0, 2.0)
    """
    drawn = log.propensity < 1
    rows, reward = log.randomised, log.randomised.reward
    weight = np.minimum(target[drawn] / rows.propensity, clip)
    if len(np.unique(rows.listener[weight > 0])) < FEWEST_LISTENERS:
        raise NothingTrainableError(
            f"the log has {len(reward)} randomised rows, and fewer than {FEWEST_LISTENERS}"
            " listeners among those that the policy could show: serve with exploration first"
        )
    effective = effective_n(weight), effective_n(_per_listener(weight, rows.listener))
    mean = weight.mean()
    ips, snips = float((weight * reward).mean()), float((weight * reward).mean() / mean)
    influence = {
        "ips": (ips, weight * reward - ips),
        "snips": (snips, weight * (reward - snips) / mean),
    }
    if model is not None:
        values = model.under_target[drawn] + weight * (reward - model.of_shown[drawn])
        influence["dr"] = float(values.mean()), values - values.mean()
    return {
        name: Estimate(clustered(value, psi, rows.listener), *effective)
        for name, (value, psi) in influence.items()
    }


def gain(log: Log, target: FloatArray, baseline: FloatArray) -> Estimate:
    """Return by how much one policy's value exceeds another's, both by SNIPS from the same rows.

    The influence of the difference is the difference of influences: paired, as in a holdout. The
    sample sizes are those of the target.

    Raises
    ------
    NothingTrainableError
        As `estimates`.
    """
    first, second = (_snips(log.randomised, p[log.propensity < 1]) for p in (target, baseline))
    effective = estimates(log, target)["snips"]
    interval = clustered(
        first[0] - second[0], first[1] - second[1], log.listener[log.propensity < 1]
    )
    return Estimate(interval, effective.effective_rows, effective.effective_listeners)


def _snips(rows: Log, target: FloatArray) -> tuple[float, FloatArray]:
    weight = target / rows.propensity
    mean = float(weight.mean())
    value = float((weight * rows.reward).mean()) / mean if mean > 0 else 0.0
    return value, weight * (rows.reward - value) / (mean if mean > 0 else 1.0)


def clustered(value: float, influence: FloatArray, listener: IndexArray) -> Interval:
    """Return the 95% interval of an estimate whose rows are dependent within a listener.

    Examples
    --------
    A listener's rows that say the same twice tell no more than once:

    >>> once = clustered(0.0, np.array([1.0, -1.0]), np.array([0, 1]))
    >>> once == clustered(0.0, np.array([1.0, 1.0, -1.0, -1.0]), np.array([0, 0, 1, 1]))
    True
    """
    sums = _per_listener(influence, listener)
    u = len(sums)
    error = float(np.sqrt(u / (u - 1) * (sums * sums).sum())) / len(influence)
    half = float(student.ppf((1 + LEVEL) / 2, u - 1)) * error
    return Interval(value, value - half, value + half)


def tilted(log: Log, score: FloatArray, strength: float) -> FloatArray:
    """Return the probabilities of the logged policy, tilted towards what a scorer likes.

    pi(a | x) = p(a | x) exp(strength score(a)) / Z(x). A log names what was shown, not what else
    could have been, so Z is the mean of exp(strength score) over the listener's randomised rows:
    right in the limit of many of them, and biased towards the logged policy where they are few.

    Parameters
    ----------
    score
        (n,) what the scorer makes of the components that were logged.

    Examples
    --------
    >>> log = Log(np.array([0, 0]), np.zeros(2), np.full(2, 0.5))
    >>> tilted(log, np.array([0.0, np.log(3.0)]), 1.0).tolist()
    [0.25, 0.75]
    """
    drawn = log.propensity < 1
    raised = np.where(drawn, np.exp(strength * (score - score.max(initial=0.0))), 0.0)
    _, place = np.unique(log.listener, return_inverse=True)
    count = np.bincount(place, weights=drawn)
    total = np.bincount(place, weights=raised)
    mean = np.divide(total, count, out=np.ones_like(total), where=count > 0)[place]
    return np.where(drawn, log.propensity * raised / np.where(mean > 0, mean, 1.0), log.propensity)


def _per_listener(values: FloatArray, listener: IndexArray) -> FloatArray:
    _, place = np.unique(listener, return_inverse=True)
    return np.bincount(place, weights=values).astype(np.float64)
