"""Consolidation: the sums of the log, taken where the rows are.

One statement in Postgres for each part of the listeners; the parts may be done anywhere.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
import orjson
import sqlalchemy as sa

from features.database import connect
from features.spreading import IN_PART, PARTS, Spread, in_this_process
from recommender import pooled
from recommender.audio import FloatArray
from recommender.pooled import Pairs
from recommender.qtable import QTable
from recommender.state_sums import StateSums
from training.data.data_parts import Part, content_hash

TEST_SHARE = 5
"""One listener of so many is tested on."""

NUMBERS = 9
"""Of a state: rows, weight, reward, square; consecutive verdicts: n, x, y, xx, xy."""
BLOCKS = 64
"""In so many rows come the sums of a part; a power of two."""
FETCHED = 4

UNIT = 2.0**58
"""Of which terms are whole multiples: a rounding of 2^-59, where a weight is 1 today."""
HEAVIEST = 4.0
"""Of a verdict from the future: so every term, at most 4.84 weights, is a bigint."""

_UNITS = np.array([1.0, UNIT, UNIT, UNIT, 1.0, UNIT, UNIT, UNIT, UNIT])

# Sums of whole numbers are exact in any order: no plan changes their bits, and nothing need be
# sorted for them. States and categories are told apart by 64 bits of hash within one listener only.
# Numbers come as bytes, exactly, and thousands of states as one row: a row of the answer costs more
# than what it says of a state.
_SUMS = sa.text(
    f"""
    WITH log AS (
        SELECT (hashtext(user_id) & 2147483647) % :folds = :fold AS is_apart, state, reward,
               least({HEAVIEST}, power(2, greatest(-1000,
                   (extract(epoch FROM occurred_at)::float8 / 86400 - :day) / :half_life)))
                   * {UNIT:.0f}::float8 AS units,
               row_number() OVER (
                   PARTITION BY user_id, hashtextextended(state, 0),
                       (CASE source WHEN 'interactions' THEN occurred_at ELSE received_at END)::date
                   ORDER BY episode) AS nth,
               lag(reward) OVER (
                   PARTITION BY user_id, hashtextextended(split_part(state, 'genre_', -1), 0)
                   ORDER BY episode) AS before
        FROM music_interactions
        WHERE trainable AND received_at < :now AND {IN_PART.format("user_id", ":folds")}
    ), summed AS (
        SELECT is_apart, state, count(*)::float8 AS n,
               sum(units::bigint)::float8 AS w,
               sum((units * reward)::bigint)::float8 AS r,
               sum((units * reward * reward)::bigint)::float8 AS s,
               count(before)::float8 AS pairs,
               coalesce(sum((before * {UNIT:.0f}::float8)::bigint), 0)::float8 AS x,
               coalesce(sum((reward * {UNIT:.0f}::float8)::bigint)
                        FILTER (WHERE before IS NOT NULL), 0)::float8 AS y,
               coalesce(sum((before * before * {UNIT:.0f}::float8)::bigint), 0)::float8 AS xx,
               coalesce(sum((before * reward * {UNIT:.0f}::float8)::bigint), 0)::float8 AS xy
        FROM log WHERE nth <= :visits GROUP BY is_apart, state
    )
    SELECT is_apart, json_agg(state)::text,
           string_agg(float8send(n) || float8send(w) || float8send(r) || float8send(s)
                      || float8send(pairs) || float8send(x) || float8send(y) || float8send(xx)
                      || float8send(xy), '')
    FROM summed GROUP BY is_apart, hashtext(state) & {BLOCKS - 1}
    """  # noqa: S608 - constants
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


@dataclass(frozen=True)
class Consolidated:
    """The sums of a log: of all listeners, and without those of one fold.

    Attributes
    ----------
    used, used_without
        Rows that entered each.
    """

    table: QTable
    used: int
    without_fold: QTable
    used_without: int


def consolidate(
    engine: sa.Engine,
    *,
    now: datetime,
    half_life_days: float = pooled.HALF_LIFE_DAYS,
    fold: int = 0,
    spread: Spread = in_this_process,
) -> Consolidated:
    """Return the table of the whole log before `now`, and that without a fold: one pass for both.

    A row enters with weight 2^((occurred_at - REFERENCE_DAY) / half-life); of a listener's feedback
    in one state, the first `VISITS_PER_DAY` that came in on a UTC day do. A file that an operator
    imported counts by the days on which things occurred.

    Parameters
    ----------
    fold
        Of the listeners that the second table leaves out, in [0, `TEST_SHARE`).
    spread
        Where parts of the listeners are summed up; the table's bytes do not depend on it.
    """
    day = now.timestamp() / 86_400
    asked = {
        "day": day,
        "half_life": half_life_days,
        "now": now,
        "folds": TEST_SHARE,
        "fold": fold,
        "visits": pooled.VISITS_PER_DAY,
    }
    work = SumsOfPart(engine.url.render_as_string(hide_password=False), asked)
    parts = list(spread(work, range(PARTS)))
    rest = Summed.merged(part for part, _ in parts)  # in this order: sums end in the same bits
    whole = Summed.merged([rest, Summed.merged(part for _, part in parts)])
    # Taken as of today, kept as of a day that never moves.
    factor = float(pooled.decayed_weight(day, half_life_days))
    return Consolidated(
        QTable(whole.sums.scaled(factor), whole.pairs, day, half_life_days),
        whole.used,
        QTable(rest.sums.scaled(factor), rest.pairs, day, half_life_days),
        rest.used,
    )


@dataclass(frozen=True)
class Summed:
    """What some listeners' log sums up to."""

    sums: StateSums
    pairs: Mapping[str, Pairs]
    used: int

    @classmethod
    def of(cls, states: Sequence[str], numbers: FloatArray) -> "Summed":
        """Return the sums of states with their (n, `NUMBERS`) numbers."""
        sums = StateSums.of(states, numbers)
        pairs = [np.bincount(sums.category, column) for column in sums.totals.T[4:]]
        return cls(
            replace(sums, totals=sums.totals[:, 1:4]),
            {
                category: Pairs(*row)
                for category, row in zip(sums.categories, np.array(pairs).T.tolist(), strict=True)
            },
            int(numbers[:, 0].sum()),
        )

    @classmethod
    def merged(cls, parts: Iterable["Summed"]) -> "Summed":
        """Return the sums of all, added in this order."""
        parts = list(parts)
        pairs: dict[str, Pairs] = {}
        for part in parts:
            for category, found in part.pairs.items():
                pairs[category] = pairs.get(category, Pairs()) + found
        return cls(
            StateSums.merged(part.sums for part in parts), pairs, sum(part.used for part in parts)
        )


