"""The Music Intelligence Agent: all that Spotify tells of a listener, and what it did not.

SEED.md section 1. What is closed or busy is gone without and named; only a grant that does not work
ends the collection, since then Spotify tells nothing at all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from features.sources.errors import NeedsReauthError, SourceError, SourceLimitedError
from features.sources.terms import AudioValues, History, SourceTrack

SEEDS = 5

T = TypeVar("T")


class Agent(Protocol):
    """What is asked of a source: `features.sources.spotify.SpotifySource` is one."""

    def recent_plays(self, *, after: datetime | None = None) -> History:
        """Return what was played since then."""
        ...

    def top_tracks(self) -> Sequence[SourceTrack]:
        """Return the top 50 tracks."""
        ...

    def genre_distribution(self) -> Mapping[str, float]:
        """Return the share of each listener category."""
        ...

    def artist_genres(self, artist_ids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """Return artist id -> genres."""
        ...

    def audio_features(self, track_ids: Sequence[str]) -> Mapping[str, AudioValues]:
        """Return audio features by track."""
        ...

    def recommendations(
        self, *, seed_tracks: Sequence[str] = (), seed_genres: Sequence[str] = (), limit: int = 50
    ) -> Sequence[SourceTrack]:
        """Return tracks near the seeds."""
        ...

    def new_releases(self, *, limit: int = 50) -> Sequence[SourceTrack]:
        """Return tracks that came out lately."""
        ...


@dataclass(frozen=True)
class Collected:
    """What was collected.

    Attributes
    ----------
    recommended
        Tracks near the listener's top tracks.
    candidates
        These and new releases.
    without
        What was not to be had -> why, in a sentence.
    limited_until
        Where something was not to be had for a limit: when it is.
    """

    history: History
    top_tracks: Sequence[SourceTrack]
    genres: Mapping[str, float]
    artist_genres: Mapping[str, tuple[str, ...]]
    audio: Mapping[str, AudioValues]
    recommended: Sequence[SourceTrack]
    candidates: Sequence[SourceTrack]
    without: Mapping[str, str]
    limited_until: datetime | None


def collect_data(
    agent: Agent,
    *,
    after: datetime | None = None,
    lacks_audio: Callable[[Sequence[str]], Sequence[str]] = list,
    with_candidates: bool = True,
) -> Collected:
    """Collect plays, top tracks, genres, audio features and candidates.

    Parameters
    ----------
    after
        Only plays from then on.
    lacks_audio
        Returns which of these tracks audio features are wanted for.

    Raises
    ------
    NeedsReauthError
        The listener must log in again.
    """
    without: dict[str, str] = {}
    limits: list[datetime] = []
    no_tracks: Sequence[SourceTrack] = ()
    no_genres: Mapping[str, tuple[str, ...]] = {}
    no_shares: Mapping[str, float] = {}
    no_audio: Mapping[str, AudioValues] = {}

    def tried(name: str, ask: Callable[[], T], nothing: T) -> T:
        try:
            return ask()
        except NeedsReauthError:
            raise
        except SourceError as error:
            without[name] = str(error)
            if isinstance(error, SourceLimitedError):
                limits.append(error.until)
            return nothing

    history = tried("recent_plays", lambda: agent.recent_plays(after=after), History([]))
    top = tried("top_tracks", agent.top_tracks, no_tracks)
    genres = tried("genres", agent.genre_distribution, no_shares)
    recommended, candidates = no_tracks, list[SourceTrack]()
    if with_candidates:
        seeds = [track.track_id for track in top[:SEEDS]]
        if seeds:
            recommended = tried(
                "recommendations", lambda: agent.recommendations(seed_tracks=seeds), no_tracks
            )
        candidates += recommended
        candidates += tried("new_releases", agent.new_releases, no_tracks)
    tracks = {t.track_id: t for t in (*(p.track for p in history.plays), *top, *candidates)}
    artists = list(dict.fromkeys(a for t in tracks.values() for a in t.artist_ids[:1]))
    artist_genres = tried("artist_genres", lambda: agent.artist_genres(artists), no_genres)
    wanted = lacks_audio(list(tracks))
    audio = tried("audio_features", lambda: agent.audio_features(wanted), no_audio)
    return Collected(
        history=history,
        top_tracks=top,
        genres=genres,
        artist_genres=artist_genres,
        audio=audio,
        recommended=recommended,
        candidates=candidates,
        without=without,
        limited_until=max(limits, default=None),
    )
