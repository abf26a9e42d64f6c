"""The hash of a data set: equal rows in an equal order, and nothing else, give an equal hash."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime


class ContentHash:
    """The sha256 of rows: fields as text, one row per line; times count as instants in UTC.

    Examples
    --------
    >>> rows = ContentHash()
    >>> rows.add(("ada", "abba", 3, "lastfm"))
    >>> rows.hexdigest() == hashlib.sha256(b"ada\\x1fabba\\x1f3\\x1flastfm\\n").hexdigest()
    True
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, row: Sequence[object]) -> None:
        """Add a row."""
        fields = (f.astimezone(UTC).isoformat() if isinstance(f, datetime) else str(f) for f in row)
        self._digest.update(("\x1f".join(fields) + "\n").encode())

    def hexdigest(self) -> str:
        """Return it so far."""
        return self._digest.hexdigest()


def content_hash(rows: Iterable[Sequence[object]]) -> str:
    """Return the hash of rows in the order given."""
    digest = ContentHash()
    for row in rows:
        digest.add(row)
    return digest.hexdigest()
