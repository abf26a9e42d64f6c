"""One night at a time: a lock that ends with its session, and a night that ends with its lock."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from due_nights import now, run

from features import nights
from features.database import connect
from pipelines import promoting, steps
from pipelines.environment import Environment
from pipelines.nights import due
from pipelines.nights.errors import LockLostError, NightError
from pipelines.nights.lock import only_one
from pipelines.nights.night import Night
from recommender.scoring import PRIOR
from training.review.promotion import history
from training.runs import Run
from training.scorer_flavour import KIND

Outcome = nights.Outcome


def test_a_second_run_says_who_holds_the_lock(engine: sa.Engine, database_url: str) -> None:
    other = connect(database_url)
    said = r"another night runs since .* pid \d+"
    with only_one(other), pytest.raises(NightError, match=said), only_one(engine):
        pass
    with only_one(engine):
        pass
    other.dispose()


END_OF_HOLDER = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name LIKE 'bondhu nightly%' AND datname = current_database()"
)


def test_the_lock_goes_with_its_session(engine: sa.Engine, database_url: str) -> None:
    other = connect(database_url)
    with only_one(other) as lock, engine.connect() as connection:
        lock.check()
        connection.execute(END_OF_HOLDER)
        with pytest.raises(LockLostError, match="another night may run"):
            lock.check()
        with only_one(engine) as next_one:  # as another machine's
            next_one.check()
            with pytest.raises(LockLostError):
                lock.check()
    with only_one(engine):
        pass
    other.dispose()


def test_a_night_that_lost_its_lock_ends_before_its_next_step(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def step(name: str) -> Callable[[Night], Outcome]:
        def work(night: Night) -> Outcome:
            calls.append(name)
            if calls == ["refresh_history", "refresh_features"]:
                with environment.engine.begin() as connection:
                    connection.execute(END_OF_HOLDER)
            return {}

        return work

    monkeypatch.setattr(steps, "STEPS", {name: step(name) for name in steps.STEPS})
    with pytest.raises(LockLostError) as told:
        run(environment, [])
    assert len(str(told.value).splitlines()) == 1
    assert calls == ["refresh_history", "refresh_features"]
    # How it ended may be another night's by now: nothing was written down, and it is due.
    found = nights.steps(environment.engine, now().date())
    assert [one.status for one in found.values()] == ["done", "running"]
    assert due.due(environment.engine, now(), catch_up=7) == [now().date()]
    assert run(environment, []) == 0
    assert calls.count("refresh_history") == 1
    assert calls.count("refresh_features") == 2


def test_nothing_is_decided_without_the_lock(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = environment.registry()
    registry.ensure_prior()
    version = registry.log_run(Run("night"), KIND, PRIOR, {})
    trained = {"version": version.number, "run_id": version.run_id}
    monkeypatch.setattr(Night, "outcome", lambda night, step: trained)
    with only_one(environment.engine) as lock:
        night = Night(now().date(), now(), environment, now, lambda line: None, lock)
        with environment.engine.begin() as connection:
            connection.execute(END_OF_HOLDER)
        with pytest.raises(LockLostError):
            promoting.promote_one(night, "scorer")
    assert history(registry, "scorer") == []
