"""Sampled components: what the service judged is what training works out as of that moment."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
import sqlalchemy as sa
from colisten_world import WEIGHED, colisten_of
from registered import register_model
from serving_world import Client, opened, register

from features.settings import Settings
from recommender.colisten import Colisten
from recommender.components import KEYS, evaluate
from recommender.listener import Listener
from recommender.tracks import Tracks
from serving import pools, samples
from serving.samples import ComponentSamples
from training.errors import RegistryError
from training.evaluation.mismatch import MARGIN, Mismatch, mismatch
from training.model_kind import ModelKind

pytestmark = pytest.mark.anyio


class Kept:
    """A registry that has one co-listening version, or none."""

    def __init__(self, colisten: Colisten | None = None) -> None:
        self._colisten = colisten

    def load(self, kind: ModelKind[Colisten], number: int) -> Colisten:
        if self._colisten is None:
            raise RegistryError(f"there is no {kind.name} {number}")
        return self._colisten


@pytest.fixture
def sampled(settings: Settings) -> Settings:
    return settings.model_copy(update={"bondhu_sample_share": 1.0})


@pytest.fixture
def colisten(world: sa.Engine, tmp_path: Path, sampled: Settings) -> Colisten:
    assert sampled
    made = colisten_of(world)
    register(world, tmp_path, 2, WEIGHED)
    register_model(world, tmp_path, "colisten", 1, made.to_files())
    return made


async def live(client: Client) -> None:
    """Lists before and after feedback, of listeners known and new, and of a caller's candidates."""
    await client.post("/v1/personality", {"scores": {"openness": 90, "extraversion": 20}})
    await client.recommend()
    await client.say("track-250", "like")
    await client.say("track-251", "dislike")
    await client.recommend()  # judged again by nobody: not sampled
    await client.recommend({"force_refresh": True})
    await client.recommend({"genre": "trap"})
    await client.recommend({"candidate_ids": ["track-003", "track-100", "track-200"]})
    await client.recommend(user="newcomer")
    client.application._house_keep()


def compared(world: sa.Engine, colisten: Colisten | None = None, **asked: Any) -> Mismatch:
    return mismatch(world, Kept(colisten), now=datetime.now(UTC), **asked)


async def test_an_honest_service_has_none(
    sampled: Settings, world: sa.Engine, colisten: Colisten
) -> None:
    async with opened(sampled) as client:
        await live(client)
    found = compared(world, colisten)
    assert (found.lists, found.mismatched, found.share, found.skipped) == (5, 0, 0.0, {})
    assert found.values == (4 * 50 + 3) * len(KEYS)
    assert found.metrics() == {"train_serve_mismatch": 0.0, "mismatch_lists": 5.0}
    nothing = compared(world, colisten, since=datetime.now(UTC))
    assert nothing == Mismatch()
    assert nothing.metrics() == {}
    assert compared(world, colisten, most=2).lists == 2


def unweighted(listener: Listener, tracks: Tracks) -> Mapping[str, np.ndarray]:
    """The components of a service that forgot how much each play counts."""
    ones = np.ones_like(listener.history_weight)
    return evaluate(Listener(**vars(listener) | {"history_weight": ones}), tracks)


async def test_a_component_of_the_service_s_own_fails(
    sampled: Settings, world: sa.Engine, colisten: Colisten, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "evaluate", unweighted)
    async with opened(sampled) as client:
        await live(client)
    found = compared(world, colisten)
    assert found.share > 0.001
    assert found.share > MARGIN
    assert set(found.by_component) == {"history"}


async def test_an_aggregate_that_lost_a_play_fails(sampled: Settings, world: sa.Engine) -> None:
    with world.begin() as connection:
        connection.execute(sa.text("DELETE FROM listening_history WHERE track_id = 'track-003'"))
    async with opened(sampled) as client:
        await client.recommend({"candidate_ids": ["track-003", "track-100", "track-200"]})
        client.application._house_keep()
    found = compared(world)
    assert found.by_component["novelty"] == 1
    assert found.share > MARGIN


LATE = (
    ("SELECT upsert_listening_history('ada', 'track-299', now() - interval '1 day', 1, 'test')",
     {"of listeners whose rows came in late": 300}, 0),
    ("UPDATE tracks SET popularity = 1, updated_at = now() WHERE track_id = 'track-200'",
     {"of tracks that were written again": 4, "of lists with tracks that were written again": 50,
      "of co-listening on a catalogue that has changed": 50}, 196),
    ("UPDATE audio_features SET updated_at = now() WHERE track_id = 'track-003'",
     {"of listeners whose tracks' audio was written again": 100}, 200),
)  # fmt: skip


@pytest.mark.parametrize(("change", "skipped", "values"), LATE)
async def test_what_cannot_be_worked_out_again_is_counted(
    sampled: Settings,
    world: sa.Engine,
    colisten: Colisten,
    change: str,
    skipped: Mapping[str, int],
    values: int,
) -> None:
    wanted = ["track-200", *(f"track-{i}" for i in range(100, 149))]
    async with opened(sampled) as client:
        await client.recommend({"candidate_ids": wanted})
        client.application._house_keep()
    with world.begin() as connection:
        connection.execute(sa.text(change))
    found = compared(world, colisten)
    assert found.skipped == skipped
    assert (found.values, found.mismatched, found.lists) == (values, 0, int(values > 0))
    assert all(f"{n} {reason}" in str(found) for reason, n in skipped.items())


async def test_a_model_that_is_gone_is_named(
    sampled: Settings, world: sa.Engine, colisten: Colisten
) -> None:
    async with opened(sampled) as client:
        await client.recommend()
        client.application._house_keep()
    assert colisten
    assert compared(world).skipped == {"of colisten 1, which cannot be loaded": 300}


async def test_by_default_one_in_a_hundred(settings: Settings, world: sa.Engine) -> None:
    chosen = ComponentSamples(world, share=settings.bondhu_sample_share)
    ids = [UUID(int=i) for i in range(20_000)]
    share = sum(map(chosen.wants, ids)) / len(ids)
    assert 0.007 < share < 0.013
    again = ComponentSamples(world, share=settings.bondhu_sample_share)
    assert [i for i in ids if chosen.wants(i)] == [i for i in ids if again.wants(i)]
    assert not any(map(ComponentSamples(world, share=0.0).wants, ids))


async def test_the_queue_is_bounded_and_waits_for_nobody(
    sampled: Settings, monkeypatch: pytest.MonkeyPatch, world: sa.Engine
) -> None:
    monkeypatch.setattr(samples, "LONGEST_QUEUE", 2)
    async with opened(sampled) as client:
        users = [f"listener-{uuid4().hex[:6]}" for _ in range(5)]
        await asyncio.gather(*(client.recommend(user=user) for user in users))
        assert len(client.application.samples) <= 2
        client.application.forget(users[0])
        client.application._house_keep()
        assert len(client.application.samples) == 0
    with world.connect() as connection:
        stored = connection.scalar(sa.text("SELECT count(*) FROM component_samples"))
    assert 1 <= int(stored or 0) <= 2


async def test_a_deletion_while_samples_are_told_breaks_nothing(
    sampled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(sampled) as client:
        for user in ("ada", "bob"):
            await client.recommend(user=user)
        kept = client.application.samples
        assert len(kept) == 2
        made = samples._sample

        def slow(*one: Any) -> Any:
            kept.forget("bob")
            return made(*one)

        monkeypatch.setattr(samples, "_sample", slow)
        assert kept.flush() == 2
        assert len(kept) == 0
