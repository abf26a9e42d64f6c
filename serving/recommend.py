"""From a listener to a list: profile, stage, candidates, ranking, cache and log.

The flow of SEED.md section 5. `Recommender.recommend` runs in a thread; a list in the first cache
never gets here (see api).
"""

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import sqlalchemy as sa

from features import interactions, recommendations
from features.listeners import Profile, listener_of, load_profile, new_profile
from features.log_messages import GENERATED_CANDIDATES
from features.prepared import committing
from features.users import Standing, standing
from recommender.candidates import Source, propose
from recommender.errors import UnknownGenreError
from recommender.genres import CATEGORY_SLUGS, normalise_genre, slug
from recommender.listener import Listener
from recommender.tracks import Catalogue, IndexArray
from serving import pools
from serving.cache import Cache, Found, KeptProfile, Left
from serving.list_building import RankingSettings, build, excluded_rows
from serving.lists import CacheResult, KeptList, PackedList, pack
from serving.pools import Pool
from serving.samples import ComponentSamples
from serving.schemas import ListMetadata, RecommendedTrack, RecommendRequest
from serving.served import Served
from serving.shadow import Shadows, Unseen

log = logging.getLogger("bondhu")


class Recommender:
    """Computes lists."""

    def __init__(
        self,
        engine: sa.Engine,
        cache: Cache,
        settings: RankingSettings,
        shadows: Shadows,
        samples: ComponentSamples,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self._engine = committing(engine)
        self._cache = cache
        self._settings = settings
        self._shadows = shadows
        self._samples = samples
        self._now = now
        self._new_id = new_id
        # Computations of one worker gain nothing from each other's company, and the event loop
        # would have to wait for each of them: one at a time, while others wait for Postgres.
        self._one_at_a_time = threading.Lock()

    def recommend(
        self,
        user_id: str,
        request: RecommendRequest,
        served: Served,
        *,
        arm: str | None = None,
        shadow: Served | None = None,
        recommendation_id: UUID | None = None,
    ) -> tuple[PackedList, CacheResult]:
        """Return a list for a listener, new or from the second-level cache.

        Parameters
        ----------
        arm
            The side of an experiment that `served` is; None: there is none.
        shadow
            Versions that rank the same candidates unseen.
        recommendation_id
            Of a list that is made ahead of a call; None: it is for a call, and is given one.

        Raises
        ------
        UnknownGenreError
            `request.genre` is neither a category nor a genre of the catalogue.
        """
        now = self._now()
        key = served.cache_key(request)
        by_caller = request.candidate_ids is not None
        with self._engine.connect() as connection:
            stands, stored = self._look(connection, user_id, request, key, now)
            if stands is not None and stored is not None:
                packed = PackedList.of(_kept(*stored))
                self._cache.keep(user_id, key, Left(pack(packed)), stands.revision)
                return packed, "hit"
            profile, found, left = self._read(connection, user_id, served, stands, key=key, now=now)
            q = self._q_state(connection, user_id, found, stands)
            revision = stands.revision if stands else 0
            with self._one_at_a_time:
                listener = listener_of(
                    profile,
                    served.catalogue.catalogue,
                    now=now,
                    q_table=q.table,
                    own_sums=q.own,
                    colisten=served.taste,
                )
                pool, cached, packed_pool = self._pool(
                    profile, request, served, listener, found=found, now=now
                )
                kept, computed = build(
                    profile,
                    listener,
                    pool,
                    served,
                    request,
                    settings=self._settings,
                    recommendation_id=recommendation_id or self._new_id(),
                    now=now,
                    revision=revision,
                )
            computed = msgspec.structs.replace(computed, arm=arm)
            if stands is None:
                recommendations.store_first_list(connection, computed, source="api")
            else:
                recommendations.store_list(connection, computed)
        packed = PackedList.of(kept)
        self._cache.keep(
            user_id,
            key,
            Left(None if by_caller else pack(packed), packed_pool, left),
            revision,
        )
        if not by_caller and shadow is not None:
            self._shadows.offer(Unseen(shadow, profile, listener, pool, request, computed))
        if cached == "miss" and recommendation_id is None:  # samples are of calls
            self._samples.offer(computed, served.catalogue.build_id)
            log.info(GENERATED_CANDIDATES, len(pool.rows), user_id)
        return packed, cached

    def _look(
        self,
        connection: sa.Connection,
        user_id: str,
        request: RecommendRequest,
        key: str,
        now: datetime,
    ) -> tuple[Standing | None, tuple[Any, Any, UUID] | None]:
        """Return how far the listener has come, and the list of the second level that may do."""
        if request.force_refresh or request.candidate_ids is not None:
            return standing(connection, user_id), None
        return recommendations.look_for_list(connection, user_id, key, now=now)

    def _read(
        self,
        connection: sa.Connection,
        user_id: str,
        served: Served,
        stands: Standing | None,
        *,
        key: str,
        now: datetime,
    ) -> tuple[Profile, Found, KeptProfile | None]:
        """Return the profile and what else Redis has; the profile as it is to be kept, if new."""
        # Feedback and assessments raise the revision, imports the feature build.
        basis = f"{stands.revision if stands else 0}|{served.catalogue_version}"
        shown = self._settings.exclude_shown  # changes with every list: not kept
        found = self._cache.read(user_id, key, None if shown else basis)
        if found.profile is not None and stands is not None:
            return found.profile, found, None
        profile = (
            load_profile(connection, user_id, now=now, with_shown=shown) if stands else None
        ) or new_profile(user_id, now=now)  # unknown, or deleted since
        return profile, found, None if shown else KeptProfile(basis, profile)

    def _q_state(
        self, connection: sa.Connection, user_id: str, found: Found, stands: Standing | None
    ) -> interactions.QState:
        if stands is None or stands.seq == 0:  # never said anything: there is nothing to ask for
            return interactions.QState(own={})
        if found.q is not None and found.q.seq == stands.seq:
            return found.q
        q = interactions.q_state(connection, user_id)  # Redis was emptied, or missed an event
        self._cache.store_q_state(user_id, q)
        return q

    def _pool(
        self,
        profile: Profile,
        request: RecommendRequest,
        served: Served,
        listener: Listener,
        *,
        found: Found,
        now: datetime,
    ) -> tuple[Pool, CacheResult, bytes | None]:
        """Return the candidates, how they came, and as they are to be kept, if new."""
        catalogue = served.catalogue.catalogue
        if request.candidate_ids is not None:
            rows = np.unique(catalogue.rows_of(request.candidate_ids))
            rows = rows[rows >= 0]
            pool = pools.judge(catalogue, listener, rows, [Source.CALLER] * len(rows))
            return pool, "miss", None
        basis = pools.basis(listener, found.near)
        inputs = pools.inputs(
            profile, self._settings.of_candidates, found.near, now.astimezone(UTC).date()
        )
        if found.pool:
            # Asked to compute anew, what nothing has changed of need not be worked out again.
            kept = pools.unpack(found.pool, basis, inputs if request.force_refresh else None)
            if kept is not None:
                return kept, "miss" if request.force_refresh else "rerank", None
        pool = drawn_pool(served, listener, self._settings, near=found.near, genre=request.genre)
        return pool, "miss", pool.pack(basis, inputs)


def drawn_pool(
    served: Served,
    listener: Listener,
    settings: RankingSettings,
    *,
    near: Sequence[str],
    genre: str | None = None,
) -> Pool:
    """Return the candidates of a listener, judged.

    Parameters
    ----------
    near
        What Spotify recommends to them.
    genre
        That all of them are of.

    Raises
    ------
    UnknownGenreError
        It is neither a category nor a genre of the catalogue.
    """
    catalogue = served.catalogue.catalogue
    within = _rows_of_genre(catalogue, genre)
    rows, sources = propose(
        catalogue,
        listener,
        size=settings.candidates,
        within=within,
        excluded=excluded_rows(listener, settings),
        index=served.index,
        spotify=_rows_within(catalogue, near, within) if near else None,
    )
    return pools.judge(catalogue, listener, rows, sources)


def _kept(tracks: object, metadata: object, recommendation_id: UUID) -> KeptList:
    """Return a list of the second level."""
    return KeptList(
        recommendation_id=recommendation_id,
        tracks=msgspec.convert(tracks, list[RecommendedTrack]),
        metadata=msgspec.convert(metadata, ListMetadata),
    )


def _rows_within(
    catalogue: Catalogue, track_ids: Sequence[str], within: IndexArray | None
) -> IndexArray:
    """Return the rows of these tracks, those that the catalogue does not have left out."""
    rows = catalogue.rows_of(track_ids)
    rows = rows[rows >= 0]
    return rows if within is None else rows[np.isin(rows, within)]


def _rows_of_genre(catalogue: Catalogue, genre: str | None) -> IndexArray | None:
    if genre is None:
        return None
    category = slug(genre)
    if category in CATEGORY_SLUGS:
        rows = np.flatnonzero(catalogue.tracks.category == CATEGORY_SLUGS.index(category))
        if len(rows):
            return rows
    wanted = normalise_genre(genre)
    rows = np.array(
        [row for row, genres in enumerate(catalogue.genres) if wanted in genres], dtype=np.int64
    )
    if not len(rows):
        raise UnknownGenreError(
            f"no track is of genre '{genre}': use a genre of the catalogue or a listener category"
            f" ({', '.join(CATEGORY_SLUGS)})"
        )
    return rows
