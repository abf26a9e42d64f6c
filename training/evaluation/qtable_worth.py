"""What a Q-table is worth: how well it foresees what listeners say whom it has not seen."""

from collections.abc import Iterable, Iterator
from datetime import datetime

import numpy as np
import sqlalchemy as sa

from features.spreading import Spread, in_this_process
from recommender.audio import FloatArray
from recommender.qtable import QTable, category
from training.data.consolidation import TEST_SHARE, Consolidated, consolidate
from training.data.holdout import DRAW, salt_of
from training.evaluation.intervals import Interval, bootstrap

TEST_EVENTS = 20
"""First feedbacks of a listener that are predicted."""
MOST_TESTED = 4_000
"""Listeners of the fold whose verdicts are read, drawn by hash: 80,000 verdicts, some 20 MiB."""
TEST_FOLD = 0
SHARES = (0.25, 0.5)
"""Of the log's time, for the learning curve, beside all of it."""
MOST_FOR_CURVE = 500_000
SEED = 7
"""Of the intervals, and of who is tested on; a table itself has no chance in it."""

_FIRST = "i.trainable AND i.received_at < :now AND i.episode <= :events"
# In the order of the hash, looking no further than needed.
_TESTED = sa.text(
    f"""
    WITH tested AS MATERIALIZED (
        SELECT u.user_id
        FROM (SELECT user_id, {DRAW.format("user_id")} AS draw FROM users
              WHERE (hashtext(user_id) & 2147483647) % :folds = :fold ORDER BY draw) u,
             LATERAL (SELECT FROM music_interactions i
                      WHERE i.user_id = u.user_id AND {_FIRST} LIMIT 1) said_something
        ORDER BY u.draw LIMIT :most
    )
    SELECT user_id, state, reward FROM tested JOIN music_interactions i USING (user_id)
    WHERE {_FIRST}
    ORDER BY user_id, episode
    """  # noqa: S608 - constants of this module and of holdout
)


def gain_of(
    engine: sa.Engine, baseline: QTable, table: QTable, *, now: datetime
) -> tuple[Interval, int]:
    """Return by how much new listeners' rewards are foreseen better, and how many there were.

    Parameters
    ----------
    baseline, table
        Neither has seen the fold `TEST_FOLD`.
    """
    logs = _tested(engine, now)
    if not logs:
        return Interval(0.0, 0.0, 0.0), 0
    gains = squared_errors(baseline, logs) - squared_errors(table, logs)
    return bootstrap(gains, seed=SEED), len(logs)


def _tested(engine: sa.Engine, now: datetime) -> list[list[tuple[str, float]]]:
    """Return the first verdicts of each listener drawn from the fold, as (state, reward)."""
    asked = {
        "now": now,
        "events": TEST_EVENTS,
        "folds": TEST_SHARE,
        "fold": TEST_FOLD,
        "salt": salt_of(SEED, "tested"),
        "most": MOST_TESTED,
    }
    logs: dict[str, list[tuple[str, float]]] = {}
    with engine.connect() as connection:
        for user_id, state, reward in connection.execute(_TESTED, asked):
            logs.setdefault(user_id, []).append((state, reward))
    return list(logs.values())


def learning_curve(
    engine: sa.Engine,
    whole: Consolidated,
    first: datetime,
    *,
    now: datetime,
    half_life_days: float,
    spread: Spread = in_this_process,
) -> dict[int, Interval]:
    """Return rows used -> squared error on new listeners, of the log as it was ever later.

    Empty for a log of over half a million rows, where each point would cost seconds.

    Parameters
    ----------
    whole
        What the log came to at `now`, the last point.
    first
        When the log began.
    """
    if whole.used > MOST_FOR_CURVE:
        return {}
    logs = _tested(engine, now)
    if not logs:
        return {}
    points = [
        consolidate(
            engine,
            now=first + share * (now - first),
            half_life_days=half_life_days,
            fold=TEST_FOLD,
            spread=spread,
        )
        for share in SHARES
    ]
    return {
        point.used_without: bootstrap(squared_errors(point.without_fold, logs), seed=SEED)
        for point in [*points, whole]
    }


def squared_errors(table: QTable, logs: Iterable[list[tuple[str, float]]]) -> FloatArray:
    """Return per listener the mean squared error of foreseeing each verdict from those before.

    Examples
    --------
    An empty table expects 0 of a first verdict of 1, and .15 of the second:

    >>> squared_errors(QTable(), [[("genre_folk", 1.0), ("genre_folk", 1.0)]]).round(5)
    array([0.86125])
    """
    logs = list(logs)
    asked = [state for log in logs for state, _ in log]
    before = np.array(list(_before(logs))).reshape(-1, 2, 2)
    foreseen = table.with_own(asked, before[:, 0], before[:, 1])[0]
    said = np.array([reward for log in logs for _, reward in log])
    begins = np.cumsum([0, *map(len, logs)])[:-1]
    squares: FloatArray = np.add.reduceat((said - foreseen) ** 2, begins) if logs else said
    return squares / [len(log) for log in logs]


def _before(
    logs: Iterable[list[tuple[str, float]]],
) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """Yield per verdict the number and sum of those before it, on its state and its category."""
    nothing = (0.0, 0.0)
    for log in logs:
        own: dict[str, tuple[float, float]] = {}
        of_category: dict[str, tuple[float, float]] = {}
        for state, reward in log:
            kind = category(state)
            mine, others = own.get(state, nothing), of_category.get(kind, nothing)
            yield mine, others
            own[state] = (mine[0] + 1.0, mine[1] + reward)
            of_category[kind] = (others[0] + 1.0, others[1] + reward)
