"""What simulated listeners do with a track: kinds of feedback, shares heard, and their rewards."""

import numpy as np
from numpy.typing import NDArray

from recommender.audio import FloatArray
from recommender.rewards import BASE_REWARDS, Feedback, rewards
from training.simulation.world import World

LIKED: dict[Feedback, float] = {
    Feedback.PLAY: 0.62,
    Feedback.LIKE: 0.2,
    Feedback.REPEAT: 0.06,
    Feedback.SAVE: 0.06,
    Feedback.ADD_TO_PLAYLIST: 0.04,
    Feedback.SHARE: 0.02,
}
"""What a liked track gets. An assumption: no data at hand says it."""
HEARD_IF_LIKED = (0.6, 1.0)
HEARD_IF_SKIPPED = (0.0, 0.5)
"""Share of a track heard, uniform."""
TRACK_SECONDS = 200.0
KINDS = tuple(BASE_REWARDS)


def judge(
    likes: NDArray[np.bool_], world: World, rng: np.random.Generator
) -> tuple[NDArray[np.int64], FloatArray, FloatArray]:
    """Return (kinds as places in `KINDS`, shares heard, rewards), each shaped like `likes`."""
    chances = np.array([LIKED.get(kind, 0.0) for kind in KINDS]).cumsum()
    liked = np.searchsorted(chances, rng.random(likes.shape) * chances[-1], side="right")
    is_dislike = rng.random(likes.shape) < world.dislikes
    unliked = np.where(is_dislike, KINDS.index(Feedback.DISLIKE), KINDS.index(Feedback.SKIP))
    kinds = np.where(likes, liked, unliked)
    low, high = (
        np.where(likes, if_liked, if_skipped)
        for if_liked, if_skipped in zip(HEARD_IF_LIKED, HEARD_IF_SKIPPED, strict=True)
    )
    share = low + (high - low) * rng.random(likes.shape)
    return kinds, share, rewards(kinds, share)


def expected_reward(chance: FloatArray, world: World) -> FloatArray:
    """Return the mean reward of a track that is liked with this probability.

    Examples
    --------
    Surely liked: .62 x .8 + .2 + .06 x (1.2 + 1.5) + .04 x 1.8 + .02 x 1.3 + .1 x .8 = 1.036; never
    liked: .9 x -.4 (1 - .25) - .1 = -.37.

    >>> expected_reward(np.array([1.0, 0.0]), World("w")).round(3)
    array([ 1.036, -0.37 ])
    """
    mean_shares = np.array([np.mean(HEARD_IF_LIKED), np.mean(HEARD_IF_SKIPPED)])
    places = np.array([KINDS.index(kind) for kind in LIKED])
    weights = np.array(list(LIKED.values()))
    liked = float(weights @ rewards(places, np.full(len(places), mean_shares[0])))
    skip, dislike = rewards(
        np.array([KINDS.index(Feedback.SKIP), KINDS.index(Feedback.DISLIKE)]),
        np.full(2, mean_shares[1]),
    )
    unliked = (1 - world.dislikes) * skip + world.dislikes * dislike
    value: FloatArray = unliked + chance * (liked - unliked)
    return value
