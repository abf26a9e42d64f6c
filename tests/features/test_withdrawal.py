"""A broken day is taken back from training: counted, written down, once; what was said stays."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from nights_world import NightsWorld

from features import feeds
from features.imports import InputError
from features.sources import listens
from features.withdrawal import Withdrawn, withdraw
from training.data.histories import read_histories

END = datetime(2026, 5, 20, 3, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def world(engine: sa.Engine) -> NightsWorld:
    """A day of plays and feedback after many, the plays all of 0 ms."""
    world = NightsWorld(engine, listeners=20, artists=12, tracks_each=2, circles=2, start=END)
    world.plant(plays=5)
    world.live(END - 3 * DAY, plays=4)
    world.live(END - DAY, plays=4, ms_played=0)
    world.say(0, world.tracks[:3], [True, False, True], END - DAY / 2)
    return world


def withdrawn(world: NightsWorld, feed: str, source: str, *, dry_run: bool = False) -> Withdrawn:
    return withdraw(
        world.engine, feed, source, since=END - DAY, until=END, who="ada", reason="0 ms",
        now=END, dry_run=dry_run,
    )  # fmt: skip


def audited(engine: sa.Engine) -> list[tuple[int, int, str, str]]:
    with engine.connect() as connection:
        rows = connection.execute(
            sa.text(
                "SELECT i.read, (i.skipped ->> 'withdrawn')::int, q.entry ->> 'by',"
                " q.entry ->> 'reason' FROM imports i JOIN quarantine q USING (import_id)"
                " WHERE i.kind = 'withdrawal' ORDER BY import_id"
            )
        )
        return [tuple(row) for row in rows]


def test_plays_of_a_day_teach_nothing_any_more(world: NightsWorld) -> None:
    engine = world.engine
    assert withdrawn(world, "plays", "planted", dry_run=True).withdrawn == 80
    assert audited(engine) == []
    assert withdrawn(world, "plays", "planted") == Withdrawn("plays", "planted", 80, 80)
    assert withdrawn(world, "plays", "planted") == Withdrawn("plays", "planted", 80, 0)
    assert audited(engine) == [(80, 80, "ada", "0 ms")]
    with engine.connect() as connection:
        kept = connection.execute(
            sa.text("SELECT count(*), count(*) FILTER (WHERE trainable) FROM plays")
        ).one()
    assert tuple(kept) == (20 * 13, 20 * 9)
    of_day = next(
        one for one in feeds.read_feeds(engine, since=END - DAY, until=END) if one.name == "plays"
    )
    assert of_day.untrainable == 80
    assert read_histories(engine).refused == {"plays from planted": 80}


def test_feedback_keeps_what_was_said(world: NightsWorld) -> None:
    engine = world.engine
    said = sa.text("SELECT event_id, feedback_type, reward, trainable FROM music_interactions")
    with engine.connect() as connection:
        before = {row[0]: tuple(row[1:]) for row in connection.execute(said)}
    assert withdrawn(world, "feedback", "api") == Withdrawn("feedback", "api", 3, 3)
    with engine.connect() as connection:
        after = {row[0]: tuple(row[1:]) for row in connection.execute(said)}
    assert after == {event: (*row[:2], False) for event, row in before.items()}
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(sa.text("UPDATE music_interactions SET reward = 1"))


def test_what_there_is_to_withdraw_is_named(world: NightsWorld) -> None:
    with pytest.raises(InputError, match="80 from planted"):
        withdrawn(world, "plays", "spotify")
    with pytest.raises(InputError, match="the feeds are plays, counts, feedback"):
        withdrawn(world, "songs", "planted")


def test_a_history_that_came_in_today_goes_as_a_whole(world: NightsWorld) -> None:
    """200 plays of 0 ms, heard last week and imported today: judged today, taken back today."""
    engine = world.engine
    with engine.begin() as connection:
        listens.open_stage(connection)
        for n in range(200):
            at = END - 8 * DAY + n * timedelta(minutes=5)
            listens.stage(connection, f"{world.tracks[n % 20]}\t{at.isoformat()}\t0\tplay\n")
        listens.store(
            connection, "user000", source="listenbrainz", trainable=True, now=END - DAY / 2
        )
        connection.execute(sa.text("UPDATE plays SET ms_played = 180000 WHERE source = 'planted'"))
    of_day = feeds.read_feeds(engine, since=END - DAY, until=END)
    assert feeds.broken(of_day, feeds.Limits()) == [
        "plays: 71% of 280 say that 0 ms were heard (at most 20%)"
    ]
    done = withdrawn(world, "plays", "listenbrainz")
    assert done == Withdrawn("plays", "listenbrainz", 200, 200)
    assert read_histories(engine).refused == {"plays from listenbrainz": 200}
