"""The ListenBrainz import: a listener's listens as its export has them, one JSON object a line.

A listen is stamped with its start. Its track is known by a Spotify id where one was submitted, else
by artist and title in the catalogue; a listen of neither is counted and left out.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from features.imports import (
    ALREADY_STORED,
    Reject,
    Report,
    copy_text,
    one_at_a_time,
    record,
)
from features.sources import listens
from features.sources.archive import members, parsed, sha256_of_file
from features.sources.names import name_key
from features.sources.spotify_export import refuse_invented_world, tracks_by_name
from features.sources.terms import SourceTrack
from features.users import ensure_user, lock, revise

SOURCE = "listenbrainz"
FILES = re.compile(r"(\d{1,2}|listens.*|.+\.listens|.+_lb-.+)(\.jsonl|\.json|\.listens|)")
REPEATED = "said more than once in the export"
UNKNOWN = "track unknown (no Spotify id, and no such name in the catalogue)"
WRONG = "not as documented"
MOST_REJECTS = 1_000
OLDEST = datetime(2002, 1, 1, tzinfo=UTC)
"""Last.fm, whose history ListenBrainz takes over, began then."""
_ID = re.compile(r"(?:https?://open\.spotify\.com/track/|spotify:track:)?([0-9A-Za-z]{22})")


@dataclass
class _Listens:
    read: int = 0
    lines: list[str] = field(default_factory=list)
    named: list[tuple[str, str, str, int]] = field(default_factory=list)
    tracks: dict[str, SourceTrack] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)


def import_listenbrainz(
    engine: sa.Engine,
    path: Path,
    *,
    user_id: str,
    trainable: bool = True,
    now: datetime,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Import the zip that ListenBrainz hands out, a folder of it, or one file of listens.

    Raises
    ------
    InputError
        The input as a whole cannot be used; nothing was stored.
    """
    found = _Listens()
    until = now + timedelta(days=1)
    with one_at_a_time(engine) as connection:
        refuse_invented_world(connection)
        ensure_user(connection, user_id, source=SOURCE, now=now)
        lock(connection, user_id)
        listens.open_stage(connection)
        for name, content in members(path, FILES):
            if progress:
                progress(name)
            for place, row in enumerate(_rows(name, content)):
                found.read += 1
                _listen(row, name, place, until, found)
            listens.stage(connection, "".join(found.lines))
            found.lines.clear()
        new = listens.add_tracks(
            connection, found.tracks.values(), source=SOURCE, trainable=trainable
        )
        ids = tracks_by_name(connection, {(a, t) for a, t, _, _ in found.named})
        known = [(ids.get((a, t)), began, ms) for a, t, began, ms in found.named]
        found.skipped[UNKNOWN] += sum(track_id is None for track_id, _, _ in known)
        listens.stage(
            connection,
            "".join(
                f"{copy_text(track_id)}\t{began}\t{ms}\t{listens.PLAY}\n"
                for track_id, began, ms in known
                if track_id is not None
            ),
        )
        stored = listens.store(connection, user_id, source=SOURCE, trainable=trainable, now=now)
        found.skipped[REPEATED] += stored.repeated
        found.skipped[ALREADY_STORED] += stored.known
        if stored.plays:
            revise(connection, user_id)
        notes = (f"{new} tracks that the catalogue did not have",) if new else ()
        report = Report(SOURCE, found.read, stored.plays, dict(+found.skipped), notes)
        digest = sha256_of_file(path)
        record(connection, report, sha256=digest, rejects=found.rejects, now=now)
    return report


def _rows(name: str, content: bytes) -> Iterable[object]:
    """Return the rows of a JSON list, or of JSON lines."""
    if content.lstrip()[:1] == b"[":
        rows = parsed(name, content)
        return rows if isinstance(rows, list) else []
    lines = enumerate(content.splitlines(), start=1)
    return (parsed(f"{name}, line {n}", line) for n, line in lines if line.strip())


def _listen(row: object, file: str, place: int, until: datetime, found: _Listens) -> None:
    about = row.get("track_metadata") if isinstance(row, dict) else None
    at = _moment(row.get("listened_at")) if isinstance(row, dict) else None
    artist, title = (
        (about.get("artist_name"), about.get("track_name")) if isinstance(about, dict) else (0, 0)
    )
    if (
        at is None
        or not OLDEST <= at <= until
        or not (isinstance(artist, str) and artist.strip())
        or not (isinstance(title, str) and title.strip())
    ):
        found.skipped[WRONG] += 1
        if len(found.rejects) < MOST_REJECTS:
            kept = {"file": file[-100:], "place": place, "row": repr(row)[:200]}
            found.rejects.append(Reject(WRONG, kept))
        return
    artist, title = _clean(artist), _clean(title)
    assert isinstance(about, dict)  # noqa: S101 - its names were read
    more = about.get("additional_info")
    more = more if isinstance(more, dict) else {}
    ms = _milliseconds(more)
    said = more.get("spotify_id")
    spotify_id = _ID.fullmatch(said) if isinstance(said, str) else None
    if spotify_id is None:
        found.named.append((name_key(artist), name_key(title), at.isoformat(), ms))
        return
    track_id = spotify_id[1]
    found.lines.append(f"{track_id}\t{at.isoformat()}\t{ms}\t{listens.PLAY}\n")
    album = about.get("release_name")
    found.tracks.setdefault(
        track_id,
        SourceTrack(
            track_id,
            title,
            artist,
            album_name=_clean(album) if isinstance(album, str) and album else None,
            duration_ms=_whole(more.get("duration_ms"), 1),
        ),
    )


def _milliseconds(more: dict[str, object]) -> int:
    """Return how long it was heard: as submitted, else the track's length, else 0 (not known)."""
    played = _whole(more.get("duration_played"), 1_000)
    return played or _whole(more.get("duration_ms"), 1) or _whole(more.get("duration"), 1_000) or 0


def _whole(value: object, factor: int) -> int | None:
    try:
        number = int(float(str(value)) * factor)
    except (ValueError, OverflowError):
        return None
    return number if 0 < number <= 86_400_000 else None


def _moment(value: object) -> datetime | None:
    """Return seconds since 1970, or ISO 8601, as a time."""
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        at = datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _clean(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode().strip() or "?"
