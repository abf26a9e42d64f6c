"""Learning one event at a time equals replaying the log, snapshot or not."""

import uuid
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features import interactions
from features.interactions import Interaction, QState
from recommender.replay import replay_log

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS = st.lists(
    st.tuples(st.sampled_from(["s", "t", "u"]), st.sampled_from([1.0, -0.4, 1.19, 0.8])),
    min_size=1,
    max_size=35,
)


@pytest.fixture
def listeners(engine: sa.Engine) -> sa.Engine:
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO tracks (track_id, track_name, artist_name, artist_key, source,"
                " trainable) VALUES ('t', 'T', 'A', 'a', 'test', true)"
            )
        )
    return engine


def event(user_id: str, state: str, reward: float) -> Interaction:
    return Interaction(
        event_id=uuid.uuid4(),
        user_id=user_id,
        track_id="t",
        feedback_type="like",
        reward=reward,
        state=state,
        category="other",
        recommendation_id=None,
        position=None,
        listen_duration_ms=None,
        track_duration_ms=None,
        context=None,
        occurred_at=NOW,
        received_at=NOW,
    )


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=EVENTS)
def test_online_equals_replay(listeners: sa.Engine, log: list[tuple[str, float]]) -> None:
    user_id = f"user-{uuid.uuid4()}"
    q = QState(own={})
    with listeners.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO users VALUES (:user_id, now(), 'test')"), {"user_id": user_id}
        )
        for state, reward in log:
            value = interactions.append(connection, event(user_id, state, reward), q)
            assert value == q.table[state]
        from_snapshot = interactions.q_state(connection, user_id)
        connection.execute(
            sa.text("UPDATE music_rl_models SET own_sums = NULL WHERE user_id = :user_id"),
            {"user_id": user_id},
        )
        from_older = interactions.q_state(connection, user_id)
        connection.execute(
            sa.text("DELETE FROM music_rl_models WHERE user_id = :user_id"), {"user_id": user_id}
        )
        from_log = interactions.q_state(connection, user_id)
    assert q.table == replay_log(user_id, log) == from_log.table == from_snapshot.table
    assert q.own == from_log.own == from_snapshot.own == from_older.own
    assert from_older.table == q.table
    assert sum(weight for weight, _ in q.own.values()) == len(log)
    assert (q.seq, q.episode) == (from_log.seq, from_log.episode)
    assert (q.seq, q.episode) == (from_snapshot.seq, from_snapshot.episode)
