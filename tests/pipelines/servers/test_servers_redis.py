"""A real Redis through its life, and its address in the client."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import redis.asyncio

from pipelines.servers import Redis, ServerError
from pipelines.servers.folders import socket_folder


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path / "home")
    yield server
    server.stop()
    if (server.home / "run").is_symlink():  # pytest's folders are long here
        socket_folder(server.home).rmdir()


def test_life(server: Redis) -> None:
    assert not server.running()
    server.start()
    assert server.running()
    first = server.pid_file.read_text()
    Redis(server.home).start()
    assert server.pid_file.read_text() == first
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        for setting, value in {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory": str(512 << 20),
            "maxmemory-policy": "volatile-lru",
            "port": "0",
            "databases": "16",
        }.items():
            assert client.config_get(setting) == {setting: value}
    for folder in (server.home, server.folder, socket_folder(server.home)):
        assert folder.stat().st_mode & 0o777 == 0o700
    server.stop()
    assert not server.running()
    server.stop()


def test_database_is_chosen_by_argument_or_in_the_address(server: Redis) -> None:
    server.start()
    with redis.Redis.from_url(server.url, db=3) as three:
        three.set("key", "three")
    with redis.Redis.from_url(server.url + "?db=3", db=1) as address_wins:
        assert address_wins.get("key") == b"three"
    with redis.Redis.from_url(server.url) as zero:
        assert zero.get("key") is None

    async def ask() -> object:
        async with redis.asyncio.Redis.from_url(server.url, db=3) as client:
            return await client.get("key")

    assert asyncio.run(ask()) == b"three"


def test_written_keys_survive_kill_and_stop(server: Redis) -> None:
    server.start()
    with redis.Redis.from_url(server.url) as client:
        client.set("key", "value")
        client.execute_command("WAITAOF", 1, 0, 5000)  # on disk now
    os.kill(int(server.pid_file.read_text()), signal.SIGKILL)
    server.start()
    with redis.Redis.from_url(server.url) as client:
        assert client.get("key") == b"value"
    server.stop()
    server.start()
    with redis.Redis.from_url(server.url) as client:
        assert client.get("key") == b"value"


def test_pid_of_another_process_is_left_alone(server: Redis) -> None:
    server.folder.mkdir(parents=True)
    server.pid_file.write_text(f"{os.getpid()}\n")
    assert not server.running()
    server.stop()
    server.start()
    assert int(server.pid_file.read_text()) != os.getpid()


def test_server_without_its_pid_file_is_not_started_twice(
    server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    pid_file = server.pid_file.read_text()
    server.pid_file.unlink()
    monkeypatch.setattr(
        "pipelines.servers.processes.wait_until", lambda condition, **_: condition()
    )
    with pytest.raises(ServerError, match=rf"processes \[{pid_file.strip()}\] still use"):
        server.start()
    monkeypatch.undo()
    server.pid_file.write_text(pid_file)


def test_long_home(tmp_path: Path) -> None:
    server = Redis(tmp_path / "with a space, %41" / ("long" * 30))
    try:
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()
    finally:
        server.stop()
        socket_folder(server.home).rmdir()


def test_refused_file_is_told_in_one_line(server: Redis) -> None:
    (server.folder / "appendonlydir").mkdir(parents=True)
    (server.folder / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(ServerError, match=r"Redis did not start: .*server\.log") as told:
        server.start()
    assert "\n" not in str(told.value)
    assert not server.running()
