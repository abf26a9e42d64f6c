"""Consolidation: the sums of the log, taken where the rows are.

One statement in Postgres for each part of the listeners; the parts may be done anywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from features.database import connect
from features.spreading import IN_PART, PARTS, Spread, in_this_process
from recommender import pooled
from recommender.pooled import Pairs, Sums, split
from recommender.qtable import QTable
from training.data.data_parts import Part, content_hash

TEST_SHARE = 5
"""One listener of so many is tested on."""

StateSums = tuple[str, int, float, float, float, int, float, float, float, float]
"""State; rows, weight, reward, square; consecutive verdicts: n, x, y, xx, xy."""

# Sums in one order, whatever the plan: the same rows end in the same bits.
_SUMS = sa.text(
    f"""
    WITH log AS (
        SELECT user_id, episode, state, reward,
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
          AND {IN_PART.format("user_id", ":folds")}
    )
    SELECT state, count(*), sum(weight ORDER BY user_id, episode),
           sum(weight * reward ORDER BY user_id, episode),
           sum(weight * reward * reward ORDER BY user_id, episode),
           count(before), coalesce(sum(before ORDER BY user_id, episode), 0),
           coalesce(sum(reward ORDER BY user_id, episode) FILTER (WHERE before IS NOT NULL), 0),
           coalesce(sum(before * before ORDER BY user_id, episode), 0),
           coalesce(sum(before * reward ORDER BY user_id, episode), 0)
    FROM log WHERE nth <= :visits GROUP BY state ORDER BY state COLLATE "C"
    """  # noqa: S608 - the condition is a constant
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
    spread: Spread = in_this_process,
) -> tuple[QTable, int]:
    """Return the table of the whole log before `now`, and how many rows entered.

    A row enters with weight 2^((occurred_at - REFERENCE_DAY) / half-life); of a listener's feedback
    in one state, the first `VISITS_PER_DAY` that came in on a UTC day do. A file that an operator
    imported counts by the days on which things occurred.

    Parameters
    ----------
    without_fold
        A fold of listeners to leave out; -1: none.
    spread
        Where parts of the listeners are summed up; the table's bytes do not depend on it.
    """
    asked = {
        "reference": pooled.REFERENCE_DAY,
        "half_life": half_life_days,
        "now": now,
        "folds": TEST_SHARE,
        "fold": without_fold,
        "visits": pooled.VISITS_PER_DAY,
    }
    work = SumsOfPart(engine.url.render_as_string(hide_password=False), asked)
    used = 0
    sums: dict[str, list[float]] = {}
    pairs: dict[str, list[float]] = {}
    for rows in spread(work, range(PARTS)):  # in this order: sums end in the same bits
        for state, n, *values in rows:
            used += n
            _add(sums, state, values[:3])
            _add(pairs, split(state)[1], values[3:])
    return QTable(
        {state: Sums(*values) for state, values in sums.items()},
        {category: Pairs(*values) for category, values in pairs.items()},
        now.timestamp() / 86_400,
        half_life_days,
    ), used


@dataclass(frozen=True)
class SumsOfPart:
    """Reads a part of the log and returns its sums per state.

    It only reads, so that doing it twice, here or elsewhere, changes nothing.
    """

    database_url: str = field(repr=False)
    asked: Mapping[str, Any]

    def __call__(self, part: int) -> Sequence[StateSums]:
        """Sum up one part."""
        engine = connect(self.database_url, pool_size=1)
        try:
            with engine.begin() as connection:
                connection.execute(sa.text("SET LOCAL work_mem = '256MB'"))
                asked = {**self.asked, "parts": PARTS, "part": part}
                return [tuple(row) for row in connection.execute(_SUMS, asked)]
        finally:
            engine.dispose()


def _add(sums: dict[str, list[float]], key: str, values: Sequence[float]) -> None:
    before = sums.get(key)
    if before is None:
        sums[key] = [float(value) for value in values]
        return
    for place, value in enumerate(values):
        before[place] += value


def read_parts(engine: sa.Engine, *, now: datetime) -> dict[str, Part]:
    """Return the number and hash of the log's rows before `now` by the source that they came from.

    The hash is that of two sums over the halves of each row's MD5: it finds rows that went or came,
    and is no protection against somebody who forges them.
    """
    with engine.connect() as connection:
        rows = connection.execute(_PARTS, {"now": now}).all()
    return {f"music_interactions from {row[0]}": Part(row[1], content_hash([row])) for row in rows}
