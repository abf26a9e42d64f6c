"""The prober: asks the service every 30 s whether it is ready, and reads its histograms."""

import time
from collections.abc import Callable
from datetime import datetime

import httpx
from prometheus_client.parser import text_string_to_metric_families

from features.probes import Probe

SECONDS = 30.0
TIMEOUT_SECONDS = 5.0

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
    except httpx.TransportError:
        ok = False
    took = 1000 * (timer() - began)
    found: dict[str, dict[str, int]] = {}
    if ok:
        try:
            text = client.get(f"{address}/metrics", timeout=TIMEOUT_SECONDS).text
            found = {name: bins(text, *of) for name, of in HISTOGRAMS.items()}
        except (httpx.TransportError, ValueError):  # ready all the same
            found = {}
    return Probe(address, at, ok, took, {name: one for name, one in found.items() if one})


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
