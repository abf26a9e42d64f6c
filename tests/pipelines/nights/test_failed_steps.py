"""A night that fails: what goes on, what it says, what is taken up again."""

import threading
from collections.abc import Callable
from datetime import timedelta
from html import escape
from pathlib import Path

import pytest
import sqlalchemy as sa
from due_nights import now, run
from webhook_receiver import receiver

from features import nights
from features.database import connect, mlflow_uri
from pipelines import steps
from pipelines.commands.nightly import nightly
from pipelines.environment import Environment
from pipelines.nights import due, running
from pipelines.nights.errors import LockLostError
from pipelines.nights.night import Night
from pipelines.servers import Postgres
from training.errors import RegistryUnavailableError
from training.registry import Registry

Outcome = nights.Outcome


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
    "watch": {"promote_colisten", "train_scorer", "evaluate", "promote"},
    "train_colisten": {"promote_colisten", "train_scorer", "evaluate", "promote"},
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
