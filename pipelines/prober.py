"""The prober: asks the service every 30 s whether it is ready, and reads its histograms."""

import time
from collections import deque
from collections.abc import Callable
from datetime import datetime

import httpx
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import OperationalError

from features.probes import Probe, store

SECONDS = 30.0
TIMEOUT_SECONDS = 5.0
MOST_WAITING = 20_000
"""Probes of a week: those that came before them are lost."""

HISTOGRAMS = {
    "cached": ("bondhu_request_seconds", {"cache": "hit"}),
    "initial": ("bondhu_request_seconds", {"cache": "miss"}),
    "queries": ("bondhu_query_seconds", {}),
}
"""Name in `probes` -> the service's histogram and the labels that count."""


def probe(
    address: str,
    *,
    now: Callable[[], datetime],
    client: httpx.Client,
    timer: Callable[[], float] = time.perf_counter,
) -> Probe:
    """Look at the service once; one that is away is a probe like any other."""
    at, began = now(), timer()
    try:
        ok = client.get(f"{address}/readyz", timeout=TIMEOUT_SECONDS).status_code == 200
    except httpx.RequestError:
        ok = False
    took = 1000 * (timer() - began)
    found: dict[str, dict[str, int]] = {}
    if ok:
        try:
            text = client.get(f"{address}/metrics", timeout=TIMEOUT_SECONDS).text
            found = {name: bins(text, *of) for name, of in HISTOGRAMS.items()}
        except (httpx.RequestError, ValueError):  # ready all the same
            found = {}
    return Probe(address, at, ok, took, {name: one for name, one in found.items() if one})


class Waiting:
    """Probes that Postgres was not there for: its own failures count against uptime too."""

    def __init__(self) -> None:
        self._probes: deque[Probe] = deque(maxlen=MOST_WAITING)

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._probes)

    def keep(self, engine: sa.Engine, found: Probe) -> bool:
        """Write a probe down after those that wait; return whether Postgres took them all."""
        self._probes.append(found)
        try:
            while self._probes:
                store(engine, self._probes[0])
                self._probes.popleft()
        except OperationalError:
            return False
        return True


def bins(text: str, histogram: str, labels: dict[str, str]) -> dict[str, int]:
    """Return a histogram's bins out of a page of Prometheus metrics, over all other labels.

    Examples
    --------
    >>> page = '''# TYPE t histogram
    ... t_bucket{cache="hit",le="0.1",route="a"} 2.0
    ... t_bucket{cache="hit",le="+Inf",route="a"} 3.0
    ... t_bucket{cache="hit",le="0.1",route="b"} 1.0
    ... t_bucket{cache="hit",le="+Inf",route="b"} 1.0
    ... t_bucket{cache="miss",le="+Inf",route="a"} 9.0
    ... '''
    >>> bins(page, "t", {"cache": "hit"})
    {'0.1': 3, '+Inf': 4}
    """
    found: dict[str, int] = {}
    for family in text_string_to_metric_families(text):
        if family.name != histogram:
            continue
        for sample in family.samples:
            if sample.name.endswith("_bucket") and labels.items() <= sample.labels.items():
                end = sample.labels["le"]
                found[end] = found.get(end, 0) + int(sample.value)
    return found
