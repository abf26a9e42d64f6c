"""Spotify wired up: settings, Redis and Postgres become a `SpotifySource` for whoever asks."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import redis
import requests
import spotipy
import sqlalchemy as sa

from features.log_messages import SPOTIFY_CLIENT
from features.redis_server import RedisClients
from features.settings import Settings
from features.sources import spotify_auth
from features.sources.spotify import SOURCE, SpotifySource
from features.sources.spotify_answers import SpotifyAnswers
from features.sources.spotify_auth import AccessTokens, GrantedToken, PassedToken
from features.sources.spotify_grants import Vault, quieten
from features.sources.spotify_limits import SpotifyLimits
from features.sources.spotify_transport import Patience, PoliteAdapter
from features.sources.standing import Standings

CONNECTIONS = 2

log = logging.getLogger("bondhu.spotify")


def _now() -> datetime:
    return datetime.now(UTC)


class SpotifyAccess:
    """What a process holds to reach Spotify; nothing is opened before it is used.

    Parameters
    ----------
    redis_client
        Lends Redis' client of a database, from the process's own connections; None: two for each
        database, opened here.
    """

    def __init__(
        self,
        settings: Settings,
        engine: sa.Engine,
        redis_url: str,
        *,
        redis_client: Callable[[int], redis.Redis] | None = None,
        now: Callable[[], datetime] = _now,
    ) -> None:
        quieten()
        self._settings = settings
        self._engine = engine
        self._now = now
        self._own = RedisClients(redis_url, connections=CONNECTIONS)
        client = redis_client or self._own.client
        self._answers = SpotifyAnswers(client)
        self._limits = SpotifyLimits(
            client,
            calls_per_minute=settings.spotify_rpm,
            now_ms=lambda: int(time.monotonic() * 1000),
        )
        self.standings = Standings(engine, SOURCE)

    def vault(self) -> Vault:
        """Return the vault of tokens; raises NotConfiguredError without BONDHU_TOKEN_KEY."""
        return Vault(self._settings.bondhu_token_key)

    def session(self, patience: Patience) -> requests.Session:
        """Return a session whose requests are polite."""
        session = requests.Session()
        adapter = PoliteAdapter(self.standings, self._limits, patience, now=self._now)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        return session

    def with_token(self, user_id: str, token: str, patience: Patience) -> SpotifySource:
        """Return Spotify for a listener whose caller passed a token in."""
        return self._source(PassedToken(token), self.session(patience), whose=user_id)

    def with_grant(self, user_id: str, patience: Patience) -> SpotifySource:
        """Return Spotify for a listener who logged in.

        Raises
        ------
        NotConfiguredError
            SPOTIFY_CLIENT_ID or BONDHU_TOKEN_KEY is not set.
        """
        session = self.session(patience)
        oauth = spotify_auth.pkce(self._settings, session)
        tokens = GrantedToken(self._engine, self.vault(), oauth, user_id, now=self._now)
        return self._source(tokens, session, whose=user_id)

    def catalogue(self, patience: Patience) -> SpotifySource:
        """Return Spotify's catalogue.

        Raises
        ------
        NotConfiguredError
            SPOTIFY_CLIENT_ID or SPOTIFY_CLIENT_SECRET is not set.
        """
        session = self.session(patience)
        tokens = spotify_auth.application_token(self._settings, session)
        return self._source(tokens, session, whose=None)

    def _source(
        self, tokens: AccessTokens, session: requests.Session, *, whose: str | None
    ) -> SpotifySource:
        client = spotipy.Spotify(auth_manager=tokens, requests_session=session)
        client.prefix = f"{self._settings.spotify_api_url.rstrip('/')}/v1/"
        if whose is not None:
            log.info(SPOTIFY_CLIENT)
        return SpotifySource(
            client, tokens, self._answers, self.standings, whose=whose, now=self._now
        )

    def close(self) -> None:
        """Let the connections go."""
        self._own.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the connections go."""
        self.close()
