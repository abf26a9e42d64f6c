"""A co-listening champion: named, weighed, picked up while serving, and gone without."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa
from colisten_world import WEIGHED, colisten_of
from registered import register_model
from serving_world import opened, register

from features.settings import Settings

pytestmark = pytest.mark.anyio


def register_files(engine: sa.Engine, folder: Path, name: str, files: Mapping[str, bytes]) -> None:
    """Make version 1 of a model and its champion as MLflow's registry stores them."""
    artifacts = folder / name / "artifacts"
    artifacts.mkdir(parents=True)
    for file, content in files.items():
        (artifacts / file).write_bytes(content)
    hashes = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
    manifest = json.dumps(hashes).encode()
    (artifacts / "manifest.json").write_bytes(manifest)
    values = {
        "name": name,
        "location": str(artifacts.parent),
        "hash": hashlib.sha256(manifest).hexdigest(),
    }
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO mlflow.model_versions VALUES (:name, 1, :location)",
            "INSERT INTO mlflow.model_version_tags VALUES (:name, 1, 'manifest_sha256', :hash)",
            "INSERT INTO mlflow.registered_model_aliases VALUES ('champion', 1, :name)",
        ):
            connection.execute(sa.text(statement), values)


async def test_it_is_picked_up_named_and_explained(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    register(world, tmp_path, 2, WEIGHED)
    async with opened(settings) as client:
        before = await client.recommend()
        assert before["metadata"]["models"] == {"scorer": 2}
        assert {t["components"]["colisten"] for t in before["recommendations"]} == {0.0}

        register_files(world, tmp_path, "colisten", colisten_of(world).to_files())
        client.application._house_keep()
        taste = client.application.served.taste
        assert taste is not None
        assert {"artists_here", "canonical", "place"} <= vars(taste).keys()  # warm before anybody
        after = await client.recommend()
        assert after["metadata"]["models"] == {"scorer": 2, "colisten": 1}
        # Another key: nothing old is served, but what was computed ahead of the swap.
        assert after["metadata"]["cache"] == "hit"
        assert after["recommendation_id"] != before["recommendation_id"]
        values = [t["components"]["colisten"] for t in after["recommendations"]]
        assert max(values) > 0.3
        assert "colisten" in {t["source"] for t in after["recommendations"]}
        # Ada plays artists 0 to 19: the first of her list are their neighbours or their own.
        best = max(after["recommendations"], key=lambda t: t["components"]["colisten"])
        assert "people who listen like you play it" in best["explanation"]

        register(world, tmp_path, 3, WEIGHED)
        client.application._house_keep()
        assert client.application.served.models == {"scorer": 3, "colisten": 1}
        assert client.application.served.taste is taste  # what has not changed is taken over

        with world.begin() as connection:
            connection.execute(
                sa.text("DELETE FROM mlflow.registered_model_aliases WHERE name = 'colisten'")
            )
        client.application._house_keep()
        without = await client.recommend()
        assert without["metadata"]["models"] == {"scorer": 3}


async def test_a_listener_without_history_gets_fifty(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    register_files(world, tmp_path, "colisten", colisten_of(world).to_files())
    async with opened(settings) as client:
        answer = await client.recommend(user="newcomer")
    assert answer["total_count"] == 50
    assert {t["components"]["colisten"] for t in answer["recommendations"]} == {0.0}


async def test_a_damaged_champion_is_not_taken_over(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    async with opened(settings) as client:
        register_files(world, tmp_path, "colisten", colisten_of(world).to_files())
        damaged = tmp_path / "colisten" / "artifacts" / "artists_factors.npy"
        damaged.write_bytes(damaged.read_bytes()[:-4])
        client.application._house_keep()
        answer = await client.recommend({"force_refresh": True})
    assert answer["metadata"]["models"] == {"scorer": 1}
    assert "model_stale" in answer["metadata"]["degraded"]


async def test_a_floor_of_entropy_is_kept(settings: Settings) -> None:
    from recommender.entropy import entropy  # noqa: PLC0415

    floored = settings.model_copy(update={"bondhu_min_entropy": 1.5})
    async with opened(floored) as client:
        answer = await client.recommend()
    codes = {genre: at for at, genre in enumerate({t["genre"] for t in answer["recommendations"]})}
    assert entropy([codes[t["genre"]] for t in answer["recommendations"]]) >= 1.5


async def test_a_swap_fails_no_request(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    register(world, tmp_path, 2, WEIGHED)
    busy = settings.model_copy(update={"user_rate_limit": 10_000})
    models = [colisten_of(world, neighbours=n).to_files() for n in (10, 5, 20)]
    async with opened(busy) as client:
        stop = asyncio.Event()

        async def ask(user: str) -> list[tuple[int, tuple[float, ...]]]:
            seen = []
            while not stop.is_set():
                answer = await client.recommend({"force_refresh": True}, user=user)
                parts = {
                    t["track_id"]: t["components"]["colisten"] for t in answer["recommendations"]
                }
                version = answer["metadata"]["models"].get("colisten", 0)
                seen.append((version, tuple(parts[track] for track in sorted(parts))))
            return seen

        asking = [asyncio.create_task(ask("ada")) for _ in range(4)]
        for version, files in enumerate(models, start=1):
            register_model(world, tmp_path, "colisten", version, files)
            await client.application.in_thread(client.application._house_keep)
            await asyncio.sleep(0.2)
        stop.set()
        seen = await asyncio.gather(*asking)
    for answers in seen:
        versions = [version for version, _ in answers]
        assert versions == sorted(versions)
    every = {one for answers in seen for one in answers}
    # A list is made by one version as a whole: each has one list for Ada.
    assert sorted(version for version, _ in every) == [0, 1, 2, 3]
