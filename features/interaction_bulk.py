"""Many events of one listener at once, by the very rules of `interactions.append`.

One event after another is judged and learned from in memory; the rows go in by COPY. The log, the
Q-table, the preferences and the snapshots are what appending them one by one would have left.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from features.imports import Lines, copy, copy_text
from features.interactions import SNAPSHOTS_KEPT, QState, q_state
from recommender.qlearning import learn
from recommender.replay import BUFFER_SIZE, EPISODES_PER_BATCH, replayed_episodes

_COLUMNS = (
    "event_id", "user_id", "episode", "track_id", "feedback_type", "reward", "state",
    "listen_duration_ms", "track_duration_ms", "context", "occurred_at", "received_at", "source",
    "trainable",
)  # fmt: skip
_RECENT = sa.text(
    "SELECT episode, state, reward FROM music_interactions"
    " WHERE user_id = :user_id AND episode > :after"
)
_PREFERENCES = sa.text(
    "SELECT genre, preference, n FROM music_genre_preferences WHERE user_id = :user_id"
)
_PREFER = sa.text(
    """
    INSERT INTO music_genre_preferences (user_id, genre, preference, n, updated_at)
    VALUES (:user_id, :genre, :preference, :n, :now)
    ON CONFLICT (user_id, genre) DO UPDATE SET preference = excluded.preference, n = excluded.n,
        updated_at = excluded.updated_at
    """
)
_SNAPSHOT = sa.text(
    """
    INSERT INTO music_rl_models (user_id, version, through_seq, episodes, q_table, own_sums)
    SELECT :user_id, :version, seq, episode, CAST(:q_table AS jsonb), CAST(:own_sums AS jsonb)
    FROM music_interactions WHERE user_id = :user_id AND episode = :episode
    """
)
_FORGET = sa.text("DELETE FROM music_rl_models WHERE user_id = :user_id AND version <= :version")


class Judged(NamedTuple):
    """One event, judged; the track's id is written as COPY reads it."""

    event_id: str
    track_id: str
    feedback_type: str
    reward: float
    state: str
    category: str
    listen_duration_ms: int | None
    track_duration_ms: int | None
    occurred_at: str
    context: str | None


def append_all(
    connection: sa.Connection,
    user_id: str,
    events: Iterable[Judged],
    *,
    count: int,
    source: str,
    trainable: bool,
    received_at: datetime,
) -> QState:
    """Append events in their order; return the listener's Q-table after them.

    Call it under the lock of the listener's row; the caller outdates the lists (`users.revise`).

    Parameters
    ----------
    events
        None of them in the log yet. Reading them must not ask the connection: COPY has it.
    count
        How many they are: the last two snapshots are kept, and must be known when they are passed.
    """
    q = q_state(connection, user_id)
    buffer = {
        episode: (state, reward)
        for episode, state, reward in connection.execute(
            _RECENT, {"user_id": user_id, "after": max(0, q.episode - BUFFER_SIZE)}
        )
    }
    preferences = {
        genre: (preference, n)
        for genre, preference, n in connection.execute(_PREFERENCES, {"user_id": user_id})
    }
    last_version = (q.episode + count) // EPISODES_PER_BATCH
    snapshots: dict[int, tuple[str, str]] = {}
    start = q.episode
    tail = f"{received_at.isoformat()}\t{source}\t{trainable}\n"
    user = copy_text(user_id)

    def lines() -> Iterator[str]:
        """Learn from each event, and say its row."""
        episode, table = start, q.table
        for event in events:
            episode += 1
            experience = (event.state, event.reward)
            buffer[episode] = experience
            buffer.pop(episode - BUFFER_SIZE, None)
            learn(table, (experience,))
            q.count(event.state, event.reward)
            if episode % EPISODES_PER_BATCH == 0:
                learn(table, [buffer[e] for e in replayed_episodes(user_id, episode)])
                version = episode // EPISODES_PER_BATCH
                if version > last_version - SNAPSHOTS_KEPT:
                    snapshots[version] = (json.dumps(table), json.dumps(q.own))
            mean, n = preferences.get(event.category, (0.0, 0))
            mean = mean + (event.reward - mean) / (n + 1) if n else event.reward
            preferences[event.category] = (mean, n + 1)
            yield (
                f"{event.event_id}\t{user}\t{episode}\t{event.track_id}\t{event.feedback_type}\t"
                f"{event.reward!r}\t{event.state}\t{_or_null(event.listen_duration_ms)}\t"
                f"{_or_null(event.track_duration_ms)}\t{_or_null(event.context)}\t"
                f"{event.occurred_at}\t{tail}"
            )

    # Postgres writes the rows before while the next are judged.
    added = copy(connection, "music_interactions", _COLUMNS, Lines(lines()))
    if not added:
        return q
    connection.execute(
        _PREFER,
        [
            {"user_id": user_id, "genre": genre, "preference": mean, "n": n, "now": received_at}
            for genre, (mean, n) in preferences.items()
        ],
    )
    for version, (q_table, own_sums) in snapshots.items():
        at = version * EPISODES_PER_BATCH
        values = {"user_id": user_id, "version": version, "episode": at, "q_table": q_table}
        connection.execute(_SNAPSHOT, values | {"own_sums": own_sums})
    connection.execute(_FORGET, {"user_id": user_id, "version": last_version - SNAPSHOTS_KEPT})
    seq = connection.scalar(
        sa.text("SELECT max(seq) FROM music_interactions WHERE user_id = :user_id"),
        {"user_id": user_id},
    )
    return QState(seq=int(seq or 0), episode=start + added, table=q.table, own=q.own)


def _or_null(value: object) -> object:
    return "\\N" if value is None else value
