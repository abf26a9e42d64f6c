"""Starting and recognising processes: detached, without our files, never a zombie."""

import fcntl
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pipelines.servers import ServerError, processes
from pipelines.servers.processes import Traces

SECONDS = "86399"


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[int]:
    pid = processes.spawn(["/bin/sleep", SECONDS], tmp_path / "log")
    yield pid
    if processes.alive(pid):
        processes.end(pid, [signal.SIGKILL], lambda: processes.alive(pid))


def is_sleep(pid: int) -> bool:
    """Tell whether the new process is past its exec."""
    return Path(f"/proc/{pid}/comm").read_text() == "sleep\n"


def ended(pid: int) -> bool:
    return not processes.alive(pid)


def test_has_no_terminal_in_common_with_us(sleeper: int) -> None:
    assert os.getsid(sleeper) == sleeper


def test_inherits_no_lock(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        fcntl.flock(ours, fcntl.LOCK_EX)
        pid = processes.spawn(["/bin/sleep", SECONDS], tmp_path / "log")
    try:
        with (tmp_path / "lock").open("w") as theirs:
            fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        processes.end(pid, [signal.SIGKILL], lambda: processes.alive(pid))


def test_recognised_by_program_and_folder_until_it_ends(sleeper: int, tmp_path: Path) -> None:
    assert processes.wait_until(lambda: is_sleep(sleeper), seconds=10)
    traces = Traces("sleep", Path.cwd(), "no such mark")
    assert traces.fit(sleeper)
    assert sleeper in traces.pids()
    assert not Traces("sleep", tmp_path, "no such mark").fit(sleeper)
    assert not Traces("postgres", Path.cwd(), SECONDS).fit(sleeper)
    os.kill(sleeper, signal.SIGKILL)
    assert processes.wait_until(lambda: not traces.fit(sleeper), seconds=10)
    assert not processes.alive(sleeper)


def test_recognised_by_command_line_where_folders_are_hidden(
    sleeper: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hidden(*_: object) -> bool:
        raise PermissionError

    assert processes.wait_until(lambda: is_sleep(sleeper), seconds=10)
    monkeypatch.setattr(os.path, "samefile", hidden)
    assert Traces("sleep", Path.cwd(), SECONDS).fit(sleeper)
    assert not Traces("sleep", Path.cwd(), "no such mark").fit(sleeper)


def test_what_does_not_stop_is_named(sleeper: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as impatient:
        impatient.setattr(processes, "wait_until", lambda *_, **__: False)
        with pytest.raises(ServerError, match=f"process {sleeper} does not stop"):
            processes.end(sleeper, [signal.SIGCONT], lambda: True)


def test_log_of_the_run_before_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for word in ("first", "second"):
        pid = processes.spawn(["/bin/echo", word], log)
        assert processes.wait_until(partial(ended, pid), seconds=10)
    assert log.read_text() == "second\n"
    assert (tmp_path / "log.1").read_text() == "first\n"
