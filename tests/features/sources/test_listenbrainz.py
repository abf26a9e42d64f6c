"""The ListenBrainz export: JSON lines, found by Spotify id or by name."""

import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from features.imports import ALREADY_STORED, InputError
from features.sources.listenbrainz import UNKNOWN, WRONG, import_listenbrainz

NOW = datetime(2026, 6, 1, tzinfo=UTC)
AT = int(datetime(2024, 1, 1, 10, tzinfo=UTC).timestamp())
SPOTIFY = "4cOdK2wGLETKBW3PvgPWqT"


def listen(at: int = AT, **info: Any) -> dict[str, Any]:
    about = {"artist_name": "Björk", "track_name": "Jóga", "release_name": "Homogenic"}
    return {"listened_at": at, "track_metadata": about | {"additional_info": info}}


def lines(*rows: object) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode() + b"\n"


def known(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO tracks (track_id, track_name, artist_name, artist_key, title_key,"
                    " popularity, source, trainable) VALUES ('joga', 'Jóga', 'Björk', 'bjork',"
                    " 'joga', 50, 'catalogue', true)")
        )  # fmt: skip


def test_the_zip_as_it_is_handed_out(engine: sa.Engine, tmp_path: Path) -> None:
    known(engine)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("user.json", "{}")
        archive.writestr("feedback.jsonl", '{"score": 1}')
        archive.writestr(
            "listens/2024/1.jsonl",
            lines(
                listen(spotify_id=f"https://open.spotify.com/track/{SPOTIFY}", duration_ms=300_000),
                listen(AT + 1000, duration=200),
                listen(AT + 2000, duration_played=100),
                listen(AT + 2000),
            ),
        )
        archive.writestr("listens/2024/12.jsonl", lines({"listened_at": "never"}, listen(-5)))
    path = tmp_path / "listenbrainz_ada.zip"
    path.write_bytes(content.getvalue())
    report = import_listenbrainz(engine, path, user_id="ada", now=NOW)
    assert (report.read, report.stored) == (6, 3)
    assert report.skipped[WRONG] == 2
    with engine.connect() as connection:
        plays = connection.execute(
            sa.text("SELECT track_id, ms_played, trainable FROM plays ORDER BY played_at")
        ).all()
        events = connection.scalar(sa.text("SELECT count(*) FROM music_interactions"))
    assert plays == [(SPOTIFY, 300_000, True), ("joga", 200_000, True), ("joga", 100_000, True)]
    assert events == 0
    again = import_listenbrainz(engine, path, user_id="ada", now=NOW)
    assert again.stored == 0
    assert again.skipped[ALREADY_STORED] == 3


def test_a_list_and_unknown_tracks(engine: sa.Engine, tmp_path: Path) -> None:
    path = tmp_path / "ada_lb-2020-01-01.json"
    path.write_text(json.dumps([listen(), listen(AT + 9)]))
    report = import_listenbrainz(engine, path, user_id="ada", trainable=False, now=NOW)
    assert (report.read, report.skipped) == (2, {UNKNOWN: 2})


def test_a_cut_off_file_is_refused(engine: sa.Engine, tmp_path: Path) -> None:
    path = tmp_path / "listens.jsonl"
    path.write_bytes(lines(listen(), listen(AT + 9))[:-20])
    with pytest.raises(InputError, match="line 2 is not whole JSON"):
        import_listenbrainz(engine, path, user_id="ada", now=NOW)
