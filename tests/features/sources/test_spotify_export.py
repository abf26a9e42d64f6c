"""A listener's own Spotify export: what is kept of it, what never is, and what cannot be used."""

import json
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from exports import TRACK, account, extended, write_zip

from features import interactions
from features.imports import ALREADY_STORED, InputError, Report
from features.interactions import Interaction, QState
from features.sources import archive
from features.sources.spotify_export import REPEATED, UNKNOWN, import_spotify_export
from features.sources.spotify_export_rows import (
    INCOGNITO,
    LOCAL,
    NO_VERDICT,
    PODCAST,
    UNNAMED,
    WRONG_TYPE,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
FIRST = "Streaming_History_Audio_2019-2020_0.json"
OTHER = "1" * 22


def imported(engine: sa.Engine, path: Path, **more: Any) -> Report:
    return import_spotify_export(engine, path, user_id="ada", now=NOW, **more)


def of(engine: sa.Engine, tmp_path: Path, *rows: Any, **more: Any) -> Report:
    return imported(engine, write_zip(tmp_path / "export.zip", {FIRST: list(rows)}), **more)


def rows(engine: sa.Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def test_a_play_begins_before_it_ends(engine: sa.Engine, tmp_path: Path) -> None:
    report = of(engine, tmp_path, extended())
    assert (report.read, report.stored, report.skipped) == (1, 1, {})
    began = datetime(2020, 1, 1, 10, tzinfo=UTC)
    plays = rows(engine, "SELECT track_id, played_at, ms_played, source, trainable FROM plays")
    assert plays == [(TRACK, began, 200_000, "spotify_export", False)]
    assert rows(engine, "SELECT track_name, artist_name, artist_key, album_name, trainable"
                " FROM tracks") == [("Song", "Ada", "ada", "Album", False)]  # fmt: skip
    assert rows(engine, "SELECT play_count, total_listen_time_ms, played_at"
                " FROM listening_history") == [(1, 200_000, began)]  # fmt: skip


def test_consent_decides_whether_it_is_trained_on(engine: sa.Engine, tmp_path: Path) -> None:
    of(engine, tmp_path, extended(), consent=True)
    for table in ("plays", "tracks", "music_interactions"):
        assert rows(engine, f"SELECT trainable FROM {table}") == [(True,)]


def test_plays_and_skips_become_feedback(engine: sa.Engine, tmp_path: Path) -> None:
    of(
        engine,
        tmp_path,
        extended(),
        extended(ts="2020-01-02T10:00:00Z"),
        extended(ts="2020-01-03T10:00:00Z", ms_played=4_000, reason_end="fwdbtn"),
        extended(ts="2020-01-04T10:00:00Z", ms_played=4_000, skipped=True, reason_end="x"),
        extended(ts="2020-01-05T10:00:00Z", ms_played=4_000, skipped=False, reason_end="fwdbtn"),
        extended(ts="2020-01-06T10:00:00Z", ms_played=4_000, reason_end="logout"),
    )
    found = rows(
        engine,
        "SELECT episode, feedback_type, reward, q_value, occurred_at - interval '0' = occurred_at,"
        " source FROM music_interactions ORDER BY episode",
    )
    # No duration is known: nothing for the share. The second play is a repeat.
    assert [row[:3] for row in found] == [
        (1, "play", 0.8),
        (2, "play", pytest.approx(0.9)),
        (3, "skip", -0.4),
        (4, "skip", -0.4),
    ]
    assert rows(engine, "SELECT count(*) FROM plays") == [(2,)]
    assert rows(engine, "SELECT genre, n FROM music_genre_preferences") == [("other", 4)]


def test_every_row_is_accounted_for(engine: sa.Engine, tmp_path: Path) -> None:
    report = of(
        engine,
        tmp_path,
        extended(),
        extended(),
        extended(incognito_mode=True),
        extended(spotify_track_uri=None, spotify_episode_uri="spotify:episode:1"),
        extended(spotify_track_uri=None, episode_name="Talk"),
        extended(spotify_track_uri=None, audiobook_uri="spotify:show:1"),
        extended(spotify_track_uri=None),
        extended(master_metadata_track_name=None),
        extended(spotify_track_uri="spotify:local:a:b:c:1"),
        extended(ms_played=1_000, reason_end="endplay"),
        extended(ms_played="200000"),
        extended(ms_played=-1),
        extended(ms_played=10**12),
        extended(ts="yesterday"),
        extended(ts="2035-01-01T00:00:00Z"),
        extended(ts=None),
        extended(spotify_track_uri="spotify:track:../../etc"),
        extended(spotify_track_uri=7),
        extended(master_metadata_track_name=["Song"]),
        "a row",
        None,
        {"something": "else"},
    )
    assert report.read == 22
    assert report.stored == 1
    assert report.skipped == {
        REPEATED: 1, INCOGNITO: 1, PODCAST: 3, UNNAMED: 2, LOCAL: 1, NO_VERDICT: 1, WRONG_TYPE: 12,
    }  # fmt: skip


def test_what_identifies_a_person_is_dropped_at_the_door(engine: sa.Engine, tmp_path: Path) -> None:
    of(engine, tmp_path, extended(), extended(ms_played="x"), extended(incognito_mode=True, ts=1))
    with engine.connect() as connection:
        tables = connection.scalars(
            sa.text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        ).all()
        content = "".join(
            str(connection.execute(sa.text(f"SELECT * FROM {table}")).all()) for table in tables
        )
    for secret in ("203.0.113", "user agent", "the platform", "ada-at-spotify"):
        assert secret not in content
    assert rows(engine, "SELECT count(*) FROM quarantine") == [(1,)]


def test_importing_twice_changes_nothing(engine: sa.Engine, tmp_path: Path) -> None:
    plays = [extended(ts=f"2020-01-{day:02}T10:00:00Z") for day in range(1, 13)]
    plays += [extended(ts="2020-02-01T10:00:00Z", ms_played=900, skipped=True)]
    of(engine, tmp_path, *plays)
    state = "SELECT (SELECT json_agg(p ORDER BY played_at)::text FROM plays p), (SELECT json_agg(i"
    state += " ORDER BY seq)::text FROM music_interactions i), (SELECT json_agg(h)::text FROM"
    state += " listening_history h), (SELECT json_agg(m)::text FROM music_rl_models m)"
    before = rows(engine, state)
    again = of(engine, tmp_path, *plays)
    assert (again.stored, again.skipped) == (0, {ALREADY_STORED: 13})
    assert rows(engine, state) == before


def test_a_later_export_adds_what_is_new(engine: sa.Engine, tmp_path: Path) -> None:
    first, second = extended(), extended(ts="2021-01-01T10:00:00Z")
    of(engine, tmp_path, first)
    report = of(engine, tmp_path, first, second)
    assert (report.stored, report.skipped) == (1, {ALREADY_STORED: 1})
    assert rows(engine, "SELECT play_count FROM listening_history") == [(2,)]
    assert rows(engine, "SELECT reward FROM music_interactions ORDER BY seq") == [
        (0.8,),
        (pytest.approx(0.9),),
    ]


def test_the_account_format_finds_tracks_by_name(engine: sa.Engine, tmp_path: Path) -> None:
    export = write_zip(
        tmp_path / "both.zip",
        {
            FIRST: [extended()],
            "StreamingHistory_music_0.json": [
                account(),  # the play above, in minutes
                account(endTime="2020-02-01 10:00", artistName="ADA", trackName="song!"),
                account(trackName="Never heard of"),
                account(msPlayed=10_000),
                account(msPlayed=None),
                {"endTime": "2020-01-01 10:00", "podcastName": "Talk", "msPlayed": 10_000_000},
            ],
            "Userdata.json": {"email": "ada@example.org"},
        },
    )
    report = imported(engine, export)
    assert (report.read, report.stored) == (7, 2)
    assert report.skipped == {
        ALREADY_STORED: 1, UNKNOWN: 1, NO_VERDICT: 1, WRONG_TYPE: 1, PODCAST: 1,
    }  # fmt: skip
    assert rows(engine, "SELECT source, count(*) FROM plays GROUP BY source ORDER BY source") == [
        ("spotify_account", 1),
        ("spotify_export", 1),
    ]


def test_a_folder_and_a_single_file_do_too(engine: sa.Engine, tmp_path: Path) -> None:
    folder = tmp_path / "unpacked" / "deeper"
    folder.mkdir(parents=True)
    (folder / "endsong_0.json").write_text(json.dumps([extended()]))
    (folder / "Identity.json").write_text("{")
    assert imported(engine, tmp_path / "unpacked").stored == 1
    assert imported(engine, folder / "endsong_0.json").skipped == {ALREADY_STORED: 1}


def test_learning_from_an_export_is_learning_one_by_one(engine: sa.Engine, tmp_path: Path) -> None:
    plays = [
        extended(
            ts=f"2020-{1 + n // 28:02}-{1 + n % 28:02}T10:00:00Z",
            spotify_track_uri=f"spotify:track:{n % 5}".ljust(36, "x"),
            master_metadata_track_name=f"Song {n % 5}",
            ms_played=200_000 if n % 3 else 5_000,
            reason_end="trackdone" if n % 3 else "fwdbtn",
        )
        for n in range(47)
    ]
    of(engine, tmp_path, *plays)
    with engine.begin() as connection:
        log = connection.execute(
            sa.text("SELECT * FROM music_interactions ORDER BY episode")
        ).mappings().all()  # fmt: skip
        bulk = interactions.q_state(connection, "ada")
        snapshots = connection.execute(
            sa.text("SELECT version, through_seq, episodes, q_table FROM music_rl_models"
                    " ORDER BY version")
        ).all()  # fmt: skip
        preferences = connection.execute(
            sa.text("SELECT genre, preference, n FROM music_genre_preferences")
        ).all()
        # The same events again, one by one, as feedback comes in.
        for table in ("music_interactions", "music_rl_models", "music_genre_preferences"):
            connection.execute(sa.text(f"DELETE FROM {table}"))
        q = QState(own={})
        for row in log:
            shared = {key: row[key] for key in Interaction.__struct_fields__ if key != "category"}
            interactions.append(connection, Interaction(category="other", **shared), q)
        online = connection.execute(
            sa.text("SELECT version, through_seq, episodes, q_table FROM music_rl_models"
                    " ORDER BY version")
        ).all()  # fmt: skip
        assert preferences == connection.execute(
            sa.text("SELECT genre, preference, n FROM music_genre_preferences")
        ).all()  # fmt: skip
    assert len(log) == 47
    assert (bulk.table, bulk.episode) == (q.table, q.episode)
    assert [(s[0], s[2], s[3]) for s in snapshots] == [(s[0], s[2], s[3]) for s in online]
    assert [s[0] for s in snapshots] == [3, 4]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[{]", "not whole JSON"),
        (b'[{"ts": "2020', "not whole JSON"),
        (b'{"ts": 1}', "no list of plays"),
        (b"\xff\xfe", "not whole JSON"),
        (b"", "not whole JSON"),
    ],
)
def test_a_damaged_file_is_named_and_nothing_stays(
    engine: sa.Engine, tmp_path: Path, content: bytes, said: str
) -> None:
    files = {FIRST: [extended()], FIRST.replace("_0", "_1"): content}
    with pytest.raises(InputError, match=said) as refused:
        imported(engine, write_zip(tmp_path / "export.zip", files))
    assert "_1.json" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert rows(engine, "SELECT (SELECT count(*) FROM plays) + (SELECT count(*) FROM users)"
                " + (SELECT count(*) FROM tracks)") == [(0,)]  # fmt: skip


@pytest.mark.parametrize("kept", [4, 50, 0.5, -1, -30])
def test_a_truncated_zip_is_refused(engine: sa.Engine, tmp_path: Path, kept: float) -> None:
    path = write_zip(tmp_path / "export.zip", {FIRST: [extended()] * 50})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(InputError, match="fetch"):
        imported(engine, path)


def test_a_bomb_is_refused_before_it_bursts(
    engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "LARGEST_FILE", 2**20)
    monkeypatch.setattr(archive, "LARGEST_TOTAL", 3 * 2**20)
    bomb = write_zip(tmp_path / "bomb.zip", {FIRST: b"[" + b" " * 2**21 + b"]"})
    with pytest.raises(InputError, match="no export does"):
        imported(engine, bomb)
    many = {FIRST.replace("_0", f"_{n}"): b"[" + b" " * (2**20 - 2) + b"]" for n in range(4)}
    with pytest.raises(InputError, match="no export does"):
        imported(engine, write_zip(tmp_path / "many.zip", many))
    monkeypatch.setattr(archive, "MOST_FILES", 3)
    with pytest.raises(InputError, match="3 at most"):
        imported(engine, write_zip(tmp_path / "crowd.zip", many))


def test_a_zip_that_lies_about_its_sizes_is_bounded(
    engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "LARGEST_FILE", 2**20)
    path = write_zip(tmp_path / "lie.zip", {FIRST: b"[" + b" " * 2**22 + b"]"})
    size = (2**22 + 2).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(InputError):
        imported(engine, path)


@pytest.mark.parametrize("make", ["empty", "other", "missing", "text"])
def test_what_is_no_export_is_said(engine: sa.Engine, tmp_path: Path, make: str) -> None:
    path = tmp_path / "export.zip"
    if make == "empty":
        zipfile.ZipFile(path, "w").close()
    elif make == "other":
        write_zip(path, {"Userdata.json": {}})
    elif make == "text":
        path.write_text("hello")
    with pytest.raises(InputError):
        imported(engine, path)


def test_an_encrypted_zip_is_said(engine: sa.Engine, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "export.zip", {FIRST: [extended()]})
    content = bytearray(path.read_bytes())
    central = content.index(b"PK\x01\x02")
    content[central + 8] |= 1  # the flag that says so
    path.write_bytes(content)
    with pytest.raises(InputError, match="encrypted"):
        imported(engine, path)


def test_real_plays_are_not_mixed_with_an_invented_world(engine: sa.Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO tracks (track_id, track_name, artist_name, artist_key, source,"
                    " trainable) VALUES ('t', 'T', 'A', 'a', 'simulated', true)")
        )  # fmt: skip
    with pytest.raises(InputError, match="simulated world"):
        of(engine, tmp_path, extended())


def test_names_of_any_kind_are_stored(engine: sa.Engine, tmp_path: Path) -> None:
    odd = "tab\there \\N new\nline \0 \ud800 ünï"
    of(engine, tmp_path, extended(master_metadata_track_name=odd))
    assert rows(engine, "SELECT track_name FROM tracks") == [("tab\there \\N new\nline  ? ünï",)]


def test_a_play_that_another_source_told_within_a_minute_counts_once(
    engine: sa.Engine, tmp_path: Path
) -> None:
    of(engine, tmp_path, extended(), extended(ts="2020-03-01T10:00:00Z"))
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM plays WHERE played_at > '2020-02-01'"))
        connection.execute(
            sa.text("INSERT INTO plays VALUES ('ada', :id, :at, 200000, 'spotify', false)"),
            {"id": TRACK, "at": datetime(2020, 3, 1, 9, 57, 20, tzinfo=UTC)},
        )
    report = of(engine, tmp_path, extended(), extended(ts="2020-03-01T10:00:00Z"))
    assert report.skipped == {ALREADY_STORED: 2}
    far = datetime(2020, 3, 1, 10, 1, tzinfo=UTC) + timedelta(minutes=2)
    assert of(engine, tmp_path, extended(ts=far.isoformat())).stored == 1


@pytest.mark.parametrize("step", ["_0.json", "_1.json", "tracks", "plays"])
def test_an_import_that_breaks_off_leaves_nothing_and_can_be_run_again(
    engine: sa.Engine, tmp_path: Path, step: str
) -> None:
    files = {
        FIRST: [extended()],
        FIRST.replace("_0", "_1"): [extended(ts="2021-01-01T00:00:00Z", ms_played=1, skipped=True)],
    }
    path = write_zip(tmp_path / "export.zip", files)

    def break_off(at: str) -> None:
        if at.endswith(step):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        imported(engine, path, progress=break_off)
    everything = "SELECT (SELECT count(*) FROM plays) + (SELECT count(*) FROM users)"
    everything += " + (SELECT count(*) FROM tracks) + (SELECT count(*) FROM imports)"
    assert rows(engine, everything) == [(0,)]
    assert imported(engine, path).stored == 2
