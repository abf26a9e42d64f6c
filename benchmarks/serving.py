"""How fast the service answers: `make bench-serving`, or some pieces of it by name.

    python -m benchmarks.serving start hits uncached feedback many steady

Every ratio is against a floor that the same run takes: an empty BentoML call, bare uvicorn with one
Redis GET of the same bytes, a bare insert, the ranking alone. BENCH_SECONDS is the length of the
steady piece (300).
"""

import json
import os
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import redis
import sqlalchemy as sa

from benchmarks.load import servers, world
from benchmarks.load.bare_get import KEY
from benchmarks.load.generator import Outcome, Plan
from benchmarks.results import RESULTS, Row, publish
from features.catalogue import load_catalogue
from features.database import connect
from features.migrations import migrate
from pipelines.servers import open_servers
from recommender.colisten import Colisten
from recommender.qtable import QTable
from recommender.scoring import Scorer
from serving import golden
from serving.auth import issue_token
from serving.model_registry import load_champion, open_registry
from serving.served import Served

SECRET = "a secret of more than thirty-two bytes"  # noqa: S105 - of this benchmark's own servers
SEED_MISS_MS, SEED_FEEDBACK_MS, SEED_KB = 1500.0, 10.0, 350.0
LISTENERS = 1000
"""Fewer where the data has fewer: those that the uncached piece needs are never asked before."""
CONNECTIONS = 16
SECONDS = 8.0
NOT_CACHED = 0.15


@dataclass(frozen=True)
class Bench:
    """The world of one run."""

    engine: sa.Engine
    redis_url: str
    tracking_uri: str
    listeners: Sequence[str]
    environment: dict[str, str]

    @contextmanager
    def service(self, workers: int = 1, **settings: str) -> Iterator["Service"]:
        """Run ours for the length of a block."""
        for db in range(4):
            with redis.Redis.from_url(self.redis_url, db=db) as client:
                client.flushdb()
        port = servers.free_port()
        command, more = servers.bento("bondhu", workers, port)
        environment = self.environment | more | settings
        with servers.started(command, port, environment, "/readyz") as (process, seconds):
            yield Service(self, port, process, seconds)


@dataclass(frozen=True)
class Service:
    """Ours, running."""

    bench: Bench
    port: int
    process: object
    ready_seconds: float

    def requests(
        self, users: Sequence[str], path: str = "/v1/recommend", **body: object
    ) -> list[str]:
        """Return one request for each listener."""
        return [servers.request(self.port, path, token(user), body) for user in users]

    def load(self, requests: list[str], **plan: object) -> Outcome:
        """Send them."""
        usual: dict[str, object] = {"connections": CONNECTIONS, "seconds": SECONDS}
        return servers.load(
            Plan(host=servers.HOST, port=self.port, requests=requests, **(usual | plan))  # type: ignore[arg-type]
        )

    def warm(self, users: Sequence[str]) -> Outcome:
        """Let every listener have a list."""
        return self.load(self.requests(users), connections=4, seconds=600, repeat=False)


def token(user: str) -> str:
    """Return a token for a day."""
    return issue_token(SECRET, user, now=int(time.time()), hours=24)


def quantile(values: Sequence[float], share: float) -> float:
    """Return a quantile, NaN of nothing."""
    return float(np.quantile(values, share)) if values else float("nan")


def start(bench: Bench) -> Iterator[Row]:
    """From the command to the first yes of /readyz."""
    ours, empty = [], []
    for _ in range(2):
        with bench.service() as service:
            ours.append(service.ready_seconds)
        port = servers.free_port()
        command, more = servers.bento("empty", 1, port)
        with servers.started(command, port, more, "/readyz") as (_, seconds):
            empty.append(seconds)
    mine, floor = statistics.median(ours), statistics.median(empty)
    yield Row(
        "start to ready", "seconds", mine, floor=floor, ratio=mine / floor,
        target="< 10 s and at most 1.5 x an empty bento", met=mine < 10 and mine <= 1.5 * floor,
    )  # fmt: skip


