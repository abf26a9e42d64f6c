"""The caches in Redis, and life without it.

Redis holds nothing that Postgres does not: every failure to reach it is the one branch `_without`,
counted in a metric, and the answer is computed from Postgres instead. Values are MessagePack; one
that another release wrote and this one cannot read counts as absent.

| database | key | holds | lives |
|---|---|---|---|
| 0 | lists:{user} | per cache key the list with its reserves, and their revision | 24 h |
| 0 | pools:{user} | per cache key the candidates and their components | 24 h |
| 0 | limit:{user} | the calls of the last minute | 1 min |
| 3 | profile:{user} | what is known of the listener | 30 min |
| 3 | q:{user} | the Q-table and the log's number that it holds | 24 h |
"""

import logging
import uuid
from collections.abc import Callable
from importlib.resources import files
from typing import Any, TypeVar

import msgspec
import redis
import redis.asyncio

from features.interactions import QState
from features.listeners import Profile
from serving.metrics import DEGRADED

LIST_SECONDS = 24 * 3600
PROFILE_SECONDS = 30 * 60
WINDOW_MS = 60_000
RECOMMENDATIONS_DB, USER_DATA_DB = 0, 3
PATIENCE_SECONDS = 0.5
"""For a free connection, for connecting and for an answer; longer than that Redis is away."""

log = logging.getLogger("bondhu.cache")

T = TypeVar("T")

FIELDS = 16
"""Lists or pools of one listener kept at a time: genres, contexts, versions."""

# Keeps a list only if the listener was not revised since it was computed; old versions go at times.
_STORE = """
local known = tonumber(redis.call('HGET', KEYS[1], 'revision') or 0)
if known > tonumber(ARGV[1]) then return 0 end
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[5]) then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'revision', ARGV[1], ARGV[2], ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
"""
# Keeps the revision in place of the lists: one computed before it comes too late.
_OUTDATE = """
if tonumber(redis.call('HGET', KEYS[1], 'revision') or 0) >= tonumber(ARGV[1]) then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'revision', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""
# A Q-table never goes back: the later event wins, whichever worker comes first.
_KEEP_Q = """
local known = redis.call('HGET', KEYS[1], 'seq')
if known and tonumber(known) >= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'seq', ARGV[1], 'state', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""


class Lookup(msgspec.Struct, frozen=True):
    """What one round trip says of a call."""

    allowed: bool
    remaining: int
    reset_ms: int
    value: bytes | None


class KeptProfile(msgspec.Struct, frozen=True):
    """A profile with the revision and feature build that it was read at."""

    basis: str
    profile: Profile


class AsyncEdgeCache:
    """Limit and list look-up, on the event loop: one round trip per call."""

    def __init__(self, url: str, *, connections: int) -> None:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            db=RECOMMENDATIONS_DB,
            max_connections=connections,
            timeout=PATIENCE_SECONDS,
            socket_timeout=PATIENCE_SECONDS,
            socket_connect_timeout=PATIENCE_SECONDS,
            retry=None,
        )
        self._client = redis.asyncio.Redis(connection_pool=pool)
        self._hit = self._client.register_script(
            files("serving").joinpath("hit.lua").read_text(encoding="utf-8")
        )

    async def look_up(self, user_id: str, *, limit: int, field: str) -> Lookup | None:
        """Count the call and return the list at `field`, if any; None while Redis is away."""
        try:
            allowed, remaining, reset, value = await self._hit(
                keys=[f"limit:{{{user_id}}}", f"lists:{{{user_id}}}"],
                args=[limit, WINDOW_MS, uuid.uuid4().bytes, field],
            )
        except redis.RedisError:
            DEGRADED.labels("redis").inc()
            return None
        return Lookup(bool(allowed), int(remaining), int(reset), value)

    async def close(self) -> None:
        """Let the connections go."""
        await self._client.aclose()


