"""Broken feeds are told from quiet ones, drift from noise."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from nights_world import NightsWorld

from features import feeds, nights
from features.arrivals import PLAYS
from features.drift import drift, drifted
from features.nights import Outcome
from features.probes import Probe, store
from features.settings import Settings
from pipelines.environment import Environment
from pipelines.nights.night import Night
from pipelines.nights.page import page
from pipelines.nights.running import do_step
from pipelines.watch import watch

END = datetime(2026, 5, 20, 3, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def world(engine: sa.Engine) -> NightsWorld:
    """Five weeks of ordinary days."""
    world = NightsWorld(engine, listeners=60, artists=30, tracks_each=4, circles=3, start=END)
    world.plant(days=80, plays=1)
    for days in range(35, 1, -1):
        world.live(END - days * DAY, plays=4)
    return world


def broken(world: NightsWorld) -> list[str]:
    return feeds.broken(feeds.read_feeds(world.engine, since=END - DAY, until=END), feeds.Limits())


def test_an_ordinary_day_is_not_broken(world: NightsWorld) -> None:
    world.live(END - DAY, plays=4)
    assert broken(world) == []
    moved = drift(world.engine, day=END - DAY, until=END)
    assert {"energy", "tempo", "category"} <= moved.keys()
    assert drifted(moved, 0.25) == []


def test_plays_of_nothing(world: NightsWorld) -> None:
    world.live(END - DAY, plays=4, ms_played=0)
    assert broken(world) == ["plays: 100% of 240 say that 0 ms were heard (at most 20%)"]


def test_a_feed_that_stopped(world: NightsWorld) -> None:
    (line,) = broken(world)
    assert line.startswith("plays: 0 rows came in within a day, 24")


def test_a_feed_that_stopped_after_a_day_of_a_longer_window(world: NightsWorld) -> None:
    world.live(END - 2 * DAY, plays=4)
    of_days = feeds.read_feeds(world.engine, since=END - 2 * DAY, until=END)
    assert of_days[0].rows > 0
    (line,) = feeds.broken(of_days, feeds.Limits())
    assert line.startswith("plays: 0 rows came in within a day, 24")


def test_everything_is_one_track(world: NightsWorld) -> None:
    world.live(END - DAY, plays=4)
    with world.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE plays SET track_id = 'track000-0' WHERE played_at >= :day"),
            {"day": END - DAY},
        )
    assert broken(world) == ["plays: 100% of 240 are one track (at most 50%)"]


def test_rows_that_may_not_be_used(world: NightsWorld) -> None:
    world.live(END - DAY, plays=4)
    with world.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE plays SET trainable = false WHERE played_at >= :day"),
            {"day": END - DAY},
        )
    assert broken(world) == ["plays: 100% of 240 may not be trained on, 0% are usual"]


def test_another_sound_is_drift(world: NightsWorld) -> None:
    world.live(END - DAY, plays=4)
    loud = "SELECT track_id FROM audio_features ORDER BY energy DESC LIMIT 30"
    with world.engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE plays SET track_id = (ARRAY("
                + loud
                + "))[1 + (hashtext(track_id || user_id) & 15)] WHERE played_at >= :day"
            ),
            {"day": END - DAY},
        )
    lines = drifted(drift(world.engine, day=END - DAY, until=END), 0.25)
    assert any(line.startswith("drift: energy") for line in lines)


def test_who_brought_a_long_history_is_no_newcomer(engine: sa.Engine) -> None:
    """150 with years of dated plays, 50 with counts of 20 artists: a month old from day 0 on."""
    world = NightsWorld(engine, listeners=200, artists=30, tracks_each=1, circles=3, start=END)
    world.plant(plays=0)
    for days in range(9, 0, -1):
        world.live(END - days * DAY, plays=1)
        for user in range(150, 200):
            world.say(user, world.tracks[:1], [True], END - days * DAY + DAY / 2)
    joined = {"at": END - 9 * DAY}
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE users SET created_at = :at"), joined)
        connection.execute(sa.text("DELETE FROM plays WHERE user_id >= 'user150'"))
        connection.execute(
            sa.text(
                "INSERT INTO plays SELECT user_id, 'track000-0', '2021-01-01Z', 1000, 'planted',"
                " true FROM users WHERE user_id < 'user150'"
            )
        )
        connection.execute(
            sa.text(
                "INSERT INTO artist_plays SELECT user_id, 'A', 'a' || n, 3, 'planted', true, :at"
                " FROM users, generate_series(1, 20) AS n WHERE user_id >= 'user150'"
            ),
            joined,
        )
    assert drift(engine, day=END - DAY, until=END)["listeners"] < 0.01
    with engine.begin() as connection:  # without their histories they grow older on day 8
        connection.execute(sa.text("DELETE FROM artist_plays"))
        connection.execute(sa.text("DELETE FROM plays WHERE played_at < '2022-01-01Z'"))
    assert drift(engine, day=END - DAY, until=END)["listeners"] > 1.0


def bring(world: NightsWorld, user: int, *, at: datetime, days: float, n: int, ok: bool) -> None:
    """Import n plays of the days before `at`."""
    step = days * DAY / n
    rows = [{"track": world.tracks[i % 100], "at": at - (i + 1) * step} for i in range(n)]
    with world.engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO plays (user_id, track_id, played_at, ms_played, source, trainable,"
                " arrived_at) VALUES (:user, :track, :at, 1000, 'file', :ok, :arrived)"
            ),
            [row | {"user": world.users[user], "ok": ok, "arrived": at} for row in rows],
        )


def test_files_of_every_sunday_are_no_feed_that_stopped(engine: sa.Engine) -> None:
    world = NightsWorld(engine, listeners=20, artists=30, tracks_each=4, circles=3, start=END)
    world.plant(plays=0)
    for week in range(5):
        for user in range(20):
            bring(world, user, at=END - (7 * week + 3.5) * DAY, days=7, n=140, ok=True)
    for days in range(7):
        until = END - days * DAY
        of_day = feeds.read_feeds(engine, since=until - DAY, until=until)
        assert of_day[0].rows == (2_800 if days == 3 else 0)
        assert feeds.broken(of_day, feeds.Limits()) == []


def test_years_that_one_listener_brings_are_no_broken_feed(world: NightsWorld) -> None:
    world.live(END - DAY, plays=4)
    bring(world, 0, at=END - DAY / 2, days=2_000, n=2_000, ok=False)
    plays = feeds.read_feeds(world.engine, since=END - DAY, until=END)[0]
    assert (plays.rows, plays.late, plays.untrainable) == (2_240, 1_993, 2_000)
    assert broken(world) == []


def test_years_that_one_listener_brings_hide_no_feed_that_stopped(world: NightsWorld) -> None:
    bring(world, 0, at=END - DAY / 2, days=2_000, n=2_000, ok=True)
    (line,) = broken(world)
    assert line.startswith("plays: 7 rows came in within a day, 24")


def test_plays_from_before_the_column_came_in_when_they_were_heard(world: NightsWorld) -> None:
    world.live(END - DAY, plays=4)
    before = feeds.read_feeds(world.engine, since=END - DAY, until=END)
    with world.engine.begin() as connection:
        connection.execute(sa.text("UPDATE plays SET arrived_at = NULL"))
    assert feeds.read_feeds(world.engine, since=END - DAY, until=END) == before


def test_a_day_of_arrivals_is_found_by_the_index(world: NightsWorld) -> None:
    with world.engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(
            connection.scalars(
                sa.text(f"EXPLAIN SELECT FROM {PLAYS.table} WHERE {PLAYS.within}"),
                {"since": END - DAY, "until": END},
            )
        )
    assert plan.count("Bitmap Index Scan on plays_arrived_at") == 2


def watched(engine: sa.Engine, home: Path) -> Outcome:
    environment = Environment(Settings(bondhu_home=home), "", "", "", engine)
    return watch(Night(END.date(), END, environment, lambda: END + 2 * DAY, print))


def probed(engine: sa.Engine, n: int, *, missed: int) -> None:
    """A probe every 30 s of the day; 90 of 100 cached answers within .2 s, all others never."""
    for number in range(n):
        answered = number >= missed
        histograms = {
            "cached": {"0.2": 90 * number, "+Inf": 100 * number},
            "initial": {"2.5": 10 * number, "+Inf": 10 * number},
            "queries": {"0.05": 9 * number, "0.1": 10 * number, "+Inf": 10 * number},
        }
        at = END - DAY + number * timedelta(seconds=30)
        store(engine, Probe("a", at, answered, 3.0, histograms if answered else {}))


def test_a_service_that_is_slow_or_away_is_in_the_report(engine: sa.Engine, tmp_path: Path) -> None:
    probed(engine, 300, missed=3)
    found = watched(engine, tmp_path)
    assert found["below"] == [
        "not kept: API response (cached), 95%: over the last bin over 29600 (< 200 ms)",
        "not kept: Database query, 95%: <= 100 ms over 2960 (< 50 ms)",
        "not kept: Uptime, of 30 s probes: 99.00% over 300 (>= 99.5%)",
    ]
    assert found["engagement"]["initial"] == {"value": 2500.0, "n": 2960, "origin": "real"}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_an_hour_of_probes_says_nothing_of_uptime(engine: sa.Engine, tmp_path: Path) -> None:
    probed(engine, 120, missed=3)
    assert not any("Uptime" in line for line in watched(engine, tmp_path)["below"])


def test_what_the_report_shows(engine: sa.Engine, tmp_path: Path) -> None:
    probed(engine, 300, missed=3)
    night = Night(
        END.date(), END, Environment(Settings(bondhu_home=tmp_path), "", "", "", engine),
        lambda: END + 2 * DAY, print,
    )  # fmt: skip
    nights.begin(engine, night.date, as_of=END, holder="a", now=END)
    do_step(night, "watch")
    html = page(night)
    assert html.index("not kept: Database query") < html.index("<h2>")
    assert all(label in html for label in ("First lists, 95% within ms", "Uptime", "99.00%"))


def test_what_came_in_between_two_nights_is_looked_at(world: NightsWorld, tmp_path: Path) -> None:
    """One begun by hand at 00:30, the next by the schedule at 03:00 of the day after."""
    engine, by_hand = world.engine, END - DAY - timedelta(hours=2.5)
    world.live(END - DAY, plays=4)
    bring(world, 0, at=END - DAY - timedelta(hours=1), days=1, n=100, ok=True)
    alone = watched(engine, tmp_path)
    assert alone["feeds"]["plays"]["rows"] == 240
    nights.begin(engine, by_hand.date(), as_of=by_hand, holder="a", now=by_hand)
    nights.begin_step(engine, by_hand.date(), "watch", now=by_hand)
    assert watched(engine, tmp_path) == alone  # it has not looked yet
    # Whatever else the night comes to.
    nights.end_step(engine, by_hand.date(), "watch", failed=False, seconds=1.0, outcome={})
    found = watched(engine, tmp_path)
    assert found["since"] == by_hand.isoformat()
    assert found["feeds"]["plays"]["rows"] >= 340  # and what others played in those hours
    assert found["broken"] == []
