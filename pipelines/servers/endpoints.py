"""Who uses the servers: started by the first command, stopped by the last.

Three files under the home folder say it all. Every user holds a shared lock on ``servers.lock``,
which the kernel releases even after kill -9. Starting and stopping happen one at a time, under an
exclusive lock on ``start.lock``. The marker ``up`` keeps the servers running with no user.
"""

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.servers.errors import ServerError
from pipelines.servers.folders import private_folder
from pipelines.servers.postgres import Postgres
from pipelines.servers.redis import Redis


@dataclass(frozen=True)
class Endpoints:
    """The addresses of the two servers, given or embedded."""

    database_url: str
    redis_url: str


@contextmanager
def open_servers(
    home: Path, database_url: str | None, redis_url: str | None
) -> Iterator[Endpoints]:
    """Lend the servers' addresses to a block of code.

    Parameters
    ----------
    home
        Folder of the embedded servers; not touched when both addresses are given.
    database_url, redis_url
        An address is used as it is, unchecked; None means the embedded server.

    Raises
    ------
    ServerError
        If an embedded server cannot be started.

    Notes
    -----
    Exceptions and Ctrl-C in the block stop the servers too. SIGTERM kills Python at once unless the
    command turns it into an exception; servers left so are stopped by the next command's end.
    """
    if database_url is not None and redis_url is not None:
        yield Endpoints(database_url, redis_url)
        return
    home = private_folder(home.resolve())  # the block may change the working directory
    with ExitStack() as stack:
        stack.callback(_stop_unless_used, home)  # runs last: after the shared lock is released
        with _locked(home / "start.lock", fcntl.LOCK_EX):
            stack.enter_context(_locked(home / "servers.lock", fcntl.LOCK_SH))
            endpoints = _start(home, database_url, redis_url)
        yield endpoints


def up(home: Path, database_url: str | None = None, redis_url: str | None = None) -> Endpoints:
    """Start the embedded servers to stay until `down`; the parameters are `open_servers`'."""
    if database_url is not None and redis_url is not None:
        return Endpoints(database_url, redis_url)
    private_folder(home)
    with ExitStack() as stack:
        stack.callback(_stop_unless_used, home)  # a failed start leaves nothing behind
        with _locked(home / "start.lock", fcntl.LOCK_EX):
            endpoints = _start(home, database_url, redis_url)
            (home / "up").touch()
            stack.pop_all()
    return endpoints


def down(home: Path) -> bool:
    """Stop the embedded servers, or leave it to the last command that still uses them.

    Returns
    -------
    bool
        True if they are stopped now, False if other commands still use them.
    """
    if not home.is_dir():
        return True
    (home / "up").unlink(missing_ok=True)
    return _stop_unless_used(home)


def _start(home: Path, database_url: str | None, redis_url: str | None) -> Endpoints:
    postgres, redis = Postgres(home), Redis(home)
    if not postgres.running() and not redis.running():
        (home / "up").unlink(missing_ok=True)  # the machine was restarted since: `up` is over
    if database_url is None:
        postgres.start()
        database_url = postgres.url
    if redis_url is None:
        redis.start()
        redis_url = redis.url
    return Endpoints(database_url, redis_url)


def _stop_unless_used(home: Path) -> bool:
    """Stop both servers if no command uses them and no marker keeps them; tell whether."""
    with _locked(home / "start.lock", fcntl.LOCK_EX):
        try:
            with _locked(home / "servers.lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
                if (home / "up").exists():
                    return False
                Redis(home).stop()
                Postgres(home).stop()
                return True
        except BlockingIOError:
            return False


@contextmanager
def _locked(path: Path, mode: int) -> Iterator[None]:
    """Hold a lock on a file; it belongs to this opening, so that threads exclude each other too."""
    try:
        file = path.open("a")
    except OSError as error:
        raise ServerError(
            f"cannot open {path}: {error.strerror}; run as its owner or choose another folder"
        ) from error
    with file:
        fcntl.flock(file, mode)
        yield
