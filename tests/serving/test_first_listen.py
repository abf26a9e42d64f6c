"""The promise of the first listen: a list that feedback changes, and everything around it."""

import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
import sqlalchemy as sa
from serving_world import PERSONAL, opened, register

from features.settings import Settings
from recommender.components import KEYS

pytestmark = pytest.mark.anyio


def order(answer: dict[str, Any]) -> list[str]:
    return [track["track_id"] for track in answer["recommendations"]]


async def test_a_list_has_all_that_the_contract_names(settings: Settings) -> None:
    async with opened(settings) as client:
        answer = await client.recommend()
    assert answer["total_count"] == len(answer["recommendations"]) == 50
    assert answer["metadata"]["cold_start_stage"] == "month_2_plus"
    weights = answer["metadata"]["weights"]
    assert set(weights) == set(KEYS)
    for rank, track in enumerate(answer["recommendations"], start=1):
        assert track["rank"] == rank
        assert set(track["components"]) == set(KEYS)
        assert all(0 <= value <= 1 for value in track["components"].values())
        parts = sum(weights[key] * track["components"][key] for key in KEYS)
        assert track["score"] == pytest.approx(parts + track["rl_adjustment"], abs=1e-9)
        assert track["propensity"] == 1.0
    heard = {f"track-{i:03}" for i in range(20)}
    assert not heard & set(order(answer))
    artists = [track["artist_name"] for track in answer["recommendations"]]
    assert max(artists.count(a) for a in artists) <= 2


async def test_without_exploration_a_list_is_the_same_twice(settings: Settings) -> None:
    async with opened(settings) as client:
        first = await client.recommend()
        second = await client.recommend()
        fresh = await client.recommend({"force_refresh": True})
    assert second["metadata"]["cache"] == "hit"
    assert second["recommendation_id"] == first["recommendation_id"]
    assert fresh["metadata"]["cache"] == "miss"
    assert fresh["recommendation_id"] != first["recommendation_id"]
    assert first["recommendations"] == second["recommendations"] == fresh["recommendations"]


@pytest.mark.parametrize("kind", ["like", "skip", "dislike", "share"])
async def test_feedback_moves_tracks_that_were_not_judged(settings: Settings, kind: str) -> None:
    async with opened(settings) as client:
        await client.post(
            "/v1/personality", {"scores": {"extraversion": 90, "neuroticism": 20}}, user="ada"
        )
        first = await client.recommend()
        judged = first["recommendations"][0]["track_id"]
        said = await client.say(judged, kind)
        second = await client.recommend()
    assert second["metadata"]["cache"] == "rerank"
    assert said["q_value"] != 0
    before = {track["track_id"]: track for track in first["recommendations"]}
    moved = [
        track
        for track in second["recommendations"]
        if track["track_id"] != judged
        and (was := before.get(track["track_id"]))
        and was["rank"] != track["rank"]
        and (
            was["components"] != track["components"]
            or was["rl_adjustment"] != track["rl_adjustment"]
        )
    ]
    assert moved
    if kind == "dislike":
        assert judged not in order(second)


async def test_a_repeated_event_changes_nothing(settings: Settings) -> None:
    event = {
        "event_id": str(uuid.uuid4()),
        "track_id": "track-200",
        "feedback_type": "like",
        "listen_duration_ms": 180_000,
        "track_duration_ms": 200_000,
    }
    async with opened(settings) as client:
        first = (await client.post("/v1/feedback", event)).json()
        again = (await client.post("/v1/feedback", event)).json()
    assert first["duplicate"] is False
    assert again == first | {"duplicate": True}
    assert first["reward"] == pytest.approx(1.09)


async def test_the_golden_reward(settings: Settings) -> None:
    async with opened(settings) as client:
        listed = await client.recommend()
        said = await client.say(
            listed["recommendations"][4]["track_id"],
            "like",
            recommendation_id=listed["recommendation_id"],
            position=5,
            listen_duration_ms=180_000,
            track_duration_ms=200_000,
        )
    assert said["reward"] == pytest.approx(1.19, abs=1e-9)


