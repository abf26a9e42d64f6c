"""Nights as rows: which ran, how far each came, how each ended."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

_BEGIN = sa.text(
    """
    INSERT INTO nights (night, as_of, status, holder, started_at)
    VALUES (:night, :as_of, 'running', :holder, :now)
    ON CONFLICT (night) DO UPDATE SET status = 'running', holder = excluded.holder,
        finished_at = NULL, exit_code = NULL
    RETURNING as_of
    """
)
_FINISH = sa.text(
    """
    UPDATE nights SET status = :status, finished_at = :now, exit_code = :exit_code,
        outcome = CAST(:outcome AS jsonb)
    WHERE night = :night
    """
)
_REPORTED = sa.text("UPDATE nights SET report_path = :path, run_id = :run_id WHERE night = :night")
_BEGIN_STEP = sa.text(
    """
    INSERT INTO night_steps AS s (night, step, status, attempts, started_at)
    VALUES (:night, :step, 'running', 1, :now)
    ON CONFLICT (night, step) DO UPDATE SET status = 'running', attempts = s.attempts + 1,
        started_at = excluded.started_at, seconds = NULL, outcome = '{}'
    """
)
_END_STEP = sa.text(
    """
    UPDATE night_steps SET status = :status, seconds = :seconds, outcome = CAST(:outcome AS jsonb)
    WHERE night = :night AND step = :step
    """
)
_NIGHTS = sa.text(
    """
    SELECT night, as_of, status, holder, started_at, finished_at, exit_code, outcome, report_path,
           run_id
    FROM nights WHERE night <= :until ORDER BY night DESC LIMIT :most
    """
)
_STEPS = sa.text(
    "SELECT step, status, attempts, seconds, outcome FROM night_steps WHERE night = :night"
    " ORDER BY started_at, step"
)
_LAST_DONE = sa.text("SELECT max(night) FROM nights WHERE status = 'done' AND night <= :until")
_LAST_WATCHED = sa.text(
    "SELECT max(n.as_of) FROM nights n JOIN night_steps s USING (night)"
    " WHERE s.step = 'watch' AND s.status = 'done' AND n.as_of < :before"
)
_UNFINISHED = sa.text(
    "SELECT night FROM nights WHERE status <> 'done' AND night BETWEEN :since AND :until"
)

Outcome = dict[str, Any]
"""What a step came to, as JSON holds it."""


@dataclass(frozen=True)
class NightRow:
    """A night as it is written down; see migration 0008."""

    night: date
    as_of: datetime
    status: str
    holder: str
    started_at: datetime
    finished_at: datetime | None
    exit_code: int | None
    outcome: Outcome
    report_path: str | None
    run_id: str | None


@dataclass(frozen=True)
class StepRow:
    """A step of a night as it is written down."""

    step: str
    status: str
    attempts: int
    seconds: float | None
    outcome: Outcome


def begin(
    engine: sa.Engine, night: date, *, as_of: datetime, holder: str, now: datetime
) -> datetime:
    """Write down that a night runs; returns as of when: what its first start said."""
    asked = {"night": night, "as_of": as_of, "holder": holder, "now": now}
    with engine.begin() as connection:
        stored: datetime = connection.execute(_BEGIN, asked).scalar_one()
    return stored


def finish(
    engine: sa.Engine, night: date, *, exit_code: int, outcome: Outcome, now: datetime
) -> None:
    """Write down how a night ended; one that failed is taken up again by the next run."""
    asked = {
        "night": night,
        "status": "failed" if exit_code == 30 else "done",
        "exit_code": exit_code,
        "outcome": json.dumps(outcome),
        "now": now,
    }
    with engine.begin() as connection:
        connection.execute(_FINISH, asked)


def note_report(engine: sa.Engine, night: date, *, path: str, run_id: str | None) -> None:
    """Write down where a night's report is."""
    with engine.begin() as connection:
        connection.execute(_REPORTED, {"night": night, "path": path, "run_id": run_id})


def begin_step(engine: sa.Engine, night: date, step: str, *, now: datetime) -> None:
    """Write down that a step is tried."""
    with engine.begin() as connection:
        connection.execute(_BEGIN_STEP, {"night": night, "step": step, "now": now})


def end_step(
    engine: sa.Engine,
    night: date,
    step: str,
    *,
    failed: bool,
    seconds: float,
    outcome: Mapping[str, Any],
) -> None:
    """Write down what a step came to."""
    asked = {
        "night": night,
        "step": step,
        "status": "failed" if failed else "done",
        "seconds": seconds,
        "outcome": json.dumps(outcome),
    }
    with engine.begin() as connection:
        connection.execute(_END_STEP, asked)


def steps(engine: sa.Engine, night: date) -> dict[str, StepRow]:
    """Return the steps of a night by name, in the order in which they were begun."""
    with engine.connect() as connection:
        rows = connection.execute(_STEPS, {"night": night}).all()
    return {row[0]: StepRow(*row) for row in rows}


def nights(engine: sa.Engine, *, until: date, most: int) -> list[NightRow]:
    """Return the latest nights up to a date, the newest first."""
    with engine.connect() as connection:
        return [
            NightRow(*row) for row in connection.execute(_NIGHTS, {"until": until, "most": most})
        ]


def is_done(engine: sa.Engine, night: date) -> bool:
    """Return whether a night came to its end."""
    row = next(iter(nights(engine, until=night, most=1)), None)
    return row is not None and row.night == night and row.status == "done"


def last_done(engine: sa.Engine, *, until: date) -> date | None:
    """Return the latest night up to a date that came to its end, None where there is none."""
    with engine.connect() as connection:
        found: date | None = connection.scalar(_LAST_DONE, {"until": until})
    return found


def last_watched(engine: sa.Engine, *, before: datetime) -> datetime | None:
    """Return the latest moment before another up to which a night watched, if any.

    Whatever else that night came to: what it has looked at is not looked at again.
    """
    with engine.connect() as connection:
        found: datetime | None = connection.scalar(_LAST_WATCHED, {"before": before})
    return found


def watched_since(engine: sa.Engine, night: date, *, as_of: datetime) -> datetime:
    """Return from when on the watch of a night looked, up to its moment: a day, where it did not.

    A day too for nights whose watch did not write that down.
    """
    found = steps(engine, night).get("watch")
    said = None if found is None else found.outcome.get("since")
    return as_of - timedelta(days=1) if said is None else datetime.fromisoformat(said)


def unfinished(engine: sa.Engine, *, since: date, until: date) -> set[date]:
    """Return the nights of a stretch that were begun and did not come to their end."""
    with engine.connect() as connection:
        return set(connection.scalars(_UNFINISHED, {"since": since, "until": until}))
