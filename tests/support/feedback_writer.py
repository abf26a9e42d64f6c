"""A worker process that sends feedback of one listener: `python feedback_writer.py URL REDIS N`."""

import sys
import uuid
from datetime import UTC, datetime

from features.catalogue import load_catalogue
from features.database import connect
from recommender.scoring import PRIOR
from serving.cache import Cache
from serving.feedback import FeedbackLog, Received
from serving.model_registry import ServedModel
from serving.schemas import FeedbackRequest
from serving.served import Served


def main(database_url: str, redis_url: str, events: int) -> None:
    engine = connect(database_url)
    cache = Cache(redis_url, connections=4)
    served = Served.of(load_catalogue(engine), ServedModel(1, PRIOR))
    log = FeedbackLog(engine, cache, flush=lambda: None)
    for number in range(events):
        request = FeedbackRequest(
            event_id=uuid.uuid4(),
            track_id=f"track-{number % 3:03}",
            feedback_type="like" if number % 2 else "skip",
        )
        log.accept(Received(user_id="ada", received_at=datetime.now(UTC), request=request), served)
    cache.close()
    engine.dispose()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
