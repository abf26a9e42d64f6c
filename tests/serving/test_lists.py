"""A list on the wire is what a `RecommendResponse` says, however it was kept and cut."""

import uuid
from datetime import UTC, datetime

import msgspec
import pytest

from serving.lists import LONGEST, RESERVES, KeptList, PackedList, answer, joined, pack, unpack
from serving.schemas import (
    ListMetadata,
    Personality,
    RecommendedTrack,
    RecommendRequest,
    RecommendResponse,
)

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def a_list(tracks: int) -> KeptList:
    return KeptList(
        recommendation_id=uuid.UUID(int=7),
        tracks=[
            RecommendedTrack(
                rank=rank,
                track_id=f'id, "{rank}"',
                track_name="Größe",
                artist_name="a",
                genre=None,
                score=1 / rank,
                components={"history": 0.1},
                rl_adjustment=0.0,
                propensity=1.0,
                source="popular",
                explanation="",
            )
            for rank in range(1, tracks + 1)
        ],
        metadata=ListMetadata(
            response_time_ms=0.0,
            cold_start_stage="week_1",
            cache="miss",
            total_candidates=tracks,
            weights={"history": 1.0},
            models={"scorer": 1},
            personality=Personality(confidence=0.5, method="bfi44"),
            degraded=["personality_default"],
            generated_at=AT,
            expires_at=AT,
        ),
    )


def wire(packed: PackedList, degraded: tuple[str, ...] = (), **asked: object) -> RecommendResponse:
    request = msgspec.convert(asked, RecommendRequest)
    content, n = answer(packed, 'ad"a', request, "hit", started=0.0, degraded=degraded)
    said = msgspec.json.decode(content, type=RecommendResponse, strict=True)
    assert n == said.total_count == len(said.recommendations)
    return said


@pytest.mark.parametrize("tracks", [0, 1, LONGEST, LONGEST + 1, LONGEST + RESERVES])
def test_it_says_what_was_kept(tracks: int) -> None:
    kept = a_list(tracks)
    shown, reserves = (unpack(part) for part in pack(PackedList.of(kept)))
    assert shown is not None
    said = wire(shown, ("redis_down",))
    assert said.recommendations == kept.tracks[:LONGEST]
    assert (said.user_id, said.recommendation_id) == ('ad"a', kept.recommendation_id)
    assert said.metadata == msgspec.structs.replace(
        kept.metadata,
        cache="hit",
        degraded=["redis_down", "personality_default"],
        response_time_ms=said.metadata.response_time_ms,
    )
    assert said.metadata.response_time_ms > 0
    assert wire(shown, max_results=1).recommendations == kept.tracks[:1]
    whole = joined(shown, reserves)
    assert whole.track_ids == [track.track_id for track in kept.tracks]
    names = whole.track_ids[1:3]
    left = [track for track in kept.tracks if track.track_id not in names][:LONGEST]
    moved = [msgspec.structs.replace(one, rank=at) for at, one in enumerate(left, start=1)]
    assert wire(whole, exclude_ids=names).recommendations == moved


def test_a_track_is_written_once_as_it_would_be_alone() -> None:
    kept = a_list(3)
    lines = [msgspec.structs.replace(one, track_name="a\nb\r\u2028c") for one in kept.tracks]
    kept = msgspec.structs.replace(kept, tracks=lines)
    assert kept.written == [msgspec.json.encode(one) for one in lines]
    assert msgspec.structs.replace(kept, tracks=lines[:1]).written == kept.written[:1]
    raw = [msgspec.Raw(one) for one in kept.written]
    assert msgspec.json.encode(raw) == msgspec.json.encode(lines)


def test_what_another_release_wrote_is_nothing() -> None:
    assert unpack(msgspec.msgpack.encode(["x", [], [], {}])) is None
    other = PackedList.of(msgspec.structs.replace(a_list(3), recommendation_id=uuid.UUID(int=8)))
    mine = PackedList.of(a_list(3))
    assert joined(mine, other) == mine
    assert joined(mine, None) == mine
