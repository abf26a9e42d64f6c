"""What is counted, for /metrics. Labels are few and fixed: routes by template, never raw paths.

BentoML gathers the workers of one service; gauges say how they are put together.
"""

from prometheus_client import Counter, Gauge, Histogram

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0)

LATENCY = Histogram(
    "bondhu_request_seconds",
    "Time to answer, by route template and cache result",
    ["route", "cache"],
    buckets=BUCKETS,
)
ANSWERS = Counter(
    "bondhu_answers_total", "Answers by route template and status", ["route", "status"]
)
ERRORS = Counter("bondhu_errors_total", "Failures behind answers, by type", ["type"])
LISTS = Counter("bondhu_lists_total", "Lists by cache result", ["cache"])
CACHE = Counter("bondhu_cache_total", "Look-ups by cache and result", ["cache", "result"])
LIMITED = Counter(
    "bondhu_limited_total",
    "Calls refused by the per-listener limit; where: redis, or local while Redis is away",
    ["where"],
)
DEGRADED = Counter("bondhu_degraded_total", "Times something was done without", ["what"])
TURNS = Counter(
    "bondhu_turns_total",
    "Computations by how they got their turn: free, waited, gave_up, found (another's list)",
    ["how"],
)
WARMED = Counter(
    "bondhu_lists_warmed_total", "Lists computed by new versions before they were served"
)
QUERIES = Histogram(
    "bondhu_query_seconds", "Time of database queries, by query", ["query"], buckets=BUCKETS
)

MODEL_REFUSED = Counter("bondhu_model_refused_total", "Model versions that failed their checks")
MODEL_VERSION = Gauge(
    "bondhu_model_version",
    "The version served, by model and alias",
    ["model", "alias"],
    multiprocess_mode="livemostrecent",
)
MODEL_STALE = Gauge(
    "bondhu_model_stale",
    "1 while a registered champion is refused or the registry is away",
    multiprocess_mode="livemax",
)
SHADOW = Counter("bondhu_shadow_lists_total", "Lists that the challenger ranked unseen")
SHADOW_OVERLAP = Histogram(
    "bondhu_shadow_overlap",
    "Share of the first ten that the challenger's list has too",
    buckets=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
)

REDIS_MEMORY = Gauge(
    "bondhu_redis_memory_bytes", "Memory that Redis uses", multiprocess_mode="livemostrecent"
)
POOL_IN_USE = Gauge(
    "bondhu_pool_in_use", "Connections in use", ["pool"], multiprocess_mode="livesum"
)
POOL_SIZE = Gauge(
    "bondhu_pool_size", "Connections that may be in use", ["pool"], multiprocess_mode="livesum"
)
QUEUE_DEPTH = Gauge(
    "bondhu_queue_depth", "What waits to be told", ["queue"], multiprocess_mode="livesum"
)
SOURCE_UP = Gauge(
    "bondhu_source_up",
    "Whether an outside source answered the last time it was asked",
    ["source"],
    multiprocess_mode="livemostrecent",
)

TRACKS_SHOWN = Counter("bondhu_tracks_shown_total", "Positions of lists that were answered")
FEEDBACK = Counter("bondhu_feedback_total", "Accepted feedback by type", ["feedback_type"])
ACCEPTED = Counter("bondhu_tracks_accepted_total", "Positive feedback on tracks of a list")
LONG_PLAYS = Counter("bondhu_plays_over_30s_total", "Feedback that says over 30 s were heard")
HEARD = Counter("bondhu_plays_timed_total", "Feedback that says how long was heard")
