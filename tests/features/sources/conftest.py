"""A stand-in Spotify, and the way to it."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from clocks import Clock
from cryptography.fernet import Fernet
from pydantic import SecretStr
from spotify_server import CLIENT_ID, CLIENT_SECRET, SpotifyStandIn, running

from features.settings import Settings
from features.sources.spotify import SpotifySource
from features.sources.spotify_access import SpotifyAccess


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def spotify() -> Iterator[SpotifyStandIn]:
    with running() as stand_in:
        yield stand_in


@pytest.fixture
def settings(spotify: SpotifyStandIn) -> Settings:
    return Settings(
        spotify_client_id=CLIENT_ID,
        spotify_client_secret=SecretStr(CLIENT_SECRET),
        spotify_api_url=spotify.url,
        spotify_accounts_url=spotify.url,
        spotify_rpm=1000,
        bondhu_token_key=SecretStr(Fernet.generate_key().decode()),
    )


@pytest.fixture
def access(
    settings: Settings, engine: sa.Engine, redis_url: str, clock: Clock
) -> Iterator[SpotifyAccess]:
    with SpotifyAccess(settings, engine, redis_url, now=clock.now) as opened:
        yield opened


@pytest.fixture
def ada(access: SpotifyAccess, clock: Clock) -> SpotifySource:
    """Spotify for a listener whose caller passed a token in."""
    return access.with_token("ada", "good-token", clock.patience())


@pytest.fixture
def catalogue(access: SpotifyAccess, clock: Clock) -> SpotifySource:
    """Spotify's catalogue, with the application's credentials."""
    return access.catalogue(clock.patience())
