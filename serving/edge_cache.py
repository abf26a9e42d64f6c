"""What the event loop asks Redis for: limit, lists, turns. One round trip per call."""

import asyncio
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import msgspec
import redis

from features.redis_server import tagged
from serving.connections import connect_cluster
from serving.metrics import DEGRADED
from serving.pipe import Pipe, Word

WINDOW_MS = 60_000


class EdgeScript(msgspec.Struct, frozen=True):
    """A script of the event loop, by its text and the hash that Redis knows it by."""

    text: str
    sha: str

    @classmethod
    def of(cls, text: str) -> "EdgeScript":
        """Return a script."""
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


LIMIT, TURN, LEAVE = (
    EdgeScript.of(files("serving").joinpath(name).read_text(encoding="utf-8"))
    for name in ("limit.lua", "turn.lua", "leave.lua")
)


class Lookup(msgspec.Struct, frozen=True):
    """What one round trip says of a call."""

    allowed: bool
    remaining: int
    reset_ms: int
    value: bytes | None


class AsyncEdgeCache:
    """Limit, list look-up and turns, on the event loop: one round trip per call.

    Parameters
    ----------
    connections
        To each node of a cluster; a single server gets one, which all calls share.
    cluster
        Whether Redis is a cluster.
    """

    def __init__(self, url: str, *, connections: int = 1, cluster: bool = False) -> None:
        self._url, self._connections = url, connections
        self._open(cluster=cluster)

    def _open(self, *, cluster: bool) -> None:
        self._pipe = None if cluster else Pipe(self._url)
        self._cluster = connect_cluster(self._url, self._connections) if cluster else None

    async def reopen(self, *, cluster: bool) -> None:
        """Use another kind of client from now on."""
        await self.close()
        self._open(cluster=cluster)

    async def look_up(self, user_id: str, *, limit: int, field: str) -> Lookup | None:
        """Count the call and return the list at `field`, if any; None while Redis is away."""
        try:
            (allowed, remaining, reset), value = await self._count_and_get(user_id, limit, field)
        except redis.RedisError:
            DEGRADED.labels("redis").inc()
            return None
        return Lookup(bool(allowed), remaining, reset, value if allowed else None)

    async def peek(self, user_id: str, field: str) -> bytes | None:
        """Return the list at `field` without counting a call; None while Redis is away."""
        try:
            found = await self._get(user_id, field)
        except redis.RedisError:
            DEGRADED.labels("redis").inc()
            return None
        return found if isinstance(found, bytes) else None

    async def _count_and_get(
        self, user_id: str, limit: int, field: str
    ) -> tuple[tuple[int, int, int], bytes | None]:
        """Return what `limit.lua` says, and the list, in one message."""
        keys, args = (tagged("calls", user_id),), (limit, WINDOW_MS)
        if not field:
            return await self._run(LIMIT, keys, args), None
        if self._pipe is None:
            said, value = await asyncio.gather(
                self._run(LIMIT, keys, args), self._get(user_id, field)
            )
            return said, value
        said, value = await self._pipe.execute_all(
            ("EVALSHA", LIMIT.sha, 1, *keys, *args), ("HGET", tagged("lists", user_id), field)
        )
        if isinstance(said, redis.ResponseError):
            said = await self._in_full(said, LIMIT, 1, *keys, *args)
        if isinstance(value, redis.ResponseError):
            raise value
        return said, value

    async def _get(self, user_id: str, field: str) -> Any:
        key = tagged("lists", user_id)
        if self._pipe is not None:
            return await self._pipe.execute("HGET", key, field)
        assert self._cluster is not None  # noqa: S101 - one of the two is open
        return await self._cluster.hget(key, field)

    async def take_turn(
        self, user_id: str, token: bytes, *, field: str, milliseconds: int
    ) -> tuple[bool, bytes | None]:
        """Return whether the listener's turn is ours now, or else the list that another left.

        Parameters
        ----------
        token
            Names the taker: only who has it can give the turn back.
        field
            Of the list that would do as well; empty: none.

        Raises
        ------
        redis.RedisError
            Redis is away.
        """
        taken, value = await self._run(
            TURN,
            (tagged("turn", user_id), tagged("lists", user_id)),
            (token, milliseconds, field),
        )
        return bool(taken), value

    async def leave_turn(self, user_id: str, token: bytes) -> None:
        """Give the turn back, unless it has passed to another."""
        try:
            await self._run(LEAVE, (tagged("turn", user_id),), (token,))
        except redis.RedisError:  # it ends by itself
            DEGRADED.labels("redis").inc()

    async def _run(self, script: EdgeScript, keys: Sequence[str], args: Sequence[Word]) -> Any:
        if self._cluster is not None:
            return await self._cluster.eval(script.text, len(keys), *keys, *args)
        assert self._pipe is not None  # noqa: S101 - one of the two is open
        words = (len(keys), *keys, *args)
        try:
            return await self._pipe.execute("EVALSHA", script.sha, *words)
        except redis.ResponseError as error:
            return await self._in_full(error, script, *words)

    async def _in_full(self, error: redis.ResponseError, script: EdgeScript, *words: Word) -> Any:
        """Send a script itself where Redis does not know it by its hash."""
        if self._pipe is None or not str(error).startswith("NOSCRIPT"):
            raise error
        return await self._pipe.execute("EVAL", script.text, *words)

    async def close(self) -> None:
        """Let the connections go."""
        if self._pipe is not None:
            self._pipe.close()
        if self._cluster is not None:
            await self._cluster.aclose()
