"""What a scorer's taste would have earned beside the champion's, from what listeners were shown."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recommender.audio import FloatArray
from recommender.cold_start import Stage
from recommender.components import KEYS
from recommender.scoring import Scorer
from recommender.tracks import IndexArray
from training.evaluation.off_policy import Log, estimates, gain, tilted

STRENGTH = 10.0
"""How far the logged policy is tilted: .1 of score makes a track 2.7 times as likely."""
FEWEST_LISTENERS = 10
"""With fewer listeners who were shown something drawn, nothing is estimated."""
OFF_POLICY_GAIN = "off_policy_gain"


class Shown(Protocol):
    """What is needed of logged impressions, n rows.

    `components` (n, len(KEYS)) as logged, `stage` (n,) the place in `Stage`, `reward`, `propensity`
    and `listener` as in `training.evaluation.off_policy.Log`.
    """

    @property
    def components(self) -> FloatArray:
        """(n, len(KEYS)) as they were logged."""
        ...

    @property
    def stage(self) -> IndexArray:
        """(n,) the place in `Stage`."""
        ...

    @property
    def reward(self) -> FloatArray:
        """(n,) what followed."""
        ...

    @property
    def propensity(self) -> FloatArray:
        """(n,) in (0, 1]."""
        ...

    @property
    def listener(self) -> IndexArray:
        """(n,) whose it was."""
        ...


def off_policy_metrics(
    shown: Shown, is_test: NDArray[np.bool_], candidate: Scorer, champion: Scorer
) -> dict[str, float]:
    """Return the metrics of a run: `off_policy_value`, `champion_off_policy_value` and
    `off_policy_gain` with their intervals, `off_policy_listeners` and `off_policy_effective_n`.

    Values are per randomised slot, by SNIPS, of the logged policy tilted by each scorer; nothing
    is returned where fewer than `FEWEST_LISTENERS` test listeners were shown something drawn.

    Parameters
    ----------
    is_test
        (n,) the rows of listeners who took no part in the fit.
    """
    rows = is_test & (shown.propensity < 1)
    log = Log(shown.listener[rows], shown.reward[rows], shown.propensity[rows])
    listeners = len(np.unique(log.listener))
    if listeners < FEWEST_LISTENERS:
        return {}
    targets = [
        tilted(log, _scores(shown.components[rows], shown.stage[rows], scorer), STRENGTH)
        for scorer in (candidate, champion)
    ]
    found = gain(log, *targets)
    values = [estimates(log, target)["snips"].interval for target in targets]
    metrics = {
        "off_policy_listeners": float(listeners),
        "off_policy_effective_n": found.effective_listeners,
    }
    names = ("off_policy_value", "champion_off_policy_value", OFF_POLICY_GAIN)
    for name, interval in zip(names, [*values, found.interval], strict=True):
        metrics |= {name: interval.mean, f"{name}_low": interval.low}
        metrics[f"{name}_high"] = interval.high
    return metrics


def _scores(components: FloatArray, stage: IndexArray, scorer: Scorer) -> FloatArray:
    """Return (n,) the weighted sum of each row's components, by the weights of its stage."""
    stages: Sequence[Stage] = tuple(Stage)
    weights = np.array([[scorer.weights[s].get(key, 0.0) for key in KEYS] for s in stages])
    scores: FloatArray = (components * weights[stage]).sum(axis=1)
    return scores
