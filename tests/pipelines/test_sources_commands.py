"""Commands about sources as a user types them."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from commands import assert_one_line, run
from exports import extended, write_zip
from spotify_server import CLIENT_ID, CLIENT_SECRET, running

from pipelines.servers import Endpoints


@pytest.fixture
def on(servers: Endpoints, database_url: str) -> Endpoints:
    return Endpoints(database_url, servers.redis_url)


def test_an_export_goes_in_and_the_doctor_sees_it(
    tmp_path: Path, on: Endpoints, engine: sa.Engine
) -> None:
    export = write_zip(tmp_path / "my_spotify_data.zip", {"endsong_0.json": [extended(), {}]})
    ran = run(
        "import", "spotify-export", export, "--user", "ada", "--consent", home=tmp_path, servers=on
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "read 2, stored 1, skipped 1 not as documented"
    with engine.connect() as connection:
        assert connection.scalars(sa.text("SELECT trainable FROM plays")).all() == [True]
    seen = run("doctor", "--user", "ada", home=tmp_path, servers=on)
    assert seen.returncode == 0, seen.stderr
    for words in ("spotify_export", "not configured", "1 plays of 1 tracks", "feature build"):
        assert words in seen.stdout


def test_the_doctor_asks_spotify(tmp_path: Path, on: Endpoints) -> None:
    with running() as spotify:
        spotify.close("audio-features", "recommendations")
        seen = run(
            "doctor",
            home=tmp_path,
            servers=on,
            SPOTIFY_CLIENT_ID=CLIENT_ID,
            SPOTIFY_CLIENT_SECRET=CLIENT_SECRET,
            SPOTIFY_API_URL=spotify.url,
            SPOTIFY_ACCOUNTS_URL=spotify.url,
        )
    assert seen.returncode == 0, seen.stderr
    lines = {line.split("│")[1].strip(): line for line in seen.stdout.splitlines() if "│" in line}
    assert "no, asked again" in lines["spotify audio-features"]
    assert "allowed" in lines["spotify search"]
    assert CLIENT_SECRET not in seen.stdout + seen.stderr


def test_a_wrong_token_key_is_named(tmp_path: Path, on: Endpoints) -> None:
    ran = run("doctor", home=tmp_path, servers=on, BONDHU_TOKEN_KEY="not a key")
    assert_one_line(ran, "BONDHU_TOKEN_KEY")
    assert "not a key" not in ran.stderr


def test_what_is_not_there_is_said_in_one_line(tmp_path: Path, on: Endpoints) -> None:
    nothing = tmp_path / "nothing.zip"
    ran = run("import", "listenbrainz", nothing, "--user", "ada", home=tmp_path, servers=on)
    assert_one_line(ran, "nothing.zip")
    assert_one_line(run("doctor", "--user", "bob", home=tmp_path, servers=on), "bob")
