"""A list between its computation and the wire: kept with its reserves, cut to what a call wants."""

import time
from uuid import UUID

import msgspec

from serving.caches import Result
from serving.schemas import ListMetadata, RecommendedTrack, RecommendRequest, RecommendResponse

CacheResult = Result

LONGEST = 50
RESERVES = 50


class KeptList(msgspec.Struct, kw_only=True, frozen=True):
    """What a cache holds: up to 100 tracks, best first, the second half being reserves."""

    recommendation_id: UUID
    tracks: list[RecommendedTrack]
    metadata: ListMetadata


class PackedList(msgspec.Struct, array_like=True, frozen=True):
    """A list on its way: what cutting it needs apart, the tracks as the JSON that callers get.

    A cached list is answered without building its tracks again: their bytes are joined.
    """

    recommendation_id: UUID
    track_ids: list[str]
    tracks: list[bytes]
    metadata: ListMetadata

    @classmethod
    def of(cls, kept: KeptList) -> "PackedList":
        """Return a computed list as it travels."""
        return cls(
            kept.recommendation_id,
            [track.track_id for track in kept.tracks],
            [msgspec.json.encode(track) for track in kept.tracks],
            kept.metadata,
        )


class _Answer(msgspec.Struct, kw_only=True, frozen=True):
    """RecommendResponse with its tracks encoded already."""

    user_id: str
    recommendation_id: UUID
    recommendations: msgspec.Raw
    total_count: int
    metadata: ListMetadata


assert _Answer.__struct_fields__ == RecommendResponse.__struct_fields__  # noqa: S101 - twins

_decoder = msgspec.msgpack.Decoder(PackedList)


def pack(packed: PackedList) -> tuple[bytes, bytes]:
    """Return a list as a cache holds it: what is shown, and the reserves, which few calls need."""
    return (
        msgspec.msgpack.encode(_part(packed, 0, LONGEST)),
        msgspec.msgpack.encode(_part(packed, LONGEST, LONGEST + RESERVES)),
    )


def _part(packed: PackedList, begin: int, end: int) -> PackedList:
    return PackedList(
        packed.recommendation_id,
        packed.track_ids[begin:end],
        packed.tracks[begin:end],
        packed.metadata,
    )


def joined(shown: PackedList, reserves: PackedList | None) -> PackedList:
    """Return a list with its reserves, if they are those of this list."""
    if reserves is None or reserves.recommendation_id != shown.recommendation_id:
        return shown
    return PackedList(
        shown.recommendation_id,
        shown.track_ids + reserves.track_ids,
        shown.tracks + reserves.tracks,
        shown.metadata,
    )


def unpack(value: bytes) -> PackedList | None:
    """Return a list from a cache's bytes, None if another release wrote something else."""
    try:
        return _decoder.decode(value)
    except msgspec.DecodeError:
        return None


def answer(
    packed: PackedList,
    user_id: str,
    request: RecommendRequest,
    cache: CacheResult,
    *,
    started: float,
    degraded: tuple[str, ...],
) -> tuple[bytes, int]:
    """Cut a list to what one call asked for.

    Tracks in `exclude_ids` drop out and those behind them move up, reserves last.

    Parameters
    ----------
    started
        `time.perf_counter` when the call came in.
    degraded
        What this answer goes without, beside what the list was made without.

    Returns
    -------
    content
        A `RecommendResponse` in JSON.
    tracks
        How many there are in it.
    """
    tracks = packed.tracks[: request.max_results]
    if request.exclude_ids:
        tracks = _without(packed, frozenset(request.exclude_ids), request.max_results)
    content = msgspec.json.encode(
        _Answer(
            user_id=user_id,
            recommendation_id=packed.recommendation_id,
            recommendations=msgspec.Raw(b"[" + b",".join(tracks) + b"]"),
            total_count=len(tracks),
            metadata=msgspec.structs.replace(
                packed.metadata,
                cache=cache,
                degraded=[*degraded, *packed.metadata.degraded],
                response_time_ms=round((time.perf_counter() - started) * 1000, 3),
            ),
        )
    )
    return content, len(tracks)


def _without(packed: PackedList, excluded: frozenset[str], wanted: int) -> list[bytes]:
    places = [at for at, track_id in enumerate(packed.track_ids) if track_id not in excluded]
    tracks = []
    for rank, at in enumerate(places[:wanted], start=1):
        track = packed.tracks[at]
        if rank != at + 1:
            decoded = msgspec.json.decode(track, type=RecommendedTrack)
            track = msgspec.json.encode(msgspec.structs.replace(decoded, rank=rank))
        tracks.append(track)
    return tracks
