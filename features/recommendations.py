"""Lists that were computed: the log of impressions, and the second level of the cache."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa

from features.prepared import Prepared, run
from features.users import ENSURE, Standing

_STORE = Prepared(
    "store_list",
    """
    WITH list AS (
        SELECT :recommendation_id AS recommendation_id, :user_id AS user_id, :tracks AS tracks,
               :states AS states, :policy AS policy, :model_versions AS model_versions,
               :arm AS arm, :generated_at AS generated_at
    ), listener AS (
        -- Feedback holds this row until it commits: it is either seen here, or comes after.
        -- Nobody waits for the disk: what a crash of the server takes back is the lists of its last
        -- moment that no feedback followed (a feedback's commit brings all before it to disk).
        SELECT revision, set_config('synchronous_commit', 'off', true)
        FROM users WHERE user_id = (SELECT user_id FROM list) FOR SHARE
    ), kept AS (
        INSERT INTO recommendations_cache
            (recommendation_id, user_id, cache_key, recommended_tracks_json, scores_json,
             metadata_json, recommendation_type, total_candidates, final_count, generated_at,
             expires_at, user_account_age_days, personality_snapshot, is_valid, last_served_at)
        SELECT recommendation_id, user_id, :cache_key, tracks, :scores, :metadata,
               :recommendation_type, :total_candidates, cardinality(states), generated_at,
               :expires_at, :age_days, :personality, :is_valid AND :revision = revision,
               generated_at
        FROM list, listener
        -- Of two attempts at a night's list, one killed and not yet dead, the first one stays.
        ON CONFLICT (recommendation_id) DO NOTHING RETURNING recommendation_id
    )
    -- What is shown are the first of the tracks: their values stand there, and are read once.
    INSERT INTO music_recommendations
        (recommendation_id, user_id, position, track_id, score, components, rl_adjustment,
         propensity, policy, model_versions, state, arm, created_at)
    SELECT recommendation_id, user_id, place, track ->> 'track_id',
           CAST(track -> 'score' AS float8), track -> 'components',
           CAST(track -> 'rl_adjustment' AS float8), CAST(track -> 'propensity' AS float8),
           policy, model_versions, states[place], arm, generated_at
    FROM kept JOIN list USING (recommendation_id),
         jsonb_array_elements(tracks) WITH ORDINALITY AS e (track, place)
    WHERE place <= cardinality(states)
    """,
    recommendation_id="uuid",
    user_id="text",
    cache_key="text",
    recommendation_type="text",
    tracks="jsonb",
    scores="jsonb",
    metadata="jsonb",
    states="text[]",
    policy="text",
    model_versions="jsonb",
    total_candidates="integer",
    age_days="integer",
    personality="jsonb",
    generated_at="timestamptz",
    expires_at="timestamptz",
    revision="bigint",
    is_valid="boolean",
    arm="text",
)
_LOOK = Prepared(
    "look_for_list",
    """
    SELECT u.revision, coalesce(
               (SELECT seq FROM music_interactions i WHERE i.user_id = u.user_id
                ORDER BY episode DESC LIMIT 1), 0),
           list.recommendation_id, list.recommended_tracks_json, list.metadata_json
    FROM users u LEFT JOIN LATERAL (
        SELECT recommendation_id, recommended_tracks_json, metadata_json
        FROM recommendations_cache c
        WHERE c.user_id = u.user_id AND cache_key = :cache_key AND is_valid AND expires_at > :now
        ORDER BY generated_at DESC LIMIT 1) list ON true
    WHERE u.user_id = :user_id
    """,
    user_id="text",
    cache_key="text",
    now="timestamptz",
)
_DOCUMENTS = ("tracks", "scores", "metadata", "model_versions", "personality")
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

    `impressions`: of the first `tracks`, of which they repeat the values.
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


def store_first_list(connection: sa.Connection, computed: ComputedList, *, source: str) -> None:
    """Store the list of a listener who had not called before: they exist from its moment on."""
    known_since = {"user_id": computed.user_id, "now": computed.generated_at, "source": source}
    run(connection, (ENSURE, known_since), _stored(computed))


def store_lists(connection: sa.Connection, computed: Sequence[ComputedList]) -> None:
    """Store lists: of each one row for the cache, one per position for the log of impressions.

    All of them in one message.
    """
    if computed:  # in one order everywhere: whoever waits for a listener is not waited for
        run(connection, *map(_stored, sorted(computed, key=lambda one: one.user_id)))


def _stored(computed: ComputedList) -> tuple[Prepared, dict[str, Any]]:
    values = msgspec.structs.asdict(computed)
    impressions = values.pop("impressions")
    values |= {name: msgspec.json.encode(values[name]).decode() for name in _DOCUMENTS}
    return _STORE, values | {"states": [one.state for one in impressions]}


def known_lists(connection: sa.Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Return which of these lists are kept, valid or not."""
    return set(connection.scalars(_KNOWN, {"ids": [str(each) for each in ids]}))


def look_for_list(
    connection: sa.Connection, user_id: str, cache_key: str, *, now: datetime
) -> tuple[Standing | None, tuple[Any, Any, UUID] | None]:
    """Return a listener's `standing`, and their valid list, if any.

    The list as (tracks, metadata, recommendation_id).
    """
    asked = {"user_id": user_id, "cache_key": cache_key, "now": now}
    row: Sequence[Any] | None = run(connection, (_LOOK, asked)).one_or_none()
    if row is None:
        return None, None
    revision, seq, recommendation_id, tracks, metadata = row
    stands = Standing(revision, seq)
    return stands, None if recommendation_id is None else (tracks, metadata, recommendation_id)


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
