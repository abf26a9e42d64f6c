"""Lists that were computed: the log of impressions, and the second level of the cache."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa

_STORE = sa.text(
    """
    WITH lists AS (
        SELECT * FROM json_to_recordset(CAST(:lists AS json)) AS l
            (recommendation_id uuid, user_id text, cache_key text, tracks jsonb, scores jsonb,
             metadata jsonb, recommendation_type text, total_candidates int, final_count int,
             generated_at timestamptz, expires_at timestamptz, age_days int, personality jsonb,
             revision bigint, is_valid boolean, policy text, arm text, model_versions jsonb,
             impressions json)
    ), listeners AS (
        -- Feedback holds this row until it commits: it is either seen here, or comes after.
        -- Nobody waits for the disk: what a crash of the server takes back is the lists of its last
        -- moment that no feedback followed (a feedback's commit brings all before it to disk).
        SELECT user_id, revision, set_config('synchronous_commit', 'off', true)
        FROM users WHERE user_id IN (SELECT user_id FROM lists)
        ORDER BY user_id FOR SHARE
    ), kept AS (
        INSERT INTO recommendations_cache
            (recommendation_id, user_id, cache_key, recommended_tracks_json, scores_json,
             metadata_json, recommendation_type, total_candidates, final_count, generated_at,
             expires_at, user_account_age_days, personality_snapshot, is_valid, last_served_at)
        SELECT recommendation_id, user_id, cache_key, tracks, scores, metadata, recommendation_type,
               total_candidates, final_count, generated_at, expires_at, age_days, personality,
               is_valid AND l.revision = u.revision, generated_at
        FROM lists l JOIN listeners u USING (user_id)
        -- Of two attempts at a night's list, one killed and not yet dead, the first one stays.
        ON CONFLICT (recommendation_id) DO NOTHING RETURNING recommendation_id
    )
    INSERT INTO music_recommendations
        (recommendation_id, user_id, position, track_id, score, components, rl_adjustment,
         propensity, policy, model_versions, state, arm, created_at)
    SELECT recommendation_id, user_id, position, track_id, score, components, rl_adjustment,
           propensity, policy, model_versions, state, arm, generated_at
    FROM kept JOIN lists USING (recommendation_id), json_to_recordset(impressions) AS i
        (position smallint, track_id text, score float8, components jsonb, rl_adjustment float8,
         propensity float8, state text)
    """
)
_LATEST = sa.text(
    """
    SELECT recommended_tracks_json, metadata_json, recommendation_id FROM recommendations_cache
    WHERE user_id = :user_id AND cache_key = :cache_key AND is_valid AND expires_at > :now
    ORDER BY generated_at DESC LIMIT 1
    """
)
_KEPT = sa.text(
    "SELECT recommended_tracks_json, metadata_json FROM recommendations_cache"
    " WHERE user_id = :user_id AND recommendation_id = :recommendation_id"
)
_KNOWN = sa.text(
    "SELECT recommendation_id FROM recommendations_cache"
    " WHERE recommendation_id = ANY(CAST(:ids AS uuid[]))"
)
_SERVED = sa.text(
    """
    UPDATE recommendations_cache c
    SET servings = c.servings + s.servings, last_served_at = greatest(c.last_served_at, s.at)
    FROM jsonb_to_recordset(CAST(:servings AS jsonb)) AS s(id uuid, servings int, at timestamptz)
    WHERE c.recommendation_id = s.id
    """
)


class Impression(msgspec.Struct, kw_only=True, frozen=True):
    """One position of a list, as it was computed."""

    position: int
    track_id: str
    score: float
    components: Mapping[str, float]
    rl_adjustment: float
    propensity: float
    state: str


class ComputedList(msgspec.Struct, kw_only=True, frozen=True):
    """A list with all that it was made from.

    `is_valid`: whether it may be served again while the listener's revision stays.
    `arm`: the side of an experiment, champion or challenger; None: there was none.
    """

    recommendation_id: UUID
    user_id: str
    cache_key: str
    recommendation_type: str
    tracks: Sequence[Any]
    scores: Mapping[str, float]
    metadata: Any
    impressions: Sequence[Impression]
    policy: str
    model_versions: Mapping[str, int]
    total_candidates: int
    age_days: int
    personality: Mapping[str, float]
    generated_at: datetime
    expires_at: datetime
    revision: int
    is_valid: bool
    arm: str | None = None


def store_list(connection: sa.Connection, computed: ComputedList) -> None:
    """Store one list."""
    store_lists(connection, [computed])


def store_lists(connection: sa.Connection, computed: Sequence[ComputedList]) -> None:
    """Store lists: of each one row for the cache, one per position for the log of impressions."""
    rows = [
        {name: getattr(one, name) for name in ComputedList.__struct_fields__}
        | {"final_count": len(one.impressions)}
        for one in computed
    ]
    connection.execute(_STORE, {"lists": msgspec.json.encode(rows).decode()})


def known_lists(connection: sa.Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Return which of these lists are kept, valid or not."""
    return set(connection.scalars(_KNOWN, {"ids": [str(each) for each in ids]}))


def stored_list(
    connection: sa.Connection, user_id: str, cache_key: str, *, now: datetime
) -> tuple[Any, Any, UUID] | None:
    """Return (tracks, metadata, recommendation_id) of the listener's valid list, if any."""
    row = connection.execute(
        _LATEST, {"user_id": user_id, "cache_key": cache_key, "now": now}
    ).one_or_none()
    return (row[0], row[1], row[2]) if row else None


def kept_list(
    connection: sa.Connection, user_id: str, recommendation_id: UUID
) -> tuple[Any, Any] | None:
    """Return (tracks, metadata) of a listener's list, valid or not, while it is kept."""
    asked = {"user_id": user_id, "recommendation_id": recommendation_id}
    row = connection.execute(_KEPT, asked).one_or_none()
    return (row[0], row[1]) if row else None


def count_servings(
    connection: sa.Connection, servings: Mapping[UUID, tuple[int, datetime]]
) -> None:
    """Add to lists' counters: recommendation_id -> (servings, time of the latest)."""
    rows = [{"id": str(i), "servings": n, "at": at} for i, (n, at) in servings.items()]
    connection.execute(_SERVED, {"servings": msgspec.json.encode(rows).decode()})
