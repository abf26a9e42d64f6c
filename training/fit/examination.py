"""Examination: how likely a place of a list is looked at, and what correcting for it takes.

The position-based model: P(liked at place k) = e_k r(x), e_k = k^-eta the chance that a place is
looked at and r what the track is worth. Tracks that policies put on top are liked more for standing
there; a fit that does not know it gives the reasons for standing there too much weight.

eta comes from the explored slots, where chance decided what stands at a place: a Poisson regression
log E[liked] = a + b . x - eta log k, under a stated prior. Where little was explored the prior
speaks: `PRIOR_ETA` is nearly the discount of NDCG, 1 / log2(k + 1) (both are .18 at place 50).
Source: Joachims, Swaminathan and Schnabel 2017 (the model and its correction); the prior is ours.
"""

from dataclasses import dataclass

import numpy as np

from recommender.audio import FloatArray
from recommender.tracks import IndexArray

PRIOR_ETA, PRIOR_SD = 0.44, 0.3
CLIP = 10.0
"""No correction is larger."""
RIDGE = 1e-2
STEPS = 50


@dataclass(frozen=True)
class Examination:
    """e_k = k^-eta.

    Attributes
    ----------
    eta
        0: every place is looked at alike.
    sd
        Of its posterior.
    explored
        How many impressions chance had placed.
    """

    eta: float = PRIOR_ETA
    sd: float = PRIOR_SD
    explored: int = 0

    def correction(self, position: IndexArray, *, clip: float = CLIP) -> FloatArray:
        """Return min(1 / e_k, clip): what a like at each place counts.

        Examples
        --------
        >>> Examination(eta=0.5).correction(np.array([1, 4, 25, 400]))
        array([ 1.,  2.,  5., 10.])
        """
        corrected: FloatArray = np.minimum(np.asarray(position, dtype=np.float64) ** self.eta, clip)
        return corrected


def exposure(propensity: FloatArray, *, clip: float = CLIP) -> FloatArray:
    """Return min(1 / propensity, clip): for how many candidates a row of a list stands.

    It weighs rows that were liked and those that were not alike, so that clipping changes whom the
    fit speaks for and, where the model is right, not what it finds.

    Examples
    --------
    >>> exposure(np.array([1.0, 0.5, 0.001]))
    array([ 1.,  2., 10.])
    """
    stands: FloatArray = np.minimum(1.0 / np.asarray(propensity, dtype=np.float64), clip)
    return stands


def examined(
    components: FloatArray, is_liked: np.ndarray, position: IndexArray, propensity: FloatArray
) -> Examination:
    """Return the examination that the explored slots speak for, from all rows of a log.

    The posterior's mode, by Newton's method, with sd = the inverse curvature there.
    """
    drawn = propensity < 1.0
    if not drawn.any():
        return Examination()
    n = int(drawn.sum())
    x = np.column_stack([np.ones(n), components[drawn], -np.log(position[drawn])])
    y = np.asarray(is_liked[drawn], dtype=np.float64)
    d = x.shape[1]
    precision = np.full(d, RIDGE)
    precision[0] = 1e-6
    precision[-1] = PRIOR_SD**-2
    centre = np.zeros(d)
    centre[-1] = PRIOR_ETA
    beta = centre.copy()
    beta[0] = np.log(max(y.mean(), 1 / (n + 1)))

    def loss(beta: FloatArray) -> float:
        away = beta - centre
        return float(
            np.exp(np.minimum(x @ beta, 50)).sum() - y @ (x @ beta) + precision @ away**2 / 2
        )

    for _ in range(STEPS):
        rate = np.exp(np.minimum(x @ beta, 50))
        gradient = x.T @ (rate - y) + precision * (beta - centre)
        hessian = (x * rate[:, None]).T @ x + np.diag(precision)
        step = np.linalg.solve(hessian, -gradient)
        share = 1.0
        while loss(beta + share * step) > loss(beta) and share > 1e-6:
            share /= 2
        beta = beta + share * step
        if abs(share * step).max() < 1e-9:
            break
    rate = np.exp(np.minimum(x @ beta, 50))
    hessian = (x * rate[:, None]).T @ x + np.diag(precision)
    sd = float(np.sqrt(np.linalg.inv(hessian)[-1, -1]))
    return Examination(eta=max(0.0, float(beta[-1])), sd=sd, explored=n)
