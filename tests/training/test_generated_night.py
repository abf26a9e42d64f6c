"""The world of `make bench-nightly`: what training finds in it, and what the figures say."""

from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from benchmarks.generated.listening import Size
from benchmarks.generated.night import PLACES, SAID_OF, load_night
from benchmarks.nightly import Measured, memory_rows
from training.data.holdout import is_test
from training.data.impressions import read_impressions
from training.fit.fitting import Evidence, enough_impressions

UNTIL = datetime(2026, 11, 1, tzinfo=UTC)
SIZE = Size(tracks=1_000, plays=10_000, listeners=150)


def test_a_night_finds_impressions_to_learn_from(engine: sa.Engine, tmp_path: Path) -> None:
    load_night(engine, tmp_path, SIZE, until=UNTIL, seed=7)
    rows = read_impressions(engine, seed=7, until=UNTIL)
    assert len(rows) == SIZE.plays
    assert len(rows.lists) == SIZE.plays // PLACES
    assert 0 < rows.is_liked.sum() < len(rows) * SAID_OF / PLACES
    assert 0 < (rows.propensity < 1).mean() < 0.5
    assert enough_impressions(rows, Evidence.AUTO, is_wanted=lambda user: not is_test(user, 7))
    with engine.connect() as connection:
        counted = connection.execute(
            sa.text(
                "SELECT count(*), count(recommendation_id), max(received_at) < :until,"
                " bool_and(episodes) FROM music_interactions JOIN (SELECT user_id,"
                " max(episode) = count(*) AS episodes FROM music_interactions GROUP BY user_id)"
                " said USING (user_id)"
            ),
            {"until": UNTIL},
        ).one()
    assert tuple(counted) == (SIZE.plays, SIZE.plays * SAID_OF // PLACES, True, True)


def test_memory_is_flat_by_the_last_two_sizes() -> None:
    def night(listeners: int, own: float) -> tuple[Size, Measured]:
        peaks = {"train_scorer": (own * 2, own), "promote": (1.0, 1.0)}
        if listeners == 10:
            del peaks["promote"]
        return Size(5, 5, listeners), Measured(1.0, 0, {}, peaks)

    whole, step = memory_rows([night(10, 500.0), night(30, 1000.0), night(90, 1100.0)])
    assert (whole.ours, whole.met) == (2200.0, True)
    assert (step.task, step.ours, step.ratio, step.met) == ("step train_scorer", 1100, 1.1, True)
    assert step.peers == {"10 listeners": 500.0, "30 listeners": 1000.0, "of all": 2200.0}
    _, grown = memory_rows([night(10, 500.0), night(30, 1000.0), night(90, 2000.0)])
    assert grown.met is False