def hits(bench: Bench) -> Iterator[Row]:
    """Measure cached lists of 50: throughput beside both floors, taken in turns."""
    with bench.service() as service:
        users = bench.listeners[:-300][:LISTENERS]
        service.warm(users)
        requests = service.requests(users)
        with redis.Redis.from_url(bench.redis_url) as client:
            client.set(KEY, _one_answer(service, users[0]), ex=3600)
            client.config_resetstat()
            counted = service.load(requests, seconds=2.0)
            used = client.info("commandstats")
            calls = sum(int(v["calls"]) for k, v in used.items() if k.startswith("cmdstat_evalsha"))
        ours, empty, bare = _in_turns(service, requests)
    rate, floor, peer = (statistics.median(o.rate for o in os_) for os_ in (ours, empty, bare))
    merged = [ms for one in ours for ms in one.outcome.milliseconds["hit"]]
    yield Row(
        "hits, 16 connections, 1 worker", "answers/s", rate, floor=peer, ratio=rate / peer,
        peers={"empty bentoml.api": floor}, target="at least .8 x bare uvicorn + GET",
        met=rate >= 0.8 * peer,
    )  # fmt: skip
    yield Row(
        "hits, 16 connections, 1 worker", "answers/s beside an empty bentoml.api", rate,
        floor=floor, ratio=rate / floor, target="at least 3 x", met=rate >= 3 * floor,
    )  # fmt: skip
    yield Row(
        "hits, 16 connections, 1 worker", "p99 ms", quantile(merged, 0.99),
        peers={"p50": quantile(merged, 0.5)},
        floor=quantile([ms for o in bare for ms in o.all()], 0.99),
    )  # fmt: skip
    trips = calls / max(1, counted.statuses.get("200", 0))
    yield Row("hits", "round trips to Redis for one", trips, target="1", met=abs(trips - 1) < 0.02)
    share = statistics.median(one.outcome.cpu_share for one in ours)
    yield Row("hits", "the generator's share of a core", share)


@dataclass(frozen=True)
class _Taken:
    outcome: Outcome

    @property
    def rate(self) -> float:
        return sum(self.outcome.statuses.values()) / self.outcome.seconds

    def all(self) -> list[float]:
        return [ms for kind in self.outcome.milliseconds.values() for ms in kind]


def _in_turns(
    service: Service, requests: list[str]
) -> tuple[list[_Taken], list[_Taken], list[_Taken]]:
    bench, one, two = service.bench, servers.free_port(), servers.free_port()
    command, more = servers.bento("empty", 1, one)
    ours: list[_Taken] = []
    empty: list[_Taken] = []
    bare: list[_Taken] = []
    with (
        servers.started(command, one, more, "/readyz"),
        servers.started(servers.bare(two), two, {"REDIS_URL": bench.redis_url}, "/"),
    ):
        for _ in range(3):
            ours.append(_Taken(service.load(requests)))
            for port, path, taken in ((one, "/empty", empty), (two, "/", bare)):
                plan = Plan(servers.HOST, port, CONNECTIONS, SECONDS, [servers.request(port, path)])
                taken.append(_Taken(servers.load(plan)))
    return ours, empty, bare


def _one_answer(service: Service, user: str) -> bytes:
    answer = httpx.post(
        f"http://{servers.HOST}:{service.port}/v1/recommend",
        headers={"Authorization": f"Bearer {token(user)}"},
        json={},
    )
    return answer.content


def uncached(bench: Bench) -> Iterator[Row]:
    """Ask for listeners who were never asked for, one request at a time."""
    users = bench.listeners[-300:]
    with bench.service() as service:
        service.load(service.requests(users[:20]), connections=1, repeat=False, seconds=60)
        outcome = service.load(
            service.requests(users[20:]), connections=1, repeat=False, seconds=60
        )
    took = outcome.milliseconds["miss"]
    floor = _ranking_alone(bench)
    p50, p99 = quantile(took, 0.5), quantile(took, 0.99)
    yield Row(
        "uncached, one at a time", "p50 ms", p50, floor=floor, ratio=p50 / floor,
        peers={"seed": SEED_MISS_MS}, target="< 20 ms", met=p50 < 20,
    )  # fmt: skip
    yield Row("uncached, one at a time", "p99 ms", p99, target="< 40 ms", met=p99 < 40)


def _ranking_alone(bench: Bench) -> float:
    """Return the milliseconds of candidates, components and ranking, with nothing around them."""
    registry = open_registry(bench.tracking_uri)
    served = Served.of(
        load_catalogue(bench.engine),
        load_champion(registry, "scorer", Scorer),
        load_champion(registry, "colisten", Colisten),
        load_champion(registry, "qtable", QTable),
    )
    registry.close()
    times = []
    for _ in range(10):
        began = time.perf_counter()
        golden.check(served)  # three lists
        times.append((time.perf_counter() - began) * 1000 / 3)
    return statistics.median(times)


