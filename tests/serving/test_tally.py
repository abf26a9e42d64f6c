"""What is counted in batches is what counting one by one would have said."""

from prometheus_client import REGISTRY

from serving.metrics import BUCKETS, LATENCY, QUERIES
from serving.tally import Tally

ROUTES = ("batches", "one by one")
SECONDS = (0.0, 0.001, 0.0011, 0.05, 0.3, 3.0, 7.0)


def figures(name: str, of: dict[str, str]) -> list[float | None]:
    return [
        REGISTRY.get_sample_value(f"{name}_count", of),
        REGISTRY.get_sample_value(f"{name}_sum", of),
        *(
            REGISTRY.get_sample_value(f"{name}_bucket", of | {"le": str(bound)})
            for bound in (*BUCKETS, "+Inf")
        ),
    ]


def answered(route: str) -> list[float | None]:
    return figures("bondhu_request_seconds", {"route": route, "cache": "hit"})


def queried(query: str) -> list[float | None]:
    return figures("bondhu_query_seconds", {"query": query})


def test_batches_add_up() -> None:
    tally = Tally()
    for seconds in SECONDS:
        tally.answered(ROUTES[0], "hit", 200, seconds)
        LATENCY.labels(ROUTES[1], "hit").observe(seconds)
        tally.queried(ROUTES[0], seconds)
        QUERIES.labels(ROUTES[1]).observe(seconds)
    tally.tell()
    tally.tell()  # nothing is told twice
    for counted in (answered, queried):
        assert counted(ROUTES[0]) == counted(ROUTES[1])
        assert counted(ROUTES[0])[0] == len(SECONDS)
    of = {"route": ROUTES[0], "status": "200"}
    assert REGISTRY.get_sample_value("bondhu_answers_total", of) == len(SECONDS)


def test_lists_and_their_positions() -> None:
    def now() -> tuple[float, float]:
        lists = REGISTRY.get_sample_value("bondhu_lists_total", {"cache": "rerank"})
        return lists or 0.0, REGISTRY.get_sample_value("bondhu_tracks_shown_total") or 0.0

    tally, before = Tally(), now()
    tally.listed("rerank", 50)
    tally.listed("rerank", 3)
    tally.tell()
    assert now() == (before[0] + 2, before[1] + 53)
