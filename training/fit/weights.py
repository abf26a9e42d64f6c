"""Weights of one stage, fitted to what listeners chose, and shrunk towards a prior.

Of the rows of a list, some were chosen: P(row chosen) rises with exp(theta . x), x the components
and theta >= 0 (`training.fit.conditional_logit`). The weights are theta / sum(theta).
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from recommender.audio import FloatArray
from recommender.cold_start import Stage
from recommender.scoring import Scorer, Weights
from training.data.choices import ChoiceRows, Choices, rows_of
from training.evaluation.row_metrics import ndcg_by_list
from training.fit.conditional_logit import Lists, maximise, resampled

SHRINKAGE = 50.0
"""The prior counts as much as this many listeners."""
RIDGE = 1e-4
"""Keeps theta finite where a component separates the chosen from the rest."""
RESAMPLES = 200
DECIMALS = 6
LEVEL = 0.95


class StageWeights(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """The weights of one stage: a ranker with scikit-learn's conventions.

    w = (n w_fit + k w_prior) / (n + k), n listeners who chose, k = `shrinkage`. A component that
    does not vary within any list cannot be identified (personality where nobody was assessed,
    colisten without a model): it keeps the prior's weight exactly, and only the rest of the mass is
    fitted.

    Parameters
    ----------
    prior
        Key -> weight; keys that are no column keep their weight. None: all columns alike.
    columns
        Keys of the columns of X; empty: the names of a data frame's columns, or x0, x1 ...
    shrinkage, ridge
        See above, and `training.fit.conditional_logit`.
    resamples
        Listeners are drawn anew so many times for `intervals_`; 0: no intervals.
    random_state
        Seed of those draws.

    Attributes
    ----------
    weights_
        Key -> weight, summing to 1.
    intervals_
        Key -> (low, high), 95% by bootstrap over listeners, for the keys that were fitted.
    coef_
        (d,) float64, the weights of the columns: what `predict` multiplies with.
    identified_
        The keys that were fitted.
    theta_
        (len(identified_),) float64.
    n_listeners_
        How many listeners chose something.

    Examples
    --------
    Two listeners choose what is popular; with k = 2 the fit and the prior count alike.

    >>> x = np.array([[0.0, 0.5], [1.0, 0.5], [0.0, 0.5], [1.0, 0.5]])
    >>> prior = {"personality": 0.8, "popularity": 0.1, "history": 0.1}
    >>> weights = StageWeights(prior, columns=("popularity", "history"), shrinkage=2)
    >>> fit = weights.fit(x, [0, 1, 0, 1], groups=[0, 0, 1, 1])
    >>> fit.identified_, fit.weights_["personality"], fit.weights_["history"]
    (('popularity',), 0.8, 0.1)
    """

    def __init__(
        self,
        prior: Weights | None = None,
        *,
        columns: Sequence[str] = (),
        shrinkage: float = SHRINKAGE,
        ridge: float = RIDGE,
        resamples: int = 0,
        random_state: int = 0,
    ) -> None:
        self.prior = prior
        self.columns = columns
        self.shrinkage = shrinkage
        self.ridge = ridge
        self.resamples = resamples
        self.random_state = random_state

    def fit(
        self,
        X: ArrayLike,  # noqa: N803 - scikit-learn's name
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        lists: ArrayLike | None = None,
    ) -> "StageWeights":
        """Fit to rows in any order.

        Parameters
        ----------
        X
            (n, d) components.
        y
            (n,) 0 where a row was not chosen; else 1, or more where the choice was unlikely to be
            seen (`training.fit.examination`).
        sample_weight
            (n,) for how many candidates a row stands, 1 / its propensity; a row of weight 2 is the
            same as the row twice.
        groups
            (n,) the listener of each row: everyone counts once, and the bootstrap draws listeners.
            None: one listener.
        lists
            (n,) the list that each row was shown in; None: one list per listener.

        Raises
        ------
        ValueError
            The arrays do not fit together, a target or a weight is negative, or a list has two
            listeners.
        """
        x, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2)
        self._keys = self._named(x.shape[1])
        rows = _lists(x, np.asarray(y, dtype=np.float64), sample_weight, groups, lists)
        varies = _varies(rows)
        self.identified_ = tuple(k for k, used in zip(self._keys, varies, strict=True) if used)
        self.n_listeners_ = rows.listeners
        self.theta_ = np.zeros(len(self.identified_))
        thetas = np.empty((0, 0))
        if self.identified_:
            used = rows if varies.all() else _columns(rows, varies)
            self.theta_ = maximise(used, self.ridge)
            if self.resamples:
                thetas = resampled(
                    used,
                    self.theta_,
                    self.ridge,
                    resamples=self.resamples,
                    seed=self.random_state,
                )
        self.weights_ = self._rounded(self._shrunk(self.theta_))
        self.coef_ = np.array([self.weights_[key] for key in self._keys])
        drawn = np.array([self._shrunk(theta) for theta in thetas])
        ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
        low, high = np.quantile(drawn, ends, axis=0) if len(drawn) else np.empty((2, 0))
        named = zip(self.identified_, low.tolist(), high.tolist(), strict=False)
        self.intervals_ = {key: (lowest, highest) for key, lowest, highest in named}
        return self

    def predict(self, X: ArrayLike) -> FloatArray:  # noqa: N803 - scikit-learn's name
        """Return (n,) scores: weights times components."""
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, reset=False)
        # Row by row the same sum, however many rows there are.
        score: FloatArray = (x * self.coef_).sum(axis=1)
        return score

    def score(
        self,
        X: ArrayLike,  # noqa: N803 - scikit-learn's name
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        lists: ArrayLike | None = None,
    ) -> float:
        """Return NDCG@10 of the predicted order, the mean over the lists that have a choice."""
        check_is_fitted(self)
        x, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True, reset=False)
        rows = _lists(x, np.asarray(y, dtype=np.float64), sample_weight, groups, lists)
        if not len(rows.starts):
            return 0.0
        return float(ndcg_by_list(self.predict(rows.x), rows.target, rows.starts).mean())

    def __sklearn_tags__(self) -> Tags:
        """Say that targets are needed, and may not be negative."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.positive_only = True
        return tags

    def _named(self, d: int) -> tuple[str, ...]:
        names = self.columns or getattr(self, "feature_names_in_", [f"x{i}" for i in range(d)])
        if len(names) != d:
            raise ValueError(f"{len(names)} columns are named and X has {d}")
        return tuple(str(name) for name in names)

    def _prior(self) -> dict[str, float]:
        if self.prior is None:
            return dict.fromkeys(self._keys, 1 / len(self._keys))
        return dict.fromkeys(self._keys, 0.0) | {k: float(w) for k, w in self.prior.items()}

    def _shrunk(self, theta: FloatArray) -> FloatArray:
        """Return the weights of the identified keys."""
        whole = self._prior()
        prior = np.array([whole[key] for key in self.identified_])
        mass, total = float(prior.sum()), float(theta.sum())
        if mass <= 0 or total <= 0:
            return prior
        n, k = self.n_listeners_, self.shrinkage
        shrunk: FloatArray = (n * mass * theta / total + k * prior) / (n + k)
        return shrunk

    def _rounded(self, weights: FloatArray) -> dict[str, float]:
        prior = self._prior()
        if not self.identified_:
            return prior
        mass = sum(prior[key] for key in self.identified_)
        free = {
            key: round(w, DECIMALS)
            for key, w in zip(self.identified_, weights.tolist(), strict=True)
        }
        # What rounding left over goes where it matters least.
        largest = max(free, key=lambda key: free[key])
        free[largest] = 0.0
        free[largest] = round(mass - sum(free.values()), 2 * DECIMALS)
        return prior | free


