"""Histories brought up to date: grants are renewed, limits waited for, closed doors left."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
from clocks import Clock
from cryptography.fernet import Fernet
from pydantic import SecretStr
from spotify_server import SpotifyStandIn, audio, error, limited, track

from features.history_refresh import State, due, refresh, refresh_due
from features.settings import Settings
from features.sources import spotify_grants
from features.sources.errors import NeedsReauthError, NotConfiguredError
from features.sources.spotify_access import SpotifyAccess
from features.sources.spotify_grants import Token, Vault
from features.users import ensure_user


@pytest.fixture
def granted(engine: sa.Engine, access: SpotifyAccess, clock: Clock) -> sa.Engine:
    """Ada has logged in; her access token has expired since."""
    token = Token(
        access_token="expired", refresh_token="refresh-0", expires_at=int(clock.seconds()) - 10
    )
    with engine.begin() as connection:
        ensure_user(connection, "ada", source="api", now=clock.now())
        spotify_grants.save_grant(
            connection, access.vault(), "ada", token, "user-top-read", now=clock.now()
        )
    return engine


def one(engine: sa.Engine, query: str) -> tuple[object, ...]:
    with engine.connect() as connection:
        return tuple(connection.execute(sa.text(query)).one())


def test_an_expired_token_is_renewed_and_the_new_one_kept(
    granted: sa.Engine, access: SpotifyAccess, clock: Clock, spotify: SpotifyStandIn
) -> None:
    done = refresh(granted, access, "ada", patience=clock.patience(), now=clock.now())
    assert (done.state, done.report.stored) == (State.FRESH, 50)
    assert spotify.refresh != {"refresh-0"}
    with granted.begin() as connection:
        kept = spotify_grants.locked_token(connection, access.vault(), "ada")
    assert kept.refresh_token in spotify.refresh
    again = refresh(granted, access, "ada", patience=clock.patience(), now=clock.now())
    assert (again.state, again.report.stored) == (State.FRESH, 0)
    assert spotify.asked["token"] == 1


def test_a_token_refused_although_it_looks_good_is_renewed(
    granted: sa.Engine, access: SpotifyAccess, clock: Clock, spotify: SpotifyStandIn
) -> None:
    refresh(granted, access, "ada", patience=clock.patience(), now=clock.now())
    spotify.access.clear()
    done = refresh(granted, access, "ada", patience=clock.patience(), now=clock.now())
    assert done.state == State.FRESH
    assert spotify.asked["token"] == 2


def test_a_revoked_grant_needs_a_login_and_is_not_asked_again(
    granted: sa.Engine, access: SpotifyAccess, clock: Clock, spotify: SpotifyStandIn
) -> None:
    spotify.refresh.clear()
    for _ in range(2):
        done = refresh(granted, access, "ada", patience=clock.patience(), now=clock.now())
        assert done.state == State.NEEDS_REAUTH
    assert spotify.asked["token"] == 1
    assert one(granted, "SELECT state FROM spotify_grants") == ("needs_reauth",)
    assert due(granted, now=clock.now()) == []


def test_the_accounts_service_being_down_costs_no_grant(
    granted: sa.Engine, access: SpotifyAccess, clock: Clock, spotify: SpotifyStandIn
) -> None:
    spotify.token_errors.extend([error(503, "down")] * 4)
    done = refresh(granted, access, "ada", patience=clock.patience(), now=clock.now())
    assert done.state == State.POSTPONED
    assert one(granted, "SELECT state FROM spotify_grants") == ("active",)
    clock.pass_by(hours=1)
    assert "ada" in refresh_due(granted, access, now=clock.now)
    assert one(granted, "SELECT count(*) FROM plays") == (50,)


def test_a_long_limit_puts_off_and_the_round_goes_on_after_it(
    granted: sa.Engine, access: SpotifyAccess, clock: Clock, spotify: SpotifyStandIn
) -> None:
    spotify.fail("recently-played", limited("80000"))
    first = refresh_due(granted, access, now=clock.now)["ada"]
    assert first.state == State.POSTPONED
    assert first.not_before is not None
    assert first.not_before - clock.now() == timedelta(seconds=80_000)
    assert clock.waits == []
    calls = spotify.asked.total()
    clock.pass_by(hours=7)  # still limited: nothing is asked
    refresh_due(granted, access, now=clock.now)
    assert spotify.asked.total() == calls
    clock.pass_by(hours=16)
    assert refresh_due(granted, access, now=clock.now)["ada"].state == State.FRESH
    assert one(granted, "SELECT count(*) FROM postponed_work") == (0,)
    assert one(granted, "SELECT count(*) FROM plays") == (50,)
    assert due(granted, now=clock.now()) == []
    assert due(granted, now=clock.now() + timedelta(hours=7)) == ["ada"]


def test_what_is_closed_is_gone_without(
    granted: sa.Engine, access: SpotifyAccess, clock: Clock, spotify: SpotifyStandIn
) -> None:
    spotify.close("audio-features", "recommendations", "new-releases", "several-artists")
    done = refresh(granted, access, "ada", patience=clock.patience(), now=clock.now())
    assert done.state == State.FRESH
    assert set(done.without) == {"audio_features", "recommendations", "new_releases"}
    assert one(granted, "SELECT count(*) FROM audio_features") == (0,)
    # Genres came one by one, and with them the listener categories.
    assert one(granted, "SELECT count(*) > 0 FROM tracks WHERE category = 'hype_beats'") == (True,)


def test_candidates_enter_the_catalogue_and_nothing_is_trainable(
    granted: sa.Engine, access: SpotifyAccess, clock: Clock
) -> None:
    refresh(granted, access, "ada", patience=clock.patience(), now=clock.now())
    for table in ("tracks", "audio_features", "plays"):
        assert one(granted, f"SELECT bool_or(trainable), min(source) FROM {table}") == (
            False,
            "spotify",
        )
    assert one(granted, "SELECT count(*) FROM tracks WHERE track_id LIKE 'track%12_'") == (0,)
    known = track(110)["id"]
    assert one(granted, f"SELECT tempo FROM audio_features WHERE track_id = '{known}'") == (
        audio("t")["tempo"],
    )
    assert one(granted, "SELECT release_date::text FROM tracks LIMIT 1") == ("2019-01-01",)


def test_the_catalogues_own_rows_stay(
    granted: sa.Engine, access: SpotifyAccess, clock: Clock
) -> None:
    with granted.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO tracks (track_id, track_name, artist_name, artist_key, source,"
                    " trainable) VALUES (:id, 'Ours', 'A', 'a', 'catalogue', true)"),
            {"id": track(60)["id"]},
        )  # fmt: skip
        connection.execute(
            sa.text("INSERT INTO audio_features (track_id, energy, source, trainable)"
                    " VALUES (:id, .123, 'catalogue', true)"),
            {"id": track(60)["id"]},
        )  # fmt: skip
    refresh(granted, access, "ada", patience=clock.patience(), now=clock.now())
    found = one(
        granted,
        "SELECT t.track_name, t.trainable, a.source FROM tracks t JOIN audio_features a"
        f" USING (track_id) WHERE track_id = '{track(60)['id']}'",
    )
    assert found == ("Ours", True, "catalogue")


def test_without_a_key_no_token_is_stored(
    settings: Settings, engine: sa.Engine, redis_url: str, clock: Clock
) -> None:
    bare = settings.model_copy(update={"bondhu_token_key": None})
    with SpotifyAccess(bare, engine, redis_url, now=clock.now) as access:
        with pytest.raises(NotConfiguredError, match="BONDHU_TOKEN_KEY"):
            access.vault()
        done = refresh(engine, access, "ada", patience=clock.patience(), now=clock.now())
    assert done.state == State.NOT_CONFIGURED


def test_keys_change_one_after_another() -> None:
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    token = Token(access_token="a", refresh_token="r", expires_at=1)
    sealed = Vault(SecretStr(old)).close(token)
    assert Vault(SecretStr(f"{new},{old}")).open(sealed) == token
    with pytest.raises(NeedsReauthError, match="log in again"):
        Vault(SecretStr(new)).open(sealed)
    assert repr(token) == "Token(expires_at=1)"
