"""What Bondhu asks of the outside: three small ports, and what a source says of itself.

Each adapter serves what it can: a catalogue file has tracks and audio, Spotify perhaps all three.
Callers ask a port, never a vendor, and go on without what is not there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol


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


class HistorySource(Protocol):
    """Where a listener's plays come from."""

    def recent_plays(self, *, after: datetime | None = None) -> History:
        """Return what was played since then, as far back as the source knows."""
        ...


class AudioSource(Protocol):
    """Where audio features come from."""

    def audio_features(self, track_ids: Sequence[str]) -> Mapping[str, AudioValues]:
        """Return the features of those tracks that the source knows."""
        ...


class CandidateSource(Protocol):
    """Where tracks to recommend come from."""

    def recommendations(
        self, *, seed_tracks: Sequence[str] = (), seed_genres: Sequence[str] = (), limit: int = 50
    ) -> Sequence[SourceTrack]:
        """Return tracks near the seeds."""
        ...

    def new_releases(self, *, limit: int = 50) -> Iterable[SourceTrack]:
        """Return tracks that came out lately."""
        ...


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
