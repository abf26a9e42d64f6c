"""Nights from the command line: what would run, what ran, and one line where it cannot."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import sqlalchemy as sa
from commands import assert_one_line, run
from nights_world import NightsWorld
from webhook_receiver import receiver

from features import nights, probes
from features.probes import Probe
from pipelines.nights.lock import only_one
from pipelines.servers import Endpoints
from pipelines.steps import STEPS


@pytest.fixture
def on(database_url: str, redis_url: str) -> Endpoints:
    return Endpoints(database_url, redis_url)


def test_what_would_run_is_said_and_nothing_is_run(
    tmp_path: Path, on: Endpoints, engine: sa.Engine
) -> None:
    ran = run("nightly", "--from", "2026-05-01", "--to", "2026-05-02", "--dry-run",
              home=tmp_path, servers=on)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[0] == "2026-05-01: would run as of 2026-05-01 03:00 UTC"
    why_not = {
        "refresh_history": "would be left out: Spotify tells today's history only",
        "precompute": "would be left out: lists of that day would have expired",
    }
    expected = [f"{name}: {why_not.get(name, 'would run')}" for name in STEPS]
    assert [line.strip() for line in lines[1:14]] == expected
    assert nights.nights(engine, until=datetime.now(UTC).date(), most=1) == []


@pytest.mark.parametrize(
    ("change", "behind"),
    [
        ("UPDATE alembic_version SET version_num = '0008'", "the tables are an earlier release's"),
        ("DELETE FROM alembic_version", "there are no tables yet"),
    ],
)
def test_what_only_looks_changes_no_schema(
    tmp_path: Path, on: Endpoints, engine: sa.Engine, change: str, behind: str
) -> None:
    revision = sa.text("SELECT version_num FROM alembic_version")
    with engine.begin() as connection:
        head = connection.scalar(revision)
        connection.execute(sa.text(change))
        changed = connection.scalar(revision)
    try:
        for words, code in ((("nightly", "--dry-run"), 30), (("status",), 1)):
            ran = run(*words, home=tmp_path, servers=on)
            (line,) = ran.stderr.splitlines()
            assert (ran.returncode, behind in line) == (code, True), line
        with engine.connect() as connection:
            assert connection.scalar(revision) == changed != head
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM alembic_version"))
            connection.execute(
                sa.text("INSERT INTO alembic_version VALUES (:head)"), {"head": head}
            )


def test_a_night_that_cannot_start_ends_with_30(tmp_path: Path, on: Endpoints) -> None:
    for arguments, word in (
        (("--from", "2026-05-02", "--to", "2026-05-01"), "exchange them"),
        (("--date", "2999-01-01"), "has not come yet"),
        (("--date", "tomorrow"), "is no date"),
        (("--no-such",), "No such option"),
    ):
        ran = run("nightly", *arguments, home=tmp_path, servers=on)
        (line,) = ran.stderr.splitlines()
        assert (ran.returncode, word in line) == (30, True)


def test_somebody_is_called_where_no_night_can_start(
    tmp_path: Path, on: Endpoints, engine: sa.Engine
) -> None:
    role, password = f"nobody_{uuid.uuid4().hex}", "a-rotated-password"
    url = sa.make_url(on.database_url).set(username=role, password=password)

    def nightly(hook: str) -> CompletedProcess[str]:
        return run("nightly", "--from", "2026-05-01", "--to", "2026-05-02",
                   home=tmp_path, REDIS_URL=on.redis_url, BONDHU_WEBHOOK_URL=hook,
                   DATABASE_URL=url.render_as_string(hide_password=False))  # fmt: skip

    with receiver(200, 200) as (hook, got), engine.connect() as connection:
        unknown = nightly(hook)
        connection.execute(sa.text(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'"))
        connection.commit()
        try:
            refused = nightly(hook)
        finally:
            connection.execute(sa.text(f"DROP ROLE {role}"))
            connection.commit()
    for ran, word, message in zip(
        (unknown, refused), ("cannot be used", "permission denied"), got, strict=True
    ):
        (line,) = ran.stderr.splitlines()
        assert (ran.returncode, word in line) == (30, True), line
        (alarm,) = message.pop("alarms")
        assert word in alarm
        assert password not in line + alarm
        assert message == {
            "night": "2026-05-02",
            "nights": ["2026-05-01", "2026-05-02"],
            "exit_code": 30,
            "promoted": [],
            "declined": [],
        }


def test_nobody_is_called_because_another_run_holds_the_lock(
    tmp_path: Path, on: Endpoints, engine: sa.Engine
) -> None:
    with receiver(200) as (hook, got), only_one(engine):
        ran = run("nightly", home=tmp_path, servers=on, BONDHU_WEBHOOK_URL=hook)
    (line,) = ran.stderr.splitlines()
    assert (ran.returncode, "another night runs since" in line) == (30, True)
    assert got == []


def test_the_last_night_and_what_is_due(tmp_path: Path, on: Endpoints, engine: sa.Engine) -> None:
    today = datetime.now(UTC)
    nights.begin(engine, today.date(), as_of=today, holder="a", now=today)
    nights.begin_step(engine, today.date(), "watch", now=today)
    nights.end_step(engine, today.date(), "watch", failed=False, seconds=1.25, outcome={})
    ran = run("status", home=tmp_path, servers=on)
    assert ran.returncode == 0, ran.stderr
    assert f"Night of {today.date()}" in ran.stdout
    assert "1.25" in ran.stdout
    assert f"Due: {today.date()}" in ran.stdout


def test_a_broken_day_is_withdrawn(tmp_path: Path, on: Endpoints, engine: sa.Engine) -> None:
    end = datetime(2026, 5, 20, 3, tzinfo=UTC)
    world = NightsWorld(engine, listeners=5, artists=4, tracks_each=1, circles=2, start=end)
    world.plant(plays=2)
    world.live(end - timedelta(days=1), plays=3, ms_played=0)
    words = ("features", "withdraw", "plays", "planted", "--reason", "0 ms")
    unknown = run(*words, "--night", "2026-05-20", home=tmp_path, servers=on)
    assert_one_line(unknown, "there was no night of 2026-05-20")
    nights.begin(engine, end.date(), as_of=end, holder="a", now=end)
    for expected in (15, 0):
        ran = run(*words, "--night", "2026-05-20", home=tmp_path, servers=on)
        assert ran.returncode == 0, ran.stderr
        assert f"15 rows, withdrawn from training: {expected}" in ran.stdout
    # A watch that looked at two days said so.
    world.live(end - timedelta(days=2), plays=1)
    nights.begin_step(engine, end.date(), "watch", now=end)
    since = {"since": (end - timedelta(days=2)).isoformat()}
    nights.end_step(engine, end.date(), "watch", failed=False, seconds=1.0, outcome=since)
    ran = run(*words, "--night", "2026-05-20", home=tmp_path, servers=on)
    assert "20 rows, withdrawn from training: 5" in ran.stdout, ran.stderr


def test_eight_criteria(tmp_path: Path, on: Endpoints, engine: sa.Engine) -> None:
    ran = run("criteria", "--since", "2026-05-01", home=tmp_path, servers=on)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("nothing measured") == 8
    assert run("criteria", "--check", home=tmp_path, servers=on).returncode == 0
    at = datetime.now(UTC) - timedelta(hours=1)
    for seconds in range(50):
        if seconds == 49:  # of fewer, no night says anything either
            assert run("criteria", "--check", home=tmp_path, servers=on).returncode == 0
        probes.store(engine, Probe("a", at + timedelta(seconds=seconds), False, 3.0, {}))
    assert run("criteria", home=tmp_path, servers=on).returncode == 0
    ran = run("criteria", "--check", home=tmp_path, servers=on)
    assert ran.returncode == 20
    assert ran.stderr.endswith("not met: Uptime, of 30 s probes\n")


def test_an_address_that_is_none_is_named(tmp_path: Path, on: Endpoints) -> None:
    ran = run("probe", "--once", "--url", "http://[::", home=tmp_path, servers=on)
    assert_one_line(ran, "--url http://[:: is no address")
