"""What a model was fitted to, part by part, so that later it can be said which part changed."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

DATA_FILE = "data.json"
"""A run's file of its parts: name -> [rows, sha256]."""


class Part(NamedTuple):
    """So many rows, and the hash of them all in their order."""

    rows: int
    sha256: str


class ContentHash:
    """The sha256 of rows as they come: fields as text, one row per line; times in UTC."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, row: Sequence[object]) -> None:
        """Add a row."""
        fields = [f.astimezone(UTC).isoformat() if isinstance(f, datetime) else str(f) for f in row]
        self._digest.update(("\x1f".join(fields) + "\n").encode())

    def hexdigest(self) -> str:
        """Return it so far."""
        return self._digest.hexdigest()


def content_hash(rows: Iterable[Sequence[object]]) -> str:
    """Return the sha256 of rows in the order given: fields as text, one row per line.

    Times count as instants in UTC.

    Examples
    --------
    >>> rows = [("ada", "abba", 3, "lastfm")]
    >>> content_hash(rows) == hashlib.sha256(b"ada\\x1fabba\\x1f3\\x1flastfm\\n").hexdigest()
    True
    """
    digest = ContentHash()
    for row in rows:
        digest.add(row)
    return digest.hexdigest()


def part_of(rows: Sequence[Sequence[object]]) -> Part:
    """Return the part that these rows are.

    Examples
    --------
    >>> part_of([("ada", 3)]).rows
    1
    """
    return Part(len(rows), content_hash(rows))


def hash_of(parts: Mapping[str, Part]) -> str:
    """Return the sha256 of all parts together, whatever order they are in."""
    return content_hash([(name, *part) for name, part in sorted(parts.items())])


def to_file(parts: Mapping[str, Part]) -> bytes:
    """Return the parts as JSON.

    Examples
    --------
    >>> parts = {"plays": Part(3, "ab")}
    >>> from_file(to_file(parts)) == parts
    True
    """
    return (json.dumps(parts, indent=1, sort_keys=True) + "\n").encode()


def from_file(content: bytes) -> dict[str, Part]:
    """Read what `to_file` wrote; raises ValueError where it is nothing of the kind."""
    return {str(name): Part(int(n), str(sha)) for name, (n, sha) in json.loads(content).items()}


def differences(then: Mapping[str, Part], today: Mapping[str, Part]) -> list[str]:
    """Return a phrase for each part that is not what it was.

    Examples
    --------
    >>> differences({"plays": Part(3, "ab"), "tracks": Part(2, "cd")},
    ...             {"plays": Part(1, "ef"), "tracks": Part(2, "00")})
    ['plays: 1 rows where there were 3 (2 are gone)', 'tracks: 2 rows as before, but not the same']
    """
    none = Part(0, "")
    found = []
    for name in sorted(then.keys() | today.keys()):
        before, after = then.get(name, none), today.get(name, none)
        more = after.rows - before.rows
        if more:
            what = f"{more} came in" if more > 0 else f"{-more} are gone"
            found.append(f"{name}: {after.rows} rows where there were {before.rows} ({what})")
        elif before.sha256 != after.sha256:
            found.append(f"{name}: {after.rows} rows as before, but not the same")
    return found
