"""A mix learns which reasons tell, never punishes, and looks at the top of a list."""

import numpy as np

from recommender.colisten import BY_TRACKS, REASONS
from training.fit.mixes import FEWEST_HISTORIES, Choice, _fit, _top_shares


def choices(informative: int, *, sign: float = 1.0) -> list[Choice]:
    rng = np.random.default_rng(2)
    made = []
    for _ in range(FEWEST_HISTORIES):
        reasons = rng.normal(size=(200, len(REASONS)))
        reasons[:10, informative] += 2.0 * sign
        made.append(Choice(reasons, 10, 1.0))
    return made


def test_the_reason_that_tells_gets_the_weight() -> None:
    mix = _fit(choices(3), BY_TRACKS, focus=1.0)
    assert mix.weights.argmax() == 3
    assert mix.weights[3] > 5 * np.delete(mix.weights, 3).max()
    assert mix.low < mix.high


def test_what_speaks_against_a_track_gets_no_weight() -> None:
    assert _fit(choices(3, sign=-1.0), BY_TRACKS, focus=1.0).weights[3] == 0


def test_too_few_choices_leave_what_there_was() -> None:
    assert _fit(choices(3)[:-1], BY_TRACKS, focus=1.0) is BY_TRACKS


def test_focus_goes_by_rank() -> None:
    """Of two hidden tracks one has nothing above it, the other all three others: 1 and 1 / 4."""
    reasons = np.zeros((5, len(REASONS)))
    reasons[:, 0] = [9, 0, 1, 2, 3]
    shares = _top_shares(Choice(reasons, 2, 1.0), np.eye(len(REASONS))[0], 1.0)
    np.testing.assert_allclose(shares, [0.8, 0.2])
