"""Forks: work on many listeners in processes that see everything this one holds.

A forked process shares the memory of the one that it comes from: catalogue, models and histories
are neither sent nor read again, and only results come back. Threads would wait for each other: most
of what judging a listener takes is many short calls.
"""

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from training.errors import TrainingError

PROCESSES = 2
"""So many work at most: each writes into pages of what it shares, and then has its own."""

T = TypeVar("T")
R = TypeVar("R")


def forked(
    work: Callable[[T], R], items: Sequence[T], *, processes: int | None = None
) -> Iterator[R]:
    """Do work for each item in forked processes; yield the results in the order of the items.

    Nothing that the work changes is seen here, and it must not use connections that are open here:
    the two would talk over each other. Results are the same for any number of processes, as each
    item is worked on alone, in one thread.

    Parameters
    ----------
    processes
        None: one per core, `PROCESSES` at most, and none but this where forking is not safe (other
        systems than Linux). 1: no process is forked, the work is done here.

    Raises
    ------
    TrainingError
        A process was lost, most often for want of memory.

    Examples
    --------
    >>> list(forked(str.upper, ["a", "b", "c"]))
    ['A', 'B', 'C']
    """
    count = min(_allowed() if processes is None else processes, len(items))
    if count <= 1:
        for item in items:
            with threadpool_limits(limits=1):
                done = work(item)
            yield done
        return
    with ProcessPoolExecutor(
        count, multiprocessing.get_context("fork"), initializer=_begin, initargs=(work,)
    ) as executor:
        # Not executor.map: it cancels what is pending before an interrupt comes by here, and the
        # pool's thread then fails on what it finds cancelled, with a traceback of its own.
        futures: deque[Future[Any]] = deque()
        try:
            futures.extend(executor.submit(_do, item) for item in items)
            while futures:
                yield futures.popleft().result()
        except BrokenProcessPool as error:
            raise TrainingError(
                "a process that did part of the work was lost, most often for want of memory: look"
                " at why it ended, and start again"
            ) from error
        except Exception:  # of the work: parts that run come to their end, others do not begin
            for future in futures:
                future.cancel()
            raise
        except BaseException:  # an interrupt by any name, or nobody asks for the rest
            for process in list(executor._processes.values()):
                process.terminate()  # nobody waits for what they do
            raise


def blocks(size: int, most: int) -> list[range]:
    """Part so many places into ranges of at most `most`.

    Examples
    --------
    >>> blocks(5, 2)
    [range(0, 2), range(2, 4), range(4, 5)]
    """
    return [range(begin, min(begin + most, size)) for begin in range(0, size, most)]


def _allowed() -> int:
    if sys.platform != "linux" or multiprocessing.current_process().daemon:
        return 1
    return min(PROCESSES, len(os.sched_getaffinity(0)))


_work: list[Callable[[Any], Any]] = []
"""Of a forked process: what it does. It came with the fork, and need not be picklable."""


def _begin(work: Callable[[Any], Any]) -> None:
    signal.set_wakeup_fd(-1)  # first: a signal to this one would be told to its parent
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it says when it ends
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # A terminal's progress display stands in for these, with a lock that a thread may have held.
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    gc.freeze()  # a collection would write into every page that is shared
    threadpool_limits(limits=1)  # sums in another order would differ in their last bits
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _work.append(work)


def _end_with_parent() -> None:
    """End when the process that this one comes from does, by whatever way."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _do(item: Any) -> Any:
    return _work[-1](item)
