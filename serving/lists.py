"""A list between its computation and the wire: kept with its reserves, cut to what a call wants."""

import time
from collections.abc import Sequence
from typing import Literal
from uuid import UUID

import msgspec

from serving.schemas import ListMetadata, RecommendedTrack, RecommendRequest, RecommendResponse

CacheResult = Literal["hit", "rerank", "miss"]

LONGEST = 50
RESERVES = 50


class KeptList(msgspec.Struct, kw_only=True, frozen=True):
    """What a cache holds: up to 100 tracks, best first, the second half being reserves."""

    recommendation_id: UUID
    tracks: list[RecommendedTrack]
    metadata: ListMetadata


_decoder = msgspec.msgpack.Decoder(KeptList)


def pack(kept: KeptList) -> bytes:
    """Return a list as a cache holds it."""
    return msgspec.msgpack.encode(kept)


def unpack(value: bytes) -> KeptList | None:
    """Return a list from a cache's bytes, None if another release wrote something else."""
    try:
        return _decoder.decode(value)
    except msgspec.DecodeError:
        return None


def answer(
    kept: KeptList,
    user_id: str,
    request: RecommendRequest,
    cache: CacheResult,
    *,
    started: float,
    degraded: tuple[str, ...],
) -> RecommendResponse:
    """Cut a kept list to what one call asked for.

    Tracks in `exclude_ids` drop out and those behind them move up, reserves last.

    Parameters
    ----------
    started
        `time.perf_counter` when the call came in.
    degraded
        What this answer goes without, beside what the list was made without.
    """
    tracks: Sequence[RecommendedTrack] = kept.tracks[: request.max_results]
    if request.exclude_ids:
        excluded = set(request.exclude_ids)
        wanted = [track for track in kept.tracks if track.track_id not in excluded]
        tracks = [
            msgspec.structs.replace(track, rank=rank)
            for rank, track in enumerate(wanted[: request.max_results], start=1)
        ]
    return RecommendResponse(
        user_id=user_id,
        recommendation_id=kept.recommendation_id,
        recommendations=list(tracks),
        total_count=len(tracks),
        metadata=msgspec.structs.replace(
            kept.metadata,
            cache=cache,
            degraded=[*degraded, *kept.metadata.degraded],
            response_time_ms=round((time.perf_counter() - started) * 1000, 3),
        ),
    )