async def test_what_is_shown_and_said_is_in_postgres(settings: Settings, world: sa.Engine) -> None:
    async with opened(settings) as client:
        listed = await client.recommend()
        await client.recommend()
        track = listed["recommendations"][2]
        await client.say(
            track["track_id"], "save", recommendation_id=listed["recommendation_id"], position=3
        )
    with world.connect() as connection:
        rows = connection.execute(
            sa.text("SELECT * FROM music_recommendations ORDER BY position")
        ).mappings()
        impressions = list(rows)
        event = connection.execute(sa.text("SELECT * FROM music_interactions")).mappings().one()
        cached = connection.execute(sa.text("SELECT * FROM recommendations_cache")).mappings().one()
        preference = connection.execute(sa.text("SELECT * FROM music_genre_preferences")).one()
    assert [row["track_id"] for row in impressions] == order(listed)
    assert impressions[2]["components"] == track["components"]
    assert event["state"] == impressions[2]["state"]
    assert event["seq"] == 1
    assert event["episode"] == 1
    assert event["reward"] == pytest.approx(1.6)  # saved, and quick
    assert cached["servings"] == 2
    assert cached["is_valid"] is False
    assert preference.n == 1


async def test_losing_redis_loses_nothing(settings: Settings) -> None:
    judged = [f"track-{100 + i:03}" for i in range(12)]
    async with opened(settings) as client:
        for i in range(12):  # past the tenth episode: a batch and a snapshot
            await client.say(judged[i], "like" if i % 2 else "skip")
        before = await client.recommend({"candidate_ids": judged})
        for db in range(4):
            redis.Redis.from_url(str(settings.redis_url), db=db).flushdb()
        after = await client.recommend({"candidate_ids": judged})
    assert all(track["rl_adjustment"] for track in before["recommendations"])
    assert after["recommendations"] == before["recommendations"]


async def test_without_redis_the_answer_is_the_same(settings: Settings, tmp_path: Path) -> None:
    away = settings.model_copy(update={"redis_url": f"unix://{tmp_path}/nobody.sock"})
    async with opened(settings) as client:
        expected = await client.recommend()
    async with opened(away) as client:
        second_level = await client.recommend()
        computed = await client.recommend({"force_refresh": True})
        assert (await client.say("track-250", "like"))["q_value"] == pytest.approx(0.1)
        changed = await client.recommend()
    assert second_level["metadata"]["cache"] == "hit"
    assert computed["metadata"]["degraded"] == ["redis_down", "personality_default"]
    assert computed["recommendations"] == expected["recommendations"]
    assert "track-250" not in order(changed)


