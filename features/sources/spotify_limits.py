"""Our own limits on calls of Spotify: SPOTIFY_RPM in all, a share of it per endpoint.

One sliding minute in Redis, shared by all processes. While Redis is away, each process keeps the
same windows by itself.
"""

import logging
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

import redis
from redis.commands.core import Script

from features.sources.spotify_endpoints import Endpoint

WINDOW_MS = 60_000
API_DB = 2
_NOBODY: Any = None  # scripts here are run by the client of the moment

log = logging.getLogger("bondhu.spotify")

# Takes a place in both windows, or in none. Returns the ms until both have one, 0 if taken.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local window, wait = tonumber(ARGV[1]), 0
for i = 1, 2 do
    redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now - window)
    local used, limit = redis.call('ZCARD', KEYS[i]), tonumber(ARGV[1 + i])
    if used >= limit then
        local first = redis.call('ZRANGE', KEYS[i], used - limit, used - limit, 'WITHSCORES')
        wait = math.max(wait, first[2] + window - now)
    end
end
if wait > 0 then return wait end
for i = 1, 2 do
    redis.call('ZADD', KEYS[i], now, ARGV[4])
    redis.call('PEXPIRE', KEYS[i], window)
end
return 0
"""


class SpotifyLimits:
    """Places for calls.

    Parameters
    ----------
    client
        Lends Redis' client of a database; asked for at each use, since it may be opened anew.
    calls_per_minute
        SPOTIFY_RPM.
    now_ms
        A clock that never goes back, for the windows kept here.
    """

    def __init__(
        self,
        client: Callable[[int], redis.Redis],
        *,
        calls_per_minute: int,
        now_ms: Callable[[], int],
    ) -> None:
        self._client = client
        self._take = Script(_NOBODY, _TAKE.encode())
        self._calls_per_minute = calls_per_minute
        self._now_ms = now_ms
        self._here: dict[str, deque[int]] = {}

    def limit_of(self, endpoint: Endpoint) -> int:
        """Return how many calls a minute an endpoint may take."""
        return max(1, int(self._calls_per_minute * endpoint.share))

    def take(self, endpoint: Endpoint) -> float:
        """Take a place for one call; return 0, or the seconds until there is one."""
        limits = {"all": self._calls_per_minute, endpoint.name: self.limit_of(endpoint)}
        try:
            wait_ms = self._take(
                keys=[f"spotify:{{limits}}:{name}" for name in limits],
                args=[WINDOW_MS, *limits.values(), uuid.uuid4().bytes],
                client=self._client(API_DB),
            )
        except redis.RedisError as error:
            log.debug("Redis is away: %s", error)
            wait_ms = self._take_here(limits)
        return int(wait_ms) / 1000

    def _take_here(self, limits: dict[str, int]) -> int:
        now, wait = self._now_ms(), 0
        windows = [(self._here.setdefault(name, deque()), limit) for name, limit in limits.items()]
        for window, limit in windows:
            while window and window[0] <= now - WINDOW_MS:
                window.popleft()
            if len(window) >= limit:
                wait = max(wait, window[len(window) - limit] + WINDOW_MS - now)
        if not wait:
            for window, _ in windows:
                window.append(now)
        return wait
