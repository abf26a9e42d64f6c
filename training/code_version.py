"""Which code a run came from."""

import hashlib
import shutil
import subprocess
from pathlib import Path

UNKNOWN = "unknown"
DIRTY = "-dirty"


def code_version(folder: Path) -> str:
    """Return the commit checked out at a folder, and a hash of how its files differ from it.

    `COMMIT`, or `COMMIT-dirty-HASH` where files that git knows were changed: two trees with other
    changes are other code. Where git is missing, or the folder is no checkout with a commit, what a
    file `COMMIT` beside the folder says, as in a container's image; else `unknown`.
    """
    written = folder.parent / "COMMIT"
    git = shutil.which("git")
    if git is None:
        return _written(written)
    commit = _said(git, folder, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty")
    if commit is None:
        return _written(written)
    name = commit.decode().strip()
    if not name.endswith(DIRTY):
        return name
    changes = _said(git, folder, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv")
    return name if changes is None else f"{name}-{hashlib.sha256(changes).hexdigest()[:12]}"


def commit_of(version: str) -> str:
    """Return the commit of a version of the code.

    Examples
    --------
    >>> commit_of("1b63ff3-dirty-0a1b2c3d4e5f"), commit_of("1b63ff3")
    ('1b63ff3', '1b63ff3')
    """
    return version.partition(DIRTY)[0]


def _written(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip() or UNKNOWN
    except FileNotFoundError:
        return UNKNOWN


def _said(git: str, folder: Path, *words: str) -> bytes | None:
    """Return what git says; None where it refuses."""
    done = subprocess.run(  # noqa: S603 - our own words, no shell parses them
        [git, "-C", str(folder), *words], capture_output=True, check=False
    )
    return done.stdout if done.returncode == 0 else None
