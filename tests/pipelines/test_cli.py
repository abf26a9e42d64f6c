"""Commands as a user types them: what they print, and how they fail."""

import json
import signal
import socket
import stat
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from commands import assert_one_line, run, run_fresh

from pipelines import cli
from pipelines.servers import Endpoints


@pytest.fixture
def on(servers: Endpoints, database_url: str) -> Endpoints:
    return Endpoints(database_url, servers.redis_url)


def test_a_missing_file_is_named(tmp_path: Path, on: Endpoints) -> None:
    ran = run_fresh("import", "catalogue", tmp_path / "nothing", home=tmp_path, servers=on)
    assert_one_line(ran, "nothing")


def test_a_malformed_file_stores_nothing(tmp_path: Path, on: Endpoints, engine: sa.Engine) -> None:
    songs = tmp_path / "spotify_songs.csv"
    songs.write_text("track_id,track_name,track_artist\n1,a,b\n2,c\n")
    ran = run("import", "catalogue", songs, home=tmp_path, servers=on)
    assert_one_line(ran, "spotify_songs.csv")
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM tracks")) == 0


def test_an_import_says_what_it_read(tmp_path: Path, on: Endpoints) -> None:
    songs = tmp_path / "songs.csv"
    songs.write_text("track_id,track_name,track_artist\n1,a,b\n2,c,d\n3,,e\n")
    ran = run("import", "catalogue", songs, home=tmp_path, servers=on)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "read 3, stored 2, skipped 1 track_name is missing"
    again = run("import", "catalogue", songs, home=tmp_path, servers=on)
    assert "stored 0" in again.stdout


def test_real_rows_take_the_place_of_a_simulated_world(
    tmp_path: Path, on: Endpoints, engine: sa.Engine
) -> None:
    assert run("import", "world", home=tmp_path, servers=on).returncode == 0
    songs = tmp_path / "songs.csv"
    songs.write_text("track_id,track_name,track_artist\n1,a,b\n")
    ran = run("import", "catalogue", songs, home=tmp_path, servers=on)
    assert "made room" in ran.stdout
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT string_agg(track_id, ' ') FROM tracks")) == "1"
    assert_one_line(run("import", "world", home=tmp_path, servers=on), "imported tracks")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none", "DATABASE_URL"),
        ("DATABASE_URL", "mysql://somewhere/else", "DATABASE_URL"),
        ("DATABASE_URL", "not an address", "DATABASE_URL"),
        ("REDIS_URL", "redis://127.0.0.1:1", "REDIS_URL"),
        ("REDIS_URL", "localhost:6379", "REDIS_URL"),
        ("BONDHU_EXPLORATION", "2", "BONDHU_EXPLORATION"),
        ("BONDHU_JWT_SECRET", "short", "BONDHU_JWT_SECRET"),
    ],
)
def test_a_wrong_setting_is_named(
    tmp_path: Path, on: Endpoints, name: str, value: str, said: str
) -> None:
    ran = run("features", "build", home=tmp_path, servers=on, **{name: value})
    assert_one_line(ran, said)


def test_a_secret_is_never_shown(tmp_path: Path, on: Endpoints) -> None:
    secret = "postgresql://ada:open-sesame@127.0.0.1:1/none"
    ran = run("features", "build", home=tmp_path, servers=on, DATABASE_URL=secret)
    assert_one_line(ran, "127.0.0.1")
    assert "open-sesame" not in ran.stderr


def test_a_taken_port_is_named(tmp_path: Path, on: Endpoints) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = run("demo", "--once", "--port", str(port), home=tmp_path, servers=on)
    assert_one_line(ran, str(port), "--port")


def test_serving_without_a_model_says_how_to_get_one(tmp_path: Path, on: Endpoints) -> None:
    secret = {"BONDHU_JWT_SECRET": "x" * 32}
    ran = run("serve", "--port", "3999", home=tmp_path, servers=on, **secret)
    assert_one_line(ran, "bondhu train scorer")


