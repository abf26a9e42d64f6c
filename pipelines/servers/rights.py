"""Running PostgreSQL as root: it refuses uid 0, and an ordinary uid cannot reach root's folders.

Two ways lead out. Drop to another uid but keep the one capability that looks past file permissions
(CAP_DAC_OVERRIDE, which containers grant root by default); or stay root and look like another uid
inside a user namespace. Neither copies a file or changes the rights of one. They differ in who owns
the data, so that the owner tells the way.
"""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.servers import drop
from pipelines.servers.errors import ServerError

_PROBE = 'test "$(id -u)" != 0 && cd "$2" && mkdir -p .probe && rmdir .probe && "$1" --version'


def prefix(program: Path, folder: Path, owner: int | None) -> list[str]:
    """Return the words to put before a command of PostgreSQL; none for most ordinary users.

    Parameters
    ----------
    program
        An executable of PostgreSQL, absolute.
    folder
        The existing folder that its data goes into.
    owner
        The uid that owns the data already there, None where there is none yet.

    Raises
    ------
    ServerError
        If the data is another user's, or if no way works here (a container without capabilities).
    """
    euid = os.geteuid()
    if euid != 0 and owner not in {None, euid}:
        raise ServerError(
            f"{folder} holds the data of uid {owner}: run as that user, or choose another folder"
        )
    if euid != 0 and (owner is not None or _has_name(euid)):
        return []
    for way in ways(owner) if euid == 0 else _namespaces():
        if _works(way, program, folder):
            return way
    if euid != 0:
        raise ServerError(
            f"initdb wants a name for uid {euid}: add one to /etc/passwd or set DATABASE_URL"
        )
    raise ServerError(
        "PostgreSQL refuses to run as root, and this machine lets root drop its rights in no way"
        " that fits the data: set DATABASE_URL or run as an ordinary user"
    )


def ways(owner: int | None) -> list[list[str]]:
    """List the ways for root, best first; an owner of data leaves only those that suit it."""
    if owner == 0:
        return _namespaces()
    uid = drop.NOBODY if owner is None else owner
    # -I -S: no site packages, nothing from the environment; the file stands alone.
    found = [[sys.executable, "-I", "-S", drop.__file__, str(uid)]]
    setpriv = shutil.which("setpriv")
    if setpriv:
        ids = [f"--reuid={uid}", f"--regid={drop.NOBODY}", "--clear-groups"]
        kept = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
        found.insert(0, [setpriv, *ids, "--securebits=+no_setuid_fixup", *kept])
    return found + (_namespaces() if owner is None else [])


def _namespaces() -> list[list[str]]:
    """Return the way of looking like nobody; the files stay one's own."""
    unshare = shutil.which("unshare")
    ids = [f"--map-user={drop.NOBODY}", f"--map-group={drop.NOBODY}"]
    return [[unshare, "--user", *ids]] if unshare else []


def _has_name(uid: int) -> bool:
    """Tell whether a uid is in the table of users; those of containers often are not."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _works(way: Sequence[str], program: Path, folder: Path) -> bool:
    """Try a way once: not root any more, yet reaching the program and writing to the folder."""
    try:
        done = subprocess.run(  # noqa: S603 - our own words and paths, no shell parses them
            [*way, "/bin/sh", "-c", _PROBE, "sh", str(program), str(folder)],
            capture_output=True,
            check=False,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