def feedback(bench: Bench) -> Iterator[Row]:
    """Durable feedback, one at a time, beside the same insert with nothing around it."""
    users = bench.listeners[:200]
    with bench.engine.connect() as connection:
        tracks = connection.scalars(
            sa.text("SELECT track_id FROM tracks ORDER BY md5(track_id) LIMIT 1000")
        ).all()
    with bench.service() as service:
        requests = [
            servers.request(
                service.port, "/v1/feedback", token(users[at % len(users)]),
                {"event_id": str(uuid.uuid4()), "track_id": track, "feedback_type": "like"},
            )
            for at, track in enumerate(tracks)
        ]  # fmt: skip
        outcome = service.load(requests, connections=1, repeat=False, seconds=120)
    took = outcome.milliseconds["other"][50:]
    floor = _bare_inserts(bench, 500)
    p50, p99 = quantile(took, 0.5), quantile(took, 0.99)
    yield Row(
        "feedback, durable, one at a time", "p99 ms", p99, floor=quantile(floor, 0.99),
        ratio=p99 / quantile(floor, 0.99), peers={"seed": SEED_FEEDBACK_MS},
        target="< 15 ms", met=p99 < 15,
    )  # fmt: skip
    yield Row("feedback, durable, one at a time", "p50 ms", p50, floor=quantile(floor, 0.5))


def _bare_inserts(bench: Bench, n: int) -> list[float]:
    took = []
    with bench.engine.connect() as connection:
        connection.execute(sa.text("CREATE TABLE bench_floor (id int, event text)"))
        connection.commit()
        for at in range(n):
            began = time.perf_counter()
            connection.execute(
                sa.text("INSERT INTO bench_floor VALUES (:id, :event)"),
                {"id": at, "event": "x" * 300},
            )
            connection.commit()
            took.append((time.perf_counter() - began) * 1000)
        connection.execute(sa.text("DROP TABLE bench_floor"))
        connection.commit()
    return took[20:]


def many(bench: Bench) -> Iterator[Row]:
    """1,000 listeners, 85 of 100 calls cached, 2 workers, 60 s, at most 90 calls each."""
    users = bench.listeners[:-300][:LISTENERS]
    with bench.service(workers=2, USER_RATE_LIMIT="100") as service:
        service.warm(users)
        time.sleep(61)  # the calls of warming up leave the window
        plain, fresh = service.requests(users), service.requests(users, force_refresh=True)
        rng = np.random.default_rng(7)
        # 54 rounds in which everybody calls once, in another order each time.
        order = np.concatenate([rng.permutation(len(users)) for _ in range(54)])
        anew = rng.random(len(order)) < NOT_CACHED
        mixed = [
            (fresh if new else plain)[at] for at, new in zip(order.tolist(), anew, strict=True)
        ]
        outcome = service.load(mixed, connections=64, seconds=60, per_second=870.0, repeat=False)
        yield from _stores(bench, len(users))
    took = [ms for kind in outcome.milliseconds.values() for ms in kind]
    good = outcome.statuses.get("200", 0)
    wrong = sum(outcome.statuses.values()) - good + outcome.errors
    share = len(outcome.milliseconds["hit"]) / max(1, len(took))
    yield Row(
        "1,000 listeners, 2 workers, 60 s", "answers of 200", float(good),
        peers={"share of hits": share, "errors": float(wrong)},
        target="at least 50,000, no error", met=good >= 50_000 and not wrong,
    )  # fmt: skip
    p99 = quantile(took, 0.99)
    yield Row("1,000 listeners, 2 workers, 60 s", "p99 ms", p99, target="< 500", met=p99 < 500)
    yield Row(
        "1,000 listeners, 2 workers, 60 s", "the generator's share of a core", outcome.cpu_share
    )


def _stores(bench: Bench, listeners: int) -> Iterator[Row]:
    """Count what one listener takes in each store."""
    kept = 0
    for db in range(4):
        with redis.Redis.from_url(bench.redis_url, db=db) as client:
            kept += sum(int(client.memory_usage(key) or 0) for key in client.scan_iter(count=1000))
    in_redis = kept / 1000 / listeners
    with bench.engine.connect() as connection:
        bytes_per_list = connection.execute(
            sa.text(
                "SELECT (pg_total_relation_size('recommendations_cache')"
                " + pg_total_relation_size('music_recommendations'))"
                " / greatest(1, (SELECT count(*) FROM recommendations_cache))"
            )
        ).scalar_one()
        history = connection.execute(
            sa.text(
                "SELECT (pg_total_relation_size('artist_plays') + pg_total_relation_size('plays')"
                " + pg_total_relation_size('listening_history'))"
                " / greatest(1, (SELECT count(*) FROM users))"
            )
        ).scalar_one()
    in_postgres = (int(bytes_per_list) + int(history)) / 1000
    yield Row(
        "bytes per listener", "KB in Redis", in_redis, peers={"seed, all stores": SEED_KB},
        target="in all stores under the seed's 350 KB", met=in_redis + in_postgres < SEED_KB,
    )  # fmt: skip
    yield Row(
        "bytes per listener", "KB in Postgres: history, a list, its 50 impressions", in_postgres
    )


