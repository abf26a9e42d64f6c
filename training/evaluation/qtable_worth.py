"""What a Q-table is worth: how well it foresees what listeners say whom it has not seen."""

from collections.abc import Iterable
from datetime import datetime

import numpy as np
import sqlalchemy as sa

from features.spreading import Spread, in_this_process
from recommender.audio import FloatArray
from recommender.qtable import QTable
from training.data.consolidation import TEST_SHARE, consolidate
from training.evaluation.intervals import Interval, bootstrap

TEST_EVENTS = 20
"""First feedbacks of a listener that are predicted."""
TEST_FOLD = 0
SHARES = (0.25, 0.5, 1.0)
"""Of the log's time, for the learning curve."""
MOST_FOR_CURVE = 500_000
SEED = 7
"""Of the intervals; a table itself has no chance in it."""

_TESTED = sa.text(
    """
    SELECT user_id, state, reward FROM music_interactions
    WHERE trainable AND received_at < :now AND episode <= :events
      AND (hashtext(user_id) & 2147483647) % :folds = :fold
    ORDER BY user_id, episode
    """
)


def gain_of(
    engine: sa.Engine,
    baseline: QTable,
    *,
    now: datetime,
    half_life_days: float,
    spread: Spread = in_this_process,
) -> tuple[Interval, int]:
    """Return by how much new listeners' rewards are foreseen better, and how many there were."""
    table, _ = consolidate(
        engine,
        now=now,
        half_life_days=half_life_days,
        without_fold=TEST_FOLD,
        spread=spread,
    )
    logs = _tested(engine, now)
    if not logs:
        return Interval(0.0, 0.0, 0.0), 0
    gains = squared_errors(baseline, logs) - squared_errors(table, logs)
    return bootstrap(gains, seed=SEED), len(logs)


def _tested(engine: sa.Engine, now: datetime) -> list[list[tuple[str, float]]]:
    """Return the first verdicts of each listener of the test fold, as (state, reward)."""
    asked = {"now": now, "events": TEST_EVENTS, "folds": TEST_SHARE, "fold": TEST_FOLD}
    logs: dict[str, list[tuple[str, float]]] = {}
    with engine.connect() as connection:
        for user_id, state, reward in connection.execute(_TESTED, asked):
            logs.setdefault(user_id, []).append((state, reward))
    return list(logs.values())


def learning_curve(
    engine: sa.Engine, first: datetime, *, now: datetime, half_life_days: float, rows: int
) -> dict[int, Interval]:
    """Return rows used -> squared error on new listeners, of the log as it was ever later.

    Empty for a log of over half a million rows, where each point would cost seconds.
    """
    logs = _tested(engine, now)
    if rows > MOST_FOR_CURVE or not logs:
        return {}
    curve = {}
    for share in SHARES:
        moment = first + share * (now - first)
        table, used = consolidate(
            engine, now=moment, half_life_days=half_life_days, without_fold=TEST_FOLD
        )
        curve[used] = bootstrap(squared_errors(table, logs), seed=SEED)
    return curve


def squared_errors(table: QTable, logs: Iterable[list[tuple[str, float]]]) -> FloatArray:
    """Return per listener the mean squared error of foreseeing each verdict from those before.

    Examples
    --------
    An empty table expects 0 of a first verdict of 1, and .15 of the second:

    >>> squared_errors(QTable(), [[("genre_folk", 1.0), ("genre_folk", 1.0)]]).round(5)
    array([0.86125])
    """
    errors = []
    for log in logs:
        own: dict[str, tuple[float, float]] = {}
        error = 0.0
        for state, reward in log:
            foreseen = float(table.believed([state], own)[0][0])
            error += (reward - foreseen) ** 2
            weight, sum_ = own.get(state, (0.0, 0.0))
            own[state] = (weight + 1.0, sum_ + reward)
        errors.append(error / len(log))
    return np.array(errors)
