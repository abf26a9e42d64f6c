"""Connections at rest: a server that went away is noticed without asking it."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from features import database
from features.database import connect

_PID = sa.text("SELECT pg_backend_pid()")
_SAID = sa.text("SELECT query FROM pg_stat_activity WHERE pid = :pid")
_END = sa.text("SELECT pg_terminate_backend(:pid, 5000)")


@pytest.fixture
def other(database_url: str) -> Iterator[sa.Connection]:
    engine = connect(database_url)
    with engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")
    engine.dispose()


def test_taking_a_connection_sends_nothing_unless_it_rested_long(
    engine: sa.Engine, other: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine.connect() as connection:
        pid = connection.scalar(_PID)
    with engine.connect() as connection:
        said = other.scalar(_SAID, {"pid": pid})
        assert connection.scalar(_PID) == pid
    assert said == "ROLLBACK"
    monkeypatch.setattr(database, "QUIET_SECONDS", 0.0)
    with engine.connect():
        assert other.scalar(_SAID, {"pid": pid}) == "SELECT 1"


def test_connections_that_the_server_ended_are_made_anew(
    engine: sa.Engine, other: sa.Connection
) -> None:
    with engine.connect() as one, engine.connect() as two:
        before = {one.scalar(_PID), two.scalar(_PID)}
    for pid in before:
        assert other.scalar(_END, {"pid": pid})
    with engine.connect() as one, engine.connect() as two:
        after = {one.scalar(_PID), two.scalar(_PID)}
    assert not before & after


def test_what_only_a_question_finds_is_found_after_a_rest(
    engine: sa.Engine, other: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine.connect() as connection:
        before = connection.scalar(_PID)
    other.execute(_END, {"pid": before})
    monkeypatch.setattr(database, "_has_news", lambda _: False)  # as over a silent network
    monkeypatch.setattr(database, "QUIET_SECONDS", 0.0)
    with engine.connect() as connection:
        assert connection.scalar(_PID) != before
