"""Component vectors of a share of lists: written by the service, read by who recomputes them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec
import sqlalchemy as sa

# Which of a listener's rows a profile as of the moment is made from. Skips take no part in it, and
# retention removes them.
_KNOWN = """
    ARRAY[(SELECT count(*) FROM plays p
           WHERE p.user_id = s.user_id AND p.played_at < s.moment),
          (SELECT count(*) FROM artist_plays c
           WHERE c.user_id = s.user_id AND c.imported_at < s.moment),
          (SELECT count(*) FROM music_interactions i
           WHERE i.user_id = s.user_id AND i.received_at < s.moment
             AND i.feedback_type <> 'skip')]
"""
_STORE = sa.text(
    f"""
    INSERT INTO component_samples
        (recommendation_id, user_id, moment, build_id, model_versions, track_ids, components, known)
    SELECT s.recommendation_id, s.user_id, s.moment, s.build_id, s.model_versions, s.track_ids,
           s.components, {_KNOWN}
    FROM jsonb_to_recordset(CAST(:samples AS jsonb)) AS s
        (recommendation_id uuid, user_id text, moment timestamptz, build_id bigint,
         model_versions jsonb, track_ids text[], components jsonb)
    JOIN users u USING (user_id) -- who was deleted meanwhile has none
    ON CONFLICT DO NOTHING
    """  # noqa: S608 - a constant of this module
)
_READ = sa.text(
    f"""
    SELECT s.user_id, s.moment, coalesce(b.built_at, s.moment), s.model_versions, s.track_ids,
           s.components, s.known <> {_KNOWN},
           EXISTS (SELECT FROM audio_features a
                   WHERE a.updated_at > s.moment AND a.track_id IN (
                       SELECT track_id FROM plays p WHERE p.user_id = s.user_id
                       UNION SELECT track_id FROM music_interactions i
                       WHERE i.user_id = s.user_id))
           OR EXISTS (SELECT FROM artist_audio_features a JOIN artist_plays c USING (artist_key)
                      WHERE a.updated_at > s.moment AND c.user_id = s.user_id)
    FROM component_samples s LEFT JOIN feature_builds b USING (build_id)
    WHERE s.moment >= :since AND s.moment < :until
    ORDER BY s.moment DESC, s.recommendation_id LIMIT :most
    """  # noqa: S608 - a constant of this module
)
_REFRESHED = sa.text(
    """
    SELECT track_id, greatest(t.updated_at, a.updated_at)
    FROM tracks t LEFT JOIN audio_features a USING (track_id) WHERE track_id = ANY(:track_ids)
    """
)
_LATEST = sa.text("SELECT max(updated_at) FROM tracks")


class ComponentSample(msgspec.Struct, kw_only=True, frozen=True):
    """What the service made of one list.

    Attributes
    ----------
    moment
        When the list was computed.
    build_id
        The feature build that the service's catalogue was read at.
    track_ids
        In the order of the list.
    components
        Component -> values in [0, 1], in the order of `track_ids`.
    """

    recommendation_id: UUID
    user_id: str
    moment: datetime
    build_id: int
    model_versions: Mapping[str, int]
    track_ids: Sequence[str]
    components: Mapping[str, Sequence[float]]


class StoredSample(NamedTuple):
    """A sample, and what has happened since.

    Attributes
    ----------
    built_at
        Of the feature build; the moment itself where there was none.
    came_late
        Whether rows from before the moment came in after it.
    heard_refreshed
        Whether the audio of something that the listener heard was written since.
    """

    user_id: str
    moment: datetime
    built_at: datetime
    model_versions: Mapping[str, int]
    track_ids: Sequence[str]
    components: Mapping[str, Sequence[float]]
    came_late: bool
    heard_refreshed: bool


def store_samples(connection: sa.Connection, samples: Sequence[ComponentSample]) -> None:
    """Store samples; those of listeners who are gone are left out."""
    connection.execute(_STORE, {"samples": msgspec.json.encode(samples).decode()})


def read_samples(
    connection: sa.Connection, *, since: datetime, until: datetime, most: int
) -> list[StoredSample]:
    """Return the samples of lists computed from `since` until before `until`, the latest first."""
    asked = {"since": since, "until": until, "most": most}
    return [StoredSample(*row) for row in connection.execute(_READ, asked)]


def refreshed_at(
    connection: sa.Connection, track_ids: Sequence[str]
) -> tuple[Mapping[str, datetime], datetime | None]:
    """Return when these tracks or their audio were last written, and when any track was."""
    found = connection.execute(_REFRESHED, {"track_ids": list(track_ids)})
    return {row[0]: row[1] for row in found}, connection.scalar(_LATEST)
