"""The log of feedback: append-only, numbered per listener, the truth that Q-tables replay.

A listener's events are serialised by the row lock on `users`, so that episodes are 1, 2, 3 ...
without gaps and committed in that order.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa

from features.feedback_statements import APPEND, BATCH, BEFORE, SAVE_SNAPSHOT
from features.prepared import send
from features.users import ENSURE_REVISED
from recommender.personality import TRAITS
from recommender.qlearning import learn
from recommender.replay import BUFFER_SIZE, EPISODES_PER_BATCH, replay_log, replayed_episodes

SNAPSHOTS_KEPT = 2


class ForgottenError(Exception):
    """What is asked for would have to be replayed from events that retention removed."""


class QState(msgspec.Struct, kw_only=True):
    """What one listener's log says of states, and the part of the log that it holds.

    Attributes
    ----------
    seq, episode
        Of the latest event in it.
    table
        State -> Q by the seed's rule.
    own
        State -> (number of verdicts, their sum): the weights of the pooled rule.
    """

    seq: int = 0
    episode: int = 0
    table: dict[str, float] = {}
    own: dict[str, tuple[float, float]]

    def count(self, state: str, reward: float) -> None:
        """Add one verdict to the weights."""
        weight, total = self.own.get(state, (0.0, 0.0))
        self.own[state] = (weight + 1.0, total + reward)


class Interaction(msgspec.Struct, kw_only=True, frozen=True):
    """One feedback, judged."""

    event_id: UUID
    user_id: str
    track_id: str
    feedback_type: str
    reward: float
    state: str
    category: str
    recommendation_id: UUID | None
    position: int | None
    listen_duration_ms: int | None
    track_duration_ms: int | None
    context: str | None
    occurred_at: datetime
    received_at: datetime
    source: str = "api"
    trainable: bool = True


class Before(msgspec.Struct, kw_only=True, frozen=True):
    """What the log says before a feedback is judged.

    Attributes
    ----------
    revision
        Of the listener, raised for this feedback.
    seq, episode
        Of the listener's latest event, 0 before the first.
    known
        (reward, state, q_value) of the same event, if it came before.
    is_repeat
        Whether the track was played or praised before.
    listed_at, last_served_at
        When its list was made and last served; None without a list.
    is_listed
        False where a list was named that this listener never got.
    traits
        Of the active assessment, in [0, 1].
    batch
        Episode -> (state, reward) of the episodes that were asked for along with it.
    """

    revision: int
    seq: int
    episode: int
    known: tuple[float, str, float | None] | None
    is_repeat: bool
    listed_at: datetime | None
    last_served_at: datetime | None
    is_listed: bool
    traits: dict[str, float]
    batch: dict[int, tuple[str, float]]


_SAID = sa.text(
    "SELECT state, reward FROM music_interactions"
    " WHERE user_id = :user_id AND episode <= :episode ORDER BY episode"
)
_LAST_EPISODES = sa.text(
    """
    SELECT asked.user_id, last.episode FROM unnest(CAST(:user_ids AS text[])) AS asked (user_id),
        LATERAL (SELECT coalesce(max(episode), 0) AS episode FROM music_interactions i
                 WHERE i.user_id = asked.user_id) AS last
    """
)
_EXPERIENCES = sa.text(
    """
    SELECT asked.user_id, i.episode, i.state, i.reward, i.seq
    FROM unnest(CAST(:user_ids AS text[]), CAST(:after AS int[])) AS asked (user_id, after),
        LATERAL (SELECT episode, state, reward, seq FROM music_interactions
                 WHERE user_id = asked.user_id AND episode > asked.after ORDER BY episode) AS i
    """
)
_LOG_BEFORE = sa.text(
    "SELECT seq, state, reward, episode FROM music_interactions"
    " WHERE user_id = :user_id AND received_at < :moment ORDER BY episode"
)
_FIRST_SINCE = sa.text(
    "SELECT min(episode) FROM music_interactions"
    " WHERE user_id = :user_id AND received_at >= :moment"
)
_SNAPSHOTS = sa.text(
    """
    SELECT asked.user_id, m.through_seq, m.episodes, m.q_table, m.own_sums
    FROM unnest(CAST(:user_ids AS text[])) AS asked (user_id),
        LATERAL (SELECT * FROM music_rl_models WHERE user_id = asked.user_id
                 ORDER BY version DESC LIMIT 1) AS m
    """
)


def look_before(
    connection: sa.Connection,
    user_id: str,
    *,
    track_id: str,
    event_id: UUID,
    recommendation_id: UUID | None,
    source: str,
    now: datetime,
    episodes: Sequence[int] = (),
) -> Before:
    """Return what bears on a listener's next event, and hold the listener's row from here on.

    The listener is created if unknown, and their revision raised. What is read is read after the
    row was got, in the same message. Undo it where nothing is appended.

    Parameters
    ----------
    episodes
        Earlier events to read along, those that the next one replays.

    Raises
    ------
    PlansLostError
        Do the transaction once more.
    """
    asked = {
        "user_id": user_id,
        "track_id": track_id,
        "event_id": event_id,
        "recommendation_id": recommendation_id,
        "source": source,
        "now": now,
        "episodes": list(episodes),
    }
    row: Sequence[Any] = send(connection, asked, ENSURE_REVISED, BEFORE).one()
    revision, seq, episode, reward, state, q_value = row[:6]
    is_repeat, listed_at, served_at, listed, batch = row[6:11]
    return Before(
        revision=revision,
        seq=seq or 0,
        episode=episode or 0,
        known=None if state is None else (reward, state, q_value),
        is_repeat=is_repeat,
        listed_at=listed_at,
        last_served_at=served_at,
        is_listed=listed,
        traits={t: x / 100 for t, x in zip(TRAITS, row[11:], strict=True) if x is not None},
        batch={episode: (state, reward) for episode, state, reward in batch or ()},
    )


def append(
    connection: sa.Connection,
    event: Interaction,
    q: QState,
    batch: Mapping[int, tuple[str, float]] = MappingProxyType({}),
) -> float:
    """Append one event and learn from it; returns Q(state, recommend) right after.

    Also brings the listener's genre preference up to date (the mean reward of the category), and
    every tenth episode keeps a snapshot, and marks the listener's stored lists as outdated. The
    caller holds the listener's row, its revision raised (`look_before`).

    Parameters
    ----------
    q
        The Q-table through the event before this one (`q_state` gives it); changed in place.
    batch
        Earlier events that are known already; what else is replayed is read.
    """
    q.episode += 1
    learn(q.table, [(event.state, event.reward)])
    q.count(event.state, event.reward)
    if again := replayed_episodes(event.user_id, q.episode):
        stored = {**batch, q.episode: (event.state, event.reward)}
        if missing := [e for e in again if e not in stored]:
            rows = send(connection, {"user_id": event.user_id, "episodes": missing}, BATCH)
            stored |= {row.episode: (row.state, row.reward) for row in rows}
        learn(q.table, [stored[e] for e in again])
    value = q.table[event.state]
    values = msgspec.structs.asdict(event) | {"episode": q.episode, "q_value": value}
    statements = [APPEND]
    if q.episode % EPISODES_PER_BATCH == 0:
        statements.append(SAVE_SNAPSHOT)
        values |= {
            "version": q.episode // EPISODES_PER_BATCH,
            "kept": SNAPSHOTS_KEPT,
            "q_table": msgspec.json.encode(q.table).decode(),
            "own_sums": msgspec.json.encode(q.own).decode(),
        }
    q.seq = send(connection, values, *statements).scalar_one()
    return value


def q_state_as_of(connection: sa.Connection, user_id: str, moment: datetime) -> QState:
    """Return the Q-table that a listener had at a moment: the log up to it, replayed.

    Raises
    ------
    ForgottenError
        Retention removed events up to that moment: episodes, which have no gaps, have one.
    """
    asked = {"user_id": user_id, "moment": moment}
    rows = connection.execute(_LOG_BEFORE, asked).all()
    upto = max((row.episode for row in rows), default=0)
    since = connection.scalar(_FIRST_SINCE, asked)
    if len(rows) < upto or (since is not None and since > upto + 1):
        raise ForgottenError(
            f"the Q-table of {user_id} as of {moment.isoformat()} is not known any more: retention"
            " removed skips that it was learned from. Ask for it as it is now (q_state), or keep"
            " the log longer (BONDHU_RETENTION_DAYS)"
        )
    table = replay_log(user_id, [(row.state, row.reward) for row in rows])
    q = QState(seq=rows[-1].seq if rows else 0, episode=len(rows), table=table, own={})
    for row in rows:
        q.count(row.state, row.reward)
    return q


def q_state(connection: sa.Connection, user_id: str) -> QState:
    """Rebuild a listener's Q-table from the latest snapshot and the log after it."""
    return q_states(connection, [user_id])[user_id]


