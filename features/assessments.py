"""Personality assessments: stored as versions, one of them active."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from features.users import lock
from recommender.personality import TRAITS, ideals_of, trait_weight
from recommender.questionnaires import Assessment

_SAVE = sa.text(
    """
    INSERT INTO personality_scores
        (user_id, openness, conscientiousness, extraversion, agreeableness, neuroticism,
         assessment_confidence, trait_confidence, assessment_method, assessment_date,
         total_questions, raw_responses)
    VALUES (:user_id, :openness, :conscientiousness, :extraversion, :agreeableness, :neuroticism,
            :overall, :per_trait, :method, :now, :questions, :answers)
    RETURNING id
    """
)
_FEATURES = sa.text(
    """
    INSERT INTO personality_features (user_id, assessment_id, traits, ideals, weights, updated_at)
    VALUES (:user_id, :assessment_id, :traits, :ideals, :weights, :now)
    ON CONFLICT (user_id) DO UPDATE SET assessment_id = excluded.assessment_id,
        traits = excluded.traits, ideals = excluded.ideals, weights = excluded.weights,
        updated_at = excluded.updated_at
    """
)


_ACTIVE = sa.text("SELECT * FROM get_active_personality_profile(:user_id)")


def active_scores(connection: sa.Connection, user_id: str) -> dict[str, float]:
    """Return the scores of a listener's active assessment, trait -> 0-100; empty without one."""
    row = connection.execute(_ACTIVE, {"user_id": user_id}).mappings().one_or_none()
    return {trait: row[trait] for trait in TRAITS if row[trait] is not None} if row else {}


def save_assessment(
    connection: sa.Connection,
    user_id: str,
    assessment: Assessment,
    *,
    method: str,
    now: datetime,
    answers: Sequence[int | None] | None = None,
) -> None:
    """Store an assessment and make it the active one; earlier ones stay, inactive."""
    lock(connection, user_id)  # two assessments at once would both be active
    connection.execute(
        sa.text(
            "UPDATE personality_scores SET is_active = false WHERE user_id = :user_id AND is_active"
        ),
        {"user_id": user_id},
    )
    assessment_id = connection.execute(
        _SAVE,
        {trait: assessment.scores.get(trait) for trait in TRAITS}
        | {
            "user_id": user_id,
            "overall": assessment.overall_confidence,
            "per_trait": json.dumps(assessment.confidence),
            "method": method,
            "now": now,
            "questions": len(answers or ()),
            "answers": None if answers is None else json.dumps(list(answers)),
        },
    ).scalar_one()
    save_personality_features(connection, user_id, assessment_id, assessment.scores, now=now)


def save_personality_features(
    connection: sa.Connection,
    user_id: str,
    assessment_id: int,
    scores: Mapping[str, float],
    *,
    now: datetime,
) -> None:
    """Derive a listener's ideals and weights from scores of 0-100."""
    traits = {trait: value / 100 for trait, value in scores.items()}
    connection.execute(
        _FEATURES,
        {
            "user_id": user_id,
            "assessment_id": assessment_id,
            "traits": json.dumps(traits),
            "ideals": json.dumps(ideals_of(traits)),
            "weights": json.dumps({t: trait_weight(v) for t, v in traits.items()}),
            "now": now,
        },
    )
