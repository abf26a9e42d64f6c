"""Which code a run came from."""

import shutil
import subprocess
from pathlib import Path

UNKNOWN = "unknown"


def code_version(folder: Path) -> str:
    """Return the commit checked out at a folder, with `-dirty` where files differ from it.

    `unknown` where git is missing, or the folder is no checkout with a commit.
    """
    git = shutil.which("git")
    if git is None:
        return UNKNOWN
    words = [git, "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    words += ["--exclude=*"]
    done = subprocess.run(  # noqa: S603 - our own words, no shell parses them
        words, capture_output=True, check=False, text=True
    )
    return done.stdout.strip() if done.returncode == 0 else UNKNOWN
