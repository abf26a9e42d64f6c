"""Somebody is called; a receiver that fails is tried again, and its address is never told."""

import logging
from datetime import UTC, datetime
from typing import cast

import pytest
from pydantic import SecretStr
from webhook_receiver import receiver

from features.settings import Settings
from pipelines.environment import Environment
from pipelines.nights import webhook
from pipelines.nights.alarms import Verdict
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


def test_a_refusal_is_said_and_ends_nothing() -> None:
    said: list[str] = []
    with receiver(404) as (url, got):
        assert not call(url, said)
    assert len(got) == 1
    assert said == ["the webhook refused the message: it answered 404"]


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
