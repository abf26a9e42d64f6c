"""Weights fitted to choices: a conditional logit per stage, shrunk towards the prior.

Of the candidates that a listener could be shown, those of artists that they turned out to play were
chosen: P(c chosen) = exp(theta . x_c) / sum over the candidates of exp(theta . x), x the components
and theta >= 0. The weights are theta / sum(theta).
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.base import BaseEstimator

from recommender.audio import FloatArray
from recommender.cold_start import Stage
from recommender.components import KEYS, STATIC
from recommender.scoring import Scorer, Weights
from recommender.tracks import IndexArray
from training.choices import Choices, rows_of

SHRINKAGE = 50.0
"""The prior counts as much as this many listeners."""
RIDGE = 1e-4
"""Keeps theta finite where a component separates the chosen from the rest."""
DECIMALS = 6


class StageWeights(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """The weights of one stage.

    w = (n w_fit + k w_prior) / (n + k), n listeners, k = `shrinkage`. A component that does not
    vary among any listener's candidates cannot be identified (personality where nobody was
    assessed, colisten without a model, diversity, which depends on the list): it keeps the prior's
    weight exactly, and only the rest of the mass is fitted.

    Attributes
    ----------
    weights_
        Component key -> weight, summing to 1.
    identified_
        The keys that were fitted.
    theta_
        (len(identified_),) float64.
    n_listeners_
        How many listeners took part.

    Examples
    --------
    Two listeners choose what is popular; with k = 2 the fit and the prior count alike.

    >>> x = np.zeros((4, len(STATIC)))
    >>> x[[1, 3], list(STATIC).index("popularity")] = 1.0
    >>> prior = {"personality": 0.8, "popularity": 0.1, "history": 0.1}
    >>> fit = StageWeights(prior, shrinkage=2).fit(x, [False, True] * 2, [0, 0, 1, 1])
    >>> fit.identified_, fit.weights_["personality"], fit.weights_["history"]
    (('popularity',), 0.8, 0.1)
    """

    def __init__(
        self, prior: Weights, *, shrinkage: float = SHRINKAGE, ridge: float = RIDGE
    ) -> None:
        self.prior = prior
        self.shrinkage = shrinkage
        self.ridge = ridge

    def fit(
        self,
        features: FloatArray,
        is_relevant: NDArray[np.bool_],
        listener: IndexArray,
    ) -> "StageWeights":
        """Fit to rows as `training.choices.ChoiceRows` describes them."""
        x = np.asarray(features, dtype=np.float64)
        starts = np.unique(np.asarray(listener), return_index=True)[1]
        varies = _varies(x, starts)
        columns = np.flatnonzero(varies)
        self.identified_ = tuple(key for key, used in zip(STATIC, varies, strict=True) if used)
        self.n_listeners_ = len(starts)
        self.theta_ = np.zeros(len(columns))
        if len(columns):
            self.theta_ = _maximise(
                x[:, columns], np.asarray(is_relevant, dtype=np.float64), starts, self.ridge
            )
        self.weights_ = self._shrunk()
        return self

    def _shrunk(self) -> dict[str, float]:
        prior = {key: float(self.prior.get(key, 0.0)) for key in KEYS}
        mass = sum(prior[key] for key in self.identified_)
        total = float(self.theta_.sum())
        if mass <= 0 or total <= 0:
            return prior
        n, k = self.n_listeners_, self.shrinkage
        free = {
            key: round((n * mass * float(theta) / total + k * prior[key]) / (n + k), DECIMALS)
            for key, theta in zip(self.identified_, self.theta_, strict=True)
        }
        # What rounding left over goes where it matters least.
        largest = max(free, key=lambda key: free[key])
        free[largest] = 0.0
        free[largest] = round(mass - sum(free.values()), 2 * DECIMALS)
        return prior | free


def fit_scorer(
    choices: Mapping[Stage, Iterable[Choices]], prior: Scorer, *, shrinkage: float = SHRINKAGE
) -> tuple[Scorer, dict[Stage, StageWeights]]:
    """Fit every stage; return the scorer and what it was made of."""
    fitted = {}
    for stage in Stage:
        rows = rows_of(choices[stage])
        fitted[stage] = StageWeights(prior.weights[stage], shrinkage=shrinkage).fit(
            rows.features, rows.is_relevant, rows.listener
        )
    return Scorer.of({stage: fit.weights_ for stage, fit in fitted.items()}), fitted


def _varies(x: FloatArray, starts: IndexArray) -> NDArray[np.bool_]:
    """Return which columns differ within some listener's rows by more than rounding."""
    if not len(starts):
        return np.zeros(x.shape[1], dtype=np.bool_)
    spread = np.maximum.reduceat(x, starts, axis=0) - np.minimum.reduceat(x, starts, axis=0)
    return np.asarray((spread > 1e-9).any(axis=0))


def _maximise(x: FloatArray, chosen: FloatArray, starts: IndexArray, ridge: float) -> FloatArray:
    """Return the theta >= 0 of the largest mean log likelihood.

    Every listener counts once, however much they chose: log softmax is averaged over the chosen
    rows of each. The function is concave, so that where it starts does not matter.
    """
    sizes = np.diff(np.append(starts, len(x)))
    target = chosen / np.repeat(np.add.reduceat(chosen, starts), sizes)

    def loss(theta: FloatArray) -> tuple[float, FloatArray]:
        z = x @ theta
        top = np.maximum.reduceat(z, starts)
        raised = np.exp(z - np.repeat(top, sizes))
        total = np.add.reduceat(raised, starts)
        likelihood = (target @ z - (top + np.log(total)).sum()) / len(starts)
        gradient = (target - raised / np.repeat(total, sizes)) @ x / len(starts)
        return ridge * float(theta @ theta) - float(likelihood), 2 * ridge * theta - gradient

    found = minimize(
        loss,
        np.zeros(x.shape[1]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, None)] * x.shape[1],
        options={"ftol": 1e-13, "gtol": 1e-8, "maxiter": 1000},
    )
    theta: FloatArray = found.x
    return theta
