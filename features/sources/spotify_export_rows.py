"""One row of a listener's Spotify export: what it says, and why it may be left out.

Both formats: the extended one (`Streaming_History_Audio_*.json`, `endsong_*.json`) and the account
data's (`StreamingHistory_music_N.json`). Only what is named here is ever looked at: IP addresses,
user agents, platforms and countries are dropped with the rest of the row.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from features.imports import Reject
from features.sources.listens import PLAY, SKIP
from features.sources.names import name_key
from features.sources.terms import SourceTrack

FILES = re.compile(
    r"(Streaming_History_(Audio|Video)_.+|endsong_\d+|StreamingHistory(_music|_podcast|_audiobook)?"
    r"_?\d+)\.json"
)

INCOGNITO = "private session"
PODCAST = "podcast or audiobook"
LOCAL = "local file"
UNNAMED = "no track named"
NO_VERDICT = "under 30 s, and not skipped by the listener"
WRONG_TYPE = "not as documented"

COUNTED_MS = 30_000
"""From here on Spotify counts a stream, and so does SEED.md's engagement."""
LONGEST_MS = 86_400_000
OLDEST = datetime(2006, 4, 23, tzinfo=UTC)
"""Spotify was founded then."""
MOST_REJECTS = 1_000
_TRACK = "spotify:track:"


@dataclass
class Rows:
    """What a part of an export says.

    Attributes
    ----------
    lines
        Of the extended format, as `listens.stage` takes them.
    named
        Of the account format, which has names only: (artist key, title key, start, ms).
    tracks
        Of the extended format: id -> names.
    """

    until: datetime
    read: int = 0
    lines: list[str] = field(default_factory=list)
    named: list[tuple[str, str, str, int]] = field(default_factory=list)
    tracks: dict[str, SourceTrack] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)

    def reject(self, file: str, place: int, row: object) -> None:
        """Count a row that cannot be, and keep what is no secret of it."""
        self.skipped[WRONG_TYPE] += 1
        if len(self.rejects) < MOST_REJECTS:
            kept = {"file": file[-100:], "place": place}
            if isinstance(row, Mapping):
                for name in ("ts", "ms_played", "endTime", "msPlayed", "spotify_track_uri"):
                    if name in row:
                        kept[name] = repr(row[name])[:100]
            self.rejects.append(Reject(WRONG_TYPE, kept))


def kind_of(ms_played: int, reason_end: object, skipped: object) -> str | None:
    """Return what a listening says of its track: a play, a skip, or nothing (None).

    A play lasted 30 s or to the track's end. Shorter, it is a skip if the listener moved on:
    `skipped` says so, or, where that is null (as it often is), the reason is the forward button.

    Examples
    --------
    >>> kind_of(180_000, "fwdbtn", True), kind_of(4_000, "fwdbtn", None)
    ('play', 'skip')
    >>> kind_of(20_000, "trackdone", None), kind_of(4_000, "logout", None)
    ('play', None)
    >>> kind_of(4_000, "fwdbtn", False) is None
    True
    """
    if ms_played >= COUNTED_MS or reason_end == "trackdone":
        return PLAY
    if skipped is True or (skipped is None and reason_end == "fwdbtn"):
        return SKIP
    return None


def read_rows(rows: object, file: str, into: Rows) -> None:
    """Read one file's rows.

    Raises
    ------
    TypeError
        It is no list.
    """
    if not isinstance(rows, list):
        raise TypeError
    for place, row in enumerate(rows):
        into.read += 1
        if not isinstance(row, dict):
            into.reject(file, place, row)
        elif "ts" in row:
            _extended(row, file, place, into)
        elif "endTime" in row:
            _account(row, file, place, into)
        else:
            into.reject(file, place, row)


def _extended(row: dict[str, object], file: str, place: int, into: Rows) -> None:
    if row.get("incognito_mode") is True:
        into.skipped[INCOGNITO] += 1
        return
    uri = row.get("spotify_track_uri")
    if uri is None:
        is_talk = row.get("spotify_episode_uri") or row.get("audiobook_uri")
        into.skipped[PODCAST if is_talk or row.get("episode_name") else UNNAMED] += 1
        return
    ms, name = row.get("ms_played"), row.get("master_metadata_track_name")
    artist = row.get("master_metadata_album_artist_name")
    began = _start(row.get("ts"), ms, into.until)
    if began is None or type(uri) is not str:
        into.reject(file, place, row)
        return
    if not name or not artist:
        into.skipped[LOCAL if uri.startswith("spotify:local:") else UNNAMED] += 1
        return
    track_id = uri.removeprefix(_TRACK)
    if type(name) is not str or type(artist) is not str or not _is_id(uri, track_id):
        if uri.startswith("spotify:local:"):
            into.skipped[LOCAL] += 1
        else:
            into.reject(file, place, row)
        return
    assert type(ms) is int  # noqa: S101 - _start has looked
    kind = kind_of(ms, row.get("reason_end"), row.get("skipped"))
    if kind is None:
        into.skipped[NO_VERDICT] += 1
        return
    into.lines.append(f"{track_id}\t{began}\t{ms}\t{kind}\n")
    if track_id not in into.tracks:
        album = row.get("master_metadata_album_album_name")
        into.tracks[track_id] = SourceTrack(
            track_id,
            _clean(name),
            _clean(artist),
            album_name=_clean(album) if type(album) is str and album else None,
        )


def _account(row: dict[str, object], file: str, place: int, into: Rows) -> None:
    if "podcastName" in row or "audiobookName" in row:
        into.skipped[PODCAST] += 1
        return
    ms, name, artist = row.get("msPlayed"), row.get("trackName"), row.get("artistName")
    began = _start(row.get("endTime"), ms, into.until)
    if began is None or type(ms) is not int:
        into.reject(file, place, row)
    elif not (type(name) is str and name and type(artist) is str and artist):
        into.skipped[UNNAMED] += 1
    elif ms < COUNTED_MS:
        into.skipped[NO_VERDICT] += 1
    else:
        into.named.append((name_key(_clean(artist)), name_key(_clean(name)), began, ms))


def _start(ended: object, ms: object, until: datetime) -> str | None:
    """Return when it began: exports say when it ended. None where that cannot be."""
    if type(ended) is not str or type(ms) is not int or not 0 <= ms <= LONGEST_MS:
        return None
    try:
        at = datetime.fromisoformat(ended)
    except ValueError:
        return None
    if at.tzinfo is None:  # the account format: minutes, in UTC
        at = at.replace(tzinfo=UTC)
    if not OLDEST <= at <= until:
        return None
    return (at - timedelta(milliseconds=ms)).isoformat()


def _is_id(uri: str, track_id: str) -> bool:
    return uri.startswith(_TRACK) and 1 <= len(track_id) <= 64 and track_id.isalnum() and (
        track_id.isascii()
    )  # fmt: skip


def _clean(name: str) -> str:
    # Lone halves of surrogate pairs cannot be written down as UTF-8.
    return name.replace("\0", "").encode("utf-8", "replace").decode() or "?"