def test_nobody_serves_without_a_word_on_who_may_call(tmp_path: Path) -> None:
    ran = run("serve", "--port", "3999", home=tmp_path)
    assert_one_line(ran, "BONDHU_JWT_SECRET", "SUPABASE_URL", "secrets.token_urlsafe")
    assert not any(tmp_path.iterdir())  # no server was started, no secret made
    assert run("token", "--user", "ada", home=tmp_path).returncode == 0  # the demo's


def test_more_workers_than_connections_are_refused_before_anything_starts(tmp_path: Path) -> None:
    words = ("serve", "--port", "3999", "--workers", "17")
    ran = run(*words, home=tmp_path, BONDHU_JWT_SECRET="x" * 32)
    assert_one_line(ran, "REDIS_MAX_CONNECTIONS is 100", "17 workers", "each needs 6")
    assert not any(tmp_path.iterdir())


def test_a_token_is_signed_with_a_secret_that_only_its_owner_reads(tmp_path: Path) -> None:
    first = run("token", "--user", "ada", home=tmp_path / "home")
    assert first.returncode == 0
    assert len(first.stdout.strip().split(".")) == 3
    secret = tmp_path / "home" / "jwt-secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    before = secret.read_text()
    run("token", "--user", "bob", "--admin", home=tmp_path / "home")
    assert secret.read_text() == before


@pytest.mark.usefixtures("mlflow_tables")
def test_promotions_of_an_unknown_model_are_refused(tmp_path: Path, on: Endpoints) -> None:
    assert_one_line(run("promotions", "nosuch", home=tmp_path, servers=on), "nosuch", "scorer")


def test_a_token_without_a_listener_is_refused(tmp_path: Path) -> None:
    assert_one_line(run("token", "--user", "", home=tmp_path), "--user")


@pytest.mark.parametrize("command", ["train", "search"])
def test_a_time_that_ends_before_it_starts_is_refused(tmp_path: Path, command: str) -> None:
    ends = "--since", "2026-11-20", "--until", "2026-11-10"
    assert_one_line(run(command, "scorer", *ends, home=tmp_path), "--since", "--until")
    assert not any(tmp_path.iterdir())


def test_up_prints_addresses_and_nothing_else(tmp_path: Path) -> None:
    try:
        ran = run_fresh("up", home=tmp_path)
        assert ran.returncode == 0, ran.stderr
        names = [line.partition("=")[0] for line in ran.stdout.splitlines()]
        assert names == ["DATABASE_URL", "REDIS_URL", "MLFLOW_TRACKING_URI"]
        used = run("features", "build", home=tmp_path)
        assert used.returncode == 0, used.stderr
        with_addresses = run(
            "features",
            "build",
            home=tmp_path,
            servers=None,
            **dict(line.split("=", 1) for line in ran.stdout.splitlines()),
        )  # fmt: skip
        assert with_addresses.returncode == 0, with_addresses.stderr
    finally:
        assert run("down", home=tmp_path).returncode == 0


