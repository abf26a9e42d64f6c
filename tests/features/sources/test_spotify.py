"""Spotify over HTTP, through real spotipy: what it allows, and every way in which it does not."""

import logging
from datetime import UTC, datetime, timedelta

import pytest
import redis
import sqlalchemy as sa
from clocks import Clock
from spotify_server import (
    Broken,
    SpotifyStandIn,
    audio,
    error,
    limited,
    nonsense,
    track,
)
from starlette.responses import Response

from features.settings import Settings
from features.sources.errors import (
    EndpointClosedError,
    NeedsReauthError,
    SourceError,
    SourceLimitedError,
    SourceUnavailableError,
)
from features.sources.spotify import SpotifySource
from features.sources.spotify_access import SpotifyAccess
from features.sources.spotify_rows import audio_of
from features.sources.spotify_transport import CLOSED_FOR, Patience
from features.sources.terms import Access

IDS = [track(n)["id"] for n in range(250)]


def test_the_seeds_methods(ada: SpotifySource) -> None:
    assert [t.track_name for t in ada.top_tracks()[:2]] == ["Song 1", "Song 2"]
    assert len(ada.top_tracks()) == 50
    plays = ada.recent_plays().plays
    assert len(plays) == 50
    assert plays[0].played_at < plays[-1].played_at
    assert ada.top_artists()[1] == ("Artist 1", ("dance pop", "electropop"))
    # Two genres of one artist against one each of six.
    assert ada.genre_distribution() == {"hype_beats": 6 / 8, "pop_anthems": 2 / 8}
    assert len(ada.new_releases()) == 3
    assert len(ada.recommendations(seed_tracks=["track1"])) == 20
    assert len(ada.recommendations_by_genre("dance pop")) == 20


def test_audio_features_come_by_the_hundred_and_are_kept(
    catalogue: SpotifySource, spotify: SpotifyStandIn
) -> None:
    spotify.no_audio = {IDS[7]}
    found = catalogue.audio_features(IDS)
    assert spotify.batches == [100, 100, 50]
    assert set(found) == set(IDS) - {IDS[7]}
    assert found[IDS[0]]["tempo"] == 120.0
    catalogue.audio_features(IDS)
    assert spotify.batches == [100, 100, 50, 1]  # null is nothing to keep: asked for again


def test_a_token_of_a_caller_that_expired(access: SpotifyAccess, clock: Clock) -> None:
    source = access.with_token("ada", "old-token", clock.patience())
    with pytest.raises(NeedsReauthError, match="send a new one"):
        source.top_tracks()


def test_the_applications_token_is_renewed_once(
    catalogue: SpotifySource, spotify: SpotifyStandIn
) -> None:
    catalogue.artist_genres(["a1"])
    spotify.access.clear()
    assert catalogue.artist_genres(["a2"]) == {"a2": ("hip hop",)}
    assert spotify.asked["token"] == 2


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_closed_endpoint_is_left_alone_for_days(
    catalogue: SpotifySource,
    spotify: SpotifyStandIn,
    clock: Clock,
    status: int,
) -> None:
    spotify.close("audio-features", status=status)
    for _ in range(3):
        with pytest.raises(EndpointClosedError) as refused:
            catalogue.audio_features(IDS[:1])
    assert spotify.asked["audio-features"] == 1
    assert refused.value.until == clock.now() + CLOSED_FOR
    spotify.open("audio-features")
    clock.pass_by(days=3, seconds=1)
    assert catalogue.audio_features(IDS[:1])
    (found,) = [c for c in catalogue.capabilities() if c.name == "audio-features"]
    assert found.access == Access.ALLOWED


def test_a_closed_endpoint_is_no_data(
    catalogue: SpotifySource, spotify: SpotifyStandIn, redis_url: str
) -> None:
    spotify.close("audio-features", "recommendations", "several-artists")
    for ask in (
        lambda: catalogue.audio_features(IDS[:3]),
        lambda: catalogue.recommendations(seed_tracks=IDS[:1]),
    ):
        with pytest.raises(EndpointClosedError):
            ask()
    for db in (1, 2):
        with redis.Redis.from_url(redis_url, db=db) as client:
            assert not [k for k in client.scan_iter() if b"{limits}" not in k]


def test_where_several_at_once_are_closed_one_by_one_is_asked(
    catalogue: SpotifySource, spotify: SpotifyStandIn
) -> None:
    spotify.close("several-artists")
    assert catalogue.artist_genres(["a1", "a2"])["a1"] == ("dance pop", "electropop")
    assert spotify.asked["artist"] == 2


