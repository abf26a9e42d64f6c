"""What a listener is shown of themselves: profile, history and feedback in numbers."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from features.listeners import load_profile
from recommender.personality import TRAITS

_HISTORY = sa.text(
    """
    SELECT (SELECT count(*) FROM listening_history WHERE user_id = :user_id),
           (SELECT count(*) FROM plays WHERE user_id = :user_id),
           (SELECT coalesce(sum(total_listen_time_ms), 0) FROM listening_history
            WHERE user_id = :user_id),
           (SELECT count(*) FROM artist_plays WHERE user_id = :user_id),
           (SELECT max(played_at) FROM plays WHERE user_id = :user_id),
           (SELECT count(DISTINCT recommendation_id) FROM music_recommendations
            WHERE user_id = :user_id),
           (SELECT created_at FROM users WHERE user_id = :user_id)
    """
)
_FEEDBACK = sa.text(
    "SELECT feedback_type, count(*) FROM music_interactions WHERE user_id = :user_id"
    " GROUP BY 1 ORDER BY 1"
)
_GENRES = sa.text(
    "SELECT genre, preference, n FROM music_genre_preferences WHERE user_id = :user_id"
    " ORDER BY preference DESC, genre"
)


class GenrePreference(msgspec.Struct, frozen=True):
    """The mean reward of n judged tracks of a listener category."""

    genre: str
    preference: float
    n: int


class ListenerStanding(msgspec.Struct, kw_only=True, frozen=True):
    """A listener in numbers.

    Attributes
    ----------
    scores
        Trait -> 0-100, without those that were not assessed.
    tracks, plays, listened_ms, artists_counted
        Of the history: distinct tracks, plays, time, and artists with undated counts.
    feedback
        Type -> how often.
    lists
        Computed so far.
    """

    user_id: str
    created_at: datetime
    account_age_days: int
    cold_start_stage: str
    scores: Mapping[str, float]
    confidence: float
    method: str
    tracks: int
    plays: int
    listened_ms: int
    artists_counted: int
    last_played_at: datetime | None
    feedback: Mapping[str, int]
    lists: int
    genres: list[GenrePreference]


def load_standing(connection: sa.Connection, user_id: str, *, now: datetime) -> ListenerStanding:
    """Read a listener's standing; the listener must exist."""
    profile = load_profile(connection, user_id, now=now)
    assert profile is not None  # noqa: S101 - the caller made sure
    asked: dict[str, Any] = {"user_id": user_id}
    tracks, plays, listened, artists, last, lists, created = connection.execute(
        _HISTORY, asked
    ).one()
    return ListenerStanding(
        user_id=user_id,
        created_at=created,
        account_age_days=profile.account_age_days,
        cold_start_stage=profile.stage.value,
        scores={t: round(profile.traits[t] * 100, 3) for t in TRAITS if t in profile.traits},
        confidence=profile.confidence,
        method=profile.method,
        tracks=tracks,
        plays=plays,
        listened_ms=int(listened),
        artists_counted=artists,
        last_played_at=last,
        feedback={row[0]: row[1] for row in connection.execute(_FEEDBACK, asked)},
        lists=lists,
        genres=[GenrePreference(*row) for row in connection.execute(_GENRES, asked)],
    )
