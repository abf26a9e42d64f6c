"""Rewards: what each feedback is worth. SEED.md section 2, settled question 8."""

from collections.abc import Mapping
from enum import StrEnum

from recommender.audio import FEATURES, AudioArray
from recommender.errors import FeedbackError


class Feedback(StrEnum):
    """What a listener can say of a track."""

    LIKE = "like"
    SAVE = "save"
    ADD_TO_PLAYLIST = "add_to_playlist"
    PLAY = "play"
    REPEAT = "repeat"
    SHARE = "share"
    DISLIKE = "dislike"
    SKIP = "skip"


BASE_REWARDS: Mapping[Feedback, float] = {
    Feedback.LIKE: 1.0,
    Feedback.SAVE: 1.5,
    Feedback.ADD_TO_PLAYLIST: 1.8,
    Feedback.PLAY: 0.8,
    Feedback.REPEAT: 1.2,
    Feedback.SHARE: 1.3,
    Feedback.DISLIKE: -1.0,
    Feedback.SKIP: -0.4,
}
POSITIVE = frozenset(kind for kind, base in BASE_REWARDS.items() if base > 0)

LISTENED_BONUS = 0.1
REPEAT_BONUS = 0.1
QUICK_BONUS = 0.1
CONTEXT_BONUS = 0.05
LOWEST, HIGHEST = -1.5, 2.2
QUICK_MS = 30_000
"""A positive feedback whose listening began within this time of the list being served is quick."""

CONTEXTS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "workout": {"energy": (0.7, 1.0), "tempo": (0.45, 1.0)},  # from 118 BPM
    "party": {"energy": (0.6, 1.0), "danceability": (0.65, 1.0), "valence": (0.5, 1.0)},
    "focus": {"speechiness": (0.0, 0.1), "energy": (0.1, 0.6)},
    "relax": {"energy": (0.0, 0.5), "tempo": (0.0, 0.5)},  # up to 125 BPM
    "commute": {"energy": (0.4, 0.85), "valence": (0.4, 1.0)},
    "sleep": {"energy": (0.0, 0.3), "speechiness": (0.0, 0.1), "tempo": (0.0, 0.4)},
}
"""Context -> feature -> the range, in [0, 1], that fits it."""


def context_fits(context: str | None, audio: AudioArray) -> bool:
    """Return whether every feature that the context names is known of the track and in range.

    Raises
    ------
    FeedbackError
        An unknown context.

    Examples
    --------
    >>> import numpy as np
    >>> calm = np.array([.5, .2, .5, .3, .9, .8, .03], dtype=np.float32)
    >>> context_fits("sleep", calm), context_fits("party", calm), context_fits(None, calm)
    (True, False, False)
    """
    if context is None:
        return False
    if context not in CONTEXTS:
        raise FeedbackError(f"unknown context '{context}': use one of {', '.join(CONTEXTS)}")
    values = {feature: audio[FEATURES.index(feature)] for feature in CONTEXTS[context]}
    return all(low <= values[f] <= high for f, (low, high) in CONTEXTS[context].items())


def listened_share(listen_duration_ms: int | None, track_duration_ms: int | None) -> float:
    """Return how much of the track was heard, in [0, 1]; 0 where a duration is missing.

    Examples
    --------
    >>> listened_share(180_000, 200_000), listened_share(None, 200_000)
    (0.9, 0.0)
    """
    if not listen_duration_ms or not track_duration_ms:
        return 0.0
    return min(max(listen_duration_ms / track_duration_ms, 0.0), 1.0)


def reward(
    kind: Feedback,
    *,
    share: float = 0.0,
    is_repeat: bool = False,
    is_quick: bool = False,
    fits_context: bool = False,
) -> float:
    """Return the reward of one feedback, in [-1.5, 2.2].

    clip(base + .1 share + .1 [repeat] + .1 [quick] + .05 [context fits], -1.5, 2.2), the additions
    only for a positive base; a skip at share s earns -.4 (1 - s), a dislike -1.

    Examples
    --------
    A like after 180 of 200 seconds, begun at once: 1 + .1 x .9 + .1.

    >>> round(reward(Feedback.LIKE, share=0.9, is_quick=True), 9)
    1.19
    >>> reward(Feedback.SKIP), reward(Feedback.SKIP, share=0.75)
    (-0.4, -0.1)
    """
    base = BASE_REWARDS[kind]
    if kind is Feedback.SKIP:
        return base * (1.0 - share)
    if kind in POSITIVE:
        base += LISTENED_BONUS * share + REPEAT_BONUS * is_repeat
        base += QUICK_BONUS * is_quick + CONTEXT_BONUS * fits_context
    return min(max(base, LOWEST), HIGHEST)
