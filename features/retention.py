"""What may be forgotten: expired lists, old samples, skips that a snapshot of the Q-table holds.

Plays, likes and dislikes have no snapshot that says what they say: they stay. So does every event
that replay may still draw from, and every impression, which evaluation reads; but the places of a
list that was made ahead and nobody was shown are no impressions, and go with the list: SQL's
`was_never_shown` is the rule, here and where impressions are read.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from recommender.replay import BUFFER_SIZE
from recommender.rewards import Feedback

SAMPLE_DAYS = 30
"""How long sampled components stay: a comparison looks at the last days only."""

_LISTS = sa.text("SELECT lists, impressions FROM forget_expired_lists()")
_SAMPLES = sa.text("DELETE FROM component_samples WHERE moment < :before")
# The oldest snapshot that is kept, so that whoever goes back to it loses nothing either.
_COVERED = sa.text(
    """
    DELETE FROM music_interactions i USING (
        SELECT user_id, min(through_seq) AS through_seq, min(episodes) AS episodes
        FROM music_rl_models GROUP BY user_id
        HAVING bool_and(own_sums IS NOT NULL)) s -- one of the first release holds no own sums
    WHERE i.user_id = s.user_id AND i.seq <= s.through_seq AND i.episode <= s.episodes - :buffer
      AND i.received_at < :before AND i.feedback_type = :forgettable
    """
)


@dataclass(frozen=True)
class Cleaned:
    """What went.

    Examples
    --------
    >>> str(Cleaned(lists=12, impressions=100, samples=1, interactions=3)).partition(",")[0]
    'removed 12 expired lists'
    """

    lists: int
    impressions: int
    samples: int
    interactions: int

    def __str__(self) -> str:
        """Return one line."""
        return (
            f"removed {self.lists} expired lists, {self.impressions} places of lists never shown,"
            f" {self.samples} old samples and {self.interactions} skips that snapshots hold"
        )


def clean(
    engine: sa.Engine, *, retention_days: int | None, now: datetime, buffer: int = BUFFER_SIZE
) -> Cleaned:
    """Remove expired lists, samples of 30 days ago, and old skips that a snapshot covers, at once.

    Parameters
    ----------
    retention_days
        How long skips stay; None: for ever.
    buffer
        How many of a listener's last episodes before the snapshot replay may draw from.
    """
    with engine.begin() as connection:
        lists, places = connection.execute(_LISTS).one()
        before = {"before": now - timedelta(days=SAMPLE_DAYS)}
        samples = connection.execute(_SAMPLES, before).rowcount
        if retention_days is None:
            return Cleaned(lists, places, samples, 0)
        asked = {
            "before": now - timedelta(days=retention_days),
            "buffer": buffer,
            "forgettable": Feedback.SKIP.value,
        }
        return Cleaned(lists, places, samples, connection.execute(_COVERED, asked).rowcount)
