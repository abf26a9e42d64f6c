"""An extended streaming history of any size: its rows have every field that Spotify's have."""

import random
import zipfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

FILE_BYTES = 12_000_000
"""Spotify begins another file at about this size."""

Track = tuple[str, str, str, int]
"""(id, title, artist, duration in ms)."""


def invented_tracks(count: int, rng: random.Random) -> list[Track]:
    """Return tracks with ids like Spotify's, by about a tenth as many artists."""
    letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    return [
        (
            "".join(rng.choices(letters, k=22)),
            f"An invented title of track {number}",
            f"Invented artist {number % max(1, count // 10)}",
            rng.randrange(90_000, 360_000),
        )
        for number in range(count)
    ]


def rows(
    tracks: Sequence[Track], count: int, rng: random.Random, *, end: datetime
) -> Iterator[dict[str, object]]:
    """Yield plays in the order of time, the favourites more often than the others.

    One in eight is skipped within 30 s; `skipped` is null for the older half.
    """
    favourites = [1 / (rank + 5) for rank in range(len(tracks))]
    at = end - timedelta(minutes=6) * count
    for number, (track_id, title, artist, duration) in enumerate(
        rng.choices(tracks, favourites, k=count)
    ):
        is_skip = rng.random() < 1 / 8
        ms = rng.randrange(500, 29_000) if is_skip else duration
        at += timedelta(milliseconds=ms + rng.randrange(1_000, 240_000))
        is_old = number < count // 2
        yield {
            "ts": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "username": "invented-listener",
            "platform": "Android OS 13 API 33 (invented, model)",
            "ms_played": ms,
            "conn_country": "GB",
            "ip_addr": "203.0.113.7",
            "user_agent_decrypted": "unknown",
            "master_metadata_track_name": title,
            "master_metadata_album_artist_name": artist,
            "master_metadata_album_album_name": f"Album of {title}",
            "spotify_track_uri": f"spotify:track:{track_id}",
            "episode_name": None,
            "episode_show_name": None,
            "spotify_episode_uri": None,
            "audiobook_title": None,
            "audiobook_uri": None,
            "audiobook_chapter_uri": None,
            "audiobook_chapter_title": None,
            "reason_start": "fwdbtn" if is_skip else "trackdone",
            "reason_end": "fwdbtn" if is_skip else "trackdone",
            "shuffle": True,
            "skipped": None if is_old else is_skip,
            "offline": False,
            "offline_timestamp": None,
            "incognito_mode": False,
        }


def write_zip(path: Path, plays: Iterator[dict[str, object]]) -> int:
    """Write the export; return how many files it has."""
    files, parts, size = 0, list[bytes](), 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:

        def end_file() -> None:
            nonlocal files, size
            name = f"Spotify Extended Streaming History/Streaming_History_Audio_2010_{files}.json"
            archive.writestr(name, b"[" + b",\n".join(parts) + b"]")
            files += 1
            parts.clear()
            size = 0

        for play in plays:
            parts.append(orjson.dumps(play, option=orjson.OPT_INDENT_2))
            size += len(parts[-1]) + 2
            if size >= FILE_BYTES:
                end_file()
        if parts:
            end_file()
    return files


def an_export(path: Path, plays: int, *, tracks: int, seed: int = 7) -> list[Track]:
    """Write an export of this many plays; return the tracks that it plays."""
    rng = random.Random(seed)  # noqa: S311 - nothing secret
    invented = invented_tracks(tracks, rng)
    write_zip(path, rows(invented, plays, rng, end=datetime(2026, 6, 1, tzinfo=UTC)))
    return invented
