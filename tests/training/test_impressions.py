"""The log of impressions as it is read: what was shown then, what followed, and no future."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sqlalchemy as sa
from impression_log import START, Log

from features.rights import delete_rows
from recommender.cold_start import Stage
from recommender.components import KEYS
from training.data import impressions as impressions_module
from training.data.holdout import draw_of
from training.data.impressions import (
    OUTCOME_DAYS,
    PURPOSE,
    STAGES,
    WINDOW_DAYS,
    Impressions,
    read_impressions,
)
from training.errors import NothingTrainableError
from training.fit.fitting import Evidence, enough_impressions

if TYPE_CHECKING:
    from tests.training.conftest import World

UNTIL = START + timedelta(days=60)
SOUND = np.full(7, 0.5)


@pytest.fixture
def log(engine: sa.Engine, world: "World") -> Log:
    for number in range(12):
        world.add_artist(number, SOUND, 50)
    log = Log(engine)
    log.listener("ada")
    return log


def hours(n: float) -> timedelta:
    return timedelta(hours=n)


def test_a_row_is_what_was_logged_and_what_followed(engine: sa.Engine, log: Log) -> None:
    shown = log.show("ada", START, (4, 5, 6), seed=9)
    log.say("ada", shown, 5, START + hours(1), 1.2)
    log.say("ada", shown, 5, START + hours(2), -0.4)
    log.say("ada", shown, 6, START + hours(3), -1.0)
    log.say("ada", None, 4, START + hours(3))  # it names no list
    rows = read_impressions(engine, seed=7, until=UNTIL)
    assert rows.position.tolist() == [1, 2, 3]
    assert rows.propensity.tolist() == [1.0, 1.0, 0.1]
    np.testing.assert_allclose(rows.reward, [0.0, 0.8, -1.0])
    assert rows.is_liked.tolist() == [False, True, False]
    expected = np.random.default_rng([9, 4, 5, 6]).uniform(size=(3, len(KEYS)))
    np.testing.assert_array_equal(rows.components, expected)
    assert (list(rows.users), rows.window) == (["ada"], ("2026-03-01", "2026-03-01"))


def test_what_was_said_before_or_too_late_is_not_the_outcome(engine: sa.Engine, log: Log) -> None:
    shown = log.show("ada", START)
    log.say("ada", shown, 0, START - hours(1))
    log.say("ada", shown, 1, START + timedelta(days=OUTCOME_DAYS) + hours(1))
    other = log.show("ada", START + hours(5))
    log.say("ada", other, 2, START + hours(6))
    rows = read_impressions(engine, seed=7, until=UNTIL)
    assert rows.is_liked.tolist() == [False, False, False, False, False, True]


def test_somebody_elses_feedback_is_not_the_outcome(engine: sa.Engine, log: Log) -> None:
    shown = log.show("ada", START)
    log.listener("bob")
    log.say("bob", shown, 0, START + hours(1))
    assert not read_impressions(engine, seed=7, until=UNTIL).is_liked.any()


def test_lists_that_cannot_have_been_answered_yet_are_left_out(engine: sa.Engine, log: Log) -> None:
    log.show("ada", START)
    answered = START + timedelta(days=OUTCOME_DAYS)
    assert len(read_impressions(engine, seed=7, until=answered - hours(1))) == 0
    assert len(read_impressions(engine, seed=7, until=answered)) == 3
    assert len(read_impressions(engine, seed=7, since=START + hours(1), until=UNTIL)) == 0


def plant_random(log: Log, world: "World", seed: int) -> None:
    rng = np.random.default_rng(seed)
    moments = [START + hours(h) for h in np.sort(rng.uniform(0, 30 * 24, 24)).tolist()]
    for number, user in enumerate(("bob", "cyd", "dan")):
        log.listener(user, START - timedelta(days=9 * number))
    for at in moments:
        user = str(rng.choice(["ada", "bob", "cyd", "dan"]))
        tracks = rng.permutation(12)[:4].tolist()
        shown = log.show(user, at, tracks, seed=int(rng.integers(1000)))
        for track in tracks:
            if rng.random() < 0.6:
                after = hours(float(rng.exponential(20)))
                log.say(user, shown, track, at + after, float(rng.choice([-0.4, 1.0])))
    for user in ("ada", "cyd"):
        world.play(user, int(rng.integers(12)), day=int(rng.integers(50, 90)))


@pytest.mark.parametrize("seed", range(4))
def test_no_row_sees_its_own_future(engine: sa.Engine, log: Log, world: "World", seed: int) -> None:
    # Whatever happens after a moment, what a run of that moment would have read stays the same.
    plant_random(log, world, seed)
    rng = np.random.default_rng([seed, 1])
    moments = [START + hours(float(h)) for h in np.sort(rng.uniform(60, 40 * 24, 4))[::-1]]
    before = [read_impressions(engine, seed=7, until=moment) for moment in moments]
    assert len(before[0]) > 0
    for moment, then in zip(moments, before, strict=True):
        log.forget_from(moment)
        now = read_impressions(engine, seed=7, until=moment)
        assert now.sha256 == then.sha256
        assert as_table(now) == as_table(then)
    # And what a row of a shorter window says, the longer window says as well.
    for longer, shorter in pairwise(before):
        assert as_table(shorter) <= as_table(longer)


def as_table(rows: Impressions) -> set[tuple[object, ...]]:
    return {
        (
            rows.users[rows.listener[i]],
            rows.position[i],
            rows.shown_at[i],
            rows.reward[i],
            rows.stage[i],
            *rows.components[i].tolist(),
        )
        for i in range(len(rows))
    }


def stage_at(engine: sa.Engine, days: float) -> Stage:
    rows = read_impressions(engine, seed=7, until=UNTIL)
    at = (START + timedelta(days=days)).timestamp() / 86_400
    return STAGES[int(rows.stage[np.isclose(rows.shown_at, at)][0])]


def test_the_stage_is_that_of_the_moment(engine: sa.Engine, log: Log, world: "World") -> None:
    for days in (1, 10, 40):
        log.show("ada", START + timedelta(days=days))
    assert [stage_at(engine, d) for d in (1, 10, 40)] == list(Stage)
    world.play("ada", 3, day=59 + 20)  # 21 March: older lists do not know it
    assert [stage_at(engine, d) for d in (1, 10, 40)] == list(Stage)
    world.play("ada", 3, day=1)  # 2 January, two months before
    assert [stage_at(engine, d) for d in (1, 10, 40)] == [Stage.MONTH_2_PLUS] * 3


def test_untrainable_rows_are_refused_with_the_count_and_sources(
    engine: sa.Engine, log: Log, world: "World"
) -> None:
    world.add_artist(20, SOUND, 50, source="spotify", trainable=False)
    shown = log.show("ada", START, (0, 20, 1))
    log.say("ada", shown, 1, START + hours(1), source="withheld", trainable=False)
    log.listener("bob")
    world.play("bob", 2, day=1, trainable=False)
    log.show("bob", START)
    rows = read_impressions(engine, seed=7, until=UNTIL)
    assert len(rows) == 1
    assert rows.refused == {
        "music_interactions from withheld": 1,
        "plays from planted": 3,
        "tracks from spotify": 1,
    }
    with pytest.raises(NothingTrainableError, match="3 plays from planted, 1 tracks from spotify"):
        enough_impressions(rows, Evidence.IMPRESSIONS, is_wanted=lambda _: True)


def test_a_deleted_listener_is_not_in_the_next_log(engine: sa.Engine, log: Log) -> None:
    log.listener("bob")
    for user in ("ada", "bob"):
        shown = log.show(user, START)
        log.say(user, shown, 0, START + hours(1))
    before = read_impressions(engine, seed=7, until=UNTIL)
    assert read_impressions(engine, seed=7, until=UNTIL).sha256 == before.sha256
    with engine.begin() as connection:
        delete_rows(connection, "bob")
    after = read_impressions(engine, seed=7, until=UNTIL)
    assert list(after.users) == ["ada"]
    assert len(after) == len(before) / 2
    assert after.sha256 != before.sha256


def plant_lists(log: Log, users: dict[str, int]) -> None:
    """Show each listener so many lists of four, one a day."""
    for user, lists in users.items():
        if user != "ada":
            log.listener(user)
        for day in range(lists):
            log.show(user, START + timedelta(days=day), (0, 1, 2, 3), seed=day)


def days_of(rows: Impressions, user: str) -> list[int]:
    """Return the days on which somebody was shown what was read."""
    start = START.timestamp() / 86_400
    mine = rows.of(lambda one: one == user)
    return sorted({round(at - start) for at in rows.shown_at[mine].tolist()})


def test_listeners_are_drawn_by_the_hash_of_their_ids(engine: sa.Engine, log: Log) -> None:
    users = {"ada": 1, **{f"Zoë {n}": 1 + n % 3 for n in range(11)}}
    plant_lists(log, users)
    log.listener("never shown anything")
    for seed in (7, 8):
        rows = read_impressions(engine, seed=seed, until=UNTIL, listeners=5)
        lowest = sorted(users, key=lambda user: draw_of(user, seed, PURPOSE))[:5]
        assert set(rows.users) == set(lowest)
        assert len(rows) == 4 * sum(users[user] for user in lowest)
        # Who joins later moves the line by one at most; who is further down changes nothing.
        again = read_impressions(engine, seed=seed, until=UNTIL, listeners=5)
        assert again.sha256 == rows.sha256
    everybody = read_impressions(engine, seed=7, until=UNTIL)
    assert everybody.sha256 == read_impressions(engine, seed=8, until=UNTIL).sha256


def test_no_more_rows_than_asked_for_and_everybodys_latest_first(
    engine: sa.Engine, log: Log
) -> None:
    plant_lists(log, {"ada": 20, "bob": 2, "cyd": 3})
    rows = read_impressions(engine, seed=7, until=UNTIL, most=4 * 9 + 3)
    assert len(rows) == 4 * 9  # no list in parts
    assert len(rows.lists) == 9
    assert days_of(rows, "bob") == [0, 1]
    assert days_of(rows, "cyd") == [0, 1, 2]
    assert days_of(rows, "ada") == [16, 17, 18, 19]
    everything = read_impressions(engine, seed=7, until=UNTIL)
    assert as_table(rows) < as_table(everything)
    assert everything.sha256 == read_impressions(engine, seed=7, until=UNTIL, most=100).sha256
    first = read_impressions(engine, seed=7, until=UNTIL, most=4)
    assert len(first) == 4
    assert list(first.users) == [
        min(("ada", "bob", "cyd"), key=lambda user: draw_of(user, 7, PURPOSE))
    ]


def test_listeners_who_may_not_be_trained_on_take_no_place(
    engine: sa.Engine, log: Log, world: "World"
) -> None:
    users = [f"u{n}" for n in range(12)]
    plant_lists(log, dict.fromkeys(users, 1))
    closed = sorted(users, key=lambda user: draw_of(user, 7, PURPOSE))[:6]  # the first in line
    for user in closed:
        world.play(user, 2, day=1, trainable=False)
    rows = read_impressions(engine, seed=7, until=UNTIL, most=4 * 8, listeners=8)
    assert set(rows.users) == set(users) - set(closed)
    assert rows.refused == {"plays from planted": 4 * 2}


def test_without_a_since_a_window_is_read(engine: sa.Engine, log: Log) -> None:
    log.show("ada", START)
    log.show("ada", START + timedelta(days=3))
    until = START + timedelta(days=WINDOW_DAYS + 1)
    assert len(read_impressions(engine, seed=7, until=until)) == 3
    assert len(read_impressions(engine, seed=7, until=until, since=START)) == 6


def test_lists_made_ahead_that_nobody_got_are_no_impressions(engine: sa.Engine, log: Log) -> None:
    """Nothing cleaned: training by hand, and no nights."""
    log.prepare("ada", START)
    got = log.prepare("ada", START + hours(30), servings=2)
    answered = log.prepare("ada", START + hours(60))
    log.say("ada", answered, 1, START + hours(61))
    called = log.prepare("ada", START + hours(90), made_by="4")
    rows = read_impressions(engine, seed=7, until=UNTIL)
    assert list(rows.lists) == [got, answered, called]
    assert rows.is_liked.sum() == 1
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT clean_expired_recommendations()"))
    assert read_impressions(engine, seed=7, until=UNTIL).sha256 == rows.sha256


def test_rows_are_objects_a_block_at_a_time(
    engine: sa.Engine, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_lists(log, {"ada": 3, "bob": 2})
    whole = read_impressions(engine, seed=7, until=UNTIL)
    blocks: list[int] = []
    honest = sa.CursorResult.partitions

    def counted(self: sa.CursorResult[Any], size: int | None = None) -> Iterator[Any]:
        for block in honest(self, size):
            blocks.append(len(block))
            yield block

    monkeypatch.setattr(sa.CursorResult, "partitions", counted)
    monkeypatch.setattr(impressions_module, "BLOCK", 7)
    again = read_impressions(engine, seed=7, until=UNTIL)
    assert blocks == [7, 7, 6]
    assert again.sha256 == whole.sha256
    assert as_table(again) == as_table(whole)
