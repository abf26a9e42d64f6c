"""The life that both servers share: start, answer, stop."""

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pipelines.servers import processes
from pipelines.servers.errors import ServerError, why_it_ended
from pipelines.servers.folders import make_socket_folder, private_folder


class Server(ABC):
    """One server under a home folder; several objects may stand for the same one.

    Parameters
    ----------
    home
        The folder that holds everything; made with mode 0700 where it is missing.

    Notes
    -----
    Two processes must not start the same server at once: `open_servers` sees to that with a lock.
    """

    title: str
    signals: Sequence[signal.Signals]

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()

    @property
    @abstractmethod
    def url(self) -> str:
        """The address, valid once the server was started."""

    @property
    @abstractmethod
    def folder(self) -> Path:
        """Where the server's own files are."""

    @property
    @abstractmethod
    def pid_file(self) -> Path:
        """The file whose first line is the server's pid."""

    @property
    @abstractmethod
    def traces(self) -> processes.Traces:
        """What gives the server's processes away."""

    @abstractmethod
    def prepare(self) -> Sequence[str]:
        """Make what the server needs and return the command that starts it."""

    @abstractmethod
    def answers(self) -> bool:
        """Tell whether a client is served."""

    @property
    def log(self) -> Path:
        """What the server said since it was started."""
        return self.folder / "server.log"

    def running(self) -> bool:
        """Tell whether the server's process lives."""
        return self._pid() is not None

    def start(self) -> None:
        """Start the server unless it runs, and return when it answers (60 s at most).

        Raises
        ------
        ServerError
            If it does not start: with the reason that its log gives.
        """
        pid = self._pid()
        if pid is not None and self._answered(pid):
            return
        pid = self._launch()
        answered = False
        try:
            answered = self._answered(pid)
        finally:  # an interrupted start leaves nothing behind either
            if not answered:
                processes.end(pid, self.signals, partial(processes.alive, pid))
        if not answered:
            raise ServerError(f"{self.title} did not start: {why_it_ended(self.log)}")

    def stop(self) -> None:
        """Stop the server if it runs, keeping all that was committed.

        Raises
        ------
        ServerError
            If it does not stop.
        """
        pid = self._pid()
        if pid is not None:
            processes.end(pid, self.signals, partial(self.traces.fit, pid))

    def _pid(self) -> int | None:
        """Return the pid in the pid file if that process is this server, not a later namesake."""
        try:
            pid = int(self.pid_file.read_text().partition("\n")[0])
        except (FileNotFoundError, ValueError):
            return None
        except OSError as error:
            raise ServerError(
                f"cannot read {self.pid_file}: {error.strerror}; run as its owner"
            ) from error
        return pid if self.traces.fit(pid) else None

    def _launch(self) -> int:
        if not os.path.isdir("/proc/self"):
            raise ServerError(
                "the servers of the wheels are run on Linux only: set DATABASE_URL and REDIS_URL"
            )
        for folder in (self.home, self.folder):
            private_folder(folder)
        make_socket_folder(self.home)
        # After a kill -9 of the server its children notice and leave by themselves.
        if not processes.wait_until(lambda: not self.traces.pids(), seconds=20):
            raise ServerError(
                f"processes {self.traces.pids()} still use {self.folder}: stop them and try again"
            )
        try:
            return processes.spawn(self.prepare(), self.log)
        except OSError as error:
            raise ServerError(f"{self.title} cannot be started: {error}") from error

    def _answered(self, pid: int) -> bool:
        """Wait until the server answers; False if its process ends, as one just killed does."""
        ready = processes.wait_until(lambda: not processes.alive(pid) or self.answers(), seconds=60)
        if not ready:
            raise ServerError(f"{self.title} does not answer after 60 s: see {self.log}")
        return processes.alive(pid)
