"""The public keys of an identity provider, fetched when needed and kept while it is away."""

import asyncio
import logging
import time
from collections.abc import Callable

import httpx
import jwt

from serving.metrics import DEGRADED

LIFESPAN_SECONDS = 600.0
"""After that the keys are fetched again, so that a withdrawn one is soon refused."""

PAUSE_SECONDS = 10.0
"""Between two attempts: tokens with invented key ids must not turn into requests."""

PATIENCE_SECONDS = 1.5
LARGEST = 100_000

log = logging.getLogger("bondhu.auth")


class KeysUnavailableError(Exception):
    """No key is known, and the provider does not answer."""


class Jwks:
    """A provider's key set.

    Parameters
    ----------
    url
        Of the set (JSON, RFC 7517).
    now
        A monotonic clock in seconds.
    """

    def __init__(self, url: str, *, now: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._now = now
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = self._tried_at = -float("inf")
        self._lock = asyncio.Lock()

    async def key(self, kid: str) -> jwt.PyJWK | None:
        """Return the key of an id, None where the provider has none.

        Keys that are old stay in use while the provider is away.

        Raises
        ------
        KeysUnavailableError
            Nothing is known yet and the provider does not answer.
        """
        if kid not in self._keys or self._now() - self._fetched_at > LIFESPAN_SECONDS:
            async with self._lock:
                if self._now() - self._tried_at > PAUSE_SECONDS:
                    await self._fetch()
        if not self._keys:
            raise KeysUnavailableError
        return self._keys.get(kid)

    async def _fetch(self) -> None:
        self._tried_at = self._now()
        try:
            async with (
                asyncio.timeout(PATIENCE_SECONDS),
                httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client,
            ):
                answer = (await client.get(self._url)).raise_for_status()
            if len(answer.content) > LARGEST:
                raise ValueError("the key set is too large")
            found = jwt.PyJWKSet.from_dict(answer.json())
        except (httpx.HTTPError, TimeoutError, ValueError, jwt.PyJWTError) as error:
            DEGRADED.labels("jwks").inc()
            log.warning("The key set of SUPABASE_URL cannot be read: %s", type(error).__name__)
            return
        self._keys = {key.key_id: key for key in found.keys if key.key_id}
        self._fetched_at = self._now()
