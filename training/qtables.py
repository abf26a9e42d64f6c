"""Consolidation: the log of all listeners' feedback summed into the model `qtable`.

The sums are taken where the rows are (one statement in Postgres); nothing is read row by row but
the feedback of the listeners that the table is tested on.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from features.spreading import Spread, in_this_process
from recommender import pooled
from recommender.qtable import QTable
from training.code_version import code_version
from training.data.consolidation import consolidate, read_parts
from training.data.data_parts import DATA_FILE, hash_of, to_file
from training.errors import NothingTrainableError, TrainingError
from training.evaluation.intervals import Interval
from training.evaluation.qtable_worth import SEED, TEST_FOLD, gain_of, learning_curve
from training.evaluation.served_lists import GAIN
from training.figures import learning_curve_figure, qtable_figure
from training.packaging import sha256
from training.qtable_flavour import KIND, QTABLE
from training.runs import BASELINE, FITTED_FROM_TAG, Run, Version

if TYPE_CHECKING:  # importing it takes seconds
    from training.registry import Registry

FEEDBACK = "feedback"
"""Tag `fitted_from`: what listeners said of lists."""
_FACTS = sa.text(
    """
    SELECT coalesce(sum(rows), 0)::bigint, count(*), min(first), max(last)
    FROM (SELECT count(*) AS rows, min(received_at) AS first, max(received_at) AS last
          FROM music_interactions WHERE trainable AND received_at < :now GROUP BY user_id) listeners
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
        an empty table), listeners of the test fold left out of both tables.
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


def train_qtable(
    engine: sa.Engine,
    registry: "Registry",
    *,
    now: datetime,
    half_life_days: float = pooled.HALF_LIFE_DAYS,
    spread: Spread = in_this_process,
    timer: Callable[[], float] = time.perf_counter,
) -> TrainedTable:
    """Consolidate the log, test the rule on listeners that it has not seen, register the table.

    Parameters
    ----------
    spread
        See `training.data.consolidation.consolidate`.

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
    whole = consolidate(
        engine, now=now, half_life_days=half_life_days, fold=TEST_FOLD, spread=spread
    )
    table = whole.table
    champion = registry.champion(QTABLE)
    baseline = _baseline(engine, registry, champion, spread) if champion else QTable()
    gain, tested = gain_of(engine, baseline, whole.without_fold, now=now)
    curve = learning_curve(
        engine, whole, first, now=now, half_life_days=half_life_days, spread=spread
    )
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
                "rows_used": float(whole.used),
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
            figures=_figures(table, curve),
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
        used=whole.used,
        listeners=listeners,
        gain=gain,
        refused=refused,
        sha256=digest,
        seconds=seconds,
    )


def _baseline(engine: sa.Engine, registry: "Registry", champion: Version, spread: Spread) -> QTable:
    """Return the champion as it would be without the test fold: those listeners are new to both.

    The champion itself has summed what they said, and would foresee it. A version whose run does
    not say as of when it was fitted stands as it is.
    """
    params = registry.run(champion.run_id).params
    if not {"now", "half_life_days"} <= params.keys():
        return registry.load(KIND, champion.number)
    return consolidate(
        engine,
        now=datetime.fromisoformat(params["now"]),
        half_life_days=float(params["half_life_days"]),
        fold=TEST_FOLD,
        spread=spread,
    ).without_fold


def _figures(table: QTable, curve: Mapping[int, Interval]) -> dict[str, bytes]:
    figures = {"qtable.png": qtable_figure(table.columns)}
    if curve:
        figures["learning_curve.png"] = learning_curve_figure(
            curve, of="verdicts", measured="squared error on new listeners"
        )
    return figures
