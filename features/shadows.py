"""Lists that a challenger ranked and nobody saw."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec
import sqlalchemy as sa

_STORE = sa.text(
    """
    INSERT INTO shadow_lists
        (recommendation_id, user_id, model_versions, track_ids, scores, overlap_at_10)
    SELECT s.recommendation_id, s.user_id, s.model_versions, s.track_ids, s.scores, s.overlap_at_10
    FROM jsonb_to_recordset(CAST(:lists AS jsonb)) AS s
        (recommendation_id uuid, user_id text, model_versions jsonb, track_ids text[],
         scores float8[], overlap_at_10 float8)
    JOIN users u USING (user_id) -- who was deleted meanwhile has none
    ON CONFLICT DO NOTHING
    """
)


class ShadowList(msgspec.Struct, kw_only=True, frozen=True):
    """A challenger's ranking beside a shown list.

    Attributes
    ----------
    recommendation_id
        Of the list that was shown instead.
    track_ids, scores
        Best first.
    overlap_at_10
        Share of the first ten tracks that both lists have.
    """

    recommendation_id: UUID
    user_id: str
    model_versions: Mapping[str, int]
    track_ids: Sequence[str]
    scores: Sequence[float]
    overlap_at_10: float


def store_shadows(connection: sa.Connection, lists: Sequence[ShadowList]) -> None:
    """Store lists; those of listeners who are gone are left out."""
    connection.execute(_STORE, {"lists": msgspec.json.encode(lists).decode()})
