"""Seen from outside: metrics with few labels, logs with request ids, traces, figures."""

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY, generate_latest
from serving_world import opened

from features import log_messages
from features.engagement import demo_event_id
from features.settings import ROOT, Settings
from serving.logs import JsonLines
from serving.tracing import close_tracing, open_tracing

pytestmark = pytest.mark.anyio


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the logger `bondhu` writes, as a worker writes it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("bondhu")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(before)


def logged(lines: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


def figure(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_an_unknown_path_never_becomes_a_label(settings: Settings) -> None:
    before = figure("bondhu_answers_total", route="other", status="404")
    async with opened(settings) as client:
        answers = [await client.post(f"/v1/{word}") for word in ("nowhere", "%2e%2e/etc", "a/b")]
        wrong = await client.get("/v1/recommend")
        client.application.tell_metrics()
    assert [answer.status_code for answer in answers] == [404] * 3
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "POST")
    assert figure("bondhu_answers_total", route="other", status="404") == before + 3
    text = generate_latest().decode()
    assert "nowhere" not in text
    assert set(re.findall(r'route="([^"]*)"', text)) <= {
        "other", "/", "/docs.json", "/v1/recommend", "/v1/feedback", "/v1/personality",
        "/v1/explain", "/v1/history/refresh", "/v1/history/import", "/v1/spotify/ticket",
        "/spotify/login", "/spotify/callback", "/v1/me", "/v1/me/export", "/v1/me/delete",
        "/v1/stats",
    }  # fmt: skip


async def test_what_is_counted(settings: Settings) -> None:
    names = {
        "hits": ("bondhu_request_seconds_count", {"route": "/v1/recommend", "cache": "hit"}),
        "queries": ("bondhu_query_seconds_count", {"query": "execute store_list"}),
        "shown": ("bondhu_tracks_shown_total", {}),
        "skips": ("bondhu_feedback_total", {"feedback_type": "skip"}),
        "saves": ("bondhu_feedback_total", {"feedback_type": "save"}),
        "accepted": ("bondhu_tracks_accepted_total", {}),
        "long": ("bondhu_plays_over_30s_total", {}),
        "timed": ("bondhu_plays_timed_total", {}),
        "limited": ("bondhu_limited_total", {"where": "redis"}),
    }

    def now() -> dict[str, float]:
        return {key: figure(name, **labels) for key, (name, labels) in names.items()}

    before = now()
    limited = settings.model_copy(update={"user_rate_limit": 5})
    async with opened(limited) as client:
        listed = await client.recommend({"max_results": 7})
        await client.recommend({"max_results": 7})
        of_list = {"recommendation_id": listed["recommendation_id"], "position": 1}
        first = listed["recommendations"][0]["track_id"]
        await client.say(first, "save", listen_duration_ms=60_000, **of_list)
        await client.say("track-250", "skip", listen_duration_ms=4_000)
        await client.post("/v1/recommend")
        await client.post("/v1/recommend")
        client.application._house_keep()
    after = now()
    assert {key: after[key] - before[key] for key in names} == {
        "hits": 1, "queries": 2, "shown": 64, "skips": 1, "saves": 1, "accepted": 1, "long": 1,
        "timed": 2, "limited": 1,
    }  # fmt: skip
    assert figure("bondhu_redis_memory_bytes") > 100_000
    assert figure("bondhu_model_version", model="scorer", alias="champion") == 1
    assert figure("bondhu_pool_size", pool="postgres") > 0
    assert figure("bondhu_queue_depth", queue="journal") == 0


async def test_the_dashboard_shows_what_there_is(settings: Settings) -> None:
    async with opened(settings) as client:
        await client.recommend()
        client.application._house_keep()
    known = {metric.name for metric in REGISTRY.collect()}
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
        for name in re.findall(r"\bbondhu_[a-z0-9_]+", target["expr"])
    }
    stripped = {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in asked}
    assert stripped <= known, stripped - known
    # Every metric of ours is somewhere to be seen.
    assert {name for name in known if name.startswith("bondhu_")} <= stripped


async def test_logs_carry_the_request_s_id_and_no_secret(
    settings: Settings, lines: io.StringIO
) -> None:
    async with opened(settings) as client:
        scores = {"scores": {"openness": 87.5, "extraversion": 12.25}}
        await client.post("/v1/personality", scores, **{"X-Request-Id": "from-the-caller"})
        answer = await client.post("/v1/recommend", {"spotify_token": "BQD-spotify-secret"})
        await client.post("/v1/personality", {"scores": {"openness": 101.125}})
        await client.post("/v1/recommend", {}, Authorization="Bearer not.a.token-secret")
        strange = await client.post("/v1/recommend", {}, **{"X-Request-Id": "x" * 500})
    text = lines.getvalue()
    for secret in ("BQD-spotify", "eyJ", "token-secret", "87.5", "12.25", "101.125"):
        assert secret not in text
    said = logged(lines)
    ours = [line for line in said if line["template"] == log_messages.GENERATED_CANDIDATES]
    assert ours[0]["message"] == "Generated 300 candidates for user ada"
    assert ours[0]["request_id"] == answer.headers["X-Request-Id"]
    assert any(line.get("request_id") == "from-the-caller" for line in said)
    assert len(strange.headers["X-Request-Id"]) == 16


