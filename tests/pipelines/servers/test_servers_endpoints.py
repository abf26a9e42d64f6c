"""Who starts the servers and who stops them."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.servers import Endpoints, Postgres, Redis, ServerError, down, open_servers, up
from pipelines.servers.folders import socket_folder

# Most tests embed Redis alone: it starts in a moment, and the rules are the same for both.
GIVEN = "postgresql://somebody@elsewhere/database"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    yield home
    Redis(home).stop()
    Postgres(home).stop()
    if (home / "run").is_symlink():  # pytest's folders are long here
        socket_folder(home).rmdir()


@contextmanager
def another_command(home: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a command that opens the servers until it is killed or interrupted."""
    code = (
        "import signal, sys, time; from pathlib import Path\n"
        "from pipelines.servers import open_servers\n"
        # A shell's background jobs ignore Ctrl-C, and their children with them.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"with open_servers(Path(sys.argv[1]), {GIVEN!r}, None):\n"
        "    print('open', flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as command:
        try:
            assert command.stdout is not None
            assert command.stdout.readline() == "open\n"
            yield command
        finally:
            command.kill()


def test_given_addresses_start_nothing(home: Path) -> None:
    with open_servers(home, GIVEN, "redis://elsewhere") as endpoints:
        assert endpoints == Endpoints(GIVEN, "redis://elsewhere")
    assert up(home, GIVEN, "redis://elsewhere") == endpoints
    assert down(home)
    assert not home.exists()


def test_one_given_address_starts_the_other_server_only(home: Path) -> None:
    with open_servers(home, GIVEN, None) as endpoints:
        assert endpoints == Endpoints(GIVEN, Redis(home).url)
        assert Redis(home).running()
        assert not (home / "postgres").exists()
    assert home.stat().st_mode & 0o777 == 0o700


def test_last_one_out_stops_both(home: Path) -> None:
    first, second = open_servers(home, None, None), open_servers(home, None, None)
    endpoints = first.__enter__()
    assert endpoints == second.__enter__()
    assert endpoints.database_url == Postgres(home).url
    first.__exit__(None, None, None)
    assert Postgres(home).running()
    assert Redis(home).running()
    second.__exit__(None, None, None)
    assert not Postgres(home).running()
    assert not Redis(home).running()


def test_commands_that_start_at_once_share(home: Path) -> None:
    pids: list[str] = []
    together = threading.Barrier(4)

    def command() -> None:
        together.wait()
        with open_servers(home, GIVEN, None):
            pids.append(Redis(home).pid_file.read_text())
            together.wait()

    threads = [threading.Thread(target=command) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pids) == 4
    assert len(set(pids)) == 1
    assert not Redis(home).running()


def test_exception_stops(home: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_servers(home, GIVEN, None):
        raise ZeroDivisionError
    assert not Redis(home).running()


def test_ctrl_c_stops(home: Path) -> None:
    with another_command(home) as command:
        assert Redis(home).running()
        command.send_signal(signal.SIGINT)
        command.wait(timeout=60)
    assert not Redis(home).running()


def test_servers_of_a_killed_command_are_used_and_stopped_by_the_next(home: Path) -> None:
    with another_command(home) as command:
        pid_file = Redis(home).pid_file.read_text()
        command.kill()
        command.wait()
        assert Redis(home).running()
        with open_servers(home, GIVEN, None):
            assert Redis(home).pid_file.read_text() == pid_file
        assert not Redis(home).running()


def test_failed_start_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Redis) -> None:
        assert Postgres(home).running()
        raise ServerError("no")

    monkeypatch.setattr(Redis, "start", fail)
    with pytest.raises(ServerError, match="no"), open_servers(home, None, None):
        pass
    assert not Postgres(home).running()
    with pytest.raises(ServerError, match="no"):
        up(home)
    assert not Postgres(home).running()
    assert not (home / "up").exists()


def test_up_stays_until_down(home: Path) -> None:
    endpoints = up(home, GIVEN)
    assert endpoints == Endpoints(GIVEN, Redis(home).url)
    with open_servers(home, GIVEN, None) as same:
        assert same == endpoints
    assert Redis(home).running()
    assert up(home, GIVEN) == endpoints
    assert down(home)
    assert not Redis(home).running()
    assert down(home)


def test_down_leaves_the_servers_to_the_last_user(home: Path) -> None:
    up(home, GIVEN)
    with open_servers(home, GIVEN, None):
        assert not down(home)
        assert Redis(home).running()
    assert not Redis(home).running()


def test_up_ends_with_the_machine(home: Path) -> None:
    up(home, GIVEN)
    Redis(home).stop()  # as a restart does
    with open_servers(home, GIVEN, None):
        pass
    assert not Redis(home).running()


def test_home_may_be_relative(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with open_servers(Path("home"), GIVEN, None):
        monkeypatch.chdir("/")
    assert not Redis(home).running()
