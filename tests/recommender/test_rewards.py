"""Rewards are bounded, and more listened is never worse."""

from hypothesis import given
from hypothesis import strategies as st

from recommender.rewards import HIGHEST, LOWEST, Feedback, reward

SHARES = st.floats(0, 1)
EXTRAS = st.fixed_dictionaries(
    {"is_repeat": st.booleans(), "is_quick": st.booleans(), "fits_context": st.booleans()}
)


@given(st.sampled_from(Feedback), SHARES, EXTRAS)
def test_bounded(kind: Feedback, share: float, extras: dict[str, bool]) -> None:
    assert LOWEST <= reward(kind, share=share, **extras) <= HIGHEST


@given(st.sampled_from(Feedback), SHARES, SHARES, EXTRAS)
def test_more_listened_is_never_worse(
    kind: Feedback, a: float, b: float, extras: dict[str, bool]
) -> None:
    less, more = sorted((a, b))
    assert reward(kind, share=less, **extras) <= reward(kind, share=more, **extras)


@given(st.sampled_from([Feedback.SKIP, Feedback.DISLIKE]), SHARES, EXTRAS)
def test_nothing_sweetens_a_rejection(
    kind: Feedback, share: float, extras: dict[str, bool]
) -> None:
    assert reward(kind, share=share, **extras) == reward(kind, share=share) <= 0
