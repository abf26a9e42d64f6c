"""Access tokens: whose they are, where they come from, and how they are renewed.

Three ways, one face (what spotipy calls an auth manager): a token that a caller passed in, a
listener's stored grant, and the application's own credentials for the catalogue.
"""

import base64
import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

import requests
import spotipy
import sqlalchemy as sa
from spotipy.cache_handler import MemoryCacheHandler
from spotipy.oauth2 import SpotifyClientCredentials, SpotifyPKCE

from features.settings import Settings
from features.sources import spotify_grants
from features.sources.errors import NeedsReauthError, NotConfiguredError, SourceUnavailableError
from features.sources.spotify_grants import Token, Vault, token_of

SCOPE = "user-read-recently-played user-top-read"
MARGIN_SECONDS = 60
"""A token that ends sooner is renewed before it is used."""


class AccessTokens(Protocol):
    """Where spotipy gets an access token."""

    def get_access_token(self, as_dict: bool = False) -> str:
        """Return one that has not expired."""
        ...

    def renew(self) -> None:
        """Get another one: Spotify refused the last.

        Raises
        ------
        NeedsReauthError
            Only the listener can give one.
        """
        ...


class PassedToken:
    """The token of a caller; nobody here can renew it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_access_token(self, as_dict: bool = False) -> str:
        """Return the token."""
        return self._token

    def renew(self) -> None:
        """Say that a new one must be passed in."""
        raise NeedsReauthError("the spotify_token has expired or was revoked: send a new one")


class GrantedToken:
    """A listener's stored grant, renewed by its refresh token."""

    def __init__(
        self,
        engine: sa.Engine,
        vault: Vault,
        oauth: SpotifyPKCE,
        user_id: str,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._vault = vault
        self._oauth = oauth
        self._user_id = user_id
        self._now = now
        self._token: Token | None = None

    def get_access_token(self, as_dict: bool = False) -> str:
        """Return the access token, renewed if it is about to expire."""
        if self._token is None or self._token.expires_at < self._seconds() + MARGIN_SECONDS:
            self._renew(refused=None)
        assert self._token is not None  # noqa: S101 - _renew sets it or raises
        return self._token.access_token

    def renew(self) -> None:
        """Get another access token, unless another process did so meanwhile."""
        self._renew(refused=self._token)

    def _seconds(self) -> int:
        return int(self._now().timestamp())

    def _renew(self, *, refused: Token | None) -> None:
        lost: NeedsReauthError | None = None
        with self._engine.begin() as connection:
            try:
                token = spotify_grants.locked_token(connection, self._vault, self._user_id)
                is_fresh = token.expires_at >= self._seconds() + MARGIN_SECONDS
                if not is_fresh or (refused and token.access_token == refused.access_token):
                    token = self._refreshed(token)
                    spotify_grants.renew(
                        connection, self._vault, self._user_id, token, now=self._now()
                    )
                self._token = token
            except NeedsReauthError as error:
                spotify_grants.mark_needs_reauth(connection, self._user_id)
                lost = error
        if lost:
            raise lost

    def _refreshed(self, token: Token) -> Token:
        if not token.refresh_token:
            raise NeedsReauthError("the Spotify grant has no refresh token: log in again")
        info = asked(lambda: self._oauth.refresh_access_token(token.refresh_token))
        return token_of(info)


class ApplicationToken:
    """The application's own token: the catalogue, and no listener."""

    def __init__(self, credentials: SpotifyClientCredentials) -> None:
        self._credentials = credentials

    def get_access_token(self, as_dict: bool = False) -> str:
        """Return the access token; spotipy keeps it for its hour."""
        return str(asked(lambda: self._credentials.get_access_token(as_dict=False)))

    def renew(self) -> None:
        """Get another one."""
        asked(lambda: self._credentials.get_access_token(as_dict=False, check_cache=False))


def asked(ask: Callable[[], Any]) -> Any:
    """Ask spotipy's OAuth for something, and say its failures in our words.

    Raises
    ------
    NeedsReauthError
        The code or the refresh token is not worth anything (any more).
    NotConfiguredError
        Spotify does not know the application.
    SourceUnavailableError
        It did not answer as documented.
    """
    try:
        return ask()
    except spotipy.SpotifyOauthError as error:
        if error.error == "invalid_grant":
            raise NeedsReauthError(
                "the Spotify grant has expired or was revoked: log in again at /spotify/login"
            ) from None
        if error.error in ("invalid_client", "unauthorized_client"):
            raise NotConfiguredError(
                "Spotify refuses SPOTIFY_CLIENT_ID or SPOTIFY_CLIENT_SECRET: check them"
            ) from None
        raise SourceUnavailableError("Spotify's accounts service refused: try again") from None
    except (KeyError, TypeError, ValueError, AttributeError):  # JSON, but no token in it
        raise SourceUnavailableError(
            "Spotify's accounts service did not answer as documented: try again"
        ) from None


def pkce(settings: Settings, session: requests.Session) -> SpotifyPKCE:
    """Return spotipy's authorization code flow with PKCE.

    Raises
    ------
    NotConfiguredError
        SPOTIFY_CLIENT_ID is not set.
    """
    if not settings.spotify_client_id:
        raise NotConfiguredError("SPOTIFY_CLIENT_ID is not set: Spotify cannot be asked")
    spotify_grants.quieten()
    flow = SpotifyPKCE(
        client_id=settings.spotify_client_id,
        redirect_uri=settings.spotify_redirect_uri,
        scope=SCOPE,
        requests_session=session,
        open_browser=False,
        cache_handler=MemoryCacheHandler(),  # nothing on disk: tokens are kept by the vault
    )
    flow.OAUTH_TOKEN_URL = f"{settings.spotify_accounts_url}/api/token"
    flow.OAUTH_AUTHORIZE_URL = f"{settings.spotify_accounts_url}/authorize"
    return flow


def application_token(settings: Settings, session: requests.Session) -> ApplicationToken:
    """Return the application's token.

    Raises
    ------
    NotConfiguredError
        SPOTIFY_CLIENT_ID or SPOTIFY_CLIENT_SECRET is not set.
    """
    if not settings.spotify_client_id or settings.spotify_client_secret is None:
        raise NotConfiguredError(
            "SPOTIFY_CLIENT_ID and SPOTIFY_CLIENT_SECRET are not set: Spotify's catalogue cannot"
            " be asked"
        )
    spotify_grants.quieten()
    credentials = SpotifyClientCredentials(
        client_id=settings.spotify_client_id,
        client_secret=settings.spotify_client_secret.get_secret_value(),
        requests_session=session,
        cache_handler=MemoryCacheHandler(),
    )
    credentials.OAUTH_TOKEN_URL = f"{settings.spotify_accounts_url}/api/token"
    return ApplicationToken(credentials)


def new_verifier() -> str:
    """Return a fresh PKCE code verifier (RFC 7636: 43 to 128 characters)."""
    return secrets.token_urlsafe(64)


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a verifier.

    Examples
    --------
    The example of RFC 7636, appendix B:

    >>> challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'
    """
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def authorize_url(flow: SpotifyPKCE, *, state: str, verifier: str) -> str:
    """Return where the listener's browser goes to grant access."""
    flow.code_verifier, flow.code_challenge = verifier, challenge_of(verifier)
    return str(flow.get_authorize_url(state=state))


def redeem(flow: SpotifyPKCE, *, code: str, verifier: str) -> tuple[Token, str]:
    """Return the token, and its scope, for the code that a callback brought.

    Raises
    ------
    SourceError
        Spotify does not accept it.
    """
    flow.code_verifier, flow.code_challenge = verifier, challenge_of(verifier)
    asked(lambda: flow.get_access_token(code=code, check_cache=False))
    info = flow.cache_handler.get_cached_token()
    return asked(lambda: token_of(info)), str(info.get("scope") or SCOPE)
