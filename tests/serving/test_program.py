"""SEED.md's usage examples, inside another program."""

from enum import Enum

import msgspec
import pytest
import sqlalchemy as sa

import serving
from features.settings import Settings
from serving.problems import ServiceProblem

pytestmark = pytest.mark.anyio


class PersonalityTrait(Enum):
    EXTRAVERSION = "extraversion"
    OPENNESS = "openness"


async def test_the_three_examples(settings: Settings, world: sa.Engine) -> None:
    service = serving.open(settings.model_copy(update={"bondhu_jwt_secret": None}))
    result = await service.generate_recommendations(
        user_id="user-123", spotify_token="BQD...", force_refresh=False, max_results=50
    )
    assert result["total_count"] == 50
    assert result["metadata"]["response_time_ms"] > 0
    assert result["metadata"]["cold_start_stage"] == "week_1"
    assert "spotify_unavailable" in result["metadata"]["degraded"]

    said = await service.process_feedback(
        user_id="user-123",
        music_data={"id": "track-123", "name": "Song Name"},
        personality_profile={PersonalityTrait.EXTRAVERSION: 0.8, "openness": 0.5},
        feedback_type="like",
        additional_data={"listen_duration": 180000, "track_duration": 200000},
    )
    assert said["reward"] == pytest.approx(1.09)
    assert said["state"].startswith("extraversion_high|openness_med|")
    assert said["duplicate"] is False

    hit = await service.generate_recommendations("user-123")
    again = await service.generate_recommendations("user-123")
    fresh = await service.generate_recommendations("user-123", force_refresh=True)
    assert [a["metadata"]["cache"] for a in (hit, again, fresh)] == ["miss", "hit", "miss"]
    assert hit["metadata"]["personality"]["method"] == "caller"

    stats = service.get_stats()
    assert stats["total_requests"] == 4
    assert stats["hit_rate_percent"] == 25.0
    assert stats["redis_memory_used_mb"] > 0.1
    assert set(service.get_stats("api")) == set(stats)
    await service.close()
    with world.connect() as connection:
        assert connection.execute(
            sa.text("SELECT count(*) FROM personality_scores WHERE user_id = 'user-123'")
        ).scalar_one() == 1  # fmt: skip


async def test_the_same_profile_again_is_not_a_new_assessment(
    settings: Settings, world: sa.Engine
) -> None:
    async with serving.open(settings) as bondhu:
        for kind in ("play", "like", "save"):
            await bondhu.process_feedback("u", {"id": "track-001"}, {"openness": 0.8}, kind)
    with world.connect() as connection:
        count = connection.execute(sa.text("SELECT count(*) FROM personality_scores")).scalar_one()
    assert count == 1


async def test_what_makes_no_sense_is_refused(settings: Settings) -> None:
    async with serving.open(settings) as bondhu:
        with pytest.raises(msgspec.ValidationError, match="<= 50"):
            await bondhu.generate_recommendations("u", max_results=51)
        with pytest.raises(msgspec.ValidationError, match="love"):
            await bondhu.process_feedback("u", {"id": "track-001"}, None, "love")
        with pytest.raises(ServiceProblem, match="no track"):
            await bondhu.process_feedback("u", {"id": "nothing"}, None, "like")
        with pytest.raises(ValueError, match="traits"):
            await bondhu.process_feedback("u", {"id": "track-001"}, {"grit": 0.5}, "like")
        with pytest.raises(KeyError):
            bondhu.get_stats("no such cache")


async def test_a_settled_world_is_needed(settings: Settings) -> None:
    with pytest.raises(ValueError, match="DATABASE_URL"):
        serving.open(settings.model_copy(update={"database_url": None}))
