"""One night of today: its lists are hits of the service, its report is kept, once is enough."""

import asyncio
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path

import pytest
import sqlalchemy as sa
from nights_world import NightsWorld
from pydantic import SecretStr
from serving_world import SECRET, opened
from webhook_receiver import receiver

import pipelines.environment
from features import nights
from features.database import connect, mlflow_uri
from features.settings import Settings
from pipelines import promoting, steps
from pipelines.commands.nightly import nightly
from pipelines.environment import Environment
from pipelines.nights import due, running
from pipelines.nights.errors import LockLostError, NightError
from pipelines.nights.lock import only_one
from pipelines.nights.night import Night
from pipelines.servers import Postgres
from recommender.scoring import PRIOR
from training.errors import RegistryUnavailableError
from training.registry import Registry
from training.review.promotion import history
from training.runs import Run
from training.scorer_flavour import KIND

Outcome = nights.Outcome


@pytest.fixture
def environment(
    engine: sa.Engine,
    database_url: str,
    mlflow_tables: None,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Environment:
    monkeypatch.setattr(pipelines.environment, "ARTIFACTS", tmp_path / "mlruns")
    uri = f"{mlflow_uri(database_url)}&application_name={uuid.uuid4().hex}"
    settings = Settings(
        bondhu_home=tmp_path,
        database_url=database_url,
        redis_url=redis_url,
        mlflow_tracking_uri=uri,
        bondhu_jwt_secret=SecretStr(SECRET),
    )
    return Environment(settings, database_url, redis_url, uri, engine)


def now() -> datetime:
    return datetime.now(UTC)


def run(environment: Environment, said: list[str]) -> int:
    dates = due.due(environment.engine, now(), catch_up=7)
    return running.run_nights(environment, dates or [now().date()], now=now, say=said.append)


def test_the_first_call_of_the_day_is_a_hit(environment: Environment) -> None:
    engine = environment.engine
    world = NightsWorld(engine, listeners=40, artists=20, tracks_each=3, circles=2, start=now())
    world.plant(plays=20)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE tracks SET track_name = '<script>alert(1)</script>'"))
    said: list[str] = []
    code = run(environment, said)
    assert code in (0, 20)

    async def first_call() -> str:
        async with opened(environment.settings) as client:
            answer = await client.recommend(user="user000")
            return str(answer["metadata"]["cache"])

    assert asyncio.run(first_call()) == "hit"
    (night,) = nights.nights(engine, until=now().date(), most=9)
    assert night.status == "done"
    assert night.exit_code == code
    assert list(nights.steps(engine, night.night)) == list(steps.STEPS)
    assert night.report_path is not None
    assert night.run_id is not None
    html = Path(night.report_path).read_text(encoding="utf-8")
    kept = environment.registry().artifact(night.run_id, Path(night.report_path).name)
    assert kept.decode() == html
    assert "://" not in html

    assert due.due(engine, now(), catch_up=7) == []
    again: list[str] = []
    assert run(environment, again) == code
    assert again == [f"{night.night}: done already, with exit code {code}"]


def test_what_may_pass_is_tried_again_and_what_failed_is_taken_up(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def step(name: str) -> Callable[[Night], Outcome]:
        def work(night: Night) -> Outcome:
            calls.append(name)
            if name == "watch" and calls.count(name) == 1:
                raise sa.exc.OperationalError("SELECT", {}, Exception("the server is starting"))
            if name == "evaluate" and calls.count(name) == 1:
                raise ValueError("<b>no</b> such thing")
            return {}

        return work

    replaced = {name: step(name) for name in steps.STEPS} | {"report": steps.STEPS["report"]}
    monkeypatch.setattr(steps, "STEPS", replaced)
    said: list[str] = []
    assert run(environment, said) == 30
    assert calls.count("watch") == 2
    assert "promote" not in calls
    today = now().date()
    found = nights.steps(environment.engine, today)
    assert found["watch"].attempts == 2
    assert found["evaluate"].outcome == {"error": "ValueError: <b>no</b> such thing"}
    (row,) = nights.nights(environment.engine, until=today, most=1)
    assert row.outcome["alarms"] == ["failed: evaluate: ValueError: <b>no</b> such thing"]
    assert row.report_path is not None
    html = Path(row.report_path).read_text(encoding="utf-8")
    assert "&lt;b&gt;no&lt;/b&gt; such thing" in html
    assert "<b>no" not in html

    assert due.due(environment.engine, now(), catch_up=7) == [today]
    assert run(environment, said) == 0
    assert calls.count("watch") == 2
    assert calls.count("evaluate") == 2


LEFT_OUT = {
    "refresh_history": set(),
    "refresh_features": {
        "watch", "train_audio_estimator", "train_colisten", "promote_colisten", "train_scorer",
        "evaluate", "promote", "precompute",
    },
    "watch": {"promote_colisten", "promote"},
    "train_colisten": {"promote_colisten", "evaluate", "promote"},
    "train_scorer": {"evaluate", "promote"},
    "precompute": set(),
    "clean": set(),
}  # fmt: skip
"""Step -> the steps that a night leaves out where this one fails, beside its report as a step."""


@pytest.mark.parametrize("failing", LEFT_OUT)
def test_a_failed_step_stops_those_that_need_it_and_no_others(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    calls: list[str] = []

    def step(name: str) -> Callable[[Night], Outcome]:
        def work(night: Night) -> Outcome:
            calls.append(name)
            if calls.count(failing) == 1 and name == failing:
                raise ValueError("no")
            return {}

        return work

    names = [name for name in steps.STEPS if name != "report"]
    monkeypatch.setattr(steps, "STEPS", {name: step(name) for name in steps.STEPS})
    assert run(environment, []) == 30
    went = [name for name in names if name not in LEFT_OUT[failing]]
    assert calls == [*went, "report"]  # in the order of every night; reported as far as it came
    assert due.due(environment.engine, now(), catch_up=7) == [now().date()]
    calls[:] = [failing]
    assert run(environment, []) == 0
    again = [name for name in names if name == failing or name in LEFT_OUT[failing]]
    assert calls[1:] == [*again, "report"]


DECIDED = {"promoted": True, "gate": None, "version": 3, "message": "colisten 3 is better"}


def test_a_failed_night_says_what_it_promoted_and_keeps_its_latest_report(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = ["no <room>", "no time"]

    def train_scorer(night: Night) -> Outcome:
        raise ValueError(errors[0])

    kept = {"report": steps.STEPS["report"], "train_scorer": train_scorer}
    kept["promote_colisten"] = lambda night: DECIDED
    replaced: dict[str, Callable[[Night], Outcome]] = {name: lambda _: {} for name in steps.STEPS}
    monkeypatch.setattr(steps, "STEPS", replaced | kept)
    runs = set()
    while errors:
        assert run(environment, []) == 30
        (row,) = nights.nights(environment.engine, until=now().date(), most=1)
        assert row.outcome["promoted"] == ["colisten 3 is better"]
        assert row.run_id is not None
        runs.add(row.run_id)
        html = Path(str(row.report_path)).read_text(encoding="utf-8")
        assert escape(errors.pop(0)) in html
        assert "colisten 3 is better" in html
        name = f"night-{row.night}.html"
        assert environment.registry().artifact(row.run_id, name).decode() == html
    assert len(runs) == 1


def test_a_report_that_fails_keeps_no_later_night_from_running(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(night: Night) -> Outcome:
        raise ValueError("no room")

    replaced: dict[str, Callable[[Night], Outcome]] = {name: lambda _: {} for name in steps.STEPS}
    monkeypatch.setattr(steps, "STEPS", replaced | {"report": broken})
    said: list[str] = []
    dates = [now().date() - timedelta(days=1), now().date()]
    assert running.run_nights(environment, dates, now=now, say=said.append) == 30
    assert said.count(f"{dates[1]} the report could not be written: ValueError: no room") == 1
    rows = nights.nights(environment.engine, until=dates[1], most=9)
    assert [(row.night, row.status) for row in rows] == [(one, "failed") for one in dates[::-1]]


def test_a_step_by_hand_does_not_make_its_night_done(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagster import DagsterResourceFunctionError, materialize  # noqa: PLC0415 - 1.5 s

    from pipelines import assets, definitions  # noqa: PLC0415 - imports Dagster

    replaced: dict[str, Callable[[Night], Outcome]] = {name: lambda _: {} for name in steps.STEPS}
    monkeypatch.setattr(steps, "STEPS", replaced)
    monkeypatch.setattr(definitions, "read_settings", lambda: environment.settings)

    def by_hand(*names: str) -> None:
        resources = {"night": definitions.night}
        assert materialize(assets.ASSETS, resources=resources, selection=names).success

    by_hand("watch")
    assert due.due(environment.engine, now(), catch_up=7) == [now().date()]
    by_hand(*steps.STEPS)
    assert due.due(environment.engine, now(), catch_up=7) == []

    # What is done is not begun again, nor what has not come yet.
    done = nights.nights(environment.engine, until=now().date(), most=9)
    for night, why in (
        ("", f"the night of {now().date()} is done"),
        ("2999-01-01", "has not come yet"),
        ("tomorrow", "is no date"),
    ):
        with pytest.raises(DagsterResourceFunctionError) as told:
            materialize(
                assets.ASSETS,
                resources={"night": definitions.night.configured({"date": night})},
                selection=["watch"],
            )
        (line,) = str(told.value.__cause__).splitlines()
        assert why in line
    assert nights.nights(environment.engine, until=now().date(), most=9) == done


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


def test_an_outage_of_the_registry_is_waited_for(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres = Postgres(tmp_path / "of mlflow")
    postgres.start()
    try:
        with connect(postgres.url).begin() as connection:
            connection.execute(sa.text("CREATE SCHEMA mlflow"))
        registry = Registry(mlflow_uri(postgres.url), tmp_path / "artifacts")
        registry.ensure_prior()
        back = threading.Timer(1.5, postgres.start)
        calls: list[str] = []

        def watch(night: Night) -> Outcome:
            calls.append("watch")
            if len(calls) == 1:
                postgres.stop()
                back.start()
            return {"versions": len(registry.versions("scorer"))}

        quiet: dict[str, Callable[[Night], Outcome]] = {name: lambda _: {} for name in steps.STEPS}
        monkeypatch.setattr(steps, "STEPS", quiet | {"watch": watch})
        assert run(environment, []) == 0
        found = nights.steps(environment.engine, now().date())["watch"]
        assert (found.attempts, found.outcome) == (len(calls), {"versions": 1})
        assert len(calls) > 1
        back.join()
        postgres.stop()
        with pytest.raises(RegistryUnavailableError, match="MLflow's database went away") as told:
            registry.champion("scorer")
        assert len(str(told.value).splitlines()) == 1
        with pytest.raises(RegistryUnavailableError), registry.turn("scorer"):
            pass
    finally:
        postgres.stop()


def test_somebody_is_called_where_a_night_loses_postgres_for_good(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres = Postgres(tmp_path / "of bondhu")
    postgres.start()
    calls: list[str] = []

    def step(name: str) -> Callable[[Night], Outcome]:
        def work(night: Night) -> Outcome:
            calls.append(name)
            if name == "watch":
                postgres.stop()
            return {}

        return work

    monkeypatch.setattr(steps, "STEPS", {name: step(name) for name in steps.STEPS})
    monkeypatch.setattr(running, "ATTEMPTS", 1)
    try:
        with receiver(200) as (hook, got):
            for name, value in (
                ("DATABASE_URL", postgres.url),
                ("REDIS_URL", redis_url),
                ("BONDHU_HOME", str(tmp_path)),
                ("BONDHU_WEBHOOK_URL", hook),
            ):
                monkeypatch.setenv(name, value)
            with pytest.raises((LockLostError, sa.exc.OperationalError)):
                nightly()
    finally:
        postgres.stop()
    (message,) = got
    assert (message["night"], message["exit_code"]) == (now().date().isoformat(), 30)
    (alarm,) = message["alarms"]
    assert alarm.startswith("failed: ")
    assert calls == ["refresh_history", "refresh_features", "watch"]


def test_missed_nights_are_due_as_far_back_as_is_set(engine: sa.Engine) -> None:
    at = datetime(2026, 5, 20, 12, tzinfo=UTC)
    today = at.date()
    assert due.due(engine, at, catch_up=7) == [today]
    last = today - timedelta(days=3)
    nights.begin(engine, last, as_of=at, holder="a", now=at)
    nights.finish(engine, last, exit_code=0, outcome={}, now=at)
    assert due.due(engine, at, catch_up=7) == [today - timedelta(days=n) for n in (2, 1, 0)]
    assert due.due(engine, at, catch_up=1) == [today - timedelta(days=1), today]
    nights.begin(engine, today, as_of=at, holder="a", now=at)
    nights.finish(engine, today, exit_code=10, outcome={}, now=at)
    assert due.due(engine, at, catch_up=7) == []
    nights.begin(engine, last - timedelta(days=1), as_of=at, holder="a", now=at)
    assert due.due(engine, at, catch_up=7) == [last - timedelta(days=1)]


def test_a_night_begun_keeps_its_moment(engine: sa.Engine) -> None:
    at = datetime(2026, 5, 20, 12, tzinfo=UTC)
    for hours in (0, 5):
        later = at + timedelta(hours=hours)
        kept = nights.begin(engine, at.date(), as_of=later, holder="a", now=later)
        assert kept == at