async def test_seed_s_messages_are_there_to_be_searched(
    settings: Settings, lines: io.StringIO
) -> None:
    async with opened(settings) as client:
        await client.say("track-250", "repeat")
    assert "Processed repeat feedback with reward 1.2" in [
        line["message"] for line in logged(lines)
    ]
    seed = {
        "Spotify client initialized with user token": (),
        "Generated 300 candidates for user X": (300, "X"),
        "Processed like feedback with reward 1.2": ("like", 1.2),
        "Using cached recently played tracks": (),
        "Rate limited on endpoint, waiting 2s": (2,),
    }
    templates = [
        log_messages.SPOTIFY_CLIENT,
        log_messages.GENERATED_CANDIDATES,
        log_messages.PROCESSED_FEEDBACK,
        log_messages.CACHED_PLAYS,
        log_messages.RATE_LIMITED,
    ]
    written = [t % values for t, values in zip(templates, seed.values(), strict=True)]
    assert written == list(seed)


async def test_what_nobody_expected_is_500_with_a_number(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, lines: io.StringIO
) -> None:
    before = figure("bondhu_errors_total", type="ZeroDivisionError")
    async with opened(settings) as client:
        monkeypatch.setattr(client.application, "assess", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):  # the transport here hands it on
            await client.post("/v1/personality", {"scores": {"openness": 1}})
    assert figure("bondhu_errors_total", type="ZeroDivisionError") == before + 1
    assert any(line["message"] == "Something broke: ZeroDivisionError" for line in logged(lines))


async def test_traces_if_configured(settings: Settings) -> None:
    exporter = InMemorySpanExporter()
    provider = open_tracing("http://127.0.0.1:9", exporter=exporter)
    try:
        async with opened(settings) as client:
            await client.recommend()
        provider.force_flush()
        spans = {span.name: span for span in exporter.get_finished_spans()}
    finally:
        close_tracing(provider)
    route = spans["/v1/recommend"]
    assert spans["compute"].parent is not None
    assert spans["compute"].parent.span_id == route.context.span_id
    assert not re.search(r"\bada\b", route.to_json())  # ids of spans are hexadecimal: 9ada


async def test_figures_are_for_administrators(settings: Settings, world: sa.Engine) -> None:
    async with opened(settings) as client:
        await client.recommend()
        await client.recommend()
        await client.say("track-250", "play", listen_duration_ms=31_000)
        demo = {"event_id": str(demo_event_id())}  # nobody's word
        await client.say("track-251", "play", listen_duration_ms=1_000, **demo)
        client.application._house_keep()
        refused = await client.post("/v1/stats")
        said = (await client.ask_as_admin("/v1/stats")).json()
    assert refused.status_code == 403
    assert [cache["cache"] for cache in said["caches"]] == [
        "recommendations", "audio_features", "api", "user_data",
    ]  # fmt: skip
    assert (said["caches"][0]["hits"], said["caches"][0]["misses"]) == (1, 1)
    assert said["models"]["champion"] == {"scorer": 1}
    assert said["sources"] == [
        {"source": "test", "tracks": 300, "plays": 20, "last_import_at": None}
    ]
    promises = {one["metric"]: one for one in said["criteria"]}
    assert promises["Tracks played > 30 s, %"]["actual"] == 100.0
    assert promises["API response (cached), ms, 95%"]["n"] >= 1
    assert [(one["metric"], one["target"]) for one in said["criteria"]] == [
        ("API response (cached), ms, 95%", "< 200"),
        ("Initial recommendation, ms, 95%", "< 3000"),
        ("Database query, ms, 95%", "< 50"),
        ("Cache hit rate, %", "> 80"),
        ("Tracks played > 30 s, %", "> 60"),
    ]
    assert said["queues"] == {
        "journal": 0, "servings": 0, "acting": 0, "shadows": 0, "samples": 0,
    }  # fmt: skip


async def test_in_process_limit_is_counted(settings: Settings, tmp_path: Path) -> None:
    before = figure("bondhu_limited_total", where="local")
    away = settings.model_copy(
        update={"redis_url": f"unix://{tmp_path}/nobody.sock", "user_rate_limit": 2}
    )
    async with opened(away) as client:
        answers = [await client.post("/v1/me") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
    assert figure("bondhu_limited_total", where="local") == before + 1


async def test_a_caller_who_leaves_is_nobody_s_error(settings: Settings) -> None:
    from starlette.types import Message  # noqa: PLC0415

    from serving import api  # noqa: PLC0415

    async with opened(settings) as client:
        app = api.build(client.application)
        token = client.token()

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        async def send(_: Message) -> None:
            raise AssertionError("nobody is there to be answered")

        scope = {
            "type": "http", "method": "POST", "path": "/v1/recommend", "query_string": b"",
            "headers": [(b"authorization", f"Bearer {token}".encode())],
        }  # fmt: skip
        async with asyncio.timeout(10):
            await app(scope, receive, send)
