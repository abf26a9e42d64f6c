"""Consolidation: the log of all listeners' feedback summed into the model `qtable`.

The sums are taken where the rows are (one statement in Postgres); nothing is read row by row but
the feedback of the listeners that the table is tested on.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa

from recommender import pooled
from recommender.audio import FloatArray
from recommender.pooled import Pairs, Sums, split
from recommender.qtable import QTable
from training.code_version import code_version
from training.data_parts import DATA_FILE, Part, content_hash, hash_of, to_file
from training.errors import NothingTrainableError, TrainingError
from training.evaluation import GAIN
from training.intervals import Interval, bootstrap
from training.packaging import sha256
from training.qtable_flavour import KIND, QTABLE
from training.runs import BASELINE, FITTED_FROM_TAG, Run

if TYPE_CHECKING:  # importing it takes seconds
    from training.registry import Registry

SHARDS = 2
"""Parts of the listeners that Postgres sums up at the same time; the parts add up exactly."""

FEEDBACK = "feedback"
"""Tag `fitted_from`: what listeners said of lists."""
TEST_SHARE = 5
"""One listener of so many is tested on."""
TEST_EVENTS = 20
"""First feedbacks of a listener that are predicted."""

SEED = 7
"""Of the gain's interval; the table itself has no chance in it."""

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
_TESTED = sa.text(
    """
    SELECT user_id, state, reward FROM music_interactions
    WHERE trainable AND received_at < :now AND episode <= :events
      AND (hashtext(user_id) & 2147483647) % :folds = :fold
    ORDER BY user_id, episode
    """
)
_FACTS = sa.text(
    """
    SELECT count(*) FILTER (WHERE trainable), count(DISTINCT user_id) FILTER (WHERE trainable),
           min(received_at) FILTER (WHERE trainable), max(received_at) FILTER (WHERE trainable)
    FROM music_interactions WHERE received_at < :now
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
_REFUSED = sa.text(
    "SELECT source, count(*) FROM music_interactions WHERE NOT trainable AND received_at < :now"
    " GROUP BY source ORDER BY source"
)


@dataclass(frozen=True)
class TrainedTable:
    """What a consolidation came to.

    Attributes
    ----------
    rows, used
        Trainable rows in the log, and those that entered: a burst does so in part only.
    gain
        By how much the squared error on new listeners is lower than the champion's (or than that of
        an empty table), listeners of the test fold left out of the table.
    refused
        Source -> rows that may not be trained on.
    """

    run_id: str
    version: int
    table: QTable
    rows: int
    used: int
    listeners: int
    gain: Interval
    refused: Mapping[str, int]
    sha256: str
    seconds: float


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


def train_qtable(
    engine: sa.Engine,
    registry: "Registry",
    *,
    now: datetime,
    half_life_days: float = pooled.HALF_LIFE_DAYS,
    timer: Callable[[], float] = time.perf_counter,
) -> TrainedTable:
    """Consolidate the log, test the rule on listeners that it has not seen, register the table.

    Raises
    ------
    NothingTrainableError
        There is no feedback that may be trained on.
    TrainingError
        The half-life is not positive.
    """
    if not half_life_days > 0:
        raise TrainingError(f"a half-life of {half_life_days} days: it must be above 0")
    began = timer()
    with engine.connect() as connection:
        rows, listeners, first, last = connection.execute(_FACTS, {"now": now}).one()
        refused = {row[0]: row[1] for row in connection.execute(_REFUSED, {"now": now})}
    if rows == 0:
        raise NothingTrainableError(
            f"no feedback may be trained on ({sum(refused.values())} rows are barred): let"
            " listeners say something, or import interactions"
        )
    parts = read_parts(engine, now=now)
    table, used = consolidate(engine, now=now, half_life_days=half_life_days)
    champion = registry.champion(QTABLE)
    baseline = registry.load(KIND, champion.number) if champion else QTable()
    gain, tested = _gain(engine, baseline, now=now, half_life_days=half_life_days)
    seconds = timer() - began
    files = table.to_files()
    digest = sha256(b"".join(files[name] for name in sorted(files)))
    evidence = {FITTED_FROM_TAG: FEEDBACK} | ({BASELINE: str(champion.number)} if champion else {})
    window = (first.isoformat(), last.isoformat())
    version = registry.log_run(
        Run(
            name="qtable",
            params={
                "seed": SEED,
                "now": now.isoformat(),
                "half_life_days": half_life_days,
                "visits_per_day": pooled.VISITS_PER_DAY,
                "data_from": window[0],
                "data_to": window[1],
            },
            metrics={
                "rows": float(rows),
                "rows_used": float(used),
                "rows_refused": float(sum(refused.values())),
                "listeners": float(listeners),
                "listeners_test": float(tested),
                "states": float(len(table.sums)),
                "consistency": table.consistency,
                GAIN: gain.mean,
                f"{GAIN}_low": gain.low,
                f"{GAIN}_high": gain.high,
                "seconds": seconds,
            },
            tags=evidence
            | {
                "data_sha256": hash_of(parts),
                "qtable_sha256": digest,
                "code_version": code_version(Path(__file__).parent),
                "refused": ", ".join(f"{n} from {source}" for source, n in refused.items()),
            },
            data=("music_interactions", hash_of(parts), " to ".join(window)),
            files={DATA_FILE: to_file(parts)},
            started_at=now,
            seconds=seconds,
        ),
        KIND,
        table,
        evidence,
    )
    return TrainedTable(
        run_id=version.run_id,
        version=version.number,
        table=table,
        rows=rows,
        used=used,
        listeners=listeners,
        gain=gain,
        refused=refused,
        sha256=digest,
        seconds=seconds,
    )


def _gain(
    engine: sa.Engine, baseline: QTable, *, now: datetime, half_life_days: float
) -> tuple[Interval, int]:
    """Return by how much new listeners' rewards are foreseen better, and how many there were."""
    fold = 0
    table, _ = consolidate(engine, now=now, half_life_days=half_life_days, without_fold=fold)
    asked = {"now": now, "events": TEST_EVENTS, "folds": TEST_SHARE, "fold": fold}
    with engine.connect() as connection:
        rows = connection.execute(_TESTED, asked).all()
    logs: dict[str, list[tuple[str, float]]] = {}
    for user_id, state, reward in rows:
        logs.setdefault(user_id, []).append((state, reward))
    if not logs:
        return Interval(0.0, 0.0, 0.0), 0
    gains = squared_errors(baseline, logs.values()) - squared_errors(table, logs.values())
    return bootstrap(gains, seed=SEED), len(logs)


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
