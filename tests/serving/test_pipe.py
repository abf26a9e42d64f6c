"""The shared connection to Redis: answers in order, errors, losses, silence, passwords."""

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from pipelines.servers.redis import _program
from serving.edge_cache import WINDOW_MS, AsyncEdgeCache
from serving.pipe import Pipe

pytestmark = pytest.mark.anyio


def _clients(direct: redis.Redis) -> set[str]:
    return {client["id"] for client in direct.client_list(_type="normal")}


async def test_everybody_gets_their_own_answer(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as direct:
        before = _clients(direct)
        pipe = Pipe(redis_url)
        answers = await asyncio.gather(*(pipe.execute("ECHO", str(i)) for i in range(500)))
        assert answers == [str(i).encode() for i in range(500)]
        mixed = await asyncio.gather(
            *(pipe.execute("INCR", "n") if i % 2 else pipe.execute("NONSENSE") for i in range(10)),
            return_exceptions=True,
        )
        assert mixed[1::2] == [1, 2, 3, 4, 5]
        assert all(isinstance(one, redis.ResponseError) for one in mixed[::2])
        assert len(_clients(direct) - before) == 1
    pipe.close()


async def test_who_leaves_takes_nobody_s_answer(redis_url: str) -> None:
    pipe = Pipe(redis_url)
    await pipe.execute("PING")
    leaving = asyncio.create_task(pipe.execute("ECHO", "theirs"))
    staying = asyncio.create_task(pipe.execute("ECHO", "ours"))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == b"ours"
    pipe.close()


async def test_several_in_one_message_are_answered_one_by_one(redis_url: str) -> None:
    pipe = Pipe(redis_url)
    answers = await pipe.execute_all(("ECHO", "one"), ("NONSENSE",), ("ECHO", "three"))
    assert answers[::2] == [b"one", b"three"]
    assert isinstance(answers[1], redis.ResponseError)
    leaving = asyncio.create_task(pipe.execute_all(("ECHO", "a"), ("ECHO", "b")))
    staying = asyncio.create_task(pipe.execute_all(("ECHO", "c"), ("ECHO", "d")))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == [b"c", b"d"]
    lost = asyncio.create_task(pipe.execute_all(("BLPOP", "nothing", 1), ("PING",)))
    await asyncio.sleep(0.05)
    with redis.Redis.from_url(redis_url) as direct:
        direct.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(redis.ConnectionError):
        await lost
    pipe.close()


async def test_a_lost_connection_is_opened_again(redis_url: str) -> None:
    pipe = Pipe(redis_url)
    await pipe.execute("PING")
    with redis.Redis.from_url(redis_url) as direct:
        direct.client_kill_filter(_type="normal", skipme=True)
    await asyncio.sleep(0.05)
    assert await pipe.execute("PING") == b"PONG"
    pipe.close()


async def test_scripts_that_redis_forgot_are_told_again(redis_url: str) -> None:
    edge = AsyncEdgeCache(redis_url)
    for left, field in ((4, "x"), (3, "x"), (2, ""), (1, "x")):
        found = await edge.look_up("ada", limit=5, field=field)
        assert found is not None
        assert found.remaining == left
        with redis.Redis.from_url(redis_url) as direct:
            direct.script_flush()
    await edge.close()


async def test_a_server_that_never_answers_is_away() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pipe = Pipe(f"redis://127.0.0.1:{port}", patience_seconds=0.05)
    answers = await asyncio.gather(
        *(pipe.execute("PING") for _ in range(5)), return_exceptions=True
    )
    assert all(isinstance(one, redis.TimeoutError) for one in answers)
    server.close()
    await asyncio.sleep(0)
    pipe.close()


async def test_nobody_there_is_said_at_once(tmp_path: Path) -> None:
    pipe = Pipe(f"unix://{tmp_path}/nobody.sock")
    for _ in range(3):
        with pytest.raises(redis.ConnectionError, match="away"):
            await pipe.execute("PING")
    pipe.close()


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[int]:
    """A server that wants a password."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(_program()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    process = subprocess.Popen(
        [*command, "--requirepass", "open sesame", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    retry = Retry(ConstantBackoff(0.05), 100)
    with redis.Redis(port=port, password="open sesame", retry=retry) as direct:
        direct.ping()
    yield port
    process.terminate()
    process.wait()


async def test_passwords_and_databases(locked: int) -> None:
    pipe = Pipe(f"redis://:open%20sesame@127.0.0.1:{locked}/3")
    await pipe.execute("SET", "key", "value")
    with redis.Redis(port=locked, password="open sesame", db=3) as direct:
        assert direct.get("key") == b"value"
    pipe.close()
    wrong = Pipe(f"redis://:guess@127.0.0.1:{locked}")
    with pytest.raises(redis.ConnectionError, match="refuses us"):
        await wrong.execute("PING")
    wrong.close()


async def test_the_window_slides_and_a_refused_call_takes_no_place(redis_url: str) -> None:
    edge = AsyncEdgeCache(redis_url)
    with redis.Redis.from_url(redis_url) as direct:
        direct.hset("lists:{ada}", "x", b"a list")
        said = [await edge.look_up("ada", limit=3, field="x") for _ in range(5)]
        found = [(one.allowed, one.remaining, one.value) for one in said if one is not None]
        allowed = [(True, left, b"a list") for left in (2, 1, 0)]
        assert found == [*allowed, (False, 0, None), (False, 0, None)]
        resets = [one.reset_ms for one in said if one is not None]
        assert resets[:2] == [0, 0]
        assert all(59_000 < ms <= WINDOW_MS for ms in resets[2:])
        times = [int(one) for one in direct.lrange("calls:{ada}", 0, -1)]
        assert len(times) == 3
        assert times == sorted(times)
        assert 0 < direct.pttl("calls:{ada}") <= WINDOW_MS
        # A minute later, as far as the first two are concerned.
        direct.lset("calls:{ada}", 0, times[0] - WINDOW_MS - 1)
        direct.lset("calls:{ada}", 1, times[1] - WINDOW_MS - 1)
        again = [await edge.look_up("ada", limit=3, field="") for _ in range(3)]
        assert [one.allowed for one in again if one is not None] == [True, True, False]
        assert [int(one) for one in direct.lrange("calls:{ada}", 0, 0)] == times[2:]
    await edge.close()