def fit_stage(
    rows: ChoiceRows,
    prior: Weights,
    *,
    shrinkage: float = SHRINKAGE,
    ridge: float = RIDGE,
    resamples: int = 0,
    seed: int = 0,
) -> StageWeights:
    """Return the weights fitted to one stage's rows; the prior where there are none."""
    fit = StageWeights(
        prior,
        columns=rows.columns,
        shrinkage=shrinkage,
        ridge=ridge,
        resamples=resamples,
        random_state=seed,
    )
    if not rows.target.any():  # as if two rows had said nothing
        return fit.fit(np.zeros((2, len(rows.columns))), np.zeros(2))
    return fit.fit(
        rows.features,
        rows.target,
        sample_weight=rows.exposure,
        groups=rows.listener,
        lists=rows.list,
    )


def fit_scorer(
    choices: Mapping[Stage, Iterable[Choices]],
    prior: Scorer,
    *,
    shrinkage: float = SHRINKAGE,
    ridge: float = RIDGE,
    resamples: int = 0,
    seed: int = 0,
) -> tuple[Scorer, dict[Stage, StageWeights]]:
    """Fit every stage; return the scorer and what it was made of."""
    rows = {stage: rows_of(choices[stage]) for stage in Stage}
    return fit_rows(rows, prior, shrinkage=shrinkage, ridge=ridge, resamples=resamples, seed=seed)


