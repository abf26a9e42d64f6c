"""Component vectors of 1% of lists, kept for training to work out again.

A list is chosen by a hash of its id, the same in every worker. Writing happens behind the answers,
in the worker's housekeeping; what does not fit the queue is left out and counted. Lists whose
candidates were judged for an earlier list are not sampled: their components are that list's.
"""

from collections import deque
from threading import Lock
from uuid import UUID

import sqlalchemy as sa

from features.recommendations import ComputedList
from features.samples import ComponentSample, store_samples
from serving.lineup import place
from serving.metrics import DEGRADED

LONGEST_QUEUE = 200


class ComponentSamples:
    """The queue of sampled lists.

    Parameters
    ----------
    share
        Of lists that are sampled, in [0, 1].
    """

    def __init__(self, engine: sa.Engine, *, share: float) -> None:
        self._engine = engine
        self._share = share
        self._queue: deque[tuple[ComputedList, int]] = deque()
        self._lock = Lock()  # calls offer and forget while housekeeping flushes

    def wants(self, recommendation_id: UUID) -> bool:
        """Return whether a list is one of the sampled share."""
        return self._share > 0 and place(str(recommendation_id), "components") < self._share

    def offer(self, computed: ComputedList, build_id: int) -> None:
        """Put a list into the queue if it is sampled and there is room.

        Parameters
        ----------
        build_id
            The feature build that its catalogue was read at.
        """
        if not self.wants(computed.recommendation_id) or not computed.impressions:
            return
        with self._lock:
            if len(self._queue) < LONGEST_QUEUE:
                self._queue.append((computed, build_id))
                return
        DEGRADED.labels("samples").inc()

    def forget(self, user_id: str) -> None:
        """Let what waits about a listener go: they are being deleted."""
        with self._lock:
            self._queue = deque(one for one in self._queue if one[0].user_id != user_id)

    def flush(self) -> int:
        """Tell Postgres; returns how many.

        Raises
        ------
        sqlalchemy.exc.OperationalError
            Postgres is away; these are left out.
        """
        with self._lock:
            waiting, self._queue = self._queue, deque()
        samples = [_sample(*one) for one in waiting]
        if samples:
            with self._engine.begin() as connection:
                store_samples(connection, samples)
        return len(samples)

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._queue)


def _sample(computed: ComputedList, build_id: int) -> ComponentSample:
    shown = computed.impressions
    return ComponentSample(
        recommendation_id=computed.recommendation_id,
        user_id=computed.user_id,
        moment=computed.generated_at,
        build_id=build_id,
        model_versions=computed.model_versions,
        track_ids=[one.track_id for one in shown],
        components={key: [one.components[key] for one in shown] for key in shown[0].components},
    )
