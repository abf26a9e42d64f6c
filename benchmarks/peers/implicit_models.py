"""ALS and BPR of the library implicit, on log shares."""

import logging
import warnings

import numpy as np
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking

from benchmarks.peers.closed_form import Matrix

logging.getLogger("implicit").setLevel(logging.ERROR)


def als(
    train: Matrix, seen: Matrix, *, factors: int, penalty: float, alpha: float, seed: int = 1
) -> Matrix:
    """Return ALS's scores (Hu, Koren, Volinsky 2008); new listeners are folded in by implicit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        model = AlternatingLeastSquares(
            factors=factors,
            regularization=penalty,
            alpha=alpha,
            iterations=12,
            random_state=seed,
            num_threads=2,
        )
    model.fit(sp.csr_matrix(train), show_progress=False)
    rows = sp.csr_matrix(seen)
    folded = np.asarray(model.recalculate_user(np.arange(len(seen)), rows))
    result: Matrix = folded.reshape(len(seen), -1) @ np.asarray(model.item_factors).T
    return result


def bpr(
    train: Matrix, seen: Matrix, *, factors: int, rate: float, iterations: int, seed: int = 1
) -> Matrix:
    """Return BPR's scores; it cannot fold in, so what is seen of test listeners trains it too."""
    model = BayesianPersonalizedRanking(
        factors=factors,
        learning_rate=rate,
        iterations=iterations,
        random_state=seed,
        num_threads=2,
    )
    both = sp.vstack([sp.csr_matrix(train), sp.csr_matrix(seen)]).tocsr()
    model.fit(both, show_progress=False)
    of_listeners = np.asarray(model.user_factors)[len(train) :]
    result: Matrix = of_listeners @ np.asarray(model.item_factors).T
    return result
