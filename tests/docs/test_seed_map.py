"""docs/seed-map.md: every file and function that it names exists."""

import importlib
import re

import pytest

from features.settings import ROOT

TEXT = (ROOT / "docs" / "seed-map.md").read_text(encoding="utf-8")
ROWS = [line.split("|")[1:3] for line in TEXT.splitlines() if line.startswith("| ")][1:]
FLOORS = ("recommender", "features", "training", "serving", "pipelines", "docs")
OURS = [
    name
    for _, right in ROWS
    for name in re.findall(r"`([^`]+)`", right)
    if name.split(".")[0].split("/")[0] in FLOORS
]


def test_there_is_a_row_for_each_thing_that_the_seed_names() -> None:
    left = " ".join(seed for seed, _ in ROWS)
    for name in (
        "core/rl/music_recommendation_rl.py",
        "core/services/recommendation_scorer.py",
        "core/services/listening_history_service.py",
        "core/services/music_recommendation_service.py",
        "core/services/rate_limiter.py",
        "core/services/redis_cache.py",
        "database/spotify_recommender_schema.sql",
        "get_user_account_age_days",
        "get_cold_start_stage",
        "get_recommendation_weights",
        "get_user_top_50_tracks",
        "get_popular_tracks_for_cold_start",
        "process_feedback",
        "generate_recommendations",
        "get_stats",
    ):
        assert name in left
    assert all(re.search(r"`", right) for _, right in ROWS)


@pytest.mark.parametrize("name", sorted(set(OURS)))
def test_it_is_there(name: str) -> None:
    if "/" in name:
        assert (ROOT / name).exists()
        return
    module, _, attribute = name.partition(":")
    found: object = importlib.import_module(module)
    for part in attribute.split(".") if attribute else ():
        found = getattr(found, part)
