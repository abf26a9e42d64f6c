"""From a listener to a list: profile, stage, candidates, ranking, cache and log.

The flow of SEED.md section 5. `Recommender.recommend` runs in a thread; a list in the first cache
never gets here (see api).
"""

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import numpy as np
import sqlalchemy as sa

from features import interactions, recommendations
from features.listeners import Profile, listener_of, load_profile
from features.log_messages import GENERATED_CANDIDATES
from features.users import Standing, ensure_user, standing
from recommender.candidates import Source, propose
from recommender.errors import UnknownGenreError
from recommender.genres import CATEGORY_SLUGS, normalise_genre, slug
from recommender.listener import Listener
from recommender.tracks import Catalogue, IndexArray
from serving import pools
from serving.cache import Cache
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
        self._engine = engine
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
    ) -> tuple[PackedList, CacheResult]:
        """Return a list for a listener, new or from the second-level cache.

        Parameters
        ----------
        arm
            The side of an experiment that `served` is; None: there is none.
        shadow
            Versions that rank the same candidates unseen.

        Raises
        ------
        UnknownGenreError
            `request.genre` is neither a category nor a genre of the catalogue.
        """
        now = self._now()
        key = served.cache_key(request)
        by_caller = request.candidate_ids is not None
        with self._engine.begin() as connection:
            stands = self._standing(connection, user_id, now)
            if not (request.force_refresh or by_caller):
                kept = _second_level(connection, user_id, key, now)
                if kept:
                    packed = PackedList.of(kept)
                    self._cache.store_list(user_id, key, pack(packed), stands.revision)
                    return packed, "hit"
            profile = self._profile(connection, user_id, served, stands, now)
            q = self._q_state(connection, user_id, stands)
            with self._one_at_a_time:
                listener = listener_of(
                    profile,
                    served.catalogue.catalogue,
                    now=now,
                    q_table=q.table,
                    own_sums=q.own,
                    colisten=served.taste,
                )
                pool, cached = self._pool(profile, request, served, listener, now)
                kept, computed = build(
                    profile,
                    listener,
                    pool,
                    served,
                    request,
                    settings=self._settings,
                    recommendation_id=self._new_id(),
                    now=now,
                    revision=stands.revision,
                )
            recommendations.store_list(connection, msgspec.structs.replace(computed, arm=arm))
        packed = PackedList.of(kept)
        if not by_caller:
            self._cache.store_list(user_id, key, pack(packed), stands.revision)
            if shadow is not None:
                self._shadows.offer(Unseen(shadow, profile, listener, pool, request, computed))
        if cached == "miss":
            self._samples.offer(computed, served.catalogue.build_id)
            log.info(GENERATED_CANDIDATES, len(pool.rows), user_id)
        return packed, cached

    def _standing(self, connection: sa.Connection, user_id: str, now: datetime) -> Standing:
        found = standing(connection, user_id)
        if found is None:
            ensure_user(connection, user_id, source="api", now=now)
            found = Standing(revision=0, seq=0)
        return found

    def _profile(
        self,
        connection: sa.Connection,
        user_id: str,
        served: Served,
        stands: Standing,
        now: datetime,
    ) -> Profile:
        # Feedback and assessments raise the revision, imports the feature build.
        basis = f"{stands.revision}|{served.catalogue_version}"
        shown = self._settings.exclude_shown  # changes with every list: not kept
        profile = None if shown else self._cache.profile(user_id, basis)
        if profile is None:
            profile = load_profile(connection, user_id, now=now, with_shown=shown)
            assert profile is not None  # noqa: S101 - `_standing` saw or wrote the row
            self._cache.store_profile(profile, basis)
        return profile

    def _q_state(
        self, connection: sa.Connection, user_id: str, stands: Standing
    ) -> interactions.QState:
        if stands.seq == 0:  # never said anything: there is nothing to ask for
            return interactions.QState(own={})
        q = self._cache.q_state(user_id)
        if q is None or q.seq != stands.seq:  # Redis was emptied, or missed an event
            q = interactions.q_state(connection, user_id)
            self._cache.store_q_state(user_id, q)
        return q

    def _pool(
        self,
        profile: Profile,
        request: RecommendRequest,
        served: Served,
        listener: Listener,
        now: datetime,
    ) -> tuple[Pool, CacheResult]:
        catalogue, user_id = served.catalogue.catalogue, profile.user_id
        if request.candidate_ids is not None:
            rows = np.unique(catalogue.rows_of(request.candidate_ids))
            rows = rows[rows >= 0]
            return pools.judge(catalogue, listener, rows, [Source.CALLER] * len(rows)), "miss"
        key = served.cache_key(request)
        near = self._cache.near(user_id)
        basis = pools.basis(listener, near)
        inputs = pools.inputs(
            profile, self._settings.of_candidates, near, now.astimezone(UTC).date()
        )
        if found := self._cache.pool(user_id, key):
            # Asked to compute anew, what nothing has changed of need not be worked out again.
            pool = pools.unpack(found, basis, inputs if request.force_refresh else None)
            if pool is not None:
                return pool, "miss" if request.force_refresh else "rerank"
        pool = drawn_pool(served, listener, self._settings, near=near, genre=request.genre)
        self._cache.store_pool(user_id, key, pool.pack(basis, inputs))
        return pool, "miss"


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


def _second_level(
    connection: sa.Connection, user_id: str, key: str, now: datetime
) -> KeptList | None:
    stored = recommendations.stored_list(connection, user_id, key, now=now)
    if stored is None:
        return None
    tracks, metadata, recommendation_id = stored
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
