"""One connection to Redis that all calls of a worker share: what they ask travels together.

redis-py lends each command a connection of its own and waits for it by two timers; for a cached
list that costs more than Redis does. Here the commands of one turn of the event loop are written
at once, answers come back in that order, and one timer watches over all of them. Addresses, packing
and parsing are redis-py's and hiredis's.
"""

import asyncio
import ssl
from collections import deque
from typing import Any

import hiredis
import redis
from redis.connection import parse_url

from features.redis_server import PATIENCE_SECONDS

PAUSE_SECONDS = 0.25
"""After a failed attempt to connect: until then calls are told at once that Redis is away."""

Word = bytes | str | int


class Pipe(asyncio.Protocol):
    """A shared connection, opened at the first command and again after it was lost.

    Parameters
    ----------
    url
        redis://, rediss:// or unix://, with user and password where needed.
    """

    def __init__(self, url: str, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
        self._is_tls = url.startswith("rediss://")
        self._patience = patience_seconds
        self._transport: asyncio.Transport | None = None
        self._reader = _reader()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._to_send: list[bytes] = []
        self._answered = 0
        self._watch: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._not_before = 0.0

    async def execute(self, *words: Word) -> Any:
        """Send one command and return its answer.

        Raises
        ------
        redis.RedisError
            Redis is away, did not answer in time, or answers an error.
        """
        if self._transport is None:
            await self._connect()
        answer = await self._ask(words)
        if isinstance(answer, hiredis.ReplyError):
            raise redis.ResponseError(str(answer))
        return answer

    async def execute_all(self, *commands: tuple[Word, ...]) -> list[Any]:
        """Send commands in one message; return the answer of each, or the error it was answered.

        Raises
        ------
        redis.RedisError
            Redis is away, or did not answer in time.
        """
        if self._transport is None:
            await self._connect()
        asked = [self._ask(words) for words in commands]
        try:
            await asked[-1]  # answers come in order: the others are there, too
        finally:
            for one in asked[:-1]:
                if not one.cancel() and not one.cancelled():
                    one.exception()  # told by the last
        answers = [one.result() for one in asked]
        return [
            redis.ResponseError(str(one)) if isinstance(one, hiredis.ReplyError) else one
            for one in answers
        ]

    def _ask(self, words: tuple[Word, ...]) -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if not self._to_send:
            loop.call_soon(self._send)
        self._to_send.append(hiredis.pack_command(words))  # type: ignore[arg-type]
        self._waiting.append(future)
        if self._watch is None:
            self._watch = loop.call_later(self._patience, self._look, self._answered)
        return future

    def _send(self) -> None:
        content, self._to_send = b"".join(self._to_send), []
        if self._transport is not None:
            self._transport.write(content)

    def _look(self, answered: int) -> None:
        """Give the connection up if nothing came since the last look."""
        self._watch = None
        if not self._waiting:
            return
        if self._answered == answered:
            self._lose(redis.TimeoutError("Redis did not answer in time"))
            return
        loop = asyncio.get_running_loop()
        self._watch = loop.call_later(self._patience, self._look, self._answered)

    def data_received(self, data: bytes) -> None:
        """Hand answers to whom they belong."""
        self._reader.feed(data)
        while (answer := self._reader.gets()) is not False:
            self._answered += 1
            future = self._waiting.popleft()
            if not future.done():  # who waited may have gone
                future.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell everybody who waits."""
        self._lose(redis.ConnectionError(f"the connection to Redis was lost: {error}"))

    async def _connect(self) -> None:
        if self._connecting is None:
            if asyncio.get_running_loop().time() < self._not_before:
                raise redis.ConnectionError("Redis was away a moment ago")
            self._connecting = asyncio.create_task(self._open())
        await asyncio.shield(self._connecting)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        options = self._options
        try:
            async with asyncio.timeout(self._patience):
                if "path" in options:
                    opened, _ = await loop.create_unix_connection(lambda: self, options["path"])
                else:
                    host, port = options.get("host", "localhost"), options.get("port", 6379)
                    tls = ssl.create_default_context() if self._is_tls else None
                    opened, _ = await loop.create_connection(lambda: self, host, port, ssl=tls)
                self._reader, self._transport = _reader(), opened
                # All at once: nobody's command comes between them.
                for answer in [self._ask(words) for words in self._greeting()]:
                    if isinstance(await answer, hiredis.ReplyError):
                        raise redis.ConnectionError(f"Redis refuses us: {answer.result()}")
        except (OSError, TimeoutError, redis.RedisError) as error:
            self._not_before = loop.time() + PAUSE_SECONDS
            self._lose(redis.ConnectionError(f"Redis is away: {error}"))
            raise redis.ConnectionError(f"Redis is away: {error}") from None
        finally:
            self._connecting = None

    def _greeting(self) -> list[tuple[Word, ...]]:
        options = self._options
        said: list[tuple[Word, ...]] = []
        if password := options.get("password"):
            user = options.get("username")
            said.append(("AUTH", user, password) if user else ("AUTH", password))
        if options.get("db"):
            said.append(("SELECT", int(options["db"])))
        return said

    def _lose(self, error: redis.RedisError) -> None:
        transport, self._transport = self._transport, None
        waiting, self._waiting = self._waiting, deque()
        self._to_send = []
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if transport is not None:
            transport.abort()
        for future in waiting:
            if not future.done():
                future.set_exception(error)

    def close(self) -> None:
        """Let the connection go."""
        self._lose(redis.ConnectionError("closed"))


def _reader() -> hiredis.Reader:
    return hiredis.Reader()
