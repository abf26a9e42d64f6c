"""From a like to a changed Q-table: judged, appended durably, learned from, lists dropped.

The order is the promise: the event is in Postgres before it is acknowledged, and Redis is told
after that, so losing Redis loses nothing.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
import sqlalchemy as sa

from features import interactions
from features.interactions import Before, Interaction
from features.prepared import PlansLostError
from recommender.genres import CATEGORY_SLUGS, OTHER
from recommender.qlearning import join_state, listener_state
from recommender.replay import replayed_episodes
from recommender.rewards import QUICK_MS, Feedback, context_fits, listened_share, reward
from serving.cache import Cache
from serving.metrics import FEEDBACK
from serving.problems import ServiceProblem
from serving.schemas import FeedbackRequest, FeedbackResponse
from serving.served import Served

CLOCKS_DIFFER = timedelta(minutes=5)
"""How far callers' clocks may be off; an event further ahead is refused."""

OLDEST = timedelta(days=366)
"""How long a caller may keep an event; one from further back is refused."""


class Received(msgspec.Struct, kw_only=True, frozen=True):
    """A feedback with who sent it and when: what the journal holds."""

    user_id: str
    received_at: datetime
    request: FeedbackRequest


class FeedbackLog:
    """Judges and appends feedback."""

    def __init__(self, engine: sa.Engine, cache: Cache, *, flush: Callable[[], None]) -> None:
        self._engine = engine
        self._cache = cache
        self._flush = flush

    def accept(self, received: Received, served: Served) -> FeedbackResponse:
        """Append one feedback and learn from it; a repeated event_id answers as before.

        Raises
        ------
        ServiceProblem
            404 for an unknown track or list, 422 for an event from the future.
        sqlalchemy.exc.OperationalError
            Postgres is away: nothing was stored.
        """
        request = received.request
        row = check(received, served)
        if request.recommendation_id:
            self._flush()  # when the list was last served decides whether this was quick
        try:
            return self._append(received, served, row)
        except PlansLostError:
            return self._append(received, served, row)

    def _append(self, received: Received, served: Served, row: int) -> FeedbackResponse:
        request, user_id = received.request, received.user_id
        q = self._cache.q_state(user_id)  # before the listener's row is held; its number tells
        with self._engine.connect() as connection, connection.begin() as transaction:
            before = interactions.look_before(
                connection,
                user_id,
                track_id=request.track_id,
                event_id=request.event_id,
                recommendation_id=request.recommendation_id,
                source="api",
                now=received.received_at,
                episodes=replayed_episodes(user_id, q.episode + 1) if q else (),
            )
            if before.known:
                transaction.rollback()  # nothing new: the lists stay
                earned, state, q_value = before.known
                return FeedbackResponse(
                    event_id=request.event_id,
                    reward=earned,
                    q_value=q_value,
                    state=state,
                    duplicate=True,
                )
            if not before.is_listed:
                raise ServiceProblem(
                    404, f"list {request.recommendation_id} was never made for this listener"
                )
            event = self._judge(received, before, served, row)
            if q is None or q.seq != before.seq:
                q = self._cache.q_state(user_id)  # another worker may have learned meanwhile
            if q is None or q.seq != before.seq:
                q = interactions.q_state(connection, user_id)
            q_value = interactions.append(connection, event, q, before.batch)
        self._cache.store_learned(user_id, q, before.revision)
        FEEDBACK.labels(request.feedback_type).inc()
        return FeedbackResponse(
            event_id=event.event_id,
            reward=event.reward,
            q_value=q_value,
            state=event.state,
            duplicate=False,
        )

    def _judge(
        self,
        received: Received,
        before: Before,
        served: Served,
        row: int,
    ) -> Interaction:
        request = received.request
        tracks = served.catalogue.catalogue.tracks
        occurred_at = request.occurred_at or received.received_at
        duration = request.track_duration_ms or served.catalogue.duration_ms_of(row)
        category = int(tracks.category[row])
        halves, place = tracks.states
        return Interaction(
            event_id=request.event_id,
            user_id=received.user_id,
            track_id=request.track_id,
            feedback_type=request.feedback_type,
            reward=reward(
                Feedback(request.feedback_type),
                share=listened_share(request.listen_duration_ms, duration),
                is_repeat=before.is_repeat,
                is_quick=is_quick(occurred_at, request.listen_duration_ms, before),
                fits_context=context_fits(request.context, tracks.audio[row]),
            ),
            state=join_state(listener_state(before.traits), halves[place[row]]),
            category=CATEGORY_SLUGS[category] if category >= 0 else OTHER,
            recommendation_id=request.recommendation_id,
            position=request.position,
            listen_duration_ms=request.listen_duration_ms,
            track_duration_ms=duration,
            context=request.context,
            occurred_at=occurred_at,
            received_at=received.received_at,
        )


def check(received: Received, served: Served) -> int:
    """Return the catalogue row of a feedback's track.

    Raises
    ------
    ServiceProblem
        404 for an unknown track, 422 for an event from the future or from over a year ago.
    """
    request = received.request
    occurred_at = request.occurred_at
    if occurred_at is not None:
        if occurred_at > received.received_at + CLOCKS_DIFFER:
            raise ServiceProblem(422, f"occurred_at {occurred_at.isoformat()} is in the future")
        if occurred_at < received.received_at - OLDEST:
            raise ServiceProblem(422, f"occurred_at {occurred_at.isoformat()} is over a year ago")
    row = int(served.catalogue.catalogue.rows_of([request.track_id])[0])
    if row < 0:
        raise ServiceProblem(404, f"no track is called '{request.track_id}'")
    return row


def is_quick(occurred_at: datetime, listen_duration_ms: int | None, before: Before) -> bool:
    """Return whether listening began at most 30 s after the list was last served.

    What happened before the list was made is no answer to it, and not quick.
    """
    if before.listed_at is None or before.last_served_at is None:
        return False
    if occurred_at < before.listed_at - CLOCKS_DIFFER:
        return False
    began_at = occurred_at - timedelta(milliseconds=listen_duration_ms or 0)
    return (began_at - before.last_served_at).total_seconds() * 1000 <= QUICK_MS
