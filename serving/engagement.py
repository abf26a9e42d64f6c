"""How listeners take what they are shown, counted for /metrics."""

from serving.metrics import ACCEPTED, HEARD, LONG_PLAYS
from serving.schemas import FeedbackRequest

LONG_PLAY_MS = 30_000
NEGATIVE = frozenset({"dislike", "skip"})


def count_feedback(request: FeedbackRequest) -> None:
    """Count an accepted feedback: by type, on a list's track, and whether 30 s were heard."""
    if request.feedback_type not in NEGATIVE and request.recommendation_id is not None:
        ACCEPTED.inc()
    if request.listen_duration_ms is not None:
        HEARD.inc()
        if request.listen_duration_ms > LONG_PLAY_MS:
            LONG_PLAYS.inc()
