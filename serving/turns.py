"""Turns: one list is computed for a listener at a time, in all workers together.

When a list runs out while its listener is looked at from several places, one call computes and the
others take what it leaves. Waiting is bounded: whoever waited a second computes all the same.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from weakref import WeakValueDictionary

import redis

from features.redis_server import tagged
from serving.edge_cache import LEAVE, AsyncEdgeCache
from serving.metrics import DEGRADED, TURNS

TURN_MS = 5_000
"""A turn ends by itself after that: its taker may have died. Longer than any call may take."""

WAIT_SECONDS = 1.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.005, 0.05


class Turns:
    """Gives out turns."""

    def __init__(self, edge: AsyncEdgeCache) -> None:
        self._edge = edge
        self._here: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, user_id: str, field: str) -> AsyncIterator[bytes | None]:
        """Wait for the listener's turn, and hold it for the length of a block.

        Parameters
        ----------
        field
            Of the list that makes computing needless; empty: none does.

        Returns
        -------
        The list that another left while we waited, None where it is to be computed.
        """
        give_up = time.monotonic() + WAIT_SECONDS
        # Within a worker nobody has to ask Redis again and again; without Redis this is all.
        lock = self._here.setdefault(user_id, asyncio.Lock())
        held = await _acquire(lock, WAIT_SECONDS)
        token = os.urandom(12)
        taken = False
        try:
            taken, found = await self._take(user_id, field, token, give_up)
            yield found
        finally:
            if held:
                lock.release()
            if taken:
                await self._edge.leave_turn(user_id, token)

    async def _take(
        self, user_id: str, field: str, token: bytes, give_up: float
    ) -> tuple[bool, bytes | None]:
        pause, waited = FIRST_PAUSE_SECONDS, False
        while True:
            try:
                taken, found = await self._edge.take_turn(
                    user_id, token, field=field, milliseconds=TURN_MS
                )
            except redis.RedisError:
                DEGRADED.labels("redis").inc()
                return False, None
            if taken:
                TURNS.labels("waited" if waited else "free").inc()
                return True, None
            if found is not None:
                TURNS.labels("found").inc()
                return False, found
            if time.monotonic() + pause > give_up:
                TURNS.labels("gave_up").inc()
                return False, None
            waited = True
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


@contextmanager
def turn_if_free(client: redis.Redis, user_id: str) -> Iterator[bool]:
    """Take a listener's turn from a thread, unless another has it; yields whether it is ours.

    Raises
    ------
    redis.RedisError
        Redis is away.
    """
    key, token = tagged("turn", user_id), os.urandom(12)
    taken = bool(client.set(key, token, nx=True, px=TURN_MS))
    try:
        yield taken
    finally:
        if taken:
            with suppress(redis.RedisError):  # it ends by itself
                client.eval(LEAVE.text, 1, key, token)


async def _acquire(lock: asyncio.Lock, seconds: float) -> bool:
    if not lock.locked():
        return await lock.acquire()
    try:
        async with asyncio.timeout(seconds):
            return await lock.acquire()
    except TimeoutError:
        return False
