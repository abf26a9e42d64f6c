"""What is counted, for /metrics. Labels are few and fixed: routes by template, never raw paths."""

from prometheus_client import Counter, Histogram

LATENCY = Histogram(
    "bondhu_request_seconds",
    "Time to answer, by route template and cache result",
    ["route", "cache"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0),
)
ANSWERS = Counter(
    "bondhu_answers_total", "Answers by route template and status", ["route", "status"]
)
LISTS = Counter("bondhu_lists_total", "Lists by cache result", ["cache"])
FEEDBACK = Counter("bondhu_feedback_total", "Accepted feedback by type", ["feedback_type"])
LIMITED = Counter("bondhu_limited_total", "Calls refused by the per-listener limit")
DEGRADED = Counter("bondhu_degraded_total", "Times something was done without", ["what"])
MODEL_REFUSED = Counter("bondhu_model_refused_total", "Model versions that failed their checks")
