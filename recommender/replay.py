"""Experience replay: every 10 episodes, 32 draws from a listener's last 10,000 experiences.

An episode is one accepted feedback, numbered 1, 2, 3 ... per listener. The buffer is the log itself
(music_interactions): nothing is copied, and the draw depends on listener and episode alone, so that
replaying the log gives the very Q-table that learning online gave.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from recommender.qlearning import learn

BUFFER_SIZE = 10_000
BATCH_SIZE = 32
EPISODES_PER_BATCH = 10


def replayed_episodes(user_id: str, episode: int) -> list[int]:
    """Return the episodes learned from again after this one, in order; none but at every tenth.

    Examples
    --------
    >>> replayed_episodes("ada", 9)
    []
    >>> sorted(replayed_episodes("ada", 10)) == list(range(1, 11))
    True
    >>> len(replayed_episodes("ada", 20_000)), min(replayed_episodes("ada", 20_000)) > 10_000
    (32, True)
    """
    if episode % EPISODES_PER_BATCH:
        return []
    oldest = max(1, episode - BUFFER_SIZE + 1)
    size = episode - oldest + 1
    seed = int.from_bytes(hashlib.sha256(f"{user_id}\0{episode}".encode()).digest()[:16], "big")
    draw = np.random.default_rng(seed).choice(size, size=min(BATCH_SIZE, size), replace=False)
    return [int(place) + oldest for place in draw]


def replay_log(
    user_id: str,
    log: Sequence[tuple[str, float]],
    *,
    q_table: dict[str, float] | None = None,
    from_episode: int = 1,
) -> dict[str, float]:
    """Learn a listener's Q-table from the log.

    Parameters
    ----------
    log
        (state, reward) of every episode from the first on, also of those the given table holds:
        a batch may draw them.
    q_table, from_episode
        A snapshot and the first episode that it does not hold.

    Returns
    -------
    State -> Q(state, recommend).

    Examples
    --------
    >>> replay_log("ada", [("s", 1.0), ("t", -0.4)])
    {'s': 0.1, 't': -0.04000000000000001}
    """
    table = dict(q_table or {})
    for episode in range(from_episode, len(log) + 1):
        again = replayed_episodes(user_id, episode)
        learn(table, [log[episode - 1], *(log[e - 1] for e in again)])
    return table
