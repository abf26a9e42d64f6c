"""A whole night: `make bench-nightly`.

10,000 listeners, 1,000,000 plays, rows of feedback and places of lists, 100,000 tracks, and a tenth
of all that for the growth; BENCH_SIZE=large takes ten times as much instead of a tenth, and
BENCH_SIZE=listeners measures the memory of a third of the listeners, of all, and of three times as
many, with the same tracks. Each size runs in a process of its own, with servers of its own in a
temporary folder, and every listener was active lately. Loading the world is no part of the night.
BONDHU_DASK and the other settings count.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.generated.listening import Size
from benchmarks.generated.night import load_night
from benchmarks.load.memory import PeakMemory
from benchmarks.results import Row, publish
from features import nights
from features.settings import read_settings
from pipelines.environment import Environment, open_environment
from pipelines.nights.running import FAILED, run_nights

if TYPE_CHECKING:
    from training.registry import Registry

SIZE = Size(tracks=100_000, plays=1_000_000, listeners=10_000)
SEED = 7
LONGEST_SECONDS = 300
LARGEST_MIB = 4096
STEEPEST = 1.15
FLAT = 1.25
"""Memory of 30,000 listeners by that of 10,000, from where samples of them are full."""
SHORTEST_SECONDS = 2.0
"""A step that takes less at the larger size says nothing about growth."""


@dataclass(frozen=True)
class Measured:
    """What one night took.

    Attributes
    ----------
    seconds
        Step -> its time.
    peaks
        Step -> the largest memory of all processes, and of the night's own, in MiB.
    """

    total: float
    exit_code: int
    seconds: dict[str, float]
    peaks: dict[str, tuple[float, float]]

    @property
    def peak(self) -> float:
        """The largest memory of all processes, in MiB."""
        return max(whole for whole, _ in self.peaks.values())


@dataclass(frozen=True)
class _Elsewhere(Environment):
    """An environment whose models stay in its own folder."""

    def registry(self) -> "Registry":
        from training.registry import Registry  # noqa: PLC0415 - 5 s

        return Registry(self.tracking_uri, self.settings.home / "mlruns")


def main() -> None:
    """Measure two sizes, each in its own process, and publish."""
    if sys.argv[1:]:
        size = Size(*map(int, sys.argv[1].split(",")))
        print(json.dumps(asdict(night_of(size))))
        return
    if os.environ.get("BENCH_SIZE") == "listeners":
        sizes = [_listeners(SIZE, factor) for factor in (1 / 3, 1.0, 3.0)]
        publish("nightly-listeners", memory_rows([(size, _apart(size)) for size in sizes]))
        return
    is_large = os.environ.get("BENCH_SIZE") == "large"
    first, second = (SIZE, _times(SIZE, 10)) if is_large else (_times(SIZE, 0.1), SIZE)
    publish("nightly-large" if is_large else "nightly", rows(_apart(first), _apart(second), second))


def rows(smaller: Measured, larger: Measured, size: Size) -> list[Row]:
    """Return the figures of two nights, the second ten times as large as the first."""
    world = f"{size.listeners:,} listeners, {size.plays:,} plays and rows of feedback"
    # A night that failed has left out what would have taken its time.
    finished = FAILED not in (smaller.exit_code, larger.exit_code)
    found = [
        Row("the night", f"seconds for {world}, {size.tracks:,} tracks", larger.total,
            peers={"a tenth of it": smaller.total}, target=f"at most {LONGEST_SECONDS}",
            met=finished and larger.total <= LONGEST_SECONDS),
        Row("the night", "largest memory of all its processes, MiB", larger.peak,
            peers={"a tenth of it": smaller.peak}, target=f"at most {LARGEST_MIB}",
            met=finished and larger.peak <= LARGEST_MIB),
        Row("the night", "exit code", larger.exit_code),
    ]  # fmt: skip
    for step, seconds in larger.seconds.items():
        before = smaller.seconds[step]
        exponent = math.log10(max(seconds, 1e-3) / max(before, 1e-3))
        tells = seconds >= SHORTEST_SECONDS
        whole, own = larger.peaks.get(step, (0.0, 0.0))
        found.append(
            Row(f"step {step}", "seconds", seconds, peers={"a tenth of it": before})
            if not tells
            else Row(f"step {step}", "seconds; ratio: exponent of growth", seconds,
                     peers={"a tenth of it": before, "peak MiB": whole, "of the night's own": own},
                     ratio=exponent, target=f"exponent at most {STEEPEST}",
                     met=exponent <= STEEPEST)
        )  # fmt: skip
    return found


def memory_rows(measured: Sequence[tuple[Size, Measured]]) -> list[Row]:
    """Return the largest memory of nights that differ in listeners alone, the most of them last.

    The night's own process is to be flat from the last but one to the last: below that, samples are
    not full yet. What all processes hold contains PostgreSQL's pages and the workers.
    """
    *smaller, (size, last) = measured
    finished = all(night.exit_code != FAILED for _, night in measured)
    found = [
        Row("the night", "largest memory of all its processes, MiB", last.peak,
            peers={_named(of): night.peak for of, night in smaller},
            target=f"at most {LARGEST_MIB}", met=finished and last.peak <= LARGEST_MIB)
    ]  # fmt: skip
    for step, (whole, own) in last.peaks.items():
        peers = {_named(of): night.peaks[step][1] for of, night in smaller if step in night.peaks}
        if len(peers) < len(smaller):  # so short that no sample was taken
            continue
        growth = own / peers[_named(smaller[-1][0])]
        found.append(
            Row(f"step {step}", f"MiB of the night's own, {_named(size)}; ratio: by the one before",
                own, peers=peers | {"of all": whole}, ratio=growth,
                target=f"at most {FLAT} times", met=finished and growth <= FLAT)
        )  # fmt: skip
    return found


def _named(size: Size) -> str:
    return f"{size.listeners:,} listeners"


def night_of(size: Size) -> Measured:
    """Load a world, run tonight on it, and return what that took."""
    with tempfile.TemporaryDirectory(prefix="bondhu-night-") as folder:
        home = Path(folder) / "home"
        settings = read_settings().model_copy(
            update={"bondhu_home": home, "database_url": None, "redis_url": None,
                    "mlflow_tracking_uri": None, "bondhu_webhook_url": None}
        )  # fmt: skip
        with open_environment(settings) as opened:
            environment = _Elsewhere(**{f: getattr(opened, f) for f in opened.__dataclass_fields__})
            began = time.perf_counter()
            load_night(opened.engine, Path(folder), size, until=datetime.now(UTC), seed=SEED)
            _tell(f"loaded in {time.perf_counter() - began:.1f} s")
            return _run(environment, home)


def _run(environment: Environment, home: Path) -> Measured:
    memory = PeakMemory(home)
    memory.start()
    began = time.perf_counter()
    tonight = datetime.now(UTC).date()

    def say(line: str) -> None:
        step = line.partition(" ")[2].partition(":")[0]
        memory.doing = step or memory.doing
        _tell(f"{time.perf_counter() - began:7.1f} s  {line}")

    code = run_nights(environment, [tonight], now=lambda: datetime.now(UTC), say=say)
    total = time.perf_counter() - began
    memory.end()
    found = nights.steps(environment.engine, tonight)
    for step in found.values():
        _tell(f"{step.step}: {step.seconds or 0:.1f} s, {memory.peaks.get(step.step)}")
        _tell(f"    {step.outcome}"[:300])
    seconds = {step.step: step.seconds or 0.0 for step in found.values()}
    return Measured(total, code, seconds, memory.peaks)


def _apart(size: Size) -> Measured:
    argument = f"{size.tracks},{size.plays},{size.listeners}"
    # As where programs run again and again: what was imported once need not be compiled anew.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.nightly", argument],
        check=True,
        stdout=subprocess.PIPE,
        env=environment,
    )
    said = json.loads(ran.stdout.splitlines()[-1])
    peaks = {step: (whole, own) for step, (whole, own) in said.pop("peaks").items()}
    return Measured(**said, peaks=peaks)


def _times(size: Size, factor: float) -> Size:
    return replace(
        size,
        tracks=int(size.tracks * factor),
        plays=int(size.plays * factor),
        listeners=int(size.listeners * factor),
    )


def _listeners(size: Size, factor: float) -> Size:
    return replace(size, plays=int(size.plays * factor), listeners=int(size.listeners * factor))


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
