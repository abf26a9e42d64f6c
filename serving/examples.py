"""Bodies that callers may copy, one or more per call; the OpenAPI document shows them."""

from typing import Any

EVENT = "6f1c0c7e-3f0e-4a53-9c39-0f7a3f8f6b52"
LIST = "0b8b5a4e-5f60-4b6e-9f0e-0d3f5a9d8c11"

BODIES: dict[str, dict[str, Any]] = {
    "/v1/recommend": {
        "everything": {},
        "a short list for running": {"max_results": 10, "context": "workout"},
        "these, ranked": {"candidate_ids": ["track-1", "track-2"], "max_results": 2},
    },
    "/v1/feedback": {
        "a like": {
            "event_id": EVENT,
            "track_id": "track-1",
            "feedback_type": "like",
            "listen_duration_ms": 180_000,
            "track_duration_ms": 200_000,
        }
    },
    "/v1/personality": {
        "scores": {"scores": {"openness": 80, "extraversion": 30}},
        "the 44 answers of the BFI": {"instrument": "bfi44", "answers": [3, 4] * 22},
    },
    "/v1/explain": {"a track of a list": {"recommendation_id": LIST, "track_id": "track-1"}},
}
