"""What Dagster's daemon starts: it loads, and histories are asked for once in six hours."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from pydantic import SecretStr
from spotify_server import CLIENT_ID, CLIENT_SECRET, SpotifyStandIn, running
from webhook_receiver import receiver

from features import nights
from features.settings import Settings
from features.sources import spotify_grants
from features.sources.spotify_access import SpotifyAccess
from features.sources.spotify_grants import Token
from features.users import ensure_user
from pipelines import steps
from pipelines.environment import Environment
from pipelines.nights.night import Night

if TYPE_CHECKING:
    from dagster import DagsterInstance


def test_the_definitions_load_and_draw_the_lineage() -> None:
    from dagster import AssetKey  # noqa: PLC0415 - 1.5 s

    from pipelines.definitions import SCHEDULES, defs  # noqa: PLC0415 - imports Dagster

    defs.get_repository_def().load_all_definitions()
    assert {one.job_name: one.cron_schedule for one in SCHEDULES} == {
        "nightly": "0 3 * * *",
        "histories": "30 */6 * * *",
    }
    assert {one.execution_timezone for one in SCHEDULES} == {"UTC"}
    graph = defs.resolve_asset_graph()

    def ancestors(name: str) -> set[str]:
        parents = {key.to_user_string() for key in graph.get(AssetKey(name)).parent_keys}
        return parents.union(*map(ancestors, parents))

    # From tables to models, and only by what is read.
    assert {"plays", "tracks", "refresh_features"} <= ancestors("train_colisten")
    assert ancestors("consolidate_qtables") == {"music_interactions"}
    assert not {"consolidate_qtables", "train_audio_estimator"} & ancestors("train_colisten")
    assert "promote_colisten" in ancestors("train_scorer")  # by way of its champion
    assert "promote" in ancestors("precompute")


def test_every_step_comes_after_those_that_it_names() -> None:
    place = {name: at for at, name in enumerate(steps.STEPS)}
    assert steps.AFTER.keys() == steps.STEPS.keys()
    for name, before in steps.AFTER.items():
        assert all(place[one] < place[name] for one in before)


def test_the_tick_of_three_o_clock_makes_one_night_and_a_second_tick_none(
    engine: sa.Engine,
    database_url: str,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from dagster import DagsterRunStatus  # noqa: PLC0415 - with what it imports, 3 s

    from pipelines import definitions  # noqa: PLC0415 - imports Dagster

    calls: list[tuple[date, datetime, str]] = []

    def step(name: str) -> Callable[[Night], nights.Outcome]:
        def work(night: Night) -> nights.Outcome:
            calls.append((night.date, night.as_of, name))
            return {}

        return work

    settings = Settings(bondhu_home=tmp_path, database_url=database_url, redis_url=redis_url)
    monkeypatch.setattr(steps, "STEPS", {name: step(name) for name in steps.STEPS})
    monkeypatch.setattr(definitions, "read_settings", lambda: settings)
    clock = [datetime(2026, 5, 20, 2, 59, tzinfo=UTC)]
    monkeypatch.setattr(definitions, "_now", lambda: clock[0])
    with daemon(tmp_path / "dagster") as (instance, iterate):
        iterate(clock[0])  # it comes to know the schedules
        clock[0] = datetime(2026, 5, 20, 2, 59, 59, tzinfo=UTC)
        iterate(clock[0])
        assert instance.get_runs() == []
        for late in (1, 2, 65):  # every later look at the same tick
            clock[0] = datetime(2026, 5, 20, 3, tzinfo=UTC) + timedelta(seconds=late)
            iterate(clock[0])
        (run,) = [one for one in instance.get_runs() if one.job_name == "nightly"]
        assert run.status is DagsterRunStatus.SUCCESS
        assert run.tags["night"] == "2026-05-20"
        assert [name for _, _, name in calls] == list(steps.STEPS)
        assert {(night, moment) for night, moment, _ in calls} == {
            (date(2026, 5, 20), datetime(2026, 5, 20, 3, 0, 1, tzinfo=UTC))
        }
        clock[0] = datetime(2026, 5, 21, 3, 0, 1, tzinfo=UTC)
        iterate(clock[0])
        runs = [one for one in instance.get_runs() if one.job_name == "nightly"]
        assert [one.tags["night"] for one in runs] == ["2026-05-21", "2026-05-20"]
    rows = nights.nights(engine, until=date(2026, 5, 21), most=9)
    assert [(row.night, row.status) for row in rows] == [
        (date(2026, 5, 21), "done"),
        (date(2026, 5, 20), "done"),
    ]


def test_a_tick_that_is_asked_twice_asks_for_the_same_run() -> None:
    from dagster import build_schedule_context  # noqa: PLC0415 - 1.5 s

    from pipelines.definitions import nightly_schedule  # noqa: PLC0415 - imports Dagster

    def asked(at: datetime) -> tuple[str | None, Any]:
        data = nightly_schedule.evaluate_tick(build_schedule_context(scheduled_execution_time=at))
        (request,) = data.run_requests or []
        return request.run_key, request.run_config

    at = datetime(2026, 5, 20, 3, tzinfo=UTC)
    config = {"ops": {"due_nights": {"config": {"date": "2026-05-20"}}}}
    assert asked(at) == asked(at) == ("2026-05-20", config)


def test_somebody_is_called_where_a_scheduled_night_cannot_start(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines import definitions  # noqa: PLC0415 - imports Dagster

    with receiver(200) as (url, got):
        settings = Settings(
            bondhu_home=tmp_path,
            bondhu_webhook_url=SecretStr(url),
            database_url="postgresql://ada:lovelace@127.0.0.1:9/bondhu",
            redis_url=redis_url,
        )
        monkeypatch.setattr(definitions, "read_settings", lambda: settings)
        assert not definitions.nightly.execute_in_process(raise_on_error=False).success
    (message,) = got
    assert message["exit_code"] == 30
    (alarm,) = message["alarms"]
    assert "ada:***@127.0.0.1:9/bondhu cannot be used" in alarm


@contextmanager
def daemon(home: Path) -> Iterator[tuple["DagsterInstance", Callable[[datetime], None]]]:
    """Dagster's own scheduler over `pipelines.definitions`, as its daemon calls it, clock in hand.

    What it starts runs in this process and is over when the call returns.
    """
    from dagster import instance_for_test  # noqa: PLC0415 - 1.5 s
    from dagster._core.remote_origin import InProcessCodeLocationOrigin  # noqa: PLC0415
    from dagster._core.test_utils import (  # noqa: PLC0415
        create_test_daemon_workspace_context,
        freeze_time,
    )
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin  # noqa: PLC0415
    from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget  # noqa: PLC0415
    from dagster._scheduler.scheduler import launch_scheduled_runs  # noqa: PLC0415

    module = LoadableTargetOrigin(
        executable_path=sys.executable, module_name="pipelines.definitions"
    )
    place = InProcessWorkspaceLoadTarget(
        InProcessCodeLocationOrigin(module, location_name="bondhu")
    )
    home.mkdir()
    with (
        instance_for_test(
            temp_dir=str(home), synchronous_run_launcher=True, synchronous_run_coordinator=True
        ) as instance,
        create_test_daemon_workspace_context(place, instance) as workspace,
    ):
        times: dict[str, Any] = {}

        def iterate(now: datetime) -> None:
            with freeze_time(now):
                errors = list(
                    launch_scheduled_runs(workspace, logging.getLogger("daemon"), now, times)
                )
            assert not any(errors), errors

        yield instance, iterate


@pytest.fixture
def spotify() -> Iterator[SpotifyStandIn]:
    with running() as stand_in:
        yield stand_in


def test_histories_of_granted_listeners_are_refreshed_when_they_are_due(
    engine: sa.Engine, database_url: str, redis_url: str, spotify: SpotifyStandIn
) -> None:
    settings = Settings(
        spotify_client_id=CLIENT_ID,
        spotify_client_secret=SecretStr(CLIENT_SECRET),
        spotify_api_url=spotify.url,
        spotify_accounts_url=spotify.url,
        spotify_rpm=10_000,
        bondhu_token_key=SecretStr(Fernet.generate_key().decode()),
    )
    now = datetime.now(UTC)
    with SpotifyAccess(settings, engine, redis_url) as access, engine.begin() as connection:
        ensure_user(connection, "ada", source="api", now=now)
        token = Token(
            access_token="expired",
            refresh_token="refresh-0",
            expires_at=int(now.timestamp()) - 10,
        )
        spotify_grants.save_grant(
            connection, access.vault(), "ada", token, "user-top-read", now=now
        )
    environment = Environment(settings, database_url, redis_url, "", engine)
    clock = [now]
    night = Night(now.date(), now, environment, lambda: clock[0], lambda line: None)
    expected = {"grants": 1, "still_due": 0, "in_the_way": []}
    assert steps.refresh_history(night) == expected
    with engine.connect() as connection:
        plays = connection.execute(sa.text("SELECT count(*), bool_or(trainable) FROM plays")).one()
    assert tuple(plays) == (50, False)
    asked = spotify.asked["recently-played"]
    clock[0] = now + timedelta(hours=5)
    assert steps.refresh_history(night) == expected
    assert spotify.asked["recently-played"] == asked
    clock[0] = now + timedelta(hours=7)
    assert steps.refresh_history(night) == expected
    assert spotify.asked["recently-played"] == asked + 1


def test_a_past_night_does_not_ask(engine: sa.Engine, database_url: str, redis_url: str) -> None:
    now = datetime.now(UTC)
    environment = Environment(Settings(), database_url, redis_url, "", engine)
    with engine.begin() as connection:
        ensure_user(connection, "ada", source="api", now=now)
        connection.execute(
            sa.text(
                "INSERT INTO spotify_grants (user_id, token, scope, state, granted_at,"
                " refreshed_at)"
                " VALUES ('ada', '', '', 'active', now(), now())"
            )
        )
    past = Night(now.date(), now - timedelta(days=2), environment, lambda: now, lambda line: None)
    assert "skipped" in steps.refresh_history(past)
