"""Ideals and weights of every listener whose active assessment is a new one."""

from datetime import datetime

import sqlalchemy as sa

from features.imports import merge
from recommender.personality import TRAITS, ideals_of, trait_weight

COLUMNS = ("user_id", "assessment_id", "traits", "ideals", "weights")

_GONE = sa.text(
    """
    DELETE FROM personality_features f WHERE NOT EXISTS
        (SELECT FROM personality_scores s WHERE s.user_id = f.user_id AND s.is_active)
    """
)
_ASSESSED = sa.text(
    f"""
    SELECT s.user_id, s.id, {", ".join(f"s.{trait}" for trait in TRAITS)}
    FROM personality_scores s LEFT JOIN personality_features f USING (user_id)
    WHERE s.is_active AND f.assessment_id IS DISTINCT FROM s.id
    ORDER BY s.user_id LIMIT :most
    """  # noqa: S608 - the names are constants of recommender.personality
)


def refresh(connection: sa.Connection, *, now: datetime, most: int) -> int:
    """Work out up to `most` listeners, and forget who has no assessment any more.

    Returns
    -------
    How many rows changed: fewer than `most`, and none is left.
    """
    changed = connection.execute(_GONE).rowcount
    rows = []
    for user_id, assessment_id, *scores in connection.execute(_ASSESSED, {"most": most}):
        traits = {t: s / 100 for t, s in zip(TRAITS, scores, strict=True) if s is not None}
        weights = {trait: trait_weight(value) for trait, value in traits.items()}
        rows.append((user_id, assessment_id, traits, ideals_of(traits), weights))
    found = merge(connection, "personality_features", COLUMNS, rows, key="user_id", now=now)
    return changed + len(found)
