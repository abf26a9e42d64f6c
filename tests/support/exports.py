"""Spotify exports for tests: rows of both formats, and zips of them."""

import json
import zipfile
from pathlib import Path
from typing import Any

TRACK = "4cOdK2wGLETKBW3PvgPWqT"


def extended(**changes: Any) -> dict[str, Any]:
    """A row of the extended format, with what must never be kept."""
    return {
        "ts": "2020-01-01T10:03:20Z",
        "username": "ada-at-spotify",
        "platform": "Android OS 13 (the platform)",
        "ms_played": 200_000,
        "conn_country": "GB",
        "ip_addr": "203.0.113.7",
        "ip_addr_decrypted": "203.0.113.8",
        "user_agent_decrypted": "the user agent",
        "master_metadata_track_name": "Song",
        "master_metadata_album_artist_name": "Ada",
        "master_metadata_album_album_name": "Album",
        "spotify_track_uri": f"spotify:track:{TRACK}",
        "episode_name": None,
        "spotify_episode_uri": None,
        "reason_start": "clickrow",
        "reason_end": "trackdone",
        "shuffle": False,
        "skipped": None,
        "offline": False,
        "incognito_mode": False,
    } | changes


def account(**changes: Any) -> dict[str, Any]:
    """A row of the account format."""
    return {
        "endTime": "2020-01-01 10:03", "artistName": "Ada", "trackName": "Song",
        "msPlayed": 200_000,
    } | changes  # fmt: skip


def write_zip(path: Path, files: dict[str, Any]) -> Path:
    """Write a zip of JSON files; bytes are written as they are."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            packed = content if isinstance(content, bytes) else json.dumps(content).encode()
            archive.writestr(f"Spotify Extended Streaming History/{name}", packed)
    return path
