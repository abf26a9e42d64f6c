"""The limit per listener while Redis is away: the same sliding window, in this process alone.

With Redis the window is `limit.lua`, shared by all workers; without it each worker allows the limit
by itself, which is looser and said so in a metric.
"""

from collections import OrderedDict, deque
from collections.abc import Callable

from serving.edge_cache import WINDOW_MS, Lookup

LISTENERS_KEPT = 100_000


class LocalLimit:
    """A sliding window per listener.

    Examples
    --------
    >>> clock = iter([0, 10, 20, 60_000])
    >>> limit = LocalLimit(lambda: next(clock))
    >>> [limit.look_up("ada", limit=2).allowed for _ in range(4)]
    [True, True, False, True]
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._calls: OrderedDict[str, deque[int]] = OrderedDict()

    def look_up(self, user_id: str, *, limit: int) -> Lookup:
        """Count a call."""
        now = self._now_ms()
        calls = self._calls.setdefault(user_id, deque())
        self._calls.move_to_end(user_id)
        if len(self._calls) > LISTENERS_KEPT:
            self._calls.popitem(last=False)
        while calls and calls[0] <= now - WINDOW_MS:
            calls.popleft()
        if allowed := len(calls) < limit:
            calls.append(now)
        full = len(calls) >= limit
        reset = calls[0] + WINDOW_MS - now if full else 0
        return Lookup(allowed, limit - len(calls), reset, None)

    def forget(self, user_id: str) -> None:
        """Let go of a listener's calls."""
        self._calls.pop(user_id, None)
