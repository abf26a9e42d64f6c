"""Listeners' grants: tokens that Spotify gave Bondhu for them, encrypted at rest.

The key is BONDHU_TOKEN_KEY; of several, the first encrypts and all decrypt, so that keys can be
changed one after another. Tokens are never logged: not here, and not by spotipy (`quieten`).
"""

import logging
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from features.sources.errors import NeedsReauthError, NotConfiguredError

ACTIVE, NEEDS_REAUTH = "active", "needs_reauth"

_SAVE = sa.text(
    """
    INSERT INTO spotify_grants (user_id, token, scope, state, granted_at, refreshed_at)
    VALUES (:user_id, :token, :scope, 'active', :now, :now)
    ON CONFLICT (user_id) DO UPDATE SET token = excluded.token, scope = excluded.scope,
        state = 'active', granted_at = excluded.granted_at, refreshed_at = excluded.refreshed_at
    """
)
_RENEW = sa.text(
    "UPDATE spotify_grants SET token = :token, state = 'active', refreshed_at = :now"
    " WHERE user_id = :user_id"
)


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What Spotify's token endpoint gave; `expires_at` in seconds since 1970."""

    access_token: str
    refresh_token: str | None
    expires_at: int

    def __repr__(self) -> str:
        """Return nothing that could be used."""
        return f"Token(expires_at={self.expires_at})"


class Vault:
    """Encrypts tokens and reads them back.

    Parameters
    ----------
    keys
        BONDHU_TOKEN_KEY: Fernet keys separated by commas, the newest first.

    Examples
    --------
    >>> vault = Vault(SecretStr(Fernet.generate_key().decode()))
    >>> token = Token(access_token="BQD", refresh_token="AQC", expires_at=1)
    >>> b"BQD" in vault.close(token), vault.open(vault.close(token)) == token
    (False, True)
    """

    def __init__(self, keys: SecretStr | None) -> None:
        if keys is None:
            raise NotConfiguredError(
                "BONDHU_TOKEN_KEY is not set: without it no Spotify token is stored"
            )
        self._fernet = MultiFernet(
            [Fernet(key.strip()) for key in keys.get_secret_value().split(",")]
        )

    def close(self, token: Token) -> bytes:
        """Return a token as only this vault can read it."""
        return self._fernet.encrypt(msgspec.json.encode(token))

    def open(self, closed: bytes) -> Token:
        """Return the token.

        Raises
        ------
        NeedsReauthError
            It was encrypted with a key that is not there any more.
        """
        try:
            return msgspec.json.decode(self._fernet.decrypt(closed), type=Token)
        except (InvalidToken, msgspec.DecodeError):
            raise NeedsReauthError(
                "the stored Spotify token cannot be decrypted with BONDHU_TOKEN_KEY: log in again"
                " at /spotify/login"
            ) from None


def save_grant(
    connection: sa.Connection,
    vault: Vault,
    user_id: str,
    token: Token,
    scope: str,
    *,
    now: datetime,
) -> None:
    """Store what a listener granted; it takes the place of an earlier grant."""
    sealed = {"user_id": user_id, "token": vault.close(token), "scope": scope, "now": now}
    connection.execute(_SAVE, sealed)


def renew(
    connection: sa.Connection, vault: Vault, user_id: str, token: Token, *, now: datetime
) -> None:
    """Store the token that Spotify gave for the last one."""
    sealed = {"user_id": user_id, "token": vault.close(token), "now": now}
    connection.execute(_RENEW, sealed)


def locked_token(connection: sa.Connection, vault: Vault, user_id: str) -> Token:
    """Return a listener's token, and hold its row until the transaction ends.

    A refresh token may work once: two processes must not use it at the same time.

    Raises
    ------
    NeedsReauthError
        There is no grant that works.
    """
    statement = "SELECT token, state FROM spotify_grants WHERE user_id = :user_id FOR UPDATE"
    row = connection.execute(sa.text(statement), {"user_id": user_id}).one_or_none()
    if row is None or row[1] != ACTIVE:
        raise NeedsReauthError(
            "there is no Spotify grant that works for this listener: log in at /spotify/login"
        )
    return vault.open(bytes(row[0]))


def mark_needs_reauth(connection: sa.Connection, user_id: str) -> None:
    """Note that only a new login helps; its tokens are worth nothing and go."""
    statement = (
        "UPDATE spotify_grants SET state = 'needs_reauth', token = ''::bytea"
        " WHERE user_id = :user_id"
    )
    connection.execute(sa.text(statement), {"user_id": user_id})


def mark_refreshed(connection: sa.Connection, user_id: str, *, now: datetime) -> None:
    """Note when a listener's history was last refreshed."""
    statement = "UPDATE spotify_grants SET history_at = :now WHERE user_id = :user_id"
    connection.execute(sa.text(statement), {"user_id": user_id, "now": now})


def due_grants(connection: sa.Connection, *, before: datetime) -> list[str]:
    """Return the listeners whose history was last refreshed before a moment, or never."""
    statement = (
        "SELECT user_id FROM spotify_grants WHERE state = 'active'"
        " AND (history_at IS NULL OR history_at < :before) ORDER BY history_at NULLS FIRST, user_id"
    )
    return list(connection.scalars(sa.text(statement), {"before": before}))


def quieten() -> None:
    """Keep spotipy from logging headers and bodies, which carry tokens, at level DEBUG."""
    for name in ("spotipy.client", "spotipy.oauth2"):
        logger = logging.getLogger(name)
        if _says_no_token not in logger.filters:
            logger.addFilter(_says_no_token)


def _says_no_token(record: logging.LogRecord) -> bool:
    """Let nothing pass: what matters is raised as an error, and said without tokens."""
    return record.levelno > logging.ERROR


def token_of(info: dict[str, Any]) -> Token:
    """Return the token in what spotipy calls token_info."""
    return Token(
        access_token=str(info["access_token"]),
        refresh_token=info.get("refresh_token"),
        expires_at=int(info["expires_at"]),
    )
