"""A list between its computation and the wire: kept with its reserves, cut to what a call wants."""

import time
from functools import cached_property
from itertools import accumulate
from uuid import UUID

import msgspec

from serving.caches import Result
from serving.schemas import ListMetadata, RecommendedTrack, RecommendRequest, RecommendResponse

CacheResult = Result

LONGEST = 50
RESERVES = 50


class KeptList(msgspec.Struct, kw_only=True, frozen=True, dict=True):
    """What a cache holds: up to 100 tracks, best first, the second half being reserves."""

    recommendation_id: UUID
    tracks: list[RecommendedTrack]
    metadata: ListMetadata

    @cached_property
    def written(self) -> list[bytes]:
        """Each track as JSON, worked out once for the cache and for Postgres."""
        # JSON writes a line's end within a text as an escape: lines are tracks.
        return _encoder.encode_lines(self.tracks).splitlines()


class PackedList(msgspec.Struct, array_like=True, frozen=True):
    """A list on its way, ready for the wire: an answer is its bytes with a few words between.

    Attributes
    ----------
    expires_at
        Seconds since the epoch.
    ids
        Of the tracks, joined by NUL, which no id holds.
    tracks, ends
        The tracks as the JSON that callers get, joined by commas, and where each one ends.
    said
        The answer's JSON around what differs from call to call: listener, tracks and their number,
        then `PER_CALL` of the metadata.
    degraded
        What the list was made without.
    """

    recommendation_id: UUID
    expires_at: float
    ids: str
    tracks: bytes
    ends: list[int]
    said: tuple[bytes, bytes, bytes, bytes, bytes]
    degraded: list[str]

    @classmethod
    def of(cls, kept: KeptList) -> "PackedList":
        """Return a computed list as it travels."""
        tracks = kept.written
        return cls(
            kept.recommendation_id,
            kept.metadata.expires_at.timestamp(),
            _NUL.join([track.track_id for track in kept.tracks]),
            b",".join(tracks),
            _ends(tracks),
            _around(kept),
            kept.metadata.degraded,
        )

    @property
    def track_ids(self) -> list[str]:
        """The tracks' ids, best first."""
        return self.ids.split(_NUL) if self.ids else []

    def begin(self, place: int) -> int:
        """Return where a track's JSON begins."""
        return self.ends[place - 1] + 1 if place else 0

    def part(self, first: int, end: int) -> "PackedList":
        """Return the list with these places alone."""
        ends = self.ends[first:end]
        begin = self.begin(first) if ends else 0
        return msgspec.structs.replace(
            self,
            ids=_NUL.join(self.track_ids[first:end]),
            tracks=self.tracks[begin : ends[-1]] if ends else b"",
            ends=[one - begin for one in ends],
        )


PER_CALL = ("response_time_ms", "cache", "degraded")
"""Fields of the metadata that differ from call to call, in their order."""
_NUL = "\0"
_CACHES = {cache: msgspec.json.encode(cache) for cache in ("hit", "rerank", "miss")}

assert RecommendResponse.__struct_fields__ == (  # noqa: S101 - what `answer` writes
    "user_id", "recommendation_id", "recommendations", "total_count", "metadata",
)  # fmt: skip
assert tuple(f for f in ListMetadata.__struct_fields__ if f in PER_CALL) == PER_CALL  # noqa: S101

_encoder = msgspec.json.Encoder()
_decoder = msgspec.msgpack.Decoder(PackedList)


def _ends(tracks: list[bytes]) -> list[int]:
    return [at + place for place, at in enumerate(accumulate(map(len, tracks)))]


def _around(kept: KeptList) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    opening = (
        b',"recommendation_id":"%s","recommendations":[' % str(kept.recommendation_id).encode()
    )
    pieces, said = [opening], b',"metadata":{'
    for place, name in enumerate(ListMetadata.__struct_fields__):
        said += b'%s"%s":' % (b"," if place else b"", name.encode())
        if name in PER_CALL:
            pieces.append(said)
            said = b""
        else:
            said += msgspec.json.encode(getattr(kept.metadata, name))
    first, second, third, fourth = pieces
    return first, second, third, fourth, said + b"}}"


def pack(packed: PackedList) -> tuple[bytes, bytes]:
    """Return a list as a cache holds it: what is shown, and the reserves, which few calls need."""
    return (
        msgspec.msgpack.encode(packed.part(0, LONGEST)),
        msgspec.msgpack.encode(packed.part(LONGEST, LONGEST + RESERVES)),
    )


def joined(shown: PackedList, reserves: PackedList | None) -> PackedList:
    """Return a list with its reserves, if they are those of this list."""
    if reserves is None or reserves.recommendation_id != shown.recommendation_id:
        return shown
    if not shown.ends or not reserves.ends:
        return shown
    shift = shown.ends[-1] + 1
    return msgspec.structs.replace(
        shown,
        ids=f"{shown.ids}{_NUL}{reserves.ids}",
        tracks=b"%s,%s" % (shown.tracks, reserves.tracks),
        ends=[*shown.ends, *(end + shift for end in reserves.ends)],
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
    tracks, n = packed.tracks, min(len(packed.ends), request.max_results)
    if request.exclude_ids:
        left = _without(packed, frozenset(request.exclude_ids), request.max_results)
        tracks, n = b",".join(left), len(left)
    elif n < len(packed.ends):
        tracks = tracks[: packed.ends[n - 1]]
    after_user, after_count, after_time, after_cache, rest = packed.said
    without = [*degraded, *packed.degraded]
    content = b"".join(
        (
            b'{"user_id":',
            msgspec.json.encode(user_id),
            after_user,
            tracks,
            b'],"total_count":%d' % n,
            after_count,
            b"%.3f" % ((time.perf_counter() - started) * 1000),
            after_time,
            _CACHES[cache],
            after_cache,
            msgspec.json.encode(without) if without else b"[]",
            rest,
        )
    )
    return content, n


def _without(packed: PackedList, excluded: frozenset[str], wanted: int) -> list[bytes]:
    places = [at for at, track_id in enumerate(packed.track_ids) if track_id not in excluded]
    tracks = []
    for rank, at in enumerate(places[:wanted], start=1):
        track = packed.tracks[packed.begin(at) : packed.ends[at]]
        if rank != at + 1:
            decoded = msgspec.json.decode(track, type=RecommendedTrack)
            track = msgspec.json.encode(msgspec.structs.replace(decoded, rank=rank))
        tracks.append(track)
    return tracks
