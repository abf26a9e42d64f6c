"""Why a track stands where it does: parts that add up, ranks that can be checked by hand."""

import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa
from serving_world import opened, register

from features.settings import Settings
from recommender.cold_start import Stage
from recommender.scoring import Scorer

pytestmark = pytest.mark.anyio

TWO = Scorer.of({stage: {"personality": 0.7, "popularity": 0.3} for stage in Stage})


async def test_parts_and_ranks(settings: Settings, world: sa.Engine, tmp_path: Path) -> None:
    register(world, tmp_path, 2, TWO)
    async with opened(settings) as client:
        await client.post("/v1/personality", {"scores": {"extraversion": 95, "openness": 10}})
        listed = await client.recommend()
        place = 7
        track = listed["recommendations"][place - 1]
        answer = await client.post(
            "/v1/explain",
            {"recommendation_id": listed["recommendation_id"], "track_id": track["track_id"]},
        )
        with world.connect() as connection:
            kept = connection.execute(
                sa.text("SELECT recommended_tracks_json FROM recommendations_cache")
            ).scalar_one()
    said = answer.json()
    assert said["rank"] == said["rank_by_score"] == place
    assert said["among"] == len(kept) == 100
    total = sum(part["contribution"] for part in said["parts"].values()) + said["rl_adjustment"]
    assert said["score"] == pytest.approx(total, abs=1e-9) == pytest.approx(track["score"])
    # Without personality popularity alone decides; ties go to the lower id.
    by_popularity = sorted(kept, key=lambda t: (-t["components"]["popularity"], t["track_id"]))
    expected = [t["track_id"] for t in by_popularity].index(track["track_id"]) + 1
    assert said["without"]["personality"] == expected
    assert said["without"]["history"] == said["without"]["colisten"] == place
    assert said["without"]["rl"] == place  # no feedback yet


async def test_feedback_is_a_reason_too(settings: Settings) -> None:
    everything = settings.model_copy(update={"bondhu_exclude_heard": False})
    async with opened(everything) as client:
        first = await client.recommend()
        for track in first["recommendations"][20:24]:
            await client.say(track["track_id"], "add_to_playlist")
        listed = await client.recommend()
        moved = [track for track in listed["recommendations"] if track["rl_adjustment"] > 0.001]
        answers = [
            (
                await client.post(
                    "/v1/explain",
                    {
                        "recommendation_id": listed["recommendation_id"],
                        "track_id": track["track_id"],
                    },
                )
            ).json()
            for track in moved
        ]
    assert moved
    assert any(said["without"]["rl"] > said["rank_by_score"] for said in answers)


async def test_what_is_not_theirs_is_404(settings: Settings) -> None:
    async with opened(settings) as client:
        listed = await client.recommend()
        ours = {
            "recommendation_id": listed["recommendation_id"],
            "track_id": listed["recommendations"][0]["track_id"],
        }
        of_another = await client.post("/v1/explain", ours, user="bob")
        no_list = await client.post("/v1/explain", ours | {"recommendation_id": str(uuid.uuid4())})
        no_track = await client.post("/v1/explain", ours | {"track_id": "track-000"})
    assert [a.status_code for a in (of_another, no_list, no_track)] == [404, 404, 404]
    assert "24 hours" in no_list.json()["detail"]
