"""What sources bring, in words that are no vendor's, and what a source says of itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True)
class SourceTrack:
    """A track as a source describes it; what it does not say is None or empty."""

    track_id: str
    track_name: str
    artist_name: str
    artist_ids: tuple[str, ...] = ()
    album_name: str | None = None
    release_date: str | None = None
    duration_ms: int | None = None
    explicit: bool | None = None
    popularity: int | None = None
    isrc: str | None = None
    genres: tuple[str, ...] = ()
    playable: bool = True


@dataclass(frozen=True)
class SourcePlay:
    """One play: `played_at` is its start."""

    track: SourceTrack
    played_at: datetime
    ms_played: int


@dataclass(frozen=True)
class History:
    """Plays, oldest first, and what was left out of them: reason -> count."""

    plays: Sequence[SourcePlay]
    skipped: Mapping[str, int] = field(default_factory=dict)


AudioValues = Mapping[str, float | int | None]
"""Audio feature -> value as published: tempo in BPM, loudness in dB, the others in [0, 1]."""


class Access(StrEnum):
    """What a probe found."""

    ALLOWED = "allowed"
    CLOSED = "closed"
    LIMITED = "limited"
    NEEDS_REAUTH = "needs_reauth"
    NOT_CONFIGURED = "not configured"
    UNREACHABLE = "unreachable"
    UNKNOWN = "not tried yet"


@dataclass(frozen=True)
class Capability:
    """One thing that a source may be asked for.

    Attributes
    ----------
    until
        When a closed or limited endpoint is asked again.
    """

    source: str
    name: str
    access: Access
    until: datetime | None = None
    last_success_at: datetime | None = None
    last_error: str | None = None
