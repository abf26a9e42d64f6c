"""Generated feedback: rows of the log as the service would have written them."""

import sqlalchemy as sa

from recommender.qlearning import STATE_FEATURES, STATE_TRAITS

_BANDS = "coalesce((ARRAY['low', 'med', 'high'])[1 + least(2, floor(3 * ({0}))::int)], 'none')"
_HALF = " || '|' || ".join(
    f"'{trait}_' || {_BANDS.format(f'w.{trait} / 100.0')}" for trait in STATE_TRAITS
)
_SOUND = " || '|' || ".join(
    f"'{name}_' || {_BANDS.format('(a.tempo - 50) / 150' if name == 'tempo' else f'a.{name}')}"
    for name in STATE_FEATURES
)
KIND = "(ARRAY['play', 'skip', 'like', 'play', 'dislike', 'play'])[1 + floor(6 * random())::int]"
"""What was said: half of it is plays."""


def said(events: str) -> sa.TextClause:
    """Return the statement that writes down what listeners with an assessment said.

    Parameters
    ----------
    events
        A query: user_id, episode, track_id, kind, at, and the list that was meant and the place in
        it: recommendation_id, position, or null.
    """
    return sa.text(
        f"""
        INSERT INTO music_interactions (event_id, user_id, episode, track_id, feedback_type, reward,
            state, recommendation_id, position, listen_duration_ms, track_duration_ms, occurred_at,
            received_at, source, trainable)
        SELECT gen_random_uuid(), s.user_id, s.episode, s.track_id, s.kind,
               CASE s.kind WHEN 'play' THEN 0.8 WHEN 'like' THEN 1 WHEN 'skip' THEN -0.35
                           ELSE -1 END,
               {_HALF} || '|' || {_SOUND} || '|genre_' || t.category,
               s.recommendation_id, s.position,
               CASE s.kind WHEN 'play' THEN 180000 ELSE 20000 END, 200000, s.at, s.at, 'api', true
        FROM ({events}) s
        JOIN tracks t USING (track_id) JOIN audio_features a USING (track_id)
        JOIN personality_scores w ON w.user_id = s.user_id AND w.is_active
        """  # noqa: S608 - constants of recommender.qlearning and of the callers
    )
