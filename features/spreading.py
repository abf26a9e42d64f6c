"""Spreading: work on all listeners in parts of them, wherever the parts are done.

A part is decided by a hash of the listener's id, so that nobody is in two of them and a part can be
done twice, or somewhere else, with the same result. How many parts there are does not depend on how
many do them: sums of floating point numbers are added in the order of parts, and end in the same
bits on one machine as on a hundred.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

PARTS = 8
THREADS = 2
"""Of this process; they wait for Postgres most of the time."""

IN_PART = "(hashtext({0}) & 2147483647) / {1} % :parts = :part"
"""SQL: whether a listener, a column {0}, is in a part; {1} keeps it apart from other draws."""

T = TypeVar("T")
R = TypeVar("R")


class Spread(Protocol):
    """Does work for each item, somewhere; yields the results in the order of the items."""

    def __call__(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Do it; an error of the work is raised here."""
        ...


def in_this_process(work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Do work for two items at a time, here.

    Examples
    --------
    >>> list(in_this_process(str.upper, ["a", "b", "c"]))
    ['A', 'B', 'C']
    """
    with ThreadPoolExecutor(THREADS) as executor:
        yield from executor.map(work, items)


def one_at_a_time(work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Do work for one item after another, here: for work that keeps the processor busy."""
    return map(work, items)
