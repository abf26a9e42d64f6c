"""The eight criteria by hand: from rows whose figures are known."""

from datetime import UTC, datetime, timedelta

import httpx
import sqlalchemy as sa
from nights_world import NightsWorld
from prometheus_client import generate_latest

from features import probes
from features.engagement import Figure, demo_event_id
from features.probes import Probe
from pipelines import criteria, prober
from serving.metrics import LATENCY, QUERIES

UNTIL = datetime(2026, 5, 20, 3, tzinfo=UTC)
SINCE = UNTIL - timedelta(days=30)
AT = UNTIL - timedelta(days=2)


def rows(engine: sa.Engine, hits: Figure | None = None) -> dict[str, criteria.Criterion]:
    found = criteria.criteria(
        engine, since=SINCE, until=UNTIL, cache_hits=lambda: hits or Figure(None, 0)
    )
    return {row.metric.split(",")[0]: row for row in found}


def test_nothing_measured_is_said(engine: sa.Engine) -> None:
    found = rows(engine)
    assert len(found) == 8
    assert {row.actual for row in found.values()} == {"nothing measured"}
    assert {row.met for row in found.values()} == {None}


def test_by_hand(engine: sa.Engine) -> None:
    world = NightsWorld(engine, listeners=2, artists=12, tracks_each=1, circles=2, start=SINCE)
    world.plant(days=9, plays=0)
    # Listener 0 hears 8 of 12 tracks, each of its own artist, and skips 4.
    world.say(0, world.tracks, [True] * 8 + [False] * 4, AT)
    for number in range(200):
        answered = number != 7
        # 95 of 100 cached answers end within .1 s, all within .2 s.
        histograms = {"cached": {"0.1": 95 * number, "0.2": 100 * number, "+Inf": 100 * number}}
        at = AT + timedelta(seconds=30 * number)
        probes.store(engine, Probe("a", at, answered, 3.0, histograms if answered else {}))
    found = rows(engine, Figure(0.85, 40))
    assert found["Tracks played > 30 s"].actual == "66.67%"
    assert found["Tracks played > 30 s"].met
    assert found["Tracks played > 30 s"].n == 12
    assert found["Tracks played > 30 s"].origin == "simulated"
    assert found["New artists a listener and month"].actual == "8.00"
    # Under ten heard tracks, an entropy says how few they are.
    assert found["Diversity"].actual == "nothing measured"
    assert found["Uptime"].actual == "99.50%"
    assert found["Uptime"].met
    assert found["API response (cached)"].actual == "<= 100 ms"
    assert found["API response (cached)"].n == 100 * 199
    assert found["Cache hit rate"].actual == "85.00%"
    assert found["Cache hit rate"].window == "7 days, all workers"
    (of_a_day,) = [
        row
        for row in criteria.criteria(
            engine, since=UNTIL - timedelta(days=1), until=UNTIL, cache_hits=lambda: Figure(0.85, 9)
        )
        if row.metric == "Cache hit rate"
    ]
    assert of_a_day.window == "7 days, all workers"


def test_entropy_is_in_bits_over_finest_genres(engine: sa.Engine) -> None:
    world = NightsWorld(engine, listeners=1, artists=12, tracks_each=1, circles=2, start=SINCE)
    world.plant(days=9, plays=0)
    world.say(0, world.tracks, [True] * 12, AT)  # three genres, four tracks each: log2(3)
    assert rows(engine)["Diversity"].actual == "1.58"


def test_a_service_that_is_away_is_a_probe_too(engine: sa.Engine) -> None:
    with httpx.Client() as client:
        found = prober.probe("http://127.0.0.1:9", now=lambda: AT, client=client)
    assert not found.ok
    probes.store(engine, found)
    assert rows(engine)["Uptime"].actual == "0.00%"


def test_probes_wait_for_a_database_that_is_away(engine: sa.Engine) -> None:
    away = sa.create_engine("postgresql+psycopg2://nobody@127.0.0.1:9/none")
    waiting = prober.Waiting()
    for number in range(2):
        assert not waiting.keep(away, Probe("a", AT + timedelta(seconds=number), False, 3.0, {}))
    assert len(waiting) == 2
    assert waiting.keep(engine, Probe("a", AT + timedelta(seconds=2), True, 3.0, {}))
    assert len(waiting) == 0
    assert rows(engine)["Uptime"].actual == "33.33%"


def test_the_prober_reads_the_service_s_own_histograms() -> None:
    LATENCY.labels("/v1/recommend", "hit").observe(0.004)
    QUERIES.labels("select users").observe(0.03)
    page = generate_latest().decode()
    cached, queries = (
        prober.bins(page, *prober.HISTOGRAMS[name]) for name in ("cached", "queries")
    )
    assert cached["0.005"] >= 1
    assert queries["+Inf"] > queries["0.02"]


def test_what_a_demonstration_says_is_nobodys(engine: sa.Engine) -> None:
    world = NightsWorld(engine, listeners=1, artists=12, tracks_each=1, circles=2, start=SINCE)
    world.plant(days=9, plays=0)
    world.say(0, world.tracks, [True] * 12, AT)
    with engine.begin() as connection:
        # As `bondhu demo` would have sent them: what was said stays, only whose word it is changes.
        connection.execute(sa.text("ALTER TABLE music_interactions DISABLE TRIGGER USER"))
        for (seq,) in connection.execute(sa.text("SELECT seq FROM music_interactions")).all():
            connection.execute(
                sa.text("UPDATE music_interactions SET event_id = :id WHERE seq = :seq"),
                {"id": demo_event_id(), "seq": seq},
            )
        connection.execute(sa.text("ALTER TABLE music_interactions ENABLE TRIGGER USER"))
    assert {row.actual for row in rows(engine).values()} == {"nothing measured"}
