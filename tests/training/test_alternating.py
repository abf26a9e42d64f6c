"""Conjugate gradients give the factors that exact solutions give, and the same bytes each time."""

from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp

from recommender.grain import Basis
from training.fit import alternating
from training.fit.alternating import approach, fit_factors


def circles() -> sp.csr_matrix:
    """Two hundred listeners of four circles of 30 artists; some play a few, some nearly all."""
    rng = np.random.default_rng(5)
    plays = np.zeros((200, 120), dtype=np.float32)
    for listener in range(200):
        own = 30 * (listener % 4) + rng.choice(30, rng.integers(3, 28), replace=False)
        plays[listener, own] = rng.uniform(0.1, 1, len(own))
    return sp.csr_matrix(plays)


def test_three_steps_a_round_end_where_exact_solutions_do(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = circles()
    near = fit_factors(shares, 16, seed=3)
    assert fit_factors(shares, 16, seed=3).tobytes() == near.tobytes()
    assert fit_factors(shares, 16, seed=4).tobytes() != near.tobytes()

    def solved(basis: Basis, mine: np.ndarray, share: np.ndarray, _: np.ndarray, *, others: int):  # type: ignore[no-untyped-def]
        return basis.fold(mine, share, others=others)

    monkeypatch.setattr(alternating, "approach", solved)
    exact = fit_factors(shares, 16, seed=3)
    # Factors may turn; what they say of pairs of items may not.
    error = np.abs(near @ near.T - exact @ exact.T).max() / np.abs(exact @ exact.T).max()
    assert error < 0.01
    # One step a round is another model: the bound above can fail.
    monkeypatch.setattr(alternating, "approach", partial(approach, steps=1))
    rough = fit_factors(shares, 16, seed=3)
    assert np.abs(rough @ rough.T - exact @ exact.T).max() / np.abs(exact @ exact.T).max() > 0.01


def test_filling_up_and_company_change_nothing() -> None:
    """A row comes out alike alone and among others, filled up to the longest."""
    rng = np.random.default_rng(2)
    items = rng.standard_normal((40, 6)).astype(np.float32)
    basis = Basis.of(items)
    turned = items @ basis.turn
    share = np.zeros((3, 9), dtype=np.float32)
    for row, m in enumerate((2, 9, 5)):
        share[row, :m] = rng.uniform(0.2, 1, m)
    at = rng.integers(0, 40, (3, 9))
    start = rng.standard_normal((3, 6)).astype(np.float32)
    together = approach(basis, turned[at], share, start, others=40)
    for row, m in enumerate((2, 9, 5)):
        alone = approach(
            basis, turned[at[row : row + 1, :m]], share[row : row + 1, :m],
            start[row : row + 1], others=40,
        )  # fmt: skip
        assert np.allclose(alone[0], together[row], atol=1e-5)
