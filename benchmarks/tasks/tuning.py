"""Tuning on validation rows, every model with the same number of settings; and pairing results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.evaluation.intervals import Interval, bootstrap

Floats = NDArray[np.float64]
Setting = Mapping[str, float]
BUDGET = 8
"""Settings that each model may try on validation rows."""


def best_setting(settings: Sequence[Setting], value: Callable[[Setting], float]) -> Setting:
    """Return the setting of the highest validation value; the first of equals."""
    if len(settings) > BUDGET:
        raise ValueError(f"{len(settings)} settings: {BUDGET} is what each model gets")
    return max(settings, key=value) if len(settings) > 1 else settings[0]


@dataclass(frozen=True)
class Compared:
    """One value per listener and model, in the same order, all splits one after the other."""

    ours: Floats
    peers: Mapping[str, Floats]

    @property
    def best(self) -> str:
        """The peer with the highest mean."""
        return max(self.peers, key=lambda peer: float(self.peers[peer].mean()))

    @property
    def ratio(self) -> float:
        """Ours by the best peer's."""
        return float(self.ours.mean() / self.peers[self.best].mean())

    @property
    def gain(self) -> Interval:
        """Ours less the best peer's, paired by listener."""
        return bootstrap(self.ours - self.peers[self.best], seed=7)

    @property
    def ratio_interval(self) -> tuple[float, float]:
        """The 95% interval of the ratio, listeners drawn anew 2000 times."""
        rng = np.random.default_rng(7)
        theirs = self.peers[self.best]
        n = len(theirs)
        drawn = [rng.integers(n, size=n) for _ in range(2000)]
        ratios = [self.ours[at].mean() / theirs[at].mean() for at in drawn]
        low, high = np.quantile(ratios, [0.025, 0.975])
        return float(low), float(high)

    @property
    def means(self) -> dict[str, float]:
        """Peer -> mean."""
        return {peer: float(values.mean()) for peer, values in self.peers.items()}


def ndcg_of(scores: NDArray[np.floating], hidden: NDArray[np.bool_], k: int) -> float:
    """Return NDCG@k of a full ranking; items that may not stand have score -inf.

    Examples
    --------
    The one hidden item stands second: 1 / log2 3.

    >>> round(ndcg_of(np.array([3.0, 2.0, 1.0]), np.array([False, True, False]), 2), 4)
    0.6309
    """
    top = ranked(scores, k)
    gains = 1 / np.log2(np.arange(2, k + 2))
    return float(hidden[top] @ gains[: len(top)] / gains[: min(k, int(hidden.sum()))].sum())


def ranked(scores: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Return the k items of the highest scores, best first; ties by place."""
    k = min(k, len(scores))
    top = np.argpartition(-scores, k - 1)[:k]
    top = np.sort(top)
    return top[np.argsort(-scores[top], kind="stable")]
