import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from training.data.forks import blocks, forked
from training.errors import TrainingError

SCRIPT = r"""
import os, sys, time
from training.data.forks import forked

def work(_):
    os.write(1, b"%d\n" % os.getpid())
    time.sleep(60)

list(forked(work, [0, 1], processes=2))
"""


def test_results_come_in_the_order_of_the_items_from_other_processes() -> None:
    held = {"first": 3}  # seen by the work as it was at the fork

    def work(item: int) -> tuple[int, int]:
        time.sleep(0.02 * (item % 2))
        return item * held["first"], os.getpid()

    found = list(forked(work, range(6), processes=2))
    assert [value for value, _ in found] == [0, 3, 6, 9, 12, 15]
    assert os.getpid() not in {pid for _, pid in found}
    assert list(forked(work, range(6), processes=1)) == [(value, os.getpid()) for value, _ in found]
    assert list(forked(work, [], processes=2)) == []


def test_an_error_of_the_work_is_raised_here() -> None:
    def work(item: int) -> float:
        return 1 / item

    with pytest.raises(ZeroDivisionError):
        list(forked(work, [1, 0], processes=2))


def test_a_process_that_is_killed_is_said_in_one_line() -> None:
    def work(item: int) -> int:
        if item:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    with pytest.raises(TrainingError, match="a process that did part of the work was lost"):
        list(forked(work, [0, 1, 2], processes=2))
    assert not multiprocessing.active_children()


def test_nobody_is_left_behind_by_a_run_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        children = [int(run.stdout.readline()) for _ in range(2)]
        run.kill()
    until = time.monotonic() + 20
    while any(map(_runs, children)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(_runs, children))


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_blocks_cover_everything_once() -> None:
    assert [list(block) for block in blocks(5, 2)] == [[0, 1], [2, 3], [4]]
    assert blocks(0, 2) == []


def test_an_interrupt_ends_all_without_a_word_of_the_pool() -> None:
    script = SCRIPT.replace("[0, 1]", "range(500)")
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        children = [int(run.stdout.readline()) for _ in range(2)]
        time.sleep(0.3)  # all items are handed to the pool
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=30)
    assert run.returncode == -signal.SIGINT
    assert b"KeyboardInterrupt" in said
    assert b"Exception in thread" not in said
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
