"""Consolidation: the log's sums are those of central training, and no burst moves them far."""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa

from features.rights import delete_rows
from recommender import pooled
from recommender.qtable import QTable, burst_bound
from training.data.consolidation import TEST_SHARE, consolidate
from training.data.holdout import draw_of
from training.errors import NothingTrainableError, TrainingError
from training.evaluation import qtable_worth
from training.evaluation.intervals import Interval
from training.evaluation.qtable_worth import TEST_EVENTS
from training.qtable_flavour import KIND, QTABLE
from training.qtables import train_qtable
from training.review.promotion import promote

if TYPE_CHECKING:
    from training.registry import Registry

NOW = datetime(2026, 11, 1, tzinfo=UTC)
STATES = tuple(f"extraversion_{b}|energy_low|genre_{g}" for b in ("low", "high") for g in "abc")

Event = tuple[str, str, float, datetime]
"""Listener, state, reward, time."""


def write(engine: sa.Engine, events: Iterable[Event], *, trainable: bool = True) -> None:
    rows = list(events)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO tracks (track_id, track_name, artist_name, artist_key, source,"
                " trainable) VALUES ('t', 'T', 'A', 'a', 'test', true) ON CONFLICT DO NOTHING"
            )
        )
        connection.execute(
            sa.text(
                "INSERT INTO users (user_id, source) VALUES (:user, 'test') ON CONFLICT DO NOTHING"
            ),
            [{"user": user} for user in sorted({row[0] for row in rows})],
        )
        episodes: dict[str, int] = {}
        found = connection.execute(
            sa.text("SELECT user_id, max(episode) FROM music_interactions GROUP BY 1")
        )
        episodes.update({row[0]: row[1] for row in found})
        asked = []
        for user, state, reward, at in rows:
            episodes[user] = episodes.get(user, 0) + 1
            asked.append(
                {"event": uuid.uuid4(), "user": user, "episode": episodes[user], "state": state}
                | {"reward": reward, "at": at, "trainable": trainable}
            )
        connection.execute(
            sa.text(
                "INSERT INTO music_interactions (event_id, user_id, episode, track_id,"
                " feedback_type, reward, state, occurred_at, received_at, source, trainable)"
                " VALUES (:event, :user, :episode, 't', 'play', :reward, :state, :at, :at, 'api',"
                " :trainable)"
            ),
            asked,
        )


def drawn(seed: int = 1, n: int = 400) -> list[Event]:
    rng = np.random.default_rng(seed)
    worth = {state: 0.8 - 0.4 * at for at, state in enumerate(STATES)}
    return [
        (
            f"u{rng.integers(40)}",
            state := STATES[rng.integers(len(STATES))],
            float(np.clip(worth[state] + rng.normal(0, 0.3), -1.5, 2.2)),
            NOW - timedelta(days=float(rng.uniform(0.1, 100))),
        )
        for _ in range(n)
    ]


def test_it_equals_central_training(engine: sa.Engine) -> None:
    events = drawn()
    write(engine, events)
    found = consolidate(engine, now=NOW)
    table, used = found.table, found.used
    central = QTable.of([(s, at.timestamp() / 86_400, r) for _, s, r, at in events])
    assert used == len(events)
    assert table.sums.keys() == central.sums.keys()
    for state, sums in central.sums.items():
        for name in ("weight", "reward", "square"):
            expected = getattr(sums, name)
            assert getattr(table.sums[state], name) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert sum(pairs.n for pairs in table.pairs.values()) == len(events) - len(
        {(u, s[-1]) for u, s, _, _ in events}
    )


def test_the_second_table_is_that_of_a_log_without_the_fold(engine: sa.Engine) -> None:
    events = drawn()
    write(engine, events)
    found = consolidate(engine, now=NOW, fold=2)
    with engine.connect() as connection:
        apart = set(
            connection.scalars(
                sa.text(
                    "SELECT user_id FROM users WHERE (hashtext(user_id) & 2147483647) % :folds = 2"
                ),
                {"folds": TEST_SHARE},
            )
        )
    kept = [event for event in events if event[0] not in apart]
    assert 0 < len(kept) < len(events)
    assert (found.used, found.used_without) == (len(events), len(kept))
    with engine.begin() as connection:
        for user in apart:
            delete_rows(connection, user)
    alone = consolidate(engine, now=NOW, fold=2)
    assert alone.without_fold.to_files() == found.without_fold.to_files()
    assert alone.table.to_files() == found.without_fold.to_files()