def q_states(connection: sa.Connection, user_ids: Sequence[str]) -> dict[str, QState]:
    """Rebuild the Q-tables of many listeners."""
    asked = {"user_ids": list(user_ids)}
    states = {user_id: QState(own={}) for user_id in user_ids}
    for user_id, seq, episode, table, own in connection.execute(_SNAPSHOTS, asked):
        states[user_id] = q = QState(seq=seq, episode=episode, table=dict(table), own={})
        if own is not None:
            q.own = {state: (weight, total) for state, (weight, total) in own.items()}
        else:  # by the release before
            through = {"user_id": user_id, "episode": episode}
            for state, reward in connection.execute(_SAID, through):
                q.count(state, reward)
    # A batch may draw from the whole buffer. Snapshots are taken at batches, so mostly none is
    # ahead; the log that a batch needs is read only then.
    after: dict[str, int] = {}
    for user_id, last in connection.execute(_LAST_EPISODES, asked):
        done = states[user_id].episode
        no_batch_ahead = last // EPISODES_PER_BATCH == done // EPISODES_PER_BATCH
        after[user_id] = done if no_batch_ahead else max(0, done - BUFFER_SIZE)
    logs: dict[str, dict[int, tuple[str, float, int]]] = {}
    since = {"user_ids": list(after), "after": list(after.values())}
    for user_id, episode, state, reward, seq in connection.execute(_EXPERIENCES, since):
        logs.setdefault(user_id, {})[episode] = (state, reward, seq)
    for user_id, log in logs.items():
        q = states[user_id]
        for episode, (state, reward, seq) in log.items():
            if episode > q.episode:
                again = replayed_episodes(user_id, episode)
                learn(q.table, [(state, reward), *(log[e][:2] for e in again)])
                q.count(state, reward)
                q.episode, q.seq = episode, seq
    return states