def test_where_recommendations_are_closed_a_genre_is_searched_for(
    catalogue: SpotifySource, spotify: SpotifyStandIn
) -> None:
    spotify.close("recommendations", status=404)
    assert len(catalogue.recommendations_by_genre("dance pop", limit=25)) == 25
    assert spotify.asked["search"] == 3


def test_403_of_a_listener_closes_nothing_for_others(
    ada: SpotifySource, spotify: SpotifyStandIn
) -> None:
    spotify.fail("top-tracks", error(403, "User not registered in the Developer Dashboard"))
    with pytest.raises(NeedsReauthError, match="/spotify/login"):
        ada.top_tracks()
    assert ada.top_tracks()


@pytest.mark.parametrize("retry_after", ["1", "30"])
def test_a_short_retry_after_is_waited_for(
    ada: SpotifySource,
    spotify: SpotifyStandIn,
    clock: Clock,
    retry_after: str,
) -> None:
    spotify.fail("top-tracks", limited(retry_after))
    assert ada.top_tracks()
    assert clock.waits == [float(retry_after)]


def test_a_missing_retry_after_backs_off(
    ada: SpotifySource, spotify: SpotifyStandIn, clock: Clock
) -> None:
    spotify.fail("top-tracks", limited(None), limited("soon"))
    assert ada.top_tracks()
    assert len(clock.waits) == 2
    assert 0.5 <= clock.waits[0] <= 1.0 <= clock.waits[1] <= 1.5


def test_a_huge_retry_after_is_recorded_for_everybody(
    ada: SpotifySource,
    catalogue: SpotifySource,
    spotify: SpotifyStandIn,
    clock: Clock,
) -> None:
    spotify.fail("top-tracks", limited("86400"))
    with pytest.raises(SourceLimitedError) as refused:
        ada.top_tracks()
    assert refused.value.until == clock.now() + timedelta(days=1)
    assert clock.waits == []
    asked = spotify.asked.total()
    with pytest.raises(SourceLimitedError):
        catalogue.search("anything")
    assert spotify.asked.total() == asked
    assert {c.access for c in ada.capabilities()} == {Access.LIMITED}
    clock.pass_by(days=1, seconds=1)
    assert ada.top_tracks()


def test_who_cannot_wait_is_not_kept_waiting(
    access: SpotifyAccess,
    spotify: SpotifyStandIn,
    clock: Clock,
) -> None:
    spotify.fail("top-tracks", limited("20"))
    hurried = access.with_token("ada", "good-token", clock.patience(2))
    with pytest.raises(SourceLimitedError):
        hurried.top_tracks()
    assert clock.waits == []


@pytest.mark.parametrize(
    "failure",
    [error(500, "x"), error(502, "x"), error(503, "x"), Broken(), nonsense()],
    ids=["500", "502", "503", "half a body", "no JSON"],
)
def test_what_may_pass_is_tried_again(
    ada: SpotifySource,
    spotify: SpotifyStandIn,
    clock: Clock,
    failure: Response,
) -> None:
    spotify.fail("top-tracks", failure)
    assert len(ada.top_tracks()) == 50
    assert spotify.asked["top-tracks"] == 2


@pytest.mark.parametrize("failure", [error(500, "x"), Broken(), nonsense()])
def test_what_does_not_pass_ends_and_is_not_kept(
    ada: SpotifySource,
    spotify: SpotifyStandIn,
    failure: Response,
) -> None:
    spotify.fail("top-tracks", *[failure] * 4)
    with pytest.raises(SourceUnavailableError, match="try again later"):
        ada.top_tracks()
    assert spotify.asked["top-tracks"] == 4
    assert ada.top_tracks()


def test_silence_ends_with_the_time_that_is_left(
    settings: Settings,
    engine: sa.Engine,
    redis_url: str,
    spotify: SpotifyStandIn,
) -> None:
    spotify.fail("top-tracks", 1.0, 1.0)
    with SpotifyAccess(settings, engine, redis_url) as access:
        source = access.with_token("ada", "good-token", Patience(0.3))
        with pytest.raises(SourceUnavailableError):
            source.top_tracks()


@pytest.mark.parametrize("answer", ["[]", "{}", '{"items": 3}', '{"items": {"a": 1}}'])
def test_json_of_another_shape_is_nothing(
    ada: SpotifySource, spotify: SpotifyStandIn, answer: str
) -> None:
    spotify.fail("recently-played", Response(answer, media_type="application/json"))
    assert ada.recent_plays().plays == []