def test_listeners_to_test_on_are_drawn_by_hash(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(engine, drawn())
    everybody = qtable_worth._tested(engine, NOW)
    assert len(everybody) > 3
    assert max(map(len, everybody)) <= TEST_EVENTS
    with engine.connect() as connection:
        apart = set(
            connection.scalars(
                sa.text("SELECT user_id FROM users WHERE (hashtext(user_id) & 2147483647) % 5 = 0")
            )
        )
    lowest = sorted(apart, key=lambda user: draw_of(user, qtable_worth.SEED, "tested"))[:3]
    monkeypatch.setattr(qtable_worth, "MOST_TESTED", 3)
    some = qtable_worth._tested(engine, NOW)
    with engine.begin() as connection:
        for user in apart - set(lowest):
            delete_rows(connection, user)
    assert some == qtable_worth._tested(engine, NOW)
    assert len(some) == 3
    assert all(log in everybody for log in some)


def test_a_burst_moves_a_state_no_further_than_stated(engine: sa.Engine) -> None:
    today = [(f"u{i}", STATES[0], -0.4, NOW - timedelta(hours=20)) for i in range(60)]
    write(engine, today)
    before = consolidate(engine, now=NOW).table
    burst = NOW - timedelta(hours=19)
    write(
        engine,
        [("troll", STATES[0], 2.2, burst + timedelta(milliseconds=6 * i)) for i in range(10_000)],
    )
    found = consolidate(engine, now=NOW)
    after, used = found.table, found.used
    assert used == 60 + pooled.VISITS_PER_DAY
    moved = abs(after.believed([STATES[0]])[0][0] - before.believed([STATES[0]])[0][0])
    assert 0 < moved <= burst_bound(60.0)


def test_training_registers_what_is_promoted_and_served(
    engine: sa.Engine, registry: "Registry"
) -> None:
    write(engine, drawn(n=800))
    write(engine, [("barred", STATES[0], 2.2, NOW - timedelta(days=1))] * 3, trainable=False)
    trained = train_qtable(engine, registry, now=NOW)
    again = train_qtable(engine, registry, now=NOW)
    assert trained.sha256 == again.sha256
    assert trained.refused == {"api": 3}
    assert trained.gain.low > 0  # newcomers are foreseen better than by nothing
    assert registry.load(KIND, trained.version) == trained.table
    assert promote(registry, QTABLE, trained.version).promoted
    # The same rows again are no gain over the champion.
    third = train_qtable(engine, registry, now=NOW)
    assert promote(registry, QTABLE, third.version).gate == "gain"
    # Nor a loss: the champion is asked without the listeners that it is tested on, too.
    assert third.gain == Interval(0.0, 0.0, 0.0)


def test_nothing_to_learn_from_is_said(engine: sa.Engine, registry: "Registry") -> None:
    with pytest.raises(NothingTrainableError, match="no feedback may be trained on"):
        train_qtable(engine, registry, now=NOW)
    with pytest.raises(TrainingError, match="half-life"):
        train_qtable(engine, registry, now=NOW, half_life_days=0.0)


def test_after_a_deletion_the_table_is_that_of_a_log_without_the_listener(
    engine: sa.Engine,
) -> None:
    events = drawn()
    gone = "u7"
    write(engine, [event for event in events if event[0] != gone])
    without = consolidate(engine, now=NOW).table
    write(engine, [event for event in events if event[0] == gone])
    whole = consolidate(engine, now=NOW).table
    with engine.begin() as connection:
        deleted = delete_rows(connection, gone)
    after = consolidate(engine, now=NOW).table
    assert deleted["music_interactions"] > 5
    assert whole.to_files() != without.to_files()
    assert after.to_files() == without.to_files()
