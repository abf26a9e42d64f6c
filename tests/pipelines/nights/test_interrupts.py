"""Ctrl-C and a polite kill end a run of nights at once: no further night, no call, still due."""

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from webhook_receiver import receiver

from features import nights
from pipelines.nights import due
from pipelines.nights.interrupts import ending_signals
from pipelines.servers import Redis

# The program itself; its steps do nothing but `watch`, which works for a minute.
DRIVER = """
import os, sys, time
from pipelines import steps
from training.data.forks import forked

def work(_):
    os.write(2, b"at work %d\\n" % os.getpid())
    time.sleep(60)

def watch(night):
    list(forked(work, range(2), processes=processes))
    return {}

processes = int(sys.argv[1])
steps.STEPS = {name: lambda night: {} for name in steps.STEPS} | {"watch": watch}
from pipelines.cli import main
sys.argv[:2] = ["bondhu"]
main()
"""


@pytest.mark.parametrize(
    ("number", "code", "processes"),
    [(signal.SIGINT, 130, 1), (signal.SIGTERM, 143, 1), (signal.SIGTERM, 143, 2)],
)
def test_a_signal_ends_all_nights(
    engine: sa.Engine, database_url: str, tmp_path: Path, number: int, code: int, processes: int
) -> None:
    today = datetime.now(UTC)
    first = today.date() - timedelta(days=1)
    words = ["nightly", "--from", str(first), "--to", str(today.date())]
    with receiver(200, 200) as (url, got):
        surroundings = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
        surroundings |= {
            "BONDHU_HOME": str(tmp_path),
            "DATABASE_URL": database_url,
            "BONDHU_WEBHOOK_URL": url,
        }
        with subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(processes), *words],
            env=surroundings,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as ran:
            assert ran.stderr is not None
            workers = []
            for line in ran.stderr:
                if line.startswith("at work"):
                    workers.append(int(line.split()[-1]))
                if len(workers) == processes:
                    break
            ran.send_signal(number)
            said = ran.communicate(timeout=30)[1]
        assert ran.returncode == code, said
        assert "Traceback" not in said
        assert got == []
    assert not Redis(tmp_path).running()
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    (row,) = nights.nights(engine, until=today.date(), most=9)
    assert (row.night, row.status) == (first, "running")
    assert nights.steps(engine, first)["watch"].status == "running"
    assert due.due(engine, today, catch_up=7) == [first, today.date()]


@pytest.mark.parametrize(
    ("number", "ended"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_that_others_swallow_is_not_lost(
    number: signal.Signals, ended: type[BaseException]
) -> None:
    def end(*_: object) -> None:
        raise SystemExit(143)

    own = signal.signal(signal.SIGTERM, end)
    swallowed: list[int] = []

    @ending_signals()
    def swallowing() -> None:
        signal.signal(number, lambda n, _: swallowed.append(n))
        signal.raise_signal(number)

    try:
        with pytest.raises(ended):
            swallowing()
        assert swallowed == [number]
        assert signal.getsignal(signal.SIGTERM) is end
        with ending_signals():  # nothing is left of it
            pass
    finally:
        signal.signal(signal.SIGTERM, own)


def test_a_signal_that_python_ignores_is_sent_once_more() -> None:
    class Thing:
        """What is forgotten while a signal comes in."""

    ignored: list[object] = []
    hook, sys.unraisablehook = sys.unraisablehook, ignored.append
    began = time.monotonic()

    @ending_signals()
    def forgetting() -> None:
        thing = Thing()
        watched = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
        del thing
        assert watched() is None
        time.sleep(20)

    try:
        with pytest.raises(KeyboardInterrupt):
            forgetting()
        assert sys.unraisablehook == ignored.append
    finally:
        sys.unraisablehook = hook
    assert time.monotonic() - began < 10
    assert ignored == []


def test_off_the_main_thread_it_does_nothing() -> None:
    done: list[bool] = []

    def work() -> None:
        with ending_signals():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