def test_odd_tracks_are_counted(ada: SpotifySource, spotify: SpotifyStandIn) -> None:
    at = "2026-05-02T10:00:00.000Z"
    spotify.recent = [
        {"track": None, "played_at": at},
        {"track": track(1, is_local=True, id=None), "played_at": at},
        {"track": track(2, type="episode", artists=[]), "played_at": at},
        {"track": track(3, name=None), "played_at": at},
        {"track": track(4), "played_at": "yesterday"},
        {"track": track(5), "played_at": at},
        {"track": track(5), "played_at": at},
        "nonsense",
    ]
    history = ada.recent_plays()
    assert [p.track.track_name for p in history.plays] == ["Song 5"]
    assert history.skipped == {
        "no track (gone, or a podcast)": 2,
        "local file": 1,
        "not as documented": 3,
        "said twice": 1,
    }


def test_tracks_locked_in_this_market_are_not_recommended(ada: SpotifySource) -> None:
    found = ada.recommendations(seed_tracks=["track1"])
    assert track(120)["id"] not in {t.track_id for t in found}
    assert ada.skipped["locked in this market"] == 1


def test_answers_are_kept_and_expire(
    ada: SpotifySource, spotify: SpotifyStandIn, redis_url: str
) -> None:
    ada.top_tracks()
    ada.top_tracks()
    ada.audio_features(IDS[:1])
    assert spotify.asked["top-tracks"] == 1
    with redis.Redis.from_url(redis_url, db=2) as client:
        assert 21_000 < client.ttl("spotify:api:{ada}:top-tracks:medium_term") <= 21_600
    with redis.Redis.from_url(redis_url, db=1) as client:
        assert 604_000 < client.ttl(f"spotify:audio:{{{IDS[0]}}}") <= 604_800


def test_our_own_limit_holds_per_endpoint_and_in_all(
    settings: Settings,
    engine: sa.Engine,
    redis_url: str,
    clock: Clock,
    spotify: SpotifyStandIn,
) -> None:
    few = settings.model_copy(update={"spotify_rpm": 10})
    with SpotifyAccess(few, engine, redis_url, now=clock.now) as access:
        source = access.with_token("ada", "good-token", clock.patience(5))
        for number in range(5):  # half of the ten
            source.audio_features([IDS[number]])
        with pytest.raises(SourceLimitedError, match="SPOTIFY_RPM"):
            source.audio_features([IDS[9]])
        for number in range(5):
            source.artist_genres([f"a{number}"])
        with pytest.raises(SourceLimitedError, match="SPOTIFY_RPM"):
            source.search("anything")
    assert spotify.asked.total() == 10


def test_without_redis_everything_is_asked_within_the_limit(
    settings: Settings,
    engine: sa.Engine,
    clock: Clock,
    spotify: SpotifyStandIn,
) -> None:
    few = settings.model_copy(update={"spotify_rpm": 4})
    with SpotifyAccess(few, engine, "redis://127.0.0.1:1", now=clock.now) as access:
        source = access.with_token("ada", "good-token", clock.patience(5))
        for _ in range(2):
            assert source.top_tracks()
        assert spotify.asked["top-tracks"] == 2
        with pytest.raises(SourceLimitedError):
            source.top_tracks()


def test_a_probe_says_what_is_allowed(catalogue: SpotifySource, spotify: SpotifyStandIn) -> None:
    spotify.close("audio-features", "recommendations")
    found = {c.name: c.access for c in catalogue.probe()}
    assert found["audio-features"] == found["recommendations"] == Access.CLOSED
    assert found["search"] == found["several-artists"] == Access.ALLOWED
    assert found["top-tracks"] == Access.UNKNOWN  # only a listener can say


def test_tokens_are_never_logged(
    access: SpotifyAccess,
    spotify: SpotifyStandIn,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("spotipy", "spotipy.client", "spotipy.oauth2", "urllib3", "requests"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    spotify.access.add("a-secret-token")
    access.with_token("ada", "a-secret-token", clock.patience()).top_tracks()
    access.catalogue(clock.patience()).search("x")
    spotify.fail("top-artists", error(418, "odd"))
    with pytest.raises(SourceError):
        access.with_token("ada", "a-secret-token", clock.patience()).top_artists()
    assert "a-secret-token" not in caplog.text
    assert "Basic " not in caplog.text
    assert not any(token in caplog.text for token in spotify.access)


def test_a_value_out_of_range_is_missing() -> None:
    found = audio_of(audio("t") | {"energy": 7, "tempo": 0, "key": -1, "valence": True})
    assert found is not None
    assert [found[1][name] for name in ("energy", "tempo", "key", "valence")] == [None] * 4
    assert audio_of({"id": "t", "energy": "loud"}) is None


def test_plays_after_a_moment_alone(ada: SpotifySource) -> None:
    plays = ada.recent_plays(after=datetime(2026, 5, 1, 3, 30, tzinfo=UTC)).plays
    assert 0 < len(plays) < 10
