"""Exports that hurt: whatever is in them, every row is accounted for, or nothing is stored."""

import io
import json
import uuid
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from exports import account, extended
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.imports import InputError
from features.sources.listenbrainz import import_listenbrainz
from features.sources.spotify_export import import_spotify_export

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(["2020-01-01T00:00:00Z", "spotify:track:1", "spotify:local:::", "\\N", "\t"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def mangled(row: dict[str, Any]) -> st.SearchStrategy[Any]:
    """A row some of whose fields hold anything, or are gone."""
    changes = st.dictionaries(st.sampled_from(sorted(row)), ANYTHING, max_size=4)
    return changes.map(lambda change: row | change)


ROWS = st.lists(mangled(extended()) | mangled(account()) | ANYTHING, max_size=12)
FUZZ = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def check(engine: sa.Engine, path: Path, rows: int | None) -> None:
    """Import; the report adds up and says what is in the tables, or nothing is there."""
    user = f"user-{uuid.uuid4()}"
    try:
        report = import_spotify_export(engine, path, user_id=user, now=NOW)
    except InputError as refused:
        report, said = None, str(refused)
    with engine.connect() as connection:
        plays, events, users = connection.execute(
            sa.text(
                "SELECT (SELECT count(*) FROM plays WHERE user_id = :user),"
                " (SELECT count(*) FROM music_interactions WHERE user_id = :user),"
                " (SELECT count(*) FROM users WHERE user_id = :user)"
            ),
            {"user": user},
        ).one()
    if report is None:
        assert "\n" not in said
        assert (plays, events, users) == (0, 0, 0)
        return
    assert report.stored == events
    assert plays <= events
    if rows is not None:
        assert report.read == rows
    again = import_spotify_export(engine, path, user_id=user, now=NOW)
    assert (again.read, again.stored) == (report.read, 0)


def packed(files: list[tuple[str, bytes]]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files:
            archive.writestr(name, text)
    return content.getvalue()


@FUZZ
@given(rows=ROWS)
def test_wrong_types(engine: sa.Engine, tmp_path: Path, rows: list[Any]) -> None:
    path = tmp_path / "export.zip"
    path.write_bytes(packed([("Streaming_History_Audio_0.json", json.dumps(rows).encode())]))
    check(engine, path, len(rows))


@FUZZ
@given(data=st.data())
def test_damaged_bytes(engine: sa.Engine, tmp_path: Path, data: st.DataObject) -> None:
    rows = json.dumps([extended(), account(), extended(ts="2021-01-01T00:00:00Z")]).encode()
    whole = bytearray(packed([("endsong_0.json", rows), ("endsong_1.json", rows)]))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=6)):
        whole[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "export.zip"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)) | st.just(len(whole)))])
    check(engine, path, None)


@settings(FUZZ, max_examples=20)
@given(copies=st.integers(1, 4), rows=st.lists(mangled(extended()), min_size=1, max_size=4))
def test_files_twice(engine: sa.Engine, tmp_path: Path, copies: int, rows: list[Any]) -> None:
    content = json.dumps(rows).encode()
    files = [(f"part {n}/Streaming_History_Audio_0.json", content) for n in range(copies)]
    path = tmp_path / "export.zip"
    path.write_bytes(packed(files))
    check(engine, path, copies * len(rows))


LISTEN = {
    "listened_at": 1_577_872_800,
    "track_metadata": {
        "artist_name": "Ada",
        "track_name": "Song",
        "additional_info": {"spotify_id": "https://open.spotify.com/track/" + "a" * 22},
    },
}


@FUZZ
@given(
    listens=st.lists(
        mangled(LISTEN)
        | mangled(LISTEN["track_metadata"]).map(lambda about: LISTEN | {"track_metadata": about})  # type: ignore[arg-type]
        | ANYTHING,
        max_size=10,
    )
)
def test_mangled_listens(engine: sa.Engine, tmp_path: Path, listens: list[Any]) -> None:
    path = tmp_path / "listens.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in [LISTEN, *listens]))
    user = f"user-{uuid.uuid4()}"
    report = import_listenbrainz(engine, path, user_id=user, now=NOW)
    assert report.read == 1 + len(listens)
    with engine.connect() as connection:
        plays = connection.scalar(
            sa.text("SELECT count(*) FROM plays WHERE user_id = :user"), {"user": user}
        )
    assert plays == report.stored
    assert import_listenbrainz(engine, path, user_id=user, now=NOW).stored == 0
