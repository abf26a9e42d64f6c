"""Speed: a feedback beside the bare insert of its row; consolidation; the simulator."""

import os
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import sqlalchemy as sa

from benchmarks.results import Row
from features.build import build_features
from features.catalogue import load_catalogue
from features.database import connect
from features.migrations import migrate
from features.sources.world import build_world
from pipelines.servers import open_servers
from recommender.qtable import QTable
from recommender.scoring import PRIOR
from serving.cache import Cache
from serving.feedback import FeedbackLog, Received
from serving.model_registry import ServedModel
from serving.schemas import FeedbackRequest
from serving.served import Served
from training.data.consolidation import consolidate
from training.simulation.arms import ARMS, DEFAULT, play
from training.simulation.world import read_worlds

FEEDBACKS = 1500
LISTENERS = 50
STATES = 200
GIB = 1024**3

_FILL = sa.text(
    """
    INSERT INTO music_interactions (event_id, user_id, episode, track_id, feedback_type, reward,
        state, occurred_at, received_at, source, trainable)
    SELECT gen_random_uuid(), 'c' || u, s, :track, 'play',
           CASE WHEN (u * 7 + s * 13) % 5 < 3 THEN .8 ELSE -.4 END,
           'extraversion_' || (ARRAY['low', 'med', 'high'])[1 + u % 3] || '|openness_med|'
           'conscientiousness_med|agreeableness_med|neuroticism_med|energy_'
           || (ARRAY['low', 'med', 'high'])[1 + s % 3] || '|valence_med|danceability_high|tempo_'
           || (ARRAY['low', 'med', 'high'])[1 + s / 3 % 3] || '|genre_g' || s / 9 % 23,
           now() - make_interval(days => (u + s) % 60), now() - make_interval(days => (u + s) % 60),
           'bench', true
    FROM generate_series(CAST(:first AS int), CAST(:last AS int)) u,
         generate_series(1, CAST(:states AS int)) s
    """
)


@contextmanager
def servers() -> Iterator[tuple[sa.Engine, str, str]]:
    """Lend an engine on a fresh database, Redis's address, and the database's."""
    with (
        tempfile.TemporaryDirectory() as home,
        open_servers(
            Path(home), os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
        ) as endpoints,
    ):
        admin = connect(endpoints.database_url).execution_options(isolation_level="AUTOCOMMIT")
        name = f"bondhu_bench_{uuid.uuid4().hex}"
        with admin.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE template0"))
        url = sa.make_url(endpoints.database_url).set(database=name)
        address = url.render_as_string(hide_password=False)
        engine = connect(address)
        try:
            migrate(engine)
            yield engine, endpoints.redis_url, address
        finally:
            engine.dispose()
            with admin.connect() as connection:
                connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
            admin.dispose()


def speed() -> list[Row]:
    """Return the rows of all three."""
    with servers() as (engine, redis_url, address):
        return [*feedback(engine, redis_url), *consolidation(engine, address), *simulator()]