def steady(bench: Bench) -> Iterator[Row]:
    """60% of the maximum in an open loop: hits and misses mixed, a model swapped every minute."""
    seconds = float(os.environ.get("BENCH_SECONDS", "300"))
    users, others = bench.listeners[:32], bench.listeners[32:132]
    with bench.service() as service:
        service.warm(users)
        plain, fresh = service.requests(users), service.requests(others, force_refresh=True)
        highest = _Taken(service.load(plain, seconds=5.0)).rate
        per_second = 0.6 * highest
        every = round(per_second / 2)  # two computed lists a second among the hits
        mixed = [
            fresh[at // every % len(fresh)] if at % every == 0 else plain[at % len(plain)]
            for at in range(every * len(fresh))
        ]
        before = servers.worker_megabytes(service.process)[0]  # type: ignore[arg-type]
        stop = threading.Event()
        swapping = threading.Thread(target=_swap_every, args=(bench, 60.0, stop))
        swapping.start()
        outcome = service.load(mixed, connections=64, seconds=seconds, per_second=per_second)
        stop.set()
        swapping.join()
        after = servers.worker_megabytes(service.process)[0]  # type: ignore[arg-type]
    found = outcome.milliseconds["hit"]
    p99, longest = quantile(found, 0.99), max(found)
    task = f"steady, {per_second:.0f}/s for {seconds:.0f} s"
    yield Row(
        task, "p99 ms of hits", p99, peers={"p50": quantile(found, 0.5)},
        target="< 25", met=p99 < 25,
    )  # fmt: skip
    over = sum(1 for ms in found if ms > 50) / len(found)
    yield Row(
        task, "longest hit, ms", longest, peers={"share over 50 ms": over},
        target="no pause over 50", met=longest <= 50,
    )  # fmt: skip
    wrong = outcome.errors + sum(n for s, n in outcome.statuses.items() if s != "200")
    yield Row(task, "errors", float(wrong), target="0", met=wrong == 0)
    yield Row(task, "p99 ms of computed lists", quantile(outcome.milliseconds["miss"], 0.99))
    yield Row(
        task, "MB of the worker afterwards", after, peers={"before": before},
        target="< 200 and flat", met=after < 200 and after < before * 1.15,
    )  # fmt: skip
    yield Row(task, "the generator's share of a core", outcome.cpu_share)


def _swap_every(bench: Bench, seconds: float, stop: threading.Event) -> None:
    while not stop.wait(seconds):
        world.swap(bench.engine)


PIECES: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "start": start,
    "hits": hits,
    "uncached": uncached,
    "feedback": feedback,
    "many": many,
    "steady": steady,
}


def main(names: Sequence[str]) -> None:
    """Run pieces, and put their rows in the place of those of the same pieces before."""
    with tempfile.TemporaryDirectory(prefix="bondhu-bench-") as folder:
        home = Path(folder)
        with open_servers(home, None, None) as endpoints:
            engine = connect(endpoints.database_url)
            migrate(engine)
            listeners = world.fill(engine)
            world.register(engine, home)
            tracking = f"{endpoints.database_url}&options=-csearch_path%3Dmlflow"
            environment = {
                "DATABASE_URL": endpoints.database_url,
                "REDIS_URL": endpoints.redis_url,
                "MLFLOW_TRACKING_URI": tracking,
                "BONDHU_HOME": str(home),
                "BONDHU_JWT_SECRET": SECRET,
                "BONDHU_LOG_LEVEL": "WARNING",
                "USER_RATE_LIMIT": "1000000",
            }
            bench = Bench(engine, endpoints.redis_url, tracking, listeners, environment)
            rows: dict[str, list[Row]] = {}
            for name in names or PIECES:
                rows[name] = list(PIECES[name](bench))
                for row in rows[name]:
                    print(name, row, file=sys.stderr)
            engine.dispose()
    publish("serving", _with_earlier(rows))


def _with_earlier(rows: dict[str, list[Row]]) -> list[Row]:
    """Return the rows of this run and, after them, those of pieces that did not run now."""
    path = RESULTS / "serving.json"
    fresh = [row for piece in rows.values() for row in piece]
    tasks = {row.task.split(",")[0] for row in fresh}
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return fresh + [Row(**row) for row in earlier if row["task"].split(",")[0] not in tasks]


if __name__ == "__main__":
    main(sys.argv[1:])
