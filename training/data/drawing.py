"""Which listeners training reads: samples drawn by hash, so that memory is flat in their number.

Ids pass by one after another, and only those of the lowest draws are kept.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from training.data.holdout import FEWEST_ARTISTS, draw_of, is_test

MOST_FIT, MOST_TEST = 2_000, 1_000
"""Listeners that fit weights and that test them: a sample of them says as much, to within the
intervals that are reported with n, and a night's time does not grow with how many there are."""
MOST_LISTENING = 10_000
"""Listeners that the served grains of co-listening are fitted to, unless more are asked for."""
BLOCK = 10_000
"""Rows of an answer in memory at once."""

# The catalogue's artists are those that `training.data.catalogue` leaves in it.
_LISTENERS = sa.text(
    """
    SELECT heard.user_id, count(known.artist_key)
    FROM (
        SELECT p.user_id, t.artist_key
        FROM plays p JOIN tracks t USING (track_id)
        WHERE p.trainable AND t.trainable
          AND (CAST(:since AS timestamptz) IS NULL OR p.played_at >= :since)
          AND (CAST(:until AS timestamptz) IS NULL OR p.played_at < :until)
        UNION
        SELECT user_id, artist_key FROM artist_plays
        WHERE trainable AND (CAST(:until AS timestamptz) IS NULL OR imported_at < :until)
    ) heard
    LEFT JOIN (
        SELECT DISTINCT t.artist_key
        FROM tracks t LEFT JOIN audio_features a USING (track_id)
        WHERE t.trainable AND (coalesce(a.trainable, true) OR a.estimated)
    ) known USING (artist_key)
    GROUP BY heard.user_id
    """
)


class Sample:
    """The ids of the lowest draws, at most so many.

    Who is in it does not depend on the order in which ids come, and on how many there are only as
    far as the line falls.

    Examples
    --------
    >>> sample = Sample(2, seed=7, purpose="sample")
    >>> for user in ("ada", "bob", "cleo", "dan"):
    ...     sample.offer(user)
    >>> len(sample.ids())
    2
    """

    def __init__(self, most: int, *, seed: int, purpose: str) -> None:
        self._most, self._seed, self._purpose = most, seed, purpose
        self._kept: list[tuple[int, str]] = []  # a heap, its first the highest draw

    def offer(self, user_id: str) -> None:
        """Let an id take part."""
        heapq.heappush(self._kept, (-draw_of(user_id, self._seed, self._purpose), user_id))
        if len(self._kept) > self._most:
            heapq.heappop(self._kept)

    def ids(self) -> list[str]:
        """Return who was drawn, in the order of their ids' bytes."""
        return sorted((user for _, user in self._kept), key=str.encode)


@dataclass(frozen=True)
class Drawn:
    """Who was drawn.

    Attributes
    ----------
    fit, test
        Of those with five artists of the catalogue and more: who fits weights, and who tests them.
    listening
        Of all: whom co-listening is fitted to.
    listeners
        How many there are.
    """

    fit: Sequence[str]
    test: Sequence[str]
    listening: Sequence[str]
    listeners: int


def draw_listeners(
    engine: sa.Engine,
    *,
    seed: int,
    most_listening: int = MOST_LISTENING,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Drawn:
    """Draw listeners of whom any row may be trained on.

    Parameters
    ----------
    since, until
        See `training.data.histories.read_histories`.
    """
    fit = Sample(MOST_FIT, seed=seed, purpose="sample")
    test = Sample(MOST_TEST, seed=seed, purpose="sample")
    listening = Sample(most_listening, seed=seed, purpose="listening")
    listeners = 0
    with engine.connect().execution_options(yield_per=BLOCK) as connection:
        for user_id, artists in connection.execute(_LISTENERS, {"since": since, "until": until}):
            listeners += 1
            listening.offer(user_id)
            if artists >= FEWEST_ARTISTS:
                (test if is_test(user_id, seed) else fit).offer(user_id)
    return Drawn(fit.ids(), test.ids(), listening.ids(), listeners)
