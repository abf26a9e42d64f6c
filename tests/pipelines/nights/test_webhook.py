"""Somebody is called; a receiver that fails is tried again, and its address is never told."""

import logging
from datetime import UTC, datetime
from typing import cast

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from webhook_receiver import receiver

from features.settings import Settings, SettingsError, read_settings
from pipelines.environment import Environment
from pipelines.nights import webhook
from pipelines.nights.alarms import Verdict
from pipelines.nights.errors import LockLostError, NightError
from pipelines.nights.night import Night

NOW = datetime(2026, 5, 20, 3, tzinfo=UTC)
FOUND = Verdict(20, ["drift: energy moved"], [], [])


def call(url: str | None, said: list[str]) -> bool:
    settings = Settings(bondhu_webhook_url=None if url is None else SecretStr(url))
    environment = cast(Environment, type("E", (), {"settings": settings}))
    return webhook.call(Night(NOW.date(), NOW, environment, lambda: NOW, said.append), FOUND)


def test_it_is_told_what_the_report_begins_with() -> None:
    with receiver(204) as (url, got):
        assert call(url, [])
    (message,) = got
    assert (message["night"], message["exit_code"]) == ("2026-05-20", 20)
    assert message["alarms"] == ["drift: energy moved"]


def test_it_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), receiver(503, 500, 200) as (url, got):
        assert call(url, [])
    assert len(got) == 3
    assert "a-secret-path" not in caplog.text


@pytest.mark.parametrize("status", [404, 302, 307])
def test_a_refusal_is_said_and_ends_nothing(status: int) -> None:
    """A redirect is one: the message was not read there, and is not sent elsewhere."""
    said: list[str] = []
    with receiver(status) as (url, got):
        assert not call(url, said)
    assert len(got) == 1
    assert said == [f"the webhook refused the message: it answered {status}"]


def test_nobody_there(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "ATTEMPTS", 1)
    said: list[str] = []
    with caplog.at_level(logging.DEBUG):
        assert not call("http://127.0.0.1:9/a-secret-path", said)
    assert said == ["the webhook could not be told (ConnectError): check BONDHU_WEBHOOK_URL"]
    assert "a-secret-path" not in caplog.text


def test_without_an_address_nobody_is_told() -> None:
    said: list[str] = []
    assert not call(None, said)
    assert said == []


@pytest.mark.parametrize("address", ["hooks.example/a-secret-path", "ftp://hooks.example/a", "-"])
def test_an_address_that_is_none_is_said_at_the_start(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BONDHU_WEBHOOK_URL", address)
    with pytest.raises(SettingsError) as told:
        read_settings()
    assert str(told.value) == (
        "BONDHU_WEBHOOK_URL is wrong: it needs a whole address that begins with http:// or https://"
    )


def failing(error: Exception, settings: Settings) -> None:
    with (
        pytest.raises(type(error)),
        webhook.calling_where_it_cannot_run(settings, [NOW.date()], lambda line: None),
    ):
        raise error


def test_what_no_night_can_say_is_told_without_secrets() -> None:
    with receiver(200, 200, 200) as (url, got):
        settings = Settings(
            bondhu_webhook_url=SecretStr(url),
            database_url="postgresql://ada:lo%40velace@db/bondhu?password=analytical",
            redis_url="redis://:engine@cache:6379",
            bondhu_token_key=SecretStr("first-key,second-key"),
        )
        spilled = "lo@velace lo%40velace analytical engine second-key"
        failing(LockLostError(f"lost {spilled}"), settings)
        failing(sa.exc.OperationalError("SELECT", {}, Exception("gone\nbelow")), settings)
        failing(RuntimeError("nobody thought of it"), settings)
        failing(NightError("another night runs"), settings)
    assert [message["alarms"] for message in got] == [
        ["failed: LockLostError: lost *** *** *** *** ***"],
        ["failed: OperationalError: gone"],
        ["failed: RuntimeError: nobody thought of it"],
    ]
    assert {(one["night"], one["exit_code"]) for one in got} == {("2026-05-20", 30)}
    assert got[0]["nights"] == ["2026-05-20"]
