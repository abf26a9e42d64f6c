"""What a listener's plays and skips say, judged and learned from like feedback sent at the time.

Judged in the order in which they happened. No list was shown, so nothing is quick; no context is
known. A play is a repeat if the track was heard before.
"""

import hashlib
import io
import re
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from features.interaction_bulk import Judged, append_all
from features.judged_tracks import JudgedTrack, staged_tracks, whole_states
from recommender.rewards import POSITIVE, Feedback, listened_share, reward

NAMESPACE = uuid.UUID("6d0f5a34-3f8c-5e0b-9b56-0f6f3a1c7d21")
"""Of event ids: uuid5 of source, track, start, ms and kind. The same play, the same event."""

# Heard before: not by the plays that were inserted a moment ago. Two sets, each one join: a
# condition with OR is asked track by track, and the plays of one pair have no index of their own.
_HEARD = sa.text(
    """
    SELECT i.track_id FROM music_interactions i
    WHERE i.user_id = :user_id AND i.feedback_type = ANY(:positive)
      AND i.track_id IN (SELECT track_id FROM listens)
    UNION
    SELECT p.track_id FROM plays p
    WHERE p.user_id = :user_id AND p.track_id IN (SELECT track_id FROM listens)
      AND NOT EXISTS (SELECT FROM listens n WHERE n.kind = 'play'
                      AND n.track_id = p.track_id AND n.played_at = p.played_at)
    """
)
_IN_ORDER = (
    "SELECT track_id, kind, ms_played,"
    " to_char(played_at, 'YYYY-MM-DD HH24:MI:SS.US') AS began,"
    " to_char(played_at + ms_played * interval '1 millisecond', 'YYYY-MM-DD HH24:MI:SS.US')"
    ' FROM listens ORDER BY played_at, track_id COLLATE "C"'
)


def learn_from(
    connection: sa.Connection, user_id: str, *, source: str, trainable: bool, now: datetime
) -> None:
    """Append an event for each row of the temporary table `listens`, which `listens.store` made."""
    count = connection.scalar(sa.text("SELECT count(*) FROM listens")) or 0
    if not count:
        return
    # All that is asked is asked before: while events are read, COPY has the connection.
    tracks = staged_tracks(connection, "listens")
    whole = whole_states(connection, user_id, {track.half for track in tracks.values()})
    positive = [kind.value for kind in POSITIVE]
    heard = set(connection.scalars(_HEARD, {"user_id": user_id, "positive": positive}))
    with tempfile.TemporaryFile() as file:  # not in memory, however many they are
        dbapi: Any = connection.connection
        dbapi.cursor().copy_expert(f"COPY ({_IN_ORDER}) TO STDOUT", file)
        file.seek(0)
        append_all(
            connection,
            user_id,
            _judged(io.TextIOWrapper(file, "utf-8", newline="\n"), source, tracks, whole, heard),
            count=count,
            source=source,
            trainable=trainable,
            received_at=now,
        )


def event_id(source: str, track_id: str, began: str, ms_played: int, kind: str) -> str:
    """Return the event's id, a uuid5 in plain text.

    Examples
    --------
    >>> name = "spotify_export|t|2020-01-01 00:00:00.000000|1000|skip"
    >>> event_id(*name.split("|")) == str(uuid.uuid5(NAMESPACE, name))
    True
    """
    name = f"{source}|{track_id}|{began}|{ms_played}|{kind}"
    digest = bytearray(
        hashlib.sha1(NAMESPACE.bytes + name.encode(), usedforsecurity=False).digest()
    )
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest[:16].hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _judged(
    lines: Iterable[str],
    source: str,
    tracks: Mapping[str, JudgedTrack],
    whole: Mapping[str, str],
    heard: set[str],
) -> Iterator[Judged]:
    for line in lines:
        written, kind, ms, began, ended = line[:-1].split("\t")
        track_id = _read(written) if "\\" in written else written
        ms_played = int(ms)
        track = tracks[track_id]
        share = listened_share(ms_played, track.duration_ms)
        earned = reward(Feedback(kind), share=share, is_repeat=track_id in heard)
        if kind == Feedback.PLAY:
            heard.add(track_id)
        yield Judged(
            event_id(source, track_id, began, ms_played, kind),
            written,
            kind,
            earned,
            whole[track.half],
            track.category,
            ms_played,
            track.duration_ms,
            f"{ended}+00",
            None,
        )


_CONTROL = {"t": "\t", "n": "\n", "r": "\r", "b": "\b", "f": "\f", "v": "\v"}


def _read(written: str) -> str:
    r"""Return a text that COPY wrote.

    >>> _read("a\\tb\\\\")
    'a\tb\\'
    """
    return re.sub(r"\\(.)", lambda found: _CONTROL.get(found[1], found[1]), written)
