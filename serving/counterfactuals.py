"""Why a track stands where it does, and where it would stand without one of the reasons.

The tracks that were kept of the list (50 shown and up to 50 reserves) are ranked again from their
stored components: by the whole score, and with one component's weight, or the adjustment from
feedback, left out. All of it is as it was when the list was made; nothing is drawn at random.
"""

import asyncio
import time
from collections.abc import Mapping
from uuid import UUID

import msgspec
import numpy as np
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.requests import Request
from starlette.responses import Response

from features.recommendations import kept_list
from recommender.components import STATIC
from recommender.exploration import EpsilonSlots
from recommender.ranking import Rules, rank
from recommender.scoring import Weights
from recommender.tracks import Catalogue
from serving.admission import json_response
from serving.application import Application
from serving.listing import seconds_left
from serving.problems import ServiceProblem, unavailable
from serving.schemas import (
    ExplainRequest,
    ExplainResponse,
    ListMetadata,
    Part,
    RanksWithout,
    RecommendedTrack,
)
from serving.surface import Route

LEFT_OUT = ("personality", "history", "colisten")


def routes(application: Application) -> list[Route]:
    """Return the call that explains."""
    return [
        Route(
            "/v1/explain",
            _Explaining(application).explain,
            "Why a track ranks where it does, and where it would without one of the reasons",
            request=ExplainRequest,
            response=ExplainResponse,
            statuses=(401, 403, 404, 413, 422, 429, 503),
        )
    ]


class _Explaining:
    def __init__(self, application: Application) -> None:
        self._app = application

    async def explain(self, request: Request) -> Response:
        """POST /v1/explain."""
        started = time.perf_counter()
        caller, body = await self._app.admission.read(request, ExplainRequest)
        catalogue = self._app.served.catalogue.catalogue
        try:
            async with asyncio.timeout(seconds_left(started)):
                answer = await self._app.in_thread(
                    lambda: self._explained(catalogue, caller.user_id, body)
                )
        except (OperationalError, PoolTimeoutError, TimeoutError):
            raise unavailable("the log of lists") from None
        return json_response(answer)

    def _explained(
        self, catalogue: Catalogue, user_id: str, body: ExplainRequest
    ) -> ExplainResponse:
        with self._app.engine.connect() as connection:
            stored = kept_list(connection, user_id, body.recommendation_id)
        if stored is None:
            raise ServiceProblem(
                404, f"list {body.recommendation_id} is not known: lists are kept for 24 hours"
            )
        tracks = msgspec.convert(stored[0], list[RecommendedTrack])
        metadata = msgspec.convert(stored[1], ListMetadata)
        return explained(catalogue, body.recommendation_id, tracks, metadata, body.track_id)


def explained(
    catalogue: Catalogue,
    recommendation_id: UUID,
    tracks: list[RecommendedTrack],
    metadata: ListMetadata,
    track_id: str,
) -> ExplainResponse:
    """Return a track's place with and without each reason.

    Raises
    ------
    ServiceProblem
        404 for a track that is not in the list.
    """
    track = next((one for one in tracks if one.track_id == track_id), None)
    if track is None:
        raise ServiceProblem(404, f"track '{track_id}' is not in list {recommendation_id}")
    weights = metadata.weights
    among = _Among(catalogue, tracks, track_id)
    return ExplainResponse(
        recommendation_id=recommendation_id,
        track_id=track_id,
        rank=track.rank,
        rank_by_score=among.place(weights),
        among=len(among),
        score=track.score,
        parts={
            key: Part(value=value, weight=weights[key], contribution=weights[key] * value)
            for key, value in track.components.items()
        },
        rl_adjustment=track.rl_adjustment,
        propensity=track.propensity,
        source=track.source,
        explanation=track.explanation,
        without=RanksWithout(
            **{key: among.place({**weights, key: 0.0}) for key in LEFT_OUT},
            rl=among.place(weights, with_rl=False),
        ),
    )


class _Among:
    """The tracks of a list that the catalogue still has, ready to be ranked again."""

    def __init__(self, catalogue: Catalogue, tracks: list[RecommendedTrack], track_id: str) -> None:
        rows = catalogue.rows_of([track.track_id for track in tracks])
        order = [at for at in np.argsort(rows, kind="stable").tolist() if rows[at] >= 0]
        listed = [tracks[at] for at in order]
        if track_id not in {track.track_id for track in listed}:
            raise ServiceProblem(404, f"track '{track_id}' has left the catalogue")
        self._wanted = [track.track_id for track in listed].index(track_id)
        self._tracks = catalogue.tracks.take(rows[order])
        self._components = {
            key: np.array([track.components.get(key, 0.0) for track in listed]) for key in STATIC
        }
        self._rl = np.array([track.rl_adjustment for track in listed])

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._rl)

    def place(self, weights: Mapping[str, float] | Weights, *, with_rl: bool = True) -> int:
        """Return where the track comes, from 1."""
        free = np.zeros(len(self), dtype=np.bool_)
        ranking = rank(
            self._tracks,
            self._components,
            weights=weights,
            rl_adjustment=self._rl if with_rl else np.zeros_like(self._rl),
            # The list was chosen under the rules: what stands in it may stand in any order.
            rules=Rules(never=free, heard=free, shown=free, artist_cap=None),
            policy=EpsilonSlots(0.0, np.random.default_rng(0)),
            limit=len(self),
        )
        return int(np.flatnonzero(ranking.place == self._wanted)[0]) + 1
