"""Lists and feedback as the service writes them down."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

import numpy as np
import sqlalchemy as sa

from recommender.components import KEYS

START = datetime(2026, 3, 1, tzinfo=UTC)


class Log:
    """Writes lists and feedback, as the service does; tracks are artist000-0, artist001-0 ..."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._episodes: dict[str, int] = {}

    def listener(self, user: str, joined: datetime = START) -> None:
        self._run(
            "INSERT INTO users (user_id, created_at, source) VALUES (:user, :joined, 'planted')",
            user=user,
            joined=joined,
        )

    def show(
        self,
        user: str,
        at: datetime,
        tracks: Sequence[int] = (0, 1, 2),
        seed: int = 0,
        components: Mapping[str, Sequence[float]] | None = None,
        recommendation_id: UUID | None = None,
    ) -> UUID:
        rng = np.random.default_rng([seed, *tracks])
        recommendation_id = recommendation_id or uuid4()
        for position, track in enumerate(tracks, start=1):
            row = dict(zip(KEYS, rng.uniform(size=len(KEYS)).tolist(), strict=True))
            if components is not None:
                row = {key: values[position - 1] for key, values in components.items()}
            self._run(
                "INSERT INTO music_recommendations (recommendation_id, user_id, position, track_id,"
                " score, components, rl_adjustment, propensity, policy, model_versions, state,"
                " created_at) VALUES (:id, :user, :position, :track, 0.5,"
                " CAST(:components AS jsonb), 0, :propensity, 'epsilon_slots:0.3', '{}', 's', :at)",
                id=recommendation_id,
                user=user,
                position=position,
                track=f"artist{track:03}-0",
                components=json.dumps(row),
                propensity=0.1 if position % 3 == 0 else 1.0,
                at=at,
            )
        return recommendation_id

    def prepare(
        self, user: str, at: datetime, *, servings: int = 1, hours: float = 24, made_by: str = "5"
    ) -> UUID:
        """Write a list of `hours` to the cache too; version 5 of its id: made ahead of a call."""
        name = f"{user} {at} {servings} {hours}"
        recommendation_id = uuid5(NAMESPACE_OID, name) if made_by == "5" else uuid4()
        self._run(
            "INSERT INTO recommendations_cache (recommendation_id, user_id, cache_key,"
            " recommended_tracks_json, scores_json, metadata_json, recommendation_type,"
            " total_candidates, final_count, generated_at, expires_at, user_account_age_days,"
            " personality_snapshot, servings) VALUES (:id, :user, 'k', '[]', '{}', '{}', 'week_1',"
            " 3, 3, :at, :expires, 0, '{}', :servings)",
            id=recommendation_id,
            user=user,
            at=at,
            expires=at + timedelta(hours=hours),
            servings=servings,
        )
        return self.show(user, at, recommendation_id=recommendation_id)

    def say(
        self,
        user: str,
        recommendation_id: UUID | None,
        track: int,
        at: datetime,
        reward: float = 1.0,
        *,
        source: str = "api",
        trainable: bool = True,
    ) -> None:
        episode = self._episodes[user] = self._episodes.get(user, 0) + 1
        self._run(
            "INSERT INTO music_interactions (event_id, user_id, episode, track_id, feedback_type,"
            " reward, state, recommendation_id, occurred_at, received_at, source, trainable)"
            " VALUES (gen_random_uuid(), :user, :episode, :track, 'like', :reward, 's', :id, :at,"
            " :at, :source, :trainable)",
            user=user,
            episode=episode,
            track=f"artist{track:03}-0",
            reward=reward,
            id=recommendation_id,
            at=at,
            source=source,
            trainable=trainable,
        )

    def forget_from(self, moment: datetime) -> None:
        """Make the database what it was at a moment."""
        for table, column in (
            ("music_interactions", "received_at"),
            ("music_recommendations", "created_at"),
            ("plays", "played_at"),
            ("artist_plays", "imported_at"),
        ):
            self._run(f"DELETE FROM {table} WHERE {column} >= :at", at=moment)

    def _run(self, statement: str, **values: object) -> None:
        with self._engine.begin() as connection:
            connection.execute(sa.text(statement), values)