@dataclass(frozen=True)
class SumsOfPart:
    """Reads a part of the log and returns its sums: those outside of the fold, and those in it.

    It only reads, so that doing it twice, here or elsewhere, changes nothing.
    """

    database_url: str = field(repr=False)
    asked: Mapping[str, Any]

    def __call__(self, part: int) -> tuple[Summed, Summed]:
        """Sum up one part."""
        engine = connect(self.database_url, pool_size=1)
        states: tuple[list[str], list[str]] = ([], [])
        numbers = (bytearray(), bytearray())
        try:
            with engine.begin() as connection:
                connection.execute(sa.text("SET LOCAL work_mem = '256MB'"))
                asked = {**self.asked, "parts": PARTS, "part": part}
                found = connection.execution_options(yield_per=FETCHED).execute(_SUMS, asked)
                for is_apart, names, sums in found:
                    states[is_apart].extend(orjson.loads(names))
                    numbers[is_apart].extend(sums)
        finally:
            engine.dispose()
        rest, apart = (
            Summed.of(of, np.frombuffer(row, dtype=">f8").reshape(-1, NUMBERS) / _UNITS)
            for of, row in zip(states, numbers, strict=True)
        )
        return rest, apart


def read_parts(engine: sa.Engine, *, now: datetime) -> dict[str, Part]:
    """Return the number and hash of the log's rows before `now` by the source that they came from.

    The hash is that of two sums over the halves of each row's MD5: it finds rows that went or came,
    and is no protection against somebody who forges them.
    """
    with engine.connect() as connection:
        rows = connection.execute(_PARTS, {"now": now}).all()
    return {f"music_interactions from {row[0]}": Part(row[1], content_hash([row])) for row in rows}
