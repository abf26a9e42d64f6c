"""Server processes as the kernel shows them: started, recognised, ended (Linux: reads /proc)."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.servers.errors import ServerError


@dataclass(frozen=True)
class Traces:
    """What gives away the processes of one server, whatever its pid file says.

    Attributes
    ----------
    program
        Name of the executable.
    folder
        Working directory of the server and of all its children.
    mark
        Text in their command lines. It stands in for the folder where the kernel hides that:
        root without CAP_SYS_PTRACE may not look at the processes of others.
    """

    program: str
    folder: Path
    mark: str

    def fit(self, pid: int) -> bool:
        """Tell whether a live process is one of this server's; a zombie is not."""
        state, program = _state(pid)
        if program != self.program or not state:
            return False
        if state == "Z":
            _reap(pid)
            return False
        try:
            return os.path.samefile(f"/proc/{pid}/cwd", self.folder)
        except PermissionError:
            with contextlib.suppress(OSError):
                return os.fsencode(self.mark) in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:  # it ended meanwhile
            pass
        return False

    def pids(self) -> list[int]:
        """Return all processes of this server, children too."""
        return [
            int(e.name) for e in os.scandir("/proc") if e.name.isdigit() and self.fit(int(e.name))
        ]


def environment() -> dict[str, str]:
    """Return all that a server sees of the environment: PGDATA and the like must not reach it."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def spawn(command: Sequence[str], log: Path) -> int:
    """Start a process that outlives this one and return its pid.

    It has no terminal (setsid): neither Ctrl-C nor a closed window reaches it. It inherits no open
    file: a lock or a pipe of the starting command must not live as long as the server.
    The log of the run before is kept as ``*.log.1``.
    """
    if log.exists():
        log.replace(log.with_name(log.name + ".1"))
    inherited = [int(fd) for fd in os.listdir("/proc/self/fd") if _is_inheritable(int(fd))]
    return os.posix_spawn(
        command[0],
        list(command),
        environment(),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            *((os.POSIX_SPAWN_CLOSE, fd) for fd in inherited),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ],
    )


def alive(pid: int) -> bool:
    """Tell whether a child of this process still runs, and reap it if it does not."""
    state, _ = _state(pid)
    if state == "Z":
        _reap(pid)
    return state not in {"", "Z", "X"}


def end(pid: int, signals: Sequence[signal.Signals], running: Callable[[], bool]) -> None:
    """Send the signals, the polite one first, until `running` says no (30 s for each).

    Raises
    ------
    ServerError
        If the process is another user's, or outlives all signals.
    """
    for number in signals:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise ServerError(f"process {pid} is another user's: stop it as that user") from error
        if wait_until(lambda: not running(), seconds=30):
            return
    raise ServerError(f"process {pid} does not stop: look at it, then kill -9 {pid}")


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask every 20 ms until the condition holds; return False when the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _state(pid: int) -> tuple[str, str]:
    """Return a process's state letter and program name, both empty where there is no process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return "", ""
    head, _, tail = text.rpartition(")")  # the name may itself hold brackets
    return tail.split()[0], head.partition("(")[2]


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):  # somebody else's child: theirs to reap
        os.waitpid(pid, os.WNOHANG)


def _is_inheritable(fd: int) -> bool:
    try:
        return fd > 2 and os.get_inheritable(fd)
    except OSError:  # the descriptor that listed the folder
        return False
