"""Consolidation: the sums of the log, taken where the rows are, by one statement in Postgres."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import sqlalchemy as sa

from recommender import pooled
from recommender.pooled import Pairs, Sums, split
from recommender.qtable import QTable
from training.data_parts import Part, content_hash

SHARDS = 2
"""Parts of the listeners that Postgres sums up at the same time; the parts add up exactly."""
TEST_SHARE = 5
"""One listener of so many is tested on."""

_SUMS = sa.text(
    """
    WITH log AS (
        SELECT state, reward,
               power(2, (extract(epoch FROM occurred_at)::float8 / 86400 - :reference)
                        / :half_life) AS weight,
               row_number() OVER (
                   PARTITION BY user_id, state,
                       (CASE source WHEN 'interactions' THEN occurred_at ELSE received_at END)::date
                   ORDER BY episode) AS nth,
               lag(reward) OVER (PARTITION BY user_id, split_part(state, 'genre_', 2)
                                 ORDER BY episode) AS before
        FROM music_interactions
        WHERE trainable AND received_at < :now
          AND (:fold < 0 OR (hashtext(user_id) & 2147483647) % :folds <> :fold)
          AND (hashtext(user_id) & 2147483647) / :folds % :shards = :shard
    )
    SELECT state, count(*), sum(weight), sum(weight * reward), sum(weight * reward * reward),
           count(before), coalesce(sum(before), 0),
           coalesce(sum(reward) FILTER (WHERE before IS NOT NULL), 0),
           coalesce(sum(before * before), 0), coalesce(sum(before * reward), 0)
    FROM log WHERE nth <= :visits GROUP BY state ORDER BY state COLLATE "C"
    """
)
# Sums do not depend on an order, which would cost a sort of the whole log.
_PARTS = sa.text(
    """
    SELECT source, count(*), sum(('x' || left(hash, 16))::bit(64)::bigint),
           sum(('x' || right(hash, 16))::bit(64)::bigint)
    FROM (
        SELECT source, md5(concat_ws('|', event_id, user_id, episode, state, reward,
                                     extract(epoch FROM occurred_at),
                                     extract(epoch FROM received_at))) AS hash
        FROM music_interactions WHERE trainable AND received_at < :now
    ) AS hashed
    GROUP BY source
    """
)


def consolidate(
    engine: sa.Engine,
    *,
    now: datetime,
    half_life_days: float = pooled.HALF_LIFE_DAYS,
    without_fold: int = -1,
) -> tuple[QTable, int]:
    """Return the table of the whole log before `now`, and how many rows entered.

    A row enters with weight 2^((occurred_at - REFERENCE_DAY) / half-life); of a listener's feedback
    in one state, the first `VISITS_PER_DAY` that came in on a UTC day do. A file that an operator
    imported counts by the days on which things occurred.

    Parameters
    ----------
    without_fold
        A fold of listeners to leave out; -1: none.
    """
    asked = {
        "reference": pooled.REFERENCE_DAY,
        "half_life": half_life_days,
        "now": now,
        "folds": TEST_SHARE,
        "fold": without_fold,
        "visits": pooled.VISITS_PER_DAY,
    }
    day = now.timestamp() / 86_400

    def shard(number: int) -> tuple[QTable, int]:
        with engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL work_mem = '256MB'"))
            rows = connection.execute(_SUMS, asked | {"shards": SHARDS, "shard": number}).all()
        sums = {row[0]: Sums(*map(float, row[2:5])) for row in rows}
        pairs: dict[str, Pairs] = {}
        for row in rows:
            category = split(row[0])[1]
            pairs[category] = pairs.get(category, Pairs()) + Pairs(*map(float, row[5:10]))
        return QTable(sums, pairs, day, half_life_days), sum(row[1] for row in rows)

    with ThreadPoolExecutor(SHARDS) as executor:
        parts = list(executor.map(shard, range(SHARDS)))
    whole = QTable(as_of_day=day, half_life_days=half_life_days)
    for part, _ in parts:
        whole = whole + part
    return whole, sum(used for _, used in parts)


def read_parts(engine: sa.Engine, *, now: datetime) -> dict[str, Part]:
    """Return the number and hash of the log's rows before `now` by the source that they came from.

    The hash is that of two sums over the halves of each row's MD5: it finds rows that went or came,
    and is no protection against somebody who forges them.
    """
    with engine.connect() as connection:
        rows = connection.execute(_PARTS, {"now": now}).all()
    return {f"music_interactions from {row[0]}": Part(row[1], content_hash([row])) for row in rows}
