"""How listeners take what they are shown, counted for /metrics."""

from serving.lists import CacheResult
from serving.metrics import ACCEPTED, HEARD, LISTS, LONG_PLAYS, TRACKS_SHOWN
from serving.schemas import FeedbackRequest

LONG_PLAY_MS = 30_000
NEGATIVE = frozenset({"dislike", "skip"})

_LISTS = {cache: LISTS.labels(cache) for cache in ("hit", "rerank", "miss")}


def count_list(cache: CacheResult, tracks: int) -> None:
    """Count an answered list."""
    _LISTS[cache].inc()
    TRACKS_SHOWN.inc(tracks)


def count_feedback(request: FeedbackRequest) -> None:
    """Count an accepted feedback: by type, on a list's track, and whether 30 s were heard."""
    if request.feedback_type not in NEGATIVE and request.recommendation_id is not None:
        ACCEPTED.inc()
    if request.listen_duration_ms is not None:
        HEARD.inc()
        if request.listen_duration_ms > LONG_PLAY_MS:
            LONG_PLAYS.inc()
