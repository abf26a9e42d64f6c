"""`bondhu nightly --from --to` of past dates: each night knows what came in before it, no more."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
import typer
from nights_world import NightsWorld

import pipelines.environment
from features import nights
from features.database import mlflow_uri
from pipelines.commands.nightly import nightly
from pipelines.steps import STEPS
from training.registry import Registry

DAY = timedelta(days=1)
FIRST = datetime(2026, 5, 20, 3, tzinfo=UTC)
SECOND = FIRST + DAY
LISTENERS = 40
PLAYS = {FIRST: 4, SECOND: 6}
"""Of each listener, in the day before a night."""
SAYING = {FIRST: 12, SECOND: 8}
"""Listeners who say something of five tracks in the day before a night."""


def test_nights_of_the_past_run_in_order_as_of_their_dates(
    engine: sa.Engine,
    database_url: str,
    mlflow_tables: None,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    world = NightsWorld(
        engine, listeners=LISTENERS, artists=16, tracks_each=3, circles=2, start=FIRST - DAY
    )
    world.plant(plays=20)
    for as_of in (FIRST, SECOND, SECOND + DAY):  # the third day is nobody's of the two
        world.live(as_of - DAY, plays=PLAYS.get(as_of, 9))
        for user in range(SAYING.get(as_of, 20)):
            tracks = world.tracks[user : user + 5]
            world.say(user, tracks, [True] * 4 + [False], as_of - DAY / 2)
    monkeypatch.setattr(pipelines.environment, "ARTIFACTS", tmp_path / "mlruns")
    for name, value in (
        ("DATABASE_URL", database_url),
        ("REDIS_URL", redis_url),
        ("BONDHU_HOME", str(tmp_path)),
    ):
        monkeypatch.setenv(name, value)

    with pytest.raises(typer.Exit) as ended:
        nightly(first=str(FIRST.date()), last=str(SECOND.date()))

    assert ended.value.exit_code in (0, 10, 20), capsys.readouterr().err
    told = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in told] == [str(FIRST.date()), str(SECOND.date())]
    rows = nights.nights(engine, until=SECOND.date(), most=9)[::-1]
    assert [(row.night, row.as_of, row.status) for row in rows] == [
        (as_of.date(), as_of, "done") for as_of in (FIRST, SECOND)
    ]
    assert rows[0].finished_at is not None
    assert rows[0].finished_at < rows[1].started_at
    registry = Registry(mlflow_uri(database_url), tmp_path / "mlruns")
    heard_before = 0
    for as_of in (FIRST, SECOND):
        done = nights.steps(engine, as_of.date())
        assert list(done) == list(STEPS)
        feeds = done["watch"].outcome["feeds"]
        assert feeds["plays"]["rows"] == LISTENERS * PLAYS[as_of]
        assert feeds["feedback"]["rows"] == 5 * SAYING[as_of]
        assert "cache_hits" not in done["watch"].outcome["engagement"]  # that is today's
        assert "would have expired" in done["precompute"].outcome["skipped"]
        heard_before += 5 * SAYING[as_of]
        qtable = registry.run(done["consolidate_qtables"].outcome["run_id"])
        assert qtable.metrics["rows"] == heard_before
        colisten = registry.run(done["train_colisten"].outcome["run_id"])
        with engine.connect() as connection:
            last = connection.scalar(
                sa.text("SELECT max(played_at) FROM plays WHERE played_at < :as_of"),
                {"as_of": as_of},
            )
        assert last is not None
        until = datetime.fromisoformat(colisten.params["read_until"])
        assert until == last + timedelta(microseconds=1)  # right after the latest that it knows
        assert {qtable.started_at, colisten.started_at} == {as_of}
