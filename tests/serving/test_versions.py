"""Champion and challenger: watched, checked, swapped, refused, drawn and compared."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from serving_world import PERSONAL, opened, register

from features.settings import Settings
from recommender.cold_start import Stage
from recommender.errors import ModelFormatError
from recommender.scoring import PRIOR, Scorer
from serving import golden
from serving.lineup import place
from serving.model_copies import ModelCopies

pytestmark = pytest.mark.anyio

POPULAR = Scorer.of({stage: {"popularity": 1.0} for stage in Stage})


async def test_a_swap_fails_no_request(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    async with opened(settings.model_copy(update={"user_rate_limit": 10_000})) as client:
        stop = asyncio.Event()

        async def ask(user: str) -> list[int]:
            seen = []
            while not stop.is_set():
                answer = await client.recommend({"max_results": 5}, user=user)
                seen.append(answer["metadata"]["models"]["scorer"])
            return seen

        asking = [asyncio.create_task(ask(f"user-{i}")) for i in range(4)]
        for version in (2, 3, 4):
            register(world, tmp_path, version, POPULAR if version % 2 else PERSONAL)
            await client.application.in_thread(client.application._house_keep)
            await asyncio.sleep(0.1)
        stop.set()
        seen = await asyncio.gather(*asking)
    for versions in seen:
        assert versions == sorted(versions)
        assert versions[-1] == 4
    assert {version for versions in seen for version in versions} >= {2, 3, 4}


async def test_a_champion_that_fails_the_golden_request_is_refused_loudly(
    settings: Settings,
    world: sa.Engine,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with opened(settings) as client:
        register(world, tmp_path, 2, PERSONAL)
        bad = tmp_path / "m-3" / "artifacts"
        register(world, tmp_path, 3, PERSONAL)
        content = (bad / "scorer.json").read_text()
        (bad / "scorer.json").write_text(content.replace("1.0", "NaN"))
        rehash(world, bad, 3)
        for _ in range(3):
            client.application._house_keep()
        answer = await client.recommend()
        stats = (await client.ask_as_admin("/v1/stats")).json()["models"]
    assert answer["metadata"]["models"] == {"scorer": 1}
    assert "model_stale" in answer["metadata"]["degraded"]
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1  # once, not every two seconds
    assert "Refused scorer champion 3" in errors[0].getMessage()
    assert list(stats["refused"]) == ["scorer champion"]
    assert stats["stale"] is True


def rehash(world: sa.Engine, artifacts: Path, version: int) -> None:
    """Sign a changed artifact, so that only its content can be refused."""
    import hashlib  # noqa: PLC0415

    digest = hashlib.sha256((artifacts / "scorer.json").read_bytes()).hexdigest()
    manifest = json.dumps({"scorer.json": digest}).encode()
    (artifacts / "manifest.json").write_bytes(manifest)
    with world.begin() as connection:
        connection.execute(
            sa.text("UPDATE mlflow.model_version_tags SET value = :v WHERE version = :n"),
            {"v": hashlib.sha256(manifest).hexdigest(), "n": version},
        )


async def test_the_golden_request_finds_scores_that_are_no_sums(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(settings) as client:
        served = client.application.served
        golden.check(served)
        from recommender import ranking  # noqa: PLC0415

        honest = ranking.Ranking

        def crooked(**fields: Any) -> ranking.Ranking:
            return honest(**fields | {"score": fields["score"] + 0.01})

        monkeypatch.setattr(ranking, "Ranking", crooked)
        with pytest.raises(ModelFormatError, match="not the sum of parts"):
            golden.check(served)


async def test_the_last_good_copy_serves_while_the_registry_is_away(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    async with opened(settings) as client:
        register(world, tmp_path, 2, POPULAR)
        client.application._house_keep()
    gone = settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})
    async with opened(gone) as client:
        answer = await client.recommend()
    assert answer["metadata"]["models"] == {"scorer": 2}
    assert "model_stale" in answer["metadata"]["degraded"]
    with pytest.raises(Exception, match="does not answer"):
        async with opened(gone.model_copy(update={"bondhu_home": tmp_path / "new"})):
            pass


async def test_a_refused_champion_at_the_start_leaves_the_copy(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    async with opened(settings):
        pass
    register(world, tmp_path, 2, POPULAR)
    (tmp_path / "m-2" / "artifacts" / "scorer.json").write_text("{}")
    async with opened(settings) as client:
        answer = await client.recommend()
    assert answer["metadata"]["models"] == {"scorer": 1}
    assert "model_stale" in answer["metadata"]["degraded"]


def test_a_copy_that_was_changed_is_none(tmp_path: Path) -> None:
    copies = ModelCopies(tmp_path)
    manifest, digest = b'{"a.json": "x"}', "nothing"
    copies.keep("scorer", 7, digest, {"manifest.json": manifest, "a.json": b"1"})
    assert copies.last_good("scorer") is None
    assert copies.last_good("qtable") is None


async def test_a_share_of_listeners_gets_the_challenger_and_the_log_says_who(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    register(world, tmp_path, 2, POPULAR, "challenger")
    split = settings.model_copy(update={"bondhu_challenger_share": 0.3})
    users = [f"listener-{i}" for i in range(24)]
    async with opened(split) as one, opened(split) as two:
        versions = {}
        for at, user in enumerate(users):
            client = (one, two)[at % 2]
            answer = await client.recommend({"max_results": 3}, user=user)
            again = await (two, one)[at % 2].recommend({"max_results": 3}, user=user)
            versions[user] = answer["metadata"]["models"]["scorer"]
            assert again["recommendation_id"] == answer["recommendation_id"]
    expected = {user: 2 if place(user, "scorer:2") < 0.3 else 1 for user in users}
    assert versions == expected
    assert set(versions.values()) == {1, 2}
    with world.connect() as connection:
        rows = connection.execute(
            sa.text("SELECT DISTINCT user_id, arm, model_versions FROM music_recommendations")
        ).all()
    arms = {row.user_id: row.arm for row in rows}
    assert arms == {u: "challenger" if v == 2 else "champion" for u, v in expected.items()}
    assert all(row.model_versions["scorer"] == expected[row.user_id] for row in rows)


def test_places_are_uniform_and_independent() -> None:
    one = np.array([place(f"user-{i}", "scorer:2") for i in range(20_000)])
    two = np.array([place(f"user-{i}", "scorer:3") for i in range(20_000)])
    assert abs((one < 0.1).mean() - 0.1) < 0.01
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.03


async def test_a_challenger_ranks_unseen(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    register(world, tmp_path, 2, POPULAR, "challenger")
    register(world, tmp_path, 3, PRIOR, "champion")
    async with opened(settings.model_copy(update={"bondhu_shadow_share": 1.0})) as client:
        answer = await client.recommend()
        client.application._house_keep()
    assert answer["metadata"]["models"] == {"scorer": 3}
    with world.connect() as connection:
        row = connection.execute(sa.text("SELECT * FROM shadow_lists")).mappings().one()
        arms = connection.scalars(sa.text("SELECT DISTINCT arm FROM music_recommendations")).all()
    assert str(row["recommendation_id"]) == answer["recommendation_id"]
    assert row["model_versions"] == {"scorer": 2}
    assert len(row["track_ids"]) == 50
    shown = [track["track_id"] for track in answer["recommendations"]][:10]
    assert row["overlap_at_10"] == len(set(shown) & set(row["track_ids"][:10])) / 10
    assert row["overlap_at_10"] < 1.0
    assert arms == [None]


async def test_a_challenger_withdrawn_or_promoted_ends_the_experiment(
    settings: Settings, world: sa.Engine, tmp_path: Path
) -> None:
    register(world, tmp_path, 2, POPULAR, "challenger")
    async with opened(settings.model_copy(update={"bondhu_challenger_share": 1.0})) as client:
        before = await client.recommend()
        with world.begin() as connection:
            connection.execute(sa.text("UPDATE mlflow.registered_model_aliases SET version = 2"))
        client.application._house_keep()
        promoted = client.application.lineup
        with world.begin() as connection:
            connection.execute(
                sa.text("DELETE FROM mlflow.registered_model_aliases WHERE alias = 'challenger'")
            )
        client.application._house_keep()
        after = client.application.lineup
    assert before["metadata"]["models"] == {"scorer": 2}
    assert promoted.challenger is None
    assert promoted.champion.models == {"scorer": 2}
    assert after.challenger is None
