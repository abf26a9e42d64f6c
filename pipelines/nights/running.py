"""Runs nights: one lock, one Dagster run per night, and an exit code that says how it went."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, datetime
from typing import TYPE_CHECKING

import redis
import sqlalchemy as sa
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from features import nights
from features.nights import Outcome
from pipelines import steps
from pipelines.environment import Environment
from pipelines.nights import alarms, due, webhook
from pipelines.nights.ahead import open_ahead
from pipelines.nights.errors import LockLostError, one_line
from pipelines.nights.lock import Lock, holder, only_one
from pipelines.nights.night import Night
from training.errors import RegistryUnavailableError

if TYPE_CHECKING:
    from dagster import DagsterInstance

FAILED = 30
TRANSIENT = (
    sa.exc.OperationalError,
    sa.exc.InterfaceError,
    redis.ConnectionError,
    redis.TimeoutError,
    RegistryUnavailableError,
)
"""What may be otherwise a moment later; anything else fails at once."""
ATTEMPTS = 4

log = logging.getLogger("bondhu.nightly")
Say = Callable[[str], None]


def run_nights(
    environment: Environment,
    dates: Sequence[date],
    *,
    now: Callable[[], datetime],
    say: Say,
    instance: "DagsterInstance | None" = None,
) -> int:
    """Run nights in order under the lock; return the gravest of their exit codes.

    A night that fails does not keep the later ones from running: it stays due.

    Parameters
    ----------
    instance
        Dagster's, where what ran is kept; None: nowhere.

    Raises
    ------
    NightError
        Another run holds the lock, or may: the session that held it for this one has ended.
    """
    with only_one(environment.engine) as lock:
        return max(
            (
                run_night(environment, one, now=now, say=say, lock=lock, instance=instance)
                for one in dates
            ),
            default=0,
        )


def run_night(
    environment: Environment,
    night_date: date,
    *,
    now: Callable[[], datetime],
    say: Say,
    lock: Lock | None = None,
    instance: "DagsterInstance | None" = None,
) -> int:
    """Run one night, or what is left of it; the caller holds the lock.

    Returns
    -------
    0 promoted or nothing better, 10 declined by a gate, 20 drift, data quality or engagement beyond
    its limits, 30 failed.
    """
    known = _done(environment.engine, night_date)
    if known is not None:
        say(f"{night_date}: done already, with exit code {known}")
        return known
    from pipelines.assets import materialize_night  # noqa: PLC0415 - imports Dagster

    with open_night(environment, night_date, now=now, say=say, lock=lock) as night:
        failure = materialize_night(night, instance)
    night.check_lock()  # how another run's night ended is not ours to write down
    return close_night(night, failure)


@contextmanager
def open_night(
    environment: Environment,
    night_date: date,
    *,
    now: Callable[[], datetime],
    say: Say,
    lock: Lock | None = None,
) -> Iterator[Night]:
    """Write down that a night runs, and lend what its steps share."""
    as_of = nights.begin(
        environment.engine,
        night_date,
        as_of=due.as_of(night_date, now()),
        holder=holder(),
        now=now(),
    )

    def say_night(line: str) -> None:
        say(f"{night_date} {line}")

    with open_ahead(environment) as ahead:
        yield Night(night_date, as_of, environment, now, say_night, lock, ahead)


def close_night(night: Night, failure: str | None) -> int:
    """Write down how a night ended, and call for whoever should look; return its exit code."""
    engine = night.environment.engine
    found = alarms.verdict(night, failure)
    for line in found.alarms:
        night.say(line)
    if found.exit_code:  # before the end is written down: a kill here calls twice, not never
        webhook.call(night, found)
    nights.finish(
        engine, night.date, exit_code=found.exit_code, outcome=found.outcome(), now=night.now()
    )
    if failure is not None:
        _report_as_far_as_it_came(night)
    return found.exit_code


def is_done(night: Night) -> bool:
    """Return whether every step of a night came to its end."""
    found = nights.steps(night.environment.engine, night.date)
    return all(name in found and found[name].status == "done" for name in steps.STEPS)


def _report_as_far_as_it_came(night: Night) -> None:
    """Report a night that failed; what failed it may fail the report too, and no night after it."""
    with ThreadPoolExecutor(1) as executor:
        error = executor.submit(steps.STEPS["report"], night).exception()
    if error is not None:
        night.say(f"the report could not be written: {one_line(error)}")


def do_step(night: Night, name: str) -> Outcome:
    """Do a step unless it is done; what may pass is tried again, 1, 2 and 4 s later.

    What a step came to is written down only when it has come to its end, and a step that was killed
    in between is done again.

    Raises
    ------
    LockLostError
        Another night may run; of this step nothing is written down.
    """
    engine = night.environment.engine
    known = nights.steps(engine, night.date).get(name)
    if known is not None and known.status == "done":
        night.say(f"{name}: done already")
        return known.outcome
    night.say(name)
    began = time.perf_counter()

    def end(outcome: Outcome, *, failed: bool) -> None:
        nights.end_step(
            engine,
            night.date,
            name,
            failed=failed,
            seconds=time.perf_counter() - began,
            outcome=outcome,
        )

    for attempt in Retrying(
        retry=retry_if_exception_type(TRANSIENT),
        wait=wait_exponential(multiplier=1, max=30),
        stop=stop_after_attempt(ATTEMPTS),
        reraise=True,
    ):
        night.check_lock()  # before each attempt: a server that came back has forgotten it
        with attempt, _noting_failure(end):
            nights.begin_step(engine, night.date, name, now=night.now())
            outcome = steps.STEPS[name](night)
    night.check_lock()
    end(outcome, failed=False)
    return outcome


@contextmanager
def _noting_failure(end: Callable[..., None]) -> Iterator[None]:
    """Write a failure down on its way through.

    An interrupt is none: the step is left as by a kill. Nor is a lost lock: another night may have
    done the step meanwhile.
    """
    try:
        yield
    except LockLostError:
        raise
    except Exception as error:
        try:
            end({"error": one_line(error)}, failed=True)
        except sa.exc.SQLAlchemyError:  # the database itself is away
            log.debug("a failure could not be written down")
        raise


def _done(engine: sa.Engine, night_date: date) -> int | None:
    row = next(iter(nights.nights(engine, until=night_date, most=1)), None)
    if row is None or row.night != night_date or row.status != "done":
        return None
    return row.exit_code
