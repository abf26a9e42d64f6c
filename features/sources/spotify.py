"""Spotify, as far as it lets us: the Music Intelligence Agent's questions, answered by its Web API.

Every method asks, or says in one of `errors` why not; what may be asked differs per application and
changes with time, so `capabilities` reads what was found and `probe` tries. Nothing from here is
ever trained on (Spotify's terms).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import spotipy

from features.sources.errors import (
    EndpointClosedError,
    NeedsReauthError,
    NotConfiguredError,
    SourceError,
    SourceLimitedError,
    SourceUnavailableError,
)
from features.sources.spotify_answers import CATALOGUE, SpotifyAnswers
from features.sources.spotify_auth import AccessTokens
from features.sources.spotify_endpoints import ENDPOINTS
from features.sources.spotify_rows import audio_of, genres_of, history_of, items_of, tracks_of
from features.sources.spotify_transport import AccessTokenRefusedError
from features.sources.standing import EVERYTHING, Standings
from features.sources.terms import Access, AudioValues, Capability, History, SourceTrack
from recommender.genres import OTHER, categorise, normalise_genre

SOURCE = "spotify"
PAGE, TOP = 50, 50
AUDIO_BATCH, ARTIST_BATCH, SEEDS = 100, 50, 5
MOST_PAGES = 20
SINGLE_ARTISTS = 20
"""How many artists are asked for one by one where several at once are closed."""


class SpotifySource:
    """A way to Spotify, for one listener or for the catalogue alone.

    Parameters
    ----------
    client
        spotipy's, over `spotify_transport.PoliteAdapter`.
    whose
        The listener whose token it is; None: the application's own, which knows no listener.
    """

    def __init__(
        self,
        client: spotipy.Spotify,
        tokens: AccessTokens,
        answers: SpotifyAnswers,
        standings: Standings,
        *,
        whose: str | None,
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._tokens = tokens
        self._answers = answers
        self._standings = standings
        self._whose = whose
        self._now = now
        self.skipped: Counter[str] = Counter()
        """Why objects in answers were left out, since this was made."""

    # What the listener plays.

    def recent_plays(self, *, after: datetime | None = None) -> History:
        """Return what was played since then: at most the last 50 plays, which Spotify remembers."""
        since = None if after is None else int(after.timestamp() * 1000)
        items: list[object] = []
        answer = self._listeners(
            lambda: self._client.current_user_recently_played(limit=PAGE, after=since)
        )
        for _ in range(MOST_PAGES):
            page = items_of(answer, "items")
            items += page
            if not page or not isinstance(answer, Mapping) or not answer.get("next"):
                break
            following = answer
            answer = self._listeners(partial(self._client.next, following))
        return history_of(items)

    def top_tracks(self, *, time_range: str = "medium_term") -> list[SourceTrack]:
        """Return the listener's top 50 tracks, most played first."""
        answer = self._listeners_kept(
            f"top-tracks:{time_range}",
            lambda: self._client.current_user_top_tracks(limit=TOP, time_range=time_range),
        )
        return tracks_of(items_of(answer, "items"), self.skipped)

    def top_artists(self, *, time_range: str = "medium_term") -> list[tuple[str, tuple[str, ...]]]:
        """Return (name, genres) of the listener's top 50 artists."""
        answer = self._listeners_kept(
            f"top-artists:{time_range}",
            lambda: self._client.current_user_top_artists(limit=TOP, time_range=time_range),
        )
        artists = [a for a in items_of(answer, "items") if isinstance(a, Mapping)]
        genres = genres_of(artists)
        return [(str(a.get("name")), genres.get(str(a.get("id")), ())) for a in artists]

    def genre_distribution(self) -> dict[str, float]:
        """Return listener category -> share of the top artists' genres in it, largest first."""
        counts: Counter[str] = Counter()
        for _, genres in self.top_artists():
            named = [normalise_genre(genre) for genre in genres]
            counts.update(categorise([genre]) or OTHER for genre in named)
        total = sum(counts.values())
        return {category: n / total for category, n in counts.most_common()}

    # What the catalogue knows.

    def audio_features(self, track_ids: Sequence[str]) -> dict[str, AudioValues]:
        """Return audio features by track, 100 asked for at a time; unknown tracks are left out."""
        wanted = [i for i in dict.fromkeys(track_ids) if i.isascii() and i.isalnum()]
        found: dict[str, AudioValues] = self._answers.audio(wanted)
        missing = [track_id for track_id in wanted if track_id not in found]
        for batch in _batches(missing, AUDIO_BATCH):
            answer = self._call(partial(self._client.audio_features, batch))
            rows = answer if isinstance(answer, list) else items_of(answer, "audio_features")
            good = dict(filter(None, map(audio_of, rows)))
            self._answers.keep_audio(good)
            found.update(good)
        return found

    def artist_genres(self, artist_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return artist id -> genres; one by one, and fewer, where several at once are closed."""
        wanted = [i for i in dict.fromkeys(artist_ids) if i.isascii() and i.isalnum()]
        found: dict[str, tuple[str, ...]] = {}
        try:
            for batch in _batches(wanted, ARTIST_BATCH):
                answer = self._kept(
                    f"artists:{','.join(batch)}", partial(self._client.artists, batch)
                )
                found |= genres_of(items_of(answer, "artists"))
        except EndpointClosedError:
            for artist_id in wanted[:SINGLE_ARTISTS]:
                answer = self._kept(
                    f"artist:{artist_id}",
                    partial(self._client.artist, artist_id),
                )
                found |= genres_of([answer])
        return found

    def recommendations(
        self, *, seed_tracks: Sequence[str] = (), seed_genres: Sequence[str] = (), limit: int = 50
    ) -> list[SourceTrack]:
        """Return Spotify's recommendations from up to five seeds, tracks first."""
        tracks = list(seed_tracks)[:SEEDS]
        genres = list(seed_genres)[: SEEDS - len(tracks)]
        answer = self._kept(
            f"recommendations:{limit}:{','.join(tracks)}:{','.join(genres)}",
            lambda: self._client.recommendations(
                seed_tracks=tracks or None, seed_genres=genres or None, limit=min(limit, 100)
            ),
        )
        return self._playable(tracks_of(items_of(answer, "tracks"), self.skipped))

    def recommendations_by_genre(self, genre: str, *, limit: int = 50) -> list[SourceTrack]:
        """Return tracks of a genre: recommended, or searched for where that is closed."""
        try:
            return self.recommendations(seed_genres=[normalise_genre(genre)], limit=limit)
        except EndpointClosedError:
            return self.search(f'genre:"{genre}"', limit=limit)

    def search(self, query: str, *, limit: int = 50) -> list[SourceTrack]:
        """Return the tracks that a search finds; 10 per page, as development applications get."""
        found: list[SourceTrack] = []
        for offset in range(0, min(limit, 100), 10):
            answer = self._kept(
                f"search:{offset}:{query}",
                partial(self._client.search, query, limit=10, offset=offset),
            )
            page = items_of(answer, "tracks", "items")
            found += self._playable(tracks_of(page, self.skipped))
            if len(page) < 10:
                break
        return found[:limit]

    def new_releases(self, *, limit: int = 50) -> list[SourceTrack]:
        """Return the first track of each album that came out lately."""
        answer = self._kept(
            f"new-releases:{limit}", lambda: self._client.new_releases(limit=min(limit, PAGE))
        )
        found: list[SourceTrack] = []
        for album in items_of(answer, "albums", "items"):
            if not isinstance(album, Mapping) or not isinstance(album.get("id"), str):
                self.skipped["album not as documented"] += 1
                continue
            album_id = album["id"]
            tracks = self._kept(
                f"album:{album_id}",
                partial(self._client.album_tracks, album_id, limit=1),
            )
            items = [
                {**item, "album": album}
                for item in items_of(tracks, "items")
                if isinstance(item, Mapping)
            ]
            found += self._playable(tracks_of(items, self.skipped))
        return found

    # What it lets us do.

    def capabilities(self) -> list[Capability]:
        """Return what is known of each endpoint, without asking."""
        known = {standing.endpoint: standing for standing in self._standings.all()}
        limited = known[EVERYTHING].limited_until if EVERYTHING in known else None
        now, found = self._now(), []
        for endpoint in ENDPOINTS:
            standing = known.get(endpoint.name)
            access, until = Access.UNKNOWN, None
            if standing and standing.closed_until and standing.closed_until > now:
                access, until = Access.CLOSED, standing.closed_until
            elif limited and limited > now:
                access, until = Access.LIMITED, limited
            elif standing and standing.last_success_at:
                access = Access.ALLOWED
            found.append(
                Capability(
                    SOURCE,
                    endpoint.name,
                    access,
                    until,
                    standing.last_success_at if standing else None,
                    standing.last_error if standing else None,
                )
            )
        return found

    def probe(self) -> list[Capability]:
        """Try each catalogue endpoint once, cheaply; return what is known afterwards."""
        questions: Mapping[str, Callable[[], object]] = {
            "audio-features": lambda: self._client.audio_features([_A_TRACK]),
            "recommendations": lambda: self._client.recommendations(
                seed_tracks=[_A_TRACK], limit=1
            ),
            "new-releases": lambda: self._client.new_releases(limit=1),
            "several-artists": lambda: self._client.artists([_AN_ARTIST]),
            "artist": lambda: self._client.artist(_AN_ARTIST),
            "search": lambda: self._client.search("a", limit=1),
        }
        failed: dict[str, tuple[Access, str]] = {}
        for name, question in questions.items():
            try:
                self._call(question)
            except (EndpointClosedError, SourceLimitedError):
                pass  # the standing says it
            except NotConfiguredError as error:
                failed[name] = Access.NOT_CONFIGURED, str(error)
            except SourceUnavailableError as error:
                failed[name] = Access.UNREACHABLE, str(error)
            except SourceError as error:
                failed[name] = Access.UNKNOWN, str(error)
        return [
            Capability(c.source, c.name, failed[c.name][0], None, c.last_success_at, c.last_error)
            if c.name in failed
            else c
            for c in self.capabilities()
        ]

    def _playable(self, tracks: Iterable[SourceTrack]) -> list[SourceTrack]:
        tracks = list(tracks)
        self.skipped["locked in this market"] += sum(not track.playable for track in tracks)
        return [track for track in tracks if track.playable]

    def _listeners(self, question: Callable[[], Any]) -> Any:
        if self._whose is None:
            raise NeedsReauthError("no listener is logged in at Spotify: log in at /spotify/login")
        return self._call(question)

    def _listeners_kept(self, name: str, question: Callable[[], Any]) -> Any:
        kept = self._answers.get(self._whose or "", name) if self._whose else None
        if kept is None:
            kept = self._listeners(question)
            self._answers.keep(self._whose or "", name, kept)
        return kept

    def _kept(self, name: str, question: Callable[[], Any]) -> Any:
        kept = self._answers.get(CATALOGUE, name)
        if kept is None:
            kept = self._call(question)
            self._answers.keep(CATALOGUE, name, kept)
        return kept

    def _call(self, question: Callable[[], Any]) -> Any:
        """Ask; with a renewed token once more where Spotify refuses the first."""
        try:
            return self._asked(question)
        except AccessTokenRefusedError:
            self._tokens.renew()
        try:
            return self._asked(question)
        except AccessTokenRefusedError:
            raise NeedsReauthError(
                "Spotify refuses a token that it has only just given: log in again"
            ) from None

    @staticmethod
    def _asked(question: Callable[[], Any]) -> Any:
        try:
            answer = question()
        except spotipy.SpotifyException as error:  # an id that spotipy itself refuses
            raise SourceError(f"Spotify was not asked: {error.msg}") from None
        if answer is None:
            raise SourceUnavailableError("Spotify's answer is not as documented: try again later")
        return answer


HISTORY_AFTER = timedelta(hours=6)
"""How old a listener's history may be before it is refreshed."""

_A_TRACK, _AN_ARTIST = "4cOdK2wGLETKBW3PvgPWqT", "0TnOYISbd1XYRBk9myaseg"


def _batches(items: Sequence[str], size: int) -> Iterable[list[str]]:
    return (list(items[start : start + size]) for start in range(0, len(items), size))
