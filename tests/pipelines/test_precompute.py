"""A night's list is, to the last digit, the one that the service computes for a call."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid5

import numpy as np
import pytest
import redis
import sqlalchemy as sa
from registered import register_model
from serving_world import make_world, register

from features import interactions, users
from features.database import mlflow_uri
from features.interactions import Interaction
from features.recommendations import store_lists
from features.settings import Settings
from pipelines import precompute
from pipelines.environment import Environment
from pipelines.precompute import NAMESPACE, Place
from recommender.qtable import QTable
from recommender.scoring import PRIOR
from serving.cache import Cache
from serving.list_building import RankingSettings
from serving.recommend import Recommender
from serving.samples import ComponentSamples
from serving.schemas import RecommendRequest
from serving.shadow import Shadows

NOW = datetime.now(UTC).replace(microsecond=0)
NIGHT = NOW.date()
LISTENERS = ["ada", *(f"user{n}" for n in range(5)), "newcomer"]
COLUMNS = {
    "recommendations_cache": "recommendation_id, user_id, cache_key, recommended_tracks_json,"
    " scores_json, metadata_json, recommendation_type, total_candidates, final_count, generated_at,"
    " expires_at, user_account_age_days, personality_snapshot, is_valid, last_served_at",
    "music_recommendations": "recommendation_id, user_id, position, track_id, score, components,"
    " rl_adjustment, propensity, policy, model_versions, state, arm, created_at",
}


def test_it_is_the_list_of_the_service(
    engine: sa.Engine, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    table = _world(engine)
    register(engine, tmp_path, 1, PRIOR)
    register_model(engine, tmp_path, "qtable", 1, table.to_files())
    settings = Settings(bondhu_home=tmp_path / "home", bondhu_exploration=0.2)
    place = Place.of(
        Environment(settings, database_url, redis_url, mlflow_uri(database_url), engine)
    )
    with precompute.open_lists(place, NIGHT, NOW) as fill:
        assert fill(LISTENERS) == len(LISTENERS)
    by_night = _kept(engine, redis_url)
    lineup = precompute._opened(precompute._Models(place), NOW)
    cache = Cache(redis_url, connections=2, now=lambda: NOW)
    ranking = RankingSettings.of(settings)
    for user in LISTENERS:
        recommender = Recommender(
            engine,
            cache,
            ranking,
            Shadows(engine, ranking, now=lambda: NOW),
            ComponentSamples(engine, share=0.0),
            now=lambda: NOW,
            new_id=lambda name=user: uuid5(NAMESPACE, f"{NIGHT} {name}"),  # type: ignore[misc]
        )
        recommender.recommend(user, RecommendRequest(force_refresh=True), lineup.champion)
    cache.close()
    by_service = _kept(engine, redis_url)
    assert len(by_night["lists"]) == len(by_night["pools"]) == len(LISTENERS)
    assert len(by_night["recommendations_cache"]) == len(LISTENERS)
    assert {row.policy for row in by_night["music_recommendations"]} == {"thompson_tempered:0.2"}
    assert any(row.propensity < 1 for row in by_night["music_recommendations"])
    assert by_night == by_service


def test_of_two_attempts_at_a_list_the_first_one_stays(
    engine: sa.Engine,
    database_url: str,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _world(engine)
    register(engine, tmp_path, 1, PRIOR)
    settings = Settings(bondhu_home=tmp_path / "home")
    place = Place.of(
        Environment(settings, database_url, redis_url, mlflow_uri(database_url), engine)
    )
    stored: list[Any] = []

    def twice(connection: sa.Connection, computed: Any) -> None:
        store_lists(connection, computed)
        store_lists(connection, computed)
        stored.extend(computed)

    monkeypatch.setattr("features.recommendations.store_lists", twice)
    with precompute.open_lists(place, NIGHT, NOW) as fill:
        fill(["ada"])
    with engine.connect() as connection:
        rows = connection.scalar(sa.text("SELECT count(*) FROM music_recommendations"))
    assert len(stored) == 1
    assert rows == len(stored[0].impressions)


def _world(engine: sa.Engine) -> QTable:
    """Make listeners who played, said, were assessed or did nothing; return all that was said."""
    make_world(engine)
    rng = np.random.default_rng(3)
    log = []
    with engine.begin() as connection:
        for name in LISTENERS[1:]:
            users.ensure_user(connection, name, source="test", now=NOW - timedelta(days=200))
        for n in range(5):
            for track in rng.integers(0, 300, 6).tolist():
                connection.execute(
                    sa.text("SELECT upsert_listening_history(:user, :track, :at, 180000, 'test')"),
                    {
                        "user": f"user{n}",
                        "track": f"track-{track:03}",
                        "at": NOW - timedelta(days=2),
                    },
                )
        for name, count in (("user1", 3), ("user2", 14), ("user3", 25)):
            q = interactions.q_state(connection, name)
            for at in range(count):
                event = _event(name, int(rng.integers(0, 300)), at)
                interactions.append(connection, event, q)
                log.append((event.state, 20_700.0, event.reward))
                users.revise(connection, name)
    return QTable.of(log, as_of_day=20_700.0)


def _event(user: str, track: int, at: int) -> Interaction:
    kind = ("like", "skip", "dislike")[at % 3]
    half = "|".join(
        f"{trait}_none"
        for trait in (
            "extraversion",
            "openness",
            "conscientiousness",
            "agreeableness",
            "neuroticism",
        )
    )
    return Interaction(
        event_id=uuid.uuid4(),
        user_id=user,
        track_id=f"track-{track:03}",
        feedback_type=kind,
        reward=(1.0, -0.4, -1.0)[at % 3],
        state=f"{half}|energy_med|valence_low|danceability_high|tempo_med|genre_pop_anthems",
        category="pop_anthems",
        recommendation_id=None,
        position=None,
        listen_duration_ms=None,
        track_duration_ms=None,
        context=None,
        occurred_at=NOW - timedelta(hours=30 - at),
        received_at=NOW - timedelta(hours=30 - at),
    )


def _kept(engine: sa.Engine, redis_url: str) -> dict[str, Any]:
    """Return the lists and pools that stand everywhere, and remove them."""
    found: dict[str, Any] = {}
    with engine.begin() as connection:
        for table, columns in COLUMNS.items():
            rows = connection.execute(sa.text(f"SELECT {columns} FROM {table} ORDER BY 1, 3"))
            found[table] = rows.all()
        connection.execute(sa.text(f"TRUNCATE {', '.join(COLUMNS)}"))
    with redis.Redis.from_url(redis_url) as client:
        for kind in ("lists", "pools"):
            names: Any = sorted(client.keys(f"{kind}:*"))
            found[kind] = {name: client.hgetall(name) for name in names}
        client.flushdb()
    return found
