"""Spotify's JSON as our records: what is not as documented is counted and left out."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from features.sources.terms import AudioValues, History, SourcePlay, SourceTrack
from recommender.audio import FEATURES

LOCAL_FILE = "local file"
NO_TRACK = "no track (gone, or a podcast)"
NOT_AS_DOCUMENTED = "not as documented"

SHARES = (*(f for f in FEATURES if f != "tempo"), "liveness")


class NotAsDocumentedError(Exception):
    """An object lacks what the documentation promises; the message is the reason."""


def track_of(item: object) -> SourceTrack:
    """Return a track object as a record.

    Raises
    ------
    NotAsDocumentedError
        It is null, a local file, or lacks its id, name or artist.

    Examples
    --------
    >>> track_of({"id": "4cO", "name": "Song", "artists": [{"name": "Ada", "id": "a1"}],
    ...           "is_local": False, "duration_ms": 200_000}).artist_ids
    ('a1',)
    """
    if not isinstance(item, Mapping):
        raise NotAsDocumentedError(NO_TRACK)
    if item.get("is_local"):
        raise NotAsDocumentedError(LOCAL_FILE)
    track_id, name = item.get("id"), item.get("name")
    artists = [a for a in _list(item.get("artists")) if isinstance(a, Mapping) and _text(a, "name")]
    if not (isinstance(track_id, str) and _is_id(track_id) and name and artists):
        raise NotAsDocumentedError(NO_TRACK if item.get("type") == "episode" else NOT_AS_DOCUMENTED)
    album = item.get("album") if isinstance(item.get("album"), Mapping) else {}
    external = item.get("external_ids") if isinstance(item.get("external_ids"), Mapping) else {}
    assert isinstance(album, Mapping)  # noqa: S101 - for the type checker
    assert isinstance(external, Mapping)  # noqa: S101 - for the type checker
    return SourceTrack(
        track_id=track_id,
        track_name=_clean(name),
        artist_name=_clean(artists[0]["name"]),
        artist_ids=tuple(a["id"] for a in artists if isinstance(a.get("id"), str)),
        album_name=_text(album, "name"),
        release_date=_text(album, "release_date"),
        duration_ms=_whole(item.get("duration_ms"), 1, 2**31 - 1),
        explicit=item["explicit"] if isinstance(item.get("explicit"), bool) else None,
        popularity=_whole(item.get("popularity"), 0, 100),
        isrc=_text(external, "isrc"),
        # Locked in this market: known as heard, but nothing to recommend.
        playable=item.get("is_playable") is not False and "restrictions" not in item,
    )


def tracks_of(items: Iterable[object], skipped: Counter[str]) -> list[SourceTrack]:
    """Return the tracks of a list, each once, counting what is none."""
    found: dict[str, SourceTrack] = {}
    for item in items:
        try:
            track = track_of(item)
        except NotAsDocumentedError as reason:
            skipped[str(reason)] += 1
            continue
        found.setdefault(track.track_id, track)
    return list(found.values())


def history_of(items: Iterable[object]) -> History:
    """Return plays, oldest first, from recently-played objects.

    Spotify says when a play was over and not how long it lasted: it counts as a whole one, unless
    the play before it ended later than it would have begun.

    Examples
    --------
    >>> track = {"id": "t", "name": "Song", "artists": [{"name": "Ada"}], "duration_ms": 200_000}
    >>> items = [{"track": track, "played_at": f"2026-01-01T12:0{minute}:00.000Z"}
    ...          for minute in (5, 3)]
    >>> [(str(p.played_at.time()), p.ms_played) for p in history_of(items).plays]
    [('11:59:40', 200000), ('12:03:00', 120000)]
    """
    skipped: Counter[str] = Counter()
    ended: dict[tuple[datetime, str], SourceTrack] = {}
    for item in items:
        try:
            if not isinstance(item, Mapping):
                raise NotAsDocumentedError(NOT_AS_DOCUMENTED)
            track, at = track_of(item.get("track")), moment(item.get("played_at"))
        except NotAsDocumentedError as reason:
            skipped[str(reason)] += 1
            continue
        if (at, track.track_id) in ended:
            skipped["said twice"] += 1
        ended[at, track.track_id] = track
    plays: list[SourcePlay] = []
    before = datetime.min.replace(tzinfo=UTC)
    for (at, _), track in sorted(ended.items(), key=lambda pair: pair[0]):
        whole = at - timedelta(milliseconds=track.duration_ms or 0)
        began = max(before, whole)
        plays.append(SourcePlay(track, began, round((at - began).total_seconds() * 1000)))
        before = at
    return History(plays, dict(skipped))


def audio_of(item: object) -> tuple[str, AudioValues] | None:
    """Return (track_id, features) of an audio-features object; None where it is null or nonsense.

    A value outside its published range is missing, a tempo of 0 too.
    """
    if not isinstance(item, Mapping) or not isinstance(item.get("id"), str):
        return None
    values: dict[str, float | int | None] = {f: _number(item.get(f), 0, 1) for f in SHARES}
    values["tempo"] = _number(item.get("tempo"), 0, 500) or None
    values["loudness"] = _number(item.get("loudness"), -60, 10)
    values["key"] = _whole(item.get("key"), 0, 11)
    values["mode"] = _whole(item.get("mode"), 0, 1)
    known = any(values[feature] is not None for feature in FEATURES)
    return (item["id"], values) if known else None


def genres_of(artists: Iterable[object]) -> dict[str, tuple[str, ...]]:
    """Return artist id -> genres; development applications may get none."""
    return {
        artist["id"]: tuple(g for g in _list(artist.get("genres")) if isinstance(g, str))
        for artist in artists
        if isinstance(artist, Mapping) and isinstance(artist.get("id"), str)
    }


def items_of(answer: object, *path: str) -> Sequence[object]:
    """Return the list at a path of an answer, empty where there is none."""
    for name in path:
        answer = answer.get(name) if isinstance(answer, Mapping) else None
    return _list(answer)


def moment(value: object) -> datetime:
    """Return a time of Spotify's in UTC."""
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        raise NotAsDocumentedError(NOT_AS_DOCUMENTED) from None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _is_id(text: str) -> bool:
    return 1 <= len(text) <= 64 and text.isascii() and text.isalnum()


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(item: Mapping[str, Any], name: str) -> str | None:
    value = item.get(name)
    return _clean(value) if isinstance(value, str) and value else None


def _clean(value: object) -> str:
    return str(value).replace("\0", "")


def _number(value: object, low: float, high: float) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and low <= value <= high else None  # type: ignore[operator, arg-type]


def _whole(value: object, low: int, high: int) -> int | None:
    number = _number(value, low, high)
    return None if number is None else int(number)
