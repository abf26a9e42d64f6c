"""Where the servers keep their files: private folders, and short ones for sockets."""

import hashlib
import os
import stat
import tempfile
from pathlib import Path
from urllib.parse import quote

from pipelines.servers.errors import ServerError

# A socket's path has 108 bytes in the kernel; the longest name that we put into a folder has 20.
_LONGEST_FOLDER_BYTES = 86


def private_folder(path: Path) -> Path:
    """Return the folder, made with mode 0700 where it is missing.

    Raises
    ------
    ServerError
        If it cannot be made or is not a folder.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ServerError(
            f"cannot make the folder {path}: {error.strerror}; choose another one"
        ) from error
    return path


def socket_folder(home: Path) -> Path:
    """Return the folder of the sockets under `home`, without making it."""
    run = home / "run"
    return run.readlink() if run.is_symlink() else run


def make_socket_folder(home: Path) -> Path:
    """Make the folder of the sockets: ``home/run``, or a short one that ``home/run`` links to.

    A socket's path must be short, and an address that needs no quoting survives every parser
    (libpq splits a host at commas, configuration files interpolate per cent signs). A home that
    breaks either rule gets a folder of its own under the temporary directory. The link remembers
    it, so that a command with another TMPDIR finds the same sockets.
    """
    run = home / "run"
    remembered = [run.readlink().parent] if run.is_symlink() else []
    if not remembered and _is_plain(run):
        return private_folder(run)
    name = f"bondhu-{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}"
    for base in [*remembered, Path(tempfile.gettempdir()), Path("/tmp")]:  # noqa: S108 - owner checked
        folder = base / name
        if base.is_dir() and _is_plain(folder):
            _check_owner(private_folder(folder), home)
            if not (run.is_symlink() and run.readlink() == folder):
                run.unlink(missing_ok=True)
                run.symlink_to(folder)
            return folder
    raise ServerError(f"no short folder for sockets: {home} is too long, choose another one")


def _is_plain(folder: Path) -> bool:
    """Tell whether a path is short and reads the same in an address."""
    return len(os.fsencode(folder)) <= _LONGEST_FOLDER_BYTES and quote(os.fsencode(folder)) == str(
        folder
    )


def _check_owner(folder: Path, home: Path) -> None:
    """Refuse a folder that somebody else made first: whoever owns it could listen in our place."""
    status = folder.lstat()
    ours = status.st_uid in {os.geteuid(), home.stat().st_uid}
    if not (stat.S_ISDIR(status.st_mode) and ours and status.st_mode & 0o077 == 0):
        raise ServerError(f"{folder} is not a private folder of this user: remove it and try again")
