"""Audio features for tracks that have none: asked for in order of trust, then estimated."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from features.missing_audio import copy_from_recordings, tracks_to_ask_for, write_estimates
from pipelines.environment import Environment
from recommender.audio_estimator import MODEL, AudioEstimator
from recommender.errors import ModelFormatError

ASKED_AT_ONCE = 1_000
"""Tracks asked for in one run: ten calls of Spotify."""


def fill_audio(environment: Environment, say: Callable[[str], None]) -> Iterator[str]:
    """Look for missing audio features; yield a line for each place where some were found.

    Without credentials Spotify is not asked; without a champion nothing is estimated.
    """
    now = datetime.now(UTC)
    say("audio features of the same recording")
    if copied := copy_from_recordings(environment.engine, now=now):
        yield f"audio features of {copied} tracks from the same recording under another id"
    if environment.settings.spotify_client_secret is not None:
        say("audio features from Spotify")
        yield from _from_spotify(environment, now)
    say("estimates")
    yield from _estimated(environment, now)


def _from_spotify(environment: Environment, now: datetime) -> Iterator[str]:
    from features.history_refresh import store_audio  # noqa: PLC0415 - imports spotipy
    from features.sources.errors import SourceError  # noqa: PLC0415 - with them
    from features.sources.spotify_access import SpotifyAccess  # noqa: PLC0415 - imports spotipy
    from features.sources.spotify_transport import Patience  # noqa: PLC0415 - imports requests

    engine = environment.engine
    wanted = tracks_to_ask_for(engine, ASKED_AT_ONCE)
    if not wanted:
        return
    with SpotifyAccess(environment.settings, engine, environment.redis_url) as access:
        try:
            found = access.catalogue(Patience(300)).audio_features(wanted)
        except SourceError as error:
            yield f"no audio features from Spotify: {error}"
            return
    with engine.begin() as connection:
        stored = store_audio(connection, found, now=now)
    yield f"audio features of {stored} tracks from Spotify (never trained on)"


def _estimated(environment: Environment, now: datetime) -> Iterator[str]:
    from serving.model_registry import load_champion, open_registry  # noqa: PLC0415

    registry = open_registry(environment.tracking_uri)
    try:
        champion = load_champion(registry, MODEL, AudioEstimator)
    except ModelFormatError:
        return  # none yet: 'bondhu train audio_estimator' makes one
    finally:
        registry.close()
    done = write_estimates(environment.engine, champion.model, now=now)
    if done.written or done.missing:
        yield (
            f"audio features of {done.written} tracks estimated by {MODEL} {champion.version},"
            f" {done.missing} left missing"
        )
