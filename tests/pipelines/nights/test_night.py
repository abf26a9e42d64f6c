"""One night of today: its lists are hits of the service, its report is kept, once is enough."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from due_nights import now, run
from nights_world import NightsWorld
from serving_world import opened

from features import nights
from features.imports import Report, record
from pipelines import steps
from pipelines.environment import Environment
from pipelines.nights import due
from pipelines.nights.night import Night

Outcome = nights.Outcome


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


def test_what_a_late_night_writes_is_of_when_it_wrote_it(environment: Environment) -> None:
    """Lists served since the night's moment were made of the audio before it."""
    engine, as_of = environment.engine, now() - timedelta(days=2)
    NightsWorld(engine, listeners=2, artists=6, tracks_each=2, circles=2, start=as_of).plant()
    began = now()
    with engine.begin() as connection:
        record(connection, Report("planted", 9, 9, {}), sha256="0" * 64, now=began)
    night = Night(as_of.date(), as_of, environment, now, lambda line: None)
    for _ in range(2):  # as when the first was killed at its end
        steps.refresh_features(night)
    with engine.connect() as connection:
        artists = set(connection.scalars(sa.text("SELECT updated_at FROM artist_audio_features")))
        builds = connection.scalars(sa.text("SELECT built_at FROM feature_builds")).all()
    assert min(artists) > began
    assert len(builds) == 1
    assert builds[0] > began


def test_a_night_begun_keeps_its_moment(engine: sa.Engine) -> None:
    at = datetime(2026, 5, 20, 12, tzinfo=UTC)
    for hours in (0, 5):
        later = at + timedelta(hours=hours)
        kept = nights.begin(engine, at.date(), as_of=later, holder="a", now=later)
        assert kept == at