def fit_rows(
    rows: Mapping[Stage, ChoiceRows],
    prior: Scorer,
    *,
    shrinkage: float = SHRINKAGE,
    ridge: float = RIDGE,
    resamples: int = 0,
    seed: int = 0,
) -> tuple[Scorer, dict[Stage, StageWeights]]:
    """Fit every stage to rows that stand already."""
    fitted = {
        stage: fit_stage(
            rows[stage],
            prior.weights[stage],
            shrinkage=shrinkage,
            ridge=ridge,
            resamples=resamples,
            seed=seed,
        )
        for stage in Stage
    }
    return Scorer.of({stage: fit.weights_ for stage, fit in fitted.items()}), fitted


def _lists(
    x: FloatArray,
    y: FloatArray,
    sample_weight: ArrayLike | None,
    groups: ArrayLike | None,
    lists: ArrayLike | None,
) -> Lists:
    """Return the lists in which something was chosen, listeners numbered anew.

    A listener's lists share one vote among them, those without a choice too: what is chosen often
    counts more than what is chosen seldom.
    """
    m = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
    if (y < 0).any():
        raise ValueError("y is negative somewhere: 0 says that a row was not chosen")
    n = len(x)
    who = np.zeros(n, dtype=np.int64) if groups is None else _codes(groups, n, "groups")
    where = who if lists is None else _codes(lists, n, "lists")
    keep = m > 0  # a row of weight 0 is the same as no row
    order = np.flatnonzero(keep)[np.argsort(where[keep], kind="stable")]
    x, y, m, who, where = x[order], y[order], m[order], who[order], where[order]
    starts = np.flatnonzero(np.diff(where, prepend=-1))
    sizes = np.diff(np.append(starts, len(x)))
    if not len(starts):
        return Lists(x, y, m, starts, who)
    owner = who[starts]
    if (who != np.repeat(owner, sizes)).any():
        raise ValueError("a list has rows of two groups: it was shown to one listener")
    share = 1.0 / np.bincount(owner)[owner]
    chosen = np.add.reduceat(y * m, starts) > 0
    rows = np.repeat(chosen, sizes)
    target = (y * m * np.repeat(share, sizes))[rows]
    kept = sizes[chosen]
    return Lists(
        x=x[rows],
        target=target,
        log_exposure=np.log(m[rows]),
        starts=np.cumsum(kept) - kept,
        listener=np.unique(owner[chosen], return_inverse=True)[1].astype(np.int64),
    )


def _codes(values: ArrayLike, n: int, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (n,):
        raise ValueError(f"{name} has shape {array.shape}, and X has {n} rows")
    return np.unique(array, return_inverse=True)[1].astype(np.int64)


def _columns(rows: Lists, used: np.ndarray) -> Lists:
    x = np.ascontiguousarray(rows.x[:, used])
    return Lists(x, rows.target, rows.log_exposure, rows.starts, rows.listener)


def _varies(rows: Lists) -> np.ndarray:
    """Return which columns differ within some list by more than rounding."""
    if not len(rows.starts):
        return np.zeros(rows.x.shape[1], dtype=np.bool_)
    highest = np.maximum.reduceat(rows.x, rows.starts, axis=0)
    spread = highest - np.minimum.reduceat(rows.x, rows.starts, axis=0)
    return np.asarray((spread > 1e-9).any(axis=0))
