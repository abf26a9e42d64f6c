"""What Dagster's daemon starts: it loads, and histories are asked for once in six hours."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from pydantic import SecretStr
from spotify_server import CLIENT_ID, CLIENT_SECRET, SpotifyStandIn, running

from features.settings import Settings
from features.sources import spotify_grants
from features.sources.spotify_access import SpotifyAccess
from features.sources.spotify_grants import Token
from features.users import ensure_user
from pipelines import steps
from pipelines.environment import Environment
from pipelines.nights.night import Night


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
    children = graph.get(AssetKey("refresh_features")).child_keys
    names = {key.to_user_string() for key in children}
    assert {"train_colisten", "train_scorer", "consolidate_qtables"} <= names


def test_every_step_comes_after_those_that_it_names() -> None:
    place = {name: at for at, name in enumerate(steps.STEPS)}
    assert steps.AFTER.keys() == steps.STEPS.keys()
    for name, before in steps.AFTER.items():
        assert all(place[one] < place[name] for one in before)


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