class Cache:
    """Everything that a computation reads or leaves behind; used from threads."""

    def __init__(self, url: str, *, connections: int) -> None:
        def client(db: int) -> redis.Redis:
            pool = redis.BlockingConnectionPool.from_url(
                url,
                db=db,
                max_connections=connections,
                timeout=PATIENCE_SECONDS,
                socket_timeout=PATIENCE_SECONDS,
                socket_connect_timeout=PATIENCE_SECONDS,
                retry=None,
            )
            return redis.Redis(connection_pool=pool)

        self._recommendations = client(RECOMMENDATIONS_DB)
        self._user_data = client(USER_DATA_DB)
        self._store = self._recommendations.register_script(_STORE)
        self._outdate = self._recommendations.register_script(_OUTDATE)
        self._keep_q = self._user_data.register_script(_KEEP_Q)
        self.has_missed = False
        """Whether lists could not be outdated, so that Postgres must be asked which."""
        self._connections = (self._recommendations, self._user_data)

    def _without(self, command: Callable[[], Any]) -> Any:
        """Run a command; None while Redis is away."""
        try:
            return command()
        except redis.RedisError as error:
            DEGRADED.labels("redis").inc()
            log.debug("Redis is away: %s", error)
            return None

    def _decoded(self, found: object, type_: type[T]) -> T | None:
        if not isinstance(found, bytes):
            return None
        try:
            return msgspec.msgpack.decode(found, type=type_)
        except msgspec.DecodeError:
            DEGRADED.labels("redis_value").inc()
            return None

    def store_list(self, user_id: str, field: str, value: bytes, revision: int) -> None:
        """Keep a list, unless the listener was revised since `revision`."""
        args: list[bytes | str | int] = [revision, field, value, LIST_SECONDS, FIELDS]
        self._without(lambda: self._store(keys=[f"lists:{{{user_id}}}"], args=args))

    def outdate_lists(self, user_id: str, revision: int) -> bool:
        """Drop the lists of an older revision; return False while Redis is away."""
        args = [revision, 2 * LIST_SECONDS]
        done = self._without(lambda: self._outdate(keys=[f"lists:{{{user_id}}}"], args=args))
        self.has_missed = self.has_missed or done is None
        return done is not None

    def pool(self, user_id: str, field: str) -> bytes | None:
        """Return the candidates and components kept for a listener."""
        found = self._without(lambda: self._recommendations.hget(f"pools:{{{user_id}}}", field))
        return found if isinstance(found, bytes) else None

    def store_pool(self, user_id: str, field: str, value: bytes) -> None:
        """Keep candidates and components."""
        args: list[bytes | str | int] = [0, field, value, LIST_SECONDS, FIELDS]
        self._without(lambda: self._store(keys=[f"pools:{{{user_id}}}"], args=args))

    def profile(self, user_id: str, basis: str) -> Profile | None:
        """Return the cached profile, if it was read at this basis."""
        found = self._without(lambda: self._user_data.get(f"profile:{{{user_id}}}"))
        kept = self._decoded(found, KeptProfile)
        return kept.profile if kept and kept.basis == basis else None

    def store_profile(self, profile: Profile, basis: str) -> None:
        """Keep a profile."""
        value = msgspec.msgpack.encode(KeptProfile(basis, profile))
        key = f"profile:{{{profile.user_id}}}"
        self._without(lambda: self._user_data.set(key, value, ex=PROFILE_SECONDS))

    def q_state(self, user_id: str) -> QState | None:
        """Return the cached Q-table; the caller compares its seq with the log's."""
        found = self._without(lambda: self._user_data.hget(f"q:{{{user_id}}}", "state"))
        return self._decoded(found, QState)

    def store_q_state(self, user_id: str, q: QState) -> None:
        """Keep a Q-table, unless a later one is kept already."""
        args: list[bytes | str | int] = [q.seq, msgspec.msgpack.encode(q), LIST_SECONDS]
        self._without(lambda: self._keep_q(keys=[f"q:{{{user_id}}}"], args=args))

    def answers(self) -> bool:
        """Return whether Redis is there."""
        return bool(self._without(self._recommendations.ping))

    def close(self) -> None:
        """Let the connections go."""
        for client in self._connections:
            client.close()
            client.connection_pool.disconnect()
