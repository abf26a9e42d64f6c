"""The journal: feedback kept on disk while Postgres is away, then told to it.

A line is on disk (fsync) before its feedback is acknowledged with 202. Workers share one file under
a lock; what was told is cut off only after all of it was told, and telling an event twice changes
nothing, so a crash in between loses and doubles nothing.
"""

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from serving.feedback import Received

FILE = "feedback.jsonl"
REFUSED = "refused.jsonl"

log = logging.getLogger("bondhu.journal")


class Journal:
    """A file of feedback that Postgres does not know yet.

    Parameters
    ----------
    folder
        Must be on a durable disk; made with mode 0700.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / FILE).touch(mode=0o600)
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)  # the file itself must survive a crash, not only its lines
        finally:
            os.close(directory)

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        with (self._folder / FILE).open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    def append(self, received: Received) -> None:
        """Put one feedback on disk; returns once it would survive a crash.

        Raises
        ------
        OSError
            The disk is full or broken: nothing may be acknowledged.
        """
        with self._locked() as file:
            end = file.seek(0, os.SEEK_END)
            try:
                file.write(msgspec.json.encode(received) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), end)  # half a line would spoil the next one
                raise

    def is_empty(self) -> bool:
        """Return whether there is nothing to tell."""
        return (self._folder / FILE).stat().st_size == 0

    def waiting(self) -> int:
        """Return how many feedbacks wait to be told."""
        if self.is_empty():
            return 0
        with (self._folder / FILE).open("rb") as file:
            return sum(1 for _ in file)

    def lines_of(self, user_id: str) -> list[str]:
        """Return a listener's feedback that Postgres does not have, told or put aside."""
        found = []
        with self._locked():
            for path in (self._folder / FILE, self._folder / REFUSED):
                if path.exists():
                    found += [
                        line.decode(errors="replace")
                        for line in path.read_bytes().splitlines()
                        if _is_of(line, user_id)
                    ]
        return found

    def forget(self, user_id: str) -> int:
        """Take a listener's feedback out of both files; returns how many there were."""
        gone = 0
        with self._locked() as file:
            file.seek(0)
            lines = file.read().splitlines()
            kept = [line for line in lines if not _is_of(line, user_id)]
            gone += len(lines) - len(kept)
            # In place: another worker that waits for the lock has this very file open.
            file.seek(0)
            os.ftruncate(file.fileno(), 0)
            file.write(b"".join(line + b"\n" for line in kept))
            file.flush()
            os.fsync(file.fileno())
            aside = self._folder / REFUSED
            if aside.exists():
                lines = aside.read_bytes().splitlines()
                kept = [line for line in lines if not _is_of(line, user_id)]
                gone += len(lines) - len(kept)
                fresh = aside.with_suffix(".new")
                fresh.write_bytes(b"".join(line + b"\n" for line in kept))
                fresh.replace(aside)
        return gone

    def tell(
        self, accept: Callable[[Received], object], refused: tuple[type[Exception], ...]
    ) -> int:
        """Tell every feedback in order, and empty the journal.

        Parameters
        ----------
        accept
            Stores one feedback; what it raises other than `refused` stops the telling, and
            nothing is cut off.
        refused
            Raised for a feedback that will never be stored (its track has gone, say): it is moved
            to `refused.jsonl`, for somebody to look at.

        Returns
        -------
        How many were told.
        """
        if self.is_empty():
            return 0
        told = 0
        unusable: tuple[type[Exception], ...] = (*refused, msgspec.DecodeError)
        with self._locked() as file:
            file.seek(0)
            for line in file.read().splitlines():
                try:
                    accept(msgspec.json.decode(line, type=Received))
                    told += 1
                except unusable as error:
                    log.warning("A journalled feedback is put aside in %s: %s", REFUSED, error)
                    with (self._folder / REFUSED).open("ab") as aside:
                        aside.write(line + b"\n")
                        aside.flush()
                        os.fsync(aside.fileno())
            os.ftruncate(file.fileno(), 0)
            os.fsync(file.fileno())
        return told


class _Named(msgspec.Struct):
    user_id: str


def _is_of(line: bytes, user_id: str) -> bool:
    """Return whether a line is a listener's; a damaged one that holds their id counts as theirs."""
    try:
        return msgspec.json.decode(line, type=_Named).user_id == user_id
    except msgspec.DecodeError:
        return user_id.encode() in line
