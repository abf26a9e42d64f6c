"""Loading and building feature tables beside a bare COPY of the same rows: `make bench-features`.

BENCH_SIZE=large takes 1,000,000 tracks, 10,000,000 plays and 50,000 listeners, else a tenth of it.
The embedded PostgreSQL runs in a temporary folder. A bare COPY goes into tables with the same
columns and no keys; ours ends with every key, index and foreign key in place.
"""

import math
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from benchmarks.generated.listening import COLUMNS, Size, write_more, write_world
from benchmarks.results import Row, publish
from features.build import build_features
from features.database import connect
from features.imports import append_file, copy, one_at_a_time
from features.migrations import migrate
from pipelines.servers import open_servers

CALLS = 2_000
CSV = "(FORMAT csv)"


def main() -> None:
    """Measure every size, the largest last, and publish."""
    largest = 10_000_000 if os.environ.get("BENCH_SIZE") == "large" else 1_000_000
    sizes = [n for n in (100_000, 1_000_000, 10_000_000) if n <= largest]
    built: dict[int, float] = {}
    rows: list[Row] = []
    for plays in sizes:
        with tempfile.TemporaryDirectory(prefix="bondhu-bench-") as folder:
            rows, built[plays] = measure(Path(folder), plays)
    exponent = math.log(built[largest] / built[sizes[0]], largest / sizes[0])
    rows.append(
        Row(
            "build from scratch",
            f"exponent of its growth from {sizes[0]:,} to {largest:,} plays",
            exponent,
            peers={f"seconds at {plays:,} plays": built[plays] for plays in sizes},
            target="at most 1.1",
            met=exponent <= 1.1,
        )
    )
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows.append(
        Row("memory", "largest of the Python side, MiB", used, target="under 1024", met=used < 1024)
    )
    publish("features", rows)


def measure(folder: Path, plays: int) -> tuple[list[Row], float]:
    """Load, build and ask at one size; returns the rows, and the seconds of a build."""
    size = Size.of(plays)
    files = write_world(folder, size)
    more = write_more(folder, size, plays // 100)
    world = f"{size.plays:,} plays, {size.tracks:,} tracks"
    with open_servers(folder / "home", None, None) as endpoints:
        engine = connect(endpoints.database_url)
        migrate(engine)
        bare = _timed("bare COPY", lambda: _bare(engine, files))
        with engine.begin() as connection:
            for name in COLUMNS:
                connection.execute(sa.text(f"DROP TABLE bare_{name}"))
        loaded = _timed("load", lambda: _load(engine, files))
        full = _timed("build", lambda: _build(engine))
        added = _timed("load 1% more", lambda: _load(engine, {"plays": more}))
        step = _timed("incremental build", lambda: _build(engine))
        idle = _timed("build with nothing to do", lambda: _build(engine))
        top = _p99(engine, "SELECT * FROM get_user_top_50_tracks(:user_id)", size.listeners)
        profile = _p99(
            engine, "SELECT * FROM get_active_personality_profile(:user_id)", size.listeners
        )
        engine.dispose()
    share = f"{100 * step / full:.1f}% of a full build"
    return [
        Row("load", f"seconds for {world}", loaded, floor=bare, ratio=bare / loaded,
            target="at least .5 x the speed of a bare COPY", met=bare / loaded >= 0.5),
        Row("build from scratch", "seconds", full, floor=bare, ratio=full / bare,
            target="at most 4 x a bare COPY", met=full / bare <= 4),
        Row("load of 1% more plays", "seconds", added),
        Row("build after 1% more plays", f"seconds ({share})", step, peers={"full build": full},
            ratio=step / full, target="at most 5% of a full build", met=step / full <= 0.05),
        Row("build with nothing to do", "seconds", idle),
        Row("get_user_top_50_tracks", "p99 ms", top, target="under 5 ms", met=top < 5),
        Row("get_active_personality_profile", "p99 ms", profile, target="under 5 ms",
            met=profile < 5),
    ], full  # fmt: skip


def _bare(engine: sa.Engine, files: dict[str, Path]) -> None:
    for name, path in files.items():
        columns = COLUMNS[name]
        with engine.begin() as connection, path.open("rb") as file:
            connection.execute(
                sa.text(
                    f"CREATE TABLE bare_{name} AS"  # noqa: S608 - names of the schema
                    f" SELECT {', '.join(columns)} FROM {name} WITH NO DATA"
                )
            )
            copy(connection, f"bare_{name}", columns, file, CSV)


def _load(engine: sa.Engine, files: dict[str, Path]) -> None:
    with one_at_a_time(engine) as connection:
        for name, path in files.items():
            with path.open("rb") as file:
                append_file(connection, name, COLUMNS[name], file, CSV)


def _build(engine: sa.Engine) -> None:
    began = time.perf_counter()

    def say(step: str, _: float) -> None:
        print(f"    {time.perf_counter() - began:6.1f} s  {step}", file=sys.stderr, flush=True)

    build_features(engine, now=datetime.now(UTC), progress=say)


def _p99(engine: sa.Engine, query: str, listeners: int) -> float:
    """Return the 99th percentile, in ms, of calls for listeners drawn at random."""
    users = np.random.default_rng(7).integers(listeners, size=CALLS)
    taken = []
    with engine.connect() as connection:
        for user in users.tolist():
            began = time.perf_counter()
            connection.execute(sa.text(query), {"user_id": f"listener-{user:06d}"}).all()
            taken.append(time.perf_counter() - began)
    return float(np.quantile(taken, 0.99) * 1000)


def _timed(what: str, work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    print(f"{what}: {seconds:.1f} s", file=sys.stderr, flush=True)
    return seconds


if __name__ == "__main__":
    main()
