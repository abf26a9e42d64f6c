"""The caches in Redis, and life without it.

Redis holds nothing that Postgres does not: every failure to reach it is the one branch `_without`,
counted in a metric, and the answer is computed from Postgres instead. Values are MessagePack.

| database | key | holds | lives |
|---|---|---|---|
| 0 | lists:{user} | generation, and per cache key the list with its reserves | 24 h |
| 0 | pools:{user} | per cache key the candidates and their components | 24 h |
| 0 | limit:{user} | the calls of the last minute | 1 min |
| 3 | profile:{user} | what is known of the listener | 30 min |
| 3 | q:{user} | the Q-table and the log's number that it holds | 24 h |
"""

import logging
import uuid
from collections.abc import Callable
from importlib.resources import files
from typing import Any

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

log = logging.getLogger("bondhu.cache")

# Stores only if no feedback came since the list was computed from what it read.
_STORE = """
if tonumber(redis.call('HGET', KEYS[1], 'generation') or 0) ~= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
"""
# Keeps a counter in place of the lists: a list computed before the feedback finds it changed.
_DROP = """
local generation = tonumber(redis.call('HGET', KEYS[1], 'generation') or 0) + 1
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'generation', generation)
redis.call('EXPIRE', KEYS[1], ARGV[1])
if ARGV[2] == '1' then redis.call('DEL', KEYS[2]) end
return generation
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
    generation: int
    value: bytes | None


class AsyncEdgeCache:
    """Limit and list look-up, on the event loop: one round trip per call."""

    def __init__(self, url: str, *, connections: int) -> None:
        self._client = redis.asyncio.Redis.from_url(
            url,
            db=RECOMMENDATIONS_DB,
            max_connections=connections,
            socket_timeout=0.5,
            socket_connect_timeout=0.5,
            retry=None,
        )
        self._hit = self._client.register_script(
            files("serving").joinpath("hit.lua").read_text(encoding="utf-8")
        )

    async def look_up(self, user_id: str, *, limit: int, field: str) -> Lookup | None:
        """Count the call and return the list at `field`, if any; None while Redis is away."""
        try:
            allowed, remaining, reset, generation, value = await self._hit(
                keys=[f"limit:{{{user_id}}}", f"lists:{{{user_id}}}"],
                args=[limit, WINDOW_MS, uuid.uuid4().bytes, field],
            )
        except redis.RedisError:
            DEGRADED.labels("redis").inc()
            return None
        return Lookup(bool(allowed), int(remaining), int(reset), int(generation), value)

    async def close(self) -> None:
        """Let the connections go."""
        await self._client.aclose()


class Cache:
    """Everything that a computation reads or leaves behind; used from threads."""

    def __init__(self, url: str, *, connections: int) -> None:
        def client(db: int) -> redis.Redis:
            return redis.Redis.from_url(
                url,
                db=db,
                max_connections=connections,
                socket_timeout=0.5,
                socket_connect_timeout=0.5,
                retry=None,
            )

        self._recommendations = client(RECOMMENDATIONS_DB)
        self._user_data = client(USER_DATA_DB)
        self._store = self._recommendations.register_script(_STORE)
        self._drop = self._recommendations.register_script(_DROP)
        self._keep_q = self._user_data.register_script(_KEEP_Q)
        self._undropped: dict[str, bool] = {}

    def _without(self, command: Callable[[], Any]) -> Any:
        """Run a command; None while Redis is away."""
        try:
            return command()
        except redis.RedisError as error:
            DEGRADED.labels("redis").inc()
            log.debug("Redis is away: %s", error)
            return None

    def store_list(self, user_id: str, field: str, value: bytes, generation: int) -> None:
        """Keep a list, unless the listener's lists were dropped since `generation` was read."""
        args: list[bytes | str | int] = [generation, field, value, LIST_SECONDS]
        self._without(lambda: self._store(keys=[f"lists:{{{user_id}}}"], args=args))

    def pool(self, user_id: str, field: str) -> bytes | None:
        """Return the candidates and components kept for a listener."""
        found = self._without(lambda: self._recommendations.hget(f"pools:{{{user_id}}}", field))
        return found if isinstance(found, bytes) else None

    def store_pool(self, user_id: str, field: str, value: bytes) -> None:
        """Keep candidates and components."""
        key = f"pools:{{{user_id}}}"

        def command() -> None:
            with self._recommendations.pipeline() as pipeline:
                pipeline.hset(key, field, value)
                pipeline.expire(key, LIST_SECONDS)
                pipeline.execute()

        self._without(command)

    def drop_lists(self, user_id: str, *, pools: bool) -> None:
        """Drop a listener's lists and profile; `pools`: the candidates too.

        While Redis is away the drop is remembered by this process and made up for by
        `make_up`: a list from before the outage must not come back with Redis.
        """

        def command() -> bool:
            self._drop(
                keys=[f"lists:{{{user_id}}}", f"pools:{{{user_id}}}"],
                args=[2 * LIST_SECONDS, "1" if pools else "0"],
            )
            self._user_data.delete(f"profile:{{{user_id}}}")
            return True

        if self._without(command) is None:
            self._undropped[user_id] = self._undropped.get(user_id, False) or pools

    def make_up(self) -> None:
        """Drop what could not be dropped while Redis was away."""
        for user_id, pools in list(self._undropped.items()):
            del self._undropped[user_id]
            self.drop_lists(user_id, pools=pools)

    def profile(self, user_id: str) -> Profile | None:
        """Return the cached profile."""
        found = self._without(lambda: self._user_data.get(f"profile:{{{user_id}}}"))
        return msgspec.msgpack.decode(found, type=Profile) if isinstance(found, bytes) else None

    def store_profile(self, profile: Profile) -> None:
        """Keep a profile."""
        value = msgspec.msgpack.encode(profile)
        key = f"profile:{{{profile.user_id}}}"
        self._without(lambda: self._user_data.set(key, value, ex=PROFILE_SECONDS))

    def q_state(self, user_id: str) -> QState | None:
        """Return the cached Q-table; the caller compares its seq with the log's."""
        found = self._without(lambda: self._user_data.hget(f"q:{{{user_id}}}", "state"))
        return msgspec.msgpack.decode(found, type=QState) if isinstance(found, bytes) else None

    def store_q_state(self, user_id: str, q: QState) -> None:
        """Keep a Q-table, unless a later one is kept already."""
        args: list[bytes | str | int] = [q.seq, msgspec.msgpack.encode(q), LIST_SECONDS]
        self._without(lambda: self._keep_q(keys=[f"q:{{{user_id}}}"], args=args))

    def answers(self) -> bool:
        """Return whether Redis is there."""
        return bool(self._without(self._recommendations.ping))

    def close(self) -> None:
        """Let the connections go."""
        self._recommendations.close()
        self._user_data.close()
