"""A second look at what a run used: rows that may not be trained on must not be among them.

`training.data.histories` leaves such rows out by the WHERE of its queries. This asks the other way
round: of the rows that are barred, which stand in what was read? Two queries must be wrong in the
same way before a barred row gets through.
"""

import sqlalchemy as sa

from training.data.dataset import Dataset
from training.data.impressions import OUTCOME_DAYS, Impressions

BARRED_ROWS_USED = "barred_rows_used"
"""Metric: how many there were."""

_PLAYS = sa.text(
    """
    SELECT p.source, p.user_id, p.track_id, p.played_at
    FROM plays p JOIN tracks t USING (track_id) WHERE NOT p.trainable OR NOT t.trainable
    """
)
_COUNTS = sa.text(
    """
    SELECT min(source) FILTER (WHERE NOT trainable), user_id, artist_key,
           coalesce(sum(play_count) FILTER (WHERE trainable), 0)
    FROM artist_plays GROUP BY user_id, artist_key HAVING bool_or(NOT trainable)
    """
)
_IMPRESSIONS_LEFT = sa.text(
    """
    SELECT count(*) FROM music_recommendations r
    WHERE r.recommendation_id = ANY(:lists)
      AND r.track_id NOT IN (SELECT track_id FROM tracks WHERE NOT trainable)
      AND r.track_id NOT IN (SELECT track_id FROM audio_features
                             WHERE NOT trainable AND NOT estimated)
      AND r.user_id NOT IN (SELECT user_id FROM plays WHERE NOT trainable)
      AND r.user_id NOT IN (SELECT user_id FROM artist_plays WHERE NOT trainable)
      AND NOT EXISTS (SELECT FROM music_interactions i
                      WHERE NOT i.trainable AND i.user_id = r.user_id
                        AND i.recommendation_id = r.recommendation_id
                        AND i.track_id = r.track_id AND i.received_at > r.created_at
                        AND i.received_at <= r.created_at + make_interval(days => :days))
    """
)
_TRACKS = sa.text("SELECT source, track_id FROM tracks WHERE NOT trainable")


def barred_rows_used(
    engine: sa.Engine, dataset: Dataset, impressions: Impressions | None = None
) -> dict[str, int]:
    """Return 'table from source' -> rows that were used although they may not be trained on.

    Empty for every honest run. A count per artist is used where more was read than the trainable
    rows hold; impressions where more were read than rows of their lists that nothing bars.
    """
    plays = {
        (one.user_id, play.track_id, play.played_at)
        for one in dataset.histories.listeners
        for play in one.plays
    }
    counts = {
        (one.user_id, count.artist_key): count.play_count
        for one in dataset.histories.listeners
        for count in one.counts
    }
    used: dict[str, int] = {}
    with engine.connect().execution_options(yield_per=10_000) as connection:
        for source, *key in connection.execute(_PLAYS):
            _count(used, f"plays from {source}", tuple(key) in plays)
        for source, user_id, artist, allowed in connection.execute(_COUNTS):
            is_used = counts.get((user_id, artist), 0) > allowed
            _count(used, f"artist_plays from {source}", is_used)
        barred = connection.execute(_TRACKS).all()
        if impressions is not None and impressions.lists:
            asked = {"days": OUTCOME_DAYS, "lists": list(impressions.lists)}
            left = connection.execute(_IMPRESSIONS_LEFT, asked).scalar_one()
            if len(impressions) > left:
                used["impressions"] = len(impressions) - left
    rows = dataset.catalogue.rows_of([track_id for _, track_id in barred])
    for (source, _), row in zip(barred, rows.tolist(), strict=True):
        _count(used, f"tracks from {source}", row >= 0)
    return dict(sorted(used.items()))


def _count(used: dict[str, int], name: str, is_used: bool) -> None:
    if is_used:
        used[name] = used.get(name, 0) + 1
