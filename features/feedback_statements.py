"""The statements of a feedback: what bears on it, its row, what it replays, the snapshot."""

from features.prepared import Prepared
from recommender.personality import TRAITS
from recommender.rewards import POSITIVE

_POSITIVE = ", ".join(f"'{kind.value}'" for kind in sorted(POSITIVE))

BEFORE = Prepared(
    "look_before",
    f"""
    SELECT u.revision, last.seq, last.episode, same.reward, same.state, same.q_value,
           EXISTS (SELECT FROM music_interactions i WHERE i.user_id = :user_id
                   AND i.track_id = :track_id AND i.feedback_type IN ({_POSITIVE}))
           OR EXISTS (SELECT FROM listening_history h WHERE h.user_id = :user_id
                      AND h.track_id = :track_id) AS is_repeat,
           list.generated_at, list.last_served_at,
           :recommendation_id IS NULL OR EXISTS (
               SELECT FROM music_recommendations r
               WHERE r.recommendation_id = :recommendation_id AND r.user_id = :user_id)
               AS is_listed,
           (SELECT json_agg(json_build_array(b.episode, b.state, b.reward))
            FROM music_interactions b
            WHERE b.user_id = :user_id AND b.episode = ANY(:episodes)) AS batch,
           {", ".join(f"who.{trait}" for trait in TRAITS)}
    FROM users u
    LEFT JOIN LATERAL (SELECT seq, episode FROM music_interactions WHERE user_id = :user_id
                       ORDER BY episode DESC LIMIT 1) last ON true
    LEFT JOIN music_interactions same ON same.user_id = :user_id AND same.event_id = :event_id
    LEFT JOIN recommendations_cache list
        ON list.recommendation_id = :recommendation_id AND list.user_id = :user_id
    LEFT JOIN personality_scores who ON who.user_id = :user_id AND who.is_active
    WHERE u.user_id = :user_id
    """,  # noqa: S608 - constants of recommender.personality and recommender.rewards
    user_id="text",
    track_id="text",
    event_id="uuid",
    recommendation_id="uuid",
    episodes="integer[]",
)
APPEND = Prepared(
    "append_interaction",
    """
    WITH preference AS (
        INSERT INTO music_genre_preferences AS p (user_id, genre, preference, n, updated_at)
        VALUES (:user_id, :category, :reward, 1, :received_at)
        ON CONFLICT (user_id, genre) DO UPDATE SET
            preference = p.preference + (excluded.preference - p.preference) / (p.n + 1),
            n = p.n + 1, updated_at = excluded.updated_at
    ), stale AS (
        UPDATE recommendations_cache SET is_valid = false WHERE user_id = :user_id AND is_valid
    )
    INSERT INTO music_interactions
        (event_id, user_id, episode, track_id, feedback_type, reward, state, q_value,
         recommendation_id, position, listen_duration_ms, track_duration_ms, context,
         occurred_at, received_at, source, trainable)
    VALUES (:event_id, :user_id, :episode, :track_id, :feedback_type, :reward, :state, :q_value,
            :recommendation_id, :position, :listen_duration_ms, :track_duration_ms, :context,
            :occurred_at, :received_at, :source, :trainable)
    RETURNING seq
    """,
    event_id="uuid",
    user_id="text",
    episode="integer",
    track_id="text",
    feedback_type="text",
    reward="double precision",
    state="text",
    q_value="double precision",
    recommendation_id="uuid",
    position="smallint",
    listen_duration_ms="integer",
    track_duration_ms="integer",
    context="text",
    occurred_at="timestamptz",
    received_at="timestamptz",
    source="text",
    trainable="boolean",
    category="text",
)
BATCH = Prepared(
    "replayed_batch",
    "SELECT episode, state, reward FROM music_interactions"
    " WHERE user_id = :user_id AND episode = ANY(:episodes)",
    user_id="text",
    episodes="integer[]",
)
SAVE_SNAPSHOT = Prepared(
    "save_snapshot",
    """
    WITH old AS (
        DELETE FROM music_rl_models WHERE user_id = :user_id AND version <= :version - :kept
    )
    INSERT INTO music_rl_models (user_id, version, through_seq, episodes, q_table, own_sums)
    SELECT :user_id, :version, seq, episode, :q_table, :own_sums
    FROM music_interactions WHERE user_id = :user_id AND episode = :episode
    RETURNING through_seq
    """,
    user_id="text",
    version="integer",
    kept="integer",
    episode="integer",
    q_table="jsonb",
    own_sums="jsonb",
)
