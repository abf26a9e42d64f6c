"""The one error of this room, and the line of a log that says why."""

import re
import shutil
from pathlib import Path

_FULL = "No space left on device"
_COMPLAINT = re.compile(r"\b(panic|fatal|error|failed|can't|bad)\b", re.IGNORECASE)
_HARDLY_ANY_BYTES = 1 << 20


class ServerError(Exception):
    """A server cannot be started, reached or stopped.

    The message is one line for the person at the terminal: what happened and what to do.
    """


def last_complaint(log: str) -> str:
    """Return the line of a log that says best what went wrong.

    The last one about a full disk (whatever fails next is its consequence), else the last that
    complains, else the last.

    Examples
    --------
    >>> last_complaint("[7] FATAL:  data directory has wrong ownership\\nshut down\\n")
    '[7] FATAL:  data directory has wrong ownership'
    >>> last_complaint("")
    'its log is empty'
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    full = [line for line in lines if _FULL in line]
    complaints = [line for line in lines if _COMPLAINT.search(line)]
    return (full or complaints or lines or ["its log is empty"])[-1]


def why_it_ended(log: Path) -> str:
    """Return why a server ended; its log is cut short where the disk that holds it is full."""
    if shutil.disk_usage(log.parent).free < _HARDLY_ANY_BYTES:
        return f"the disk is full, make room in {log.parent}"
    return f"{last_complaint(log.read_text(errors='replace'))} (see {log})"