async def test_the_limit_is_exact_and_said(settings: Settings) -> None:
    limited = settings.model_copy(update={"user_rate_limit": 3})
    async with opened(limited) as one, opened(limited) as two:
        answers = [await client.post("/v1/recommend") for client in (one, two, one, two)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert 1 <= int(answers[3].headers["Retry-After"]) <= 60
    assert answers[3].headers["content-type"] == "application/problem+json"


async def test_callers_may_give_the_candidates(settings: Settings) -> None:
    async with opened(settings) as client:
        wanted = ["track-000", "track-001", "track-100", "track-299", "nothing-here"]
        answer = await client.recommend({"candidate_ids": wanted, "max_results": 3})
    assert answer["metadata"]["unknown_ids"] == ["nothing-here"]
    assert answer["total_count"] == 3
    assert set(order(answer)) <= set(wanted)
    assert {track["source"] for track in answer["recommendations"]} == {"caller"}


async def test_max_results_and_exclusions_cut_the_cached_list(settings: Settings) -> None:
    async with opened(settings) as client:
        whole = order(await client.recommend())
        cut = await client.recommend({"max_results": 5, "exclude_ids": whole[:2]})
        refilled = await client.recommend({"exclude_ids": whole[:10]})
    assert order(cut) == whole[2:7]
    assert [track["rank"] for track in cut["recommendations"]] == [1, 2, 3, 4, 5]
    assert cut["metadata"]["cache"] == "hit"
    assert refilled["total_count"] == 50


async def test_a_genre_or_a_category_narrows_the_list(settings: Settings) -> None:
    async with opened(settings) as client:
        by_genre = await client.recommend({"genre": "Hard Rock"})
        by_category = await client.recommend({"genre": "hype_beats"})
        unknown = await client.post("/v1/recommend", {"genre": "polka"})
    assert {track["genre"] for track in by_genre["recommendations"]} == {"hard-rock"}
    assert {track["genre"] for track in by_category["recommendations"]} == {"trap"}
    assert unknown.status_code == 422
    assert "pop_anthems" in unknown.json()["detail"]


async def test_a_new_listener_gets_fifty_tracks_by_personality(settings: Settings) -> None:
    async with opened(settings) as client:
        await client.post("/v1/personality", {"scores": {"extraversion": 95}}, user="new")
        answer = await client.recommend(user="new")
        unassessed = await client.recommend(user="newer")
    assert answer["total_count"] == 50
    assert answer["metadata"]["cold_start_stage"] == "week_1"
    assert answer["metadata"]["degraded"] == []
    assert unassessed["metadata"]["degraded"] == ["personality_default"]
    assert unassessed["metadata"]["personality"] == {"confidence": 0.0, "method": "default"}


async def test_a_new_champion_is_served_and_a_damaged_one_is_not(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    async with opened(settings) as client:
        first = await client.recommend()
        register(world, tmp_path, 2, PERSONAL)
        client.application._house_keep()
        second = await client.recommend()
        register(world, tmp_path, 3, PERSONAL)
        (tmp_path / "m-3" / "artifacts" / "scorer.json").write_text("{}")
        client.application._house_keep()
        third = await client.recommend()
    versions = [answer["metadata"]["models"]["scorer"] for answer in (first, second, third)]
    assert versions == [1, 2, 2]
    assert second["recommendation_id"] != first["recommendation_id"]
    assert second["metadata"]["cache"] == "hit"  # computed ahead of the swap
    assert third["recommendation_id"] == second["recommendation_id"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/recommend", {"max_results": 51}, 422),
        ("/v1/recommend", {"surprise": 1}, 422),
        ("/v1/recommend", {"exclude_ids": ["x" * 129]}, 422),
        ("/v1/feedback", {"track_id": "track-001", "feedback_type": "like"}, 422),
        ("/v1/feedback", {"event_id": str(uuid.uuid4()), "track_id": "no", "feedback_type": "like"},
         404),
        ("/v1/feedback", {"event_id": str(uuid.uuid4()), "track_id": "track-001",
                          "feedback_type": "love"}, 422),
        ("/v1/feedback", {"event_id": str(uuid.uuid4()), "track_id": "track-001",
                          "feedback_type": "like", "occurred_at": "2999-01-01T00:00:00Z"}, 422),
        ("/v1/feedback", {"event_id": str(uuid.uuid4()), "track_id": "track-001",
                          "feedback_type": "like", "recommendation_id": str(uuid.uuid4())}, 404),
        ("/v1/personality", {}, 422),
        ("/v1/personality", {"instrument": "bfi44", "answers": [3] * 50}, 422),
        ("/v1/personality", {"scores": {"openness": 101}}, 422),
        ("/v1/nowhere", {}, 404),
        ("/v1/recommend", {"genre": "x" * 1_100_000}, 413),
    ],
)  # fmt: skip
async def test_bad_input_is_a_problem_with_a_reason(
    settings: Settings, path: str, body: dict[str, Any], status: int
) -> None:
    async with opened(settings) as client:
        answer = await client.post(path, body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail"}
    assert problem["status"] == status
    assert problem["detail"]


async def test_the_docs_describe_every_call(settings: Settings) -> None:
    async with opened(settings) as client:
        document = msgspec.json.decode((await client.get("/docs.json")).content)
        page = await client.get("/")
    assert {"/v1/recommend", "/v1/feedback", "/v1/personality"} <= set(document["paths"])
    assert "/docs.json" in page.text
    assert "/v1/recommend" in page.text