def feedback(engine: sa.Engine, redis_url: str) -> list[Row]:
    """Return the times of a feedback, its durable write and its Q-update, and of a bare insert."""
    now = datetime.now(UTC)
    build_world(engine, tracks=2000, listeners=LISTENERS, now=now)
    build_features(engine, now=now)
    named = load_catalogue(engine)
    served = Served.of(named, ServedModel(1, PRIOR), qtable=ServedModel(1, QTable()))
    log = FeedbackLog(engine, Cache(redis_url, connections=8), flush=lambda: None)
    with engine.connect() as connection:
        users = list(connection.scalars(sa.text("SELECT user_id FROM users ORDER BY 1")))
    rng = np.random.default_rng(1)
    whole, bare = [], []
    row_sql = sa.text(
        "INSERT INTO bare_interactions SELECT * FROM jsonb_populate_record("
        "NULL::bare_interactions, '{}')"
    )
    with engine.begin() as connection:
        # The same table with the same indexes, and nothing but the insert.
        connection.execute(
            sa.text("CREATE TABLE bare_interactions (LIKE music_interactions INCLUDING ALL)")
        )
        row_sql = sa.text(
            "INSERT INTO bare_interactions (event_id, user_id, episode, track_id, feedback_type,"
            " reward, state, q_value, track_duration_ms, listen_duration_ms, occurred_at,"
            " received_at, source, trainable) VALUES (:event_id, :user_id, :episode, :track_id,"
            " :feedback_type, :reward, :state, :q_value, 200000, 150000, :now, :now, 'api', true)"
        )
    for number in range(FEEDBACKS):
        request = FeedbackRequest(
            event_id=uuid.uuid4(),
            track_id=named.catalogue.id_of(int(rng.integers(len(named.catalogue)))),
            feedback_type="like",
            listen_duration_ms=150_000,
            track_duration_ms=200_000,
        )
        user_id = users[number % len(users)]
        received = Received(user_id=user_id, received_at=datetime.now(UTC), request=request)
        began = time.perf_counter()
        answer = log.accept(received, served)
        whole.append(1000 * (time.perf_counter() - began))
        values = msgspec.structs.asdict(request) | {
            "user_id": user_id,
            "episode": number + 1,
            "reward": answer.reward,
            "state": answer.state,
            "q_value": answer.q_value,
            "now": received.received_at,
        }
        began = time.perf_counter()
        with engine.begin() as connection:
            connection.execute(row_sql, values)
        bare.append(1000 * (time.perf_counter() - began))
    whole, bare = whole[100:], bare[100:]
    median, floor = float(np.median(whole)), float(np.median(bare))
    tail, tail_floor = float(np.quantile(whole, 0.99)), float(np.quantile(bare, 0.99))
    return [
        Row(
            "feedback",
            "median ms",
            median,
            floor=floor,
            ratio=median / floor,
            target="bare insert + 1 ms",
            met=median <= floor + 1,
        ),
        Row(
            "feedback",
            "p99 ms",
            tail,
            floor=tail_floor,
            ratio=tail / tail_floor,
            target="at most 2 x",
            met=tail <= 2 * tail_floor,
        ),
    ]


def consolidation(engine: sa.Engine, address: str) -> list[Row]:
    """Return the time of consolidating the log, at two sizes, in a process of its own."""
    large = os.environ.get("BENCH_SIZE") == "large"
    sizes = (50_000, 100_000) if large else (5_000, 10_000)
    rows: list[Row] = []
    first = 1
    with engine.begin() as connection:
        track = connection.scalar(sa.text("SELECT min(track_id) FROM tracks"))
    seconds: list[float] = []
    for listeners in sizes:
        for low in range(first, listeners + 1, 5_000):
            asked = {"first": low, "last": low + 4_999}
            with engine.begin() as connection:
                connection.execute(
                    sa.text(
                        "INSERT INTO users (user_id, source) SELECT 'c' || u, 'bench'"
                        " FROM generate_series(CAST(:first AS int), CAST(:last AS int)) u"
                    ),
                    asked,
                )
                connection.execute(_FILL, asked | {"track": track, "states": STATES})
        first = listeners + 1
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("VACUUM ANALYZE music_interactions"))
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.learning_parts.speed", address],
            check=True,
            capture_output=True,
            text=True,
        )
        took, peak = map(float, done.stdout.split())
        seconds.append(took)
        linear = took / seconds[0] <= 1.5 * listeners / sizes[0]
        full = listeners == 100_000
        rows.append(
            Row(
                f"consolidation, {listeners} listeners x {STATES} states",
                f"seconds (peak {peak / GIB:.2f} GiB)",
                took,
                ratio=took / seconds[0],
                target="60 s, 2 GiB" if full else "linear in rows",
                met=(took <= 60 and peak <= 2 * GIB) if full else linear,
            )
        )
    return rows


def simulator() -> list[Row]:
    """Return the time of a million interactions of the default, on one core."""
    world = replace(read_worlds()[1], listeners=20_000)
    began = time.process_time()
    play(world, ARMS[DEFAULT], 1)
    took = time.process_time() - began
    return [
        Row(
            "simulator",
            "seconds of one core for 1,000,000 interactions, 40 categories",
            took,
            target="at most 120",
            met=took <= 120,
        )
    ]


def _consolidate(address: str) -> None:
    engine = connect(address)
    began = time.perf_counter()
    consolidate(engine, now=datetime.now(UTC))
    took = time.perf_counter() - began
    print(took, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    engine.dispose()


if __name__ == "__main__":
    _consolidate(sys.argv[1])