def test_a_listener_s_rights(tmp_path: Path, on: Endpoints, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO users (user_id, source) VALUES ('ada', 'test')"))
    exported = run("export-user", "ada", home=tmp_path, servers=on)
    assert json.loads(exported.stdout)["postgres"]["users"][0]["source"] == "test"
    deleted = json.loads(run("delete-user", "ada", home=tmp_path, servers=on).stdout)
    assert deleted["deleted"]["postgres"] == {"users": 1}
    with engine.connect() as connection:
        receipt = connection.execute(sa.text("SELECT requested_by FROM deletions")).scalar_one()
        left = connection.execute(sa.text("SELECT count(*) FROM users")).scalar_one()
    assert (receipt, left) == ("operator", 0)


@pytest.mark.usefixtures("mlflow_tables")
def test_an_evaluation_says_what_it_can_and_cannot_compare(tmp_path: Path, on: Endpoints) -> None:
    assert_one_line(run("evaluate", "colisten", home=tmp_path, servers=on), "train colisten")
    ran = run("evaluate", "--mismatch", home=tmp_path, servers=on)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "train/serve mismatch: no list of the last 7 days was sampled\n"


@pytest.mark.usefixtures("mlflow_tables")
def test_a_run_is_reproduced_or_what_changed_is_said(
    tmp_path: Path, on: Endpoints, engine: sa.Engine
) -> None:
    assert_one_line(run("reproduce", "nothing", home=tmp_path, servers=on), "no run nothing")
    songs = tmp_path / "songs.csv"
    lines = [f"{n},song {n},artist {n % 7},{n % 10 / 10}" for n in range(60)]
    songs.write_text("\n".join(["track_id,track_name,artist_name,energy", *lines]) + "\n")
    assert run("import", "catalogue", songs, home=tmp_path, servers=on).returncode == 0
    trained = run("train", "audio_estimator", home=tmp_path, servers=on)
    assert trained.returncode == 0, trained.stderr
    run_id = trained.stdout.splitlines()[-1]
    equal = run("reproduce", run_id, home=tmp_path, servers=on)
    assert (equal.returncode, equal.stdout[:6]) == (0, "equal:"), equal.stderr
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM audio_features WHERE track_id = '7'"))
    changed = run("reproduce", run_id, home=tmp_path, servers=on)
    assert changed.returncode == 1
    (line,) = changed.stdout.splitlines()
    assert "audio_features: 59 rows where there were 60 (1 are gone)" in line
    listed = run("runs", "--name", "audio_estimator", home=tmp_path, servers=on)
    assert listed.returncode == 0, listed.stderr
    header, row = listed.stdout.splitlines()
    assert header.split()[:4] == ["run", "what", "version", "status"]
    assert row.split()[:3] == [run_id, "audio_estimator", "1"]
    assert "finished" in row


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("promote", "scorer", "two"), "Invalid value for 'version'"),
        (("train", "scorer", "--seed", "x"), "Invalid value for '--seed'"),
        (("serve", "--port", "0"), "Invalid value for '--port'"),
        (("serve", "--no-such"), "No such option: --no-such"),
        (("promote",), "Missing argument 'model'"),
        (("nonsense",), "No such command 'nonsense'"),
        (("runs", "--name", "nosuch"), "there is no model nosuch: the models are"),
    ],
)
def test_a_wrong_word_is_one_line(tmp_path: Path, command: tuple[str, ...], said: str) -> None:
    assert_one_line(run(*command, home=tmp_path), said)
    assert not any(tmp_path.iterdir())


@pytest.mark.usefixtures("mlflow_tables")
def test_promotion_and_comparison_fail_in_one_line(tmp_path: Path, on: Endpoints) -> None:
    margin = run("promote", "scorer", "2", "--margin", "gains=1", home=tmp_path, servers=on)
    assert_one_line(margin, "NAME=NUMBER")
    first = run("rollback", "scorer", home=tmp_path, servers=on)
    assert_one_line(first, "scorer has no champion to roll back from")
    unknown = run("compare", "nothing", "nobody", home=tmp_path, servers=on)
    assert_one_line(unknown, "nothing")
    assert not list(tmp_path.glob("compare-*.html"))


@pytest.mark.parametrize(("words", "code"), [(["nightly"], 30), (["status"], None)])
def test_a_fault_of_the_program_shows_where_and_fails_a_night_with_its_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int | None,
) -> None:
    def fault(**_: object) -> None:
        raise ZeroDivisionError("a fault")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(cli, "app", fault)
    monkeypatch.setattr(sys, "argv", ["bondhu", *words])
    try:
        with pytest.raises((SystemExit, ZeroDivisionError)) as raised:
            cli.main()
    finally:
        signal.signal(signal.SIGTERM, before)
    if code is None:
        assert isinstance(raised.value, ZeroDivisionError)
    else:
        assert isinstance(raised.value, SystemExit)
        assert raised.value.code == code
        assert "ZeroDivisionError: a fault" in capsys.readouterr().err
