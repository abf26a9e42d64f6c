"""From candidates to a list: ranked, put into words, and written down for the log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import numpy as np

from features.catalogue import NamedCatalogue
from features.listeners import Profile
from features.recommendations import ComputedList, Impression
from features.settings import Settings
from recommender.audio import FloatArray
from recommender.entropy import EntropyFloor
from recommender.explanation import EXPLORED, explain
from recommender.exploration import POLICIES, Beliefs, EpsilonSlots
from recommender.listener import Listener
from recommender.qlearning import adjustment, adjustments, join_state, listener_state
from recommender.ranking import ARTIST_CAP, Ranking, Rules, rank
from recommender.scoring import Weights
from recommender.tracks import IndexArray, Tracks
from serving import pools
from serving.cache import LIST_SECONDS
from serving.lists import LONGEST, RESERVES, KeptList
from serving.pools import Pool
from serving.schemas import ListMetadata, Personality, RecommendedTrack, RecommendRequest
from serving.served import Served

_SOURCES = tuple(source.value for source in pools.SOURCES)


@dataclass(frozen=True)
class RankingSettings:
    """What an operator may set.

    Attributes
    ----------
    candidates
        How many tracks are scored.
    exploration
        Share of a list's positions that are explored, in [0, 0.5].
    policy
        How they are filled where there is a consolidated table, a key of `POLICIES`; without one,
        uniformly (`EpsilonSlots`).
    exclude_heard, exclude_shown
        Whether tracks heard before, or shown in the last 30 days, are left out.
    min_entropy
        Bits over finest genres that a list of 50 has at least, where candidates allow; 0: no floor.
    """

    candidates: int
    exploration: float
    exclude_heard: bool
    exclude_shown: bool
    min_entropy: float = 0.0
    policy: str = "thompson"

    @property
    def of_candidates(self) -> tuple[int, bool, bool]:
        """What candidates depend on."""
        return self.candidates, self.exclude_heard, self.exclude_shown

    @classmethod
    def of(cls, settings: Settings) -> "RankingSettings":
        """Return what the environment says."""
        return cls(
            candidates=settings.bondhu_candidates_max,
            exploration=settings.bondhu_exploration,
            policy=settings.bondhu_policy,
            exclude_heard=settings.bondhu_exclude_heard,
            exclude_shown=settings.bondhu_exclude_shown,
            min_entropy=settings.bondhu_min_entropy,
        )


def build(
    profile: Profile,
    listener: Listener,
    pool: Pool,
    served: Served,
    request: RecommendRequest,
    *,
    settings: RankingSettings,
    recommendation_id: UUID,
    now: datetime,
    revision: int,
) -> tuple[KeptList, ComputedList]:
    """Rank a pool; return the list as callers get it, and as the log keeps it.

    The candidates of a caller are ranked as they are: no exclusion, no artist cap, no exploration.

    Parameters
    ----------
    revision
        Of the listener, when what the list is made from was read.
    """
    by_caller = request.candidate_ids is not None
    # The list's own id seeds its draws: what was drawn can be drawn again.
    policy = (POLICIES[settings.policy] if served.qtable else EpsilonSlots)(
        0.0 if by_caller else settings.exploration, np.random.default_rng(recommendation_id.int)
    )
    weights = served.scorer.model.weights[listener.stage]
    catalogue = served.catalogue.catalogue
    tracks = pool.tracks(catalogue)
    halves, place = catalogue.tracks.states
    rl_adjustment, beliefs = _learned(listener, served, halves, place[pool.rows])
    ranking = rank(
        tracks,
        pool.components,
        weights=weights,
        rl_adjustment=rl_adjustment,
        beliefs=beliefs,
        rules=_rules(tracks, listener, settings, by_caller=by_caller),
        policy=policy,
        limit=len(pool.rows) if by_caller else LONGEST + RESERVES,
        floor=None
        if by_caller or not settings.min_entropy
        else EntropyFloor(
            catalogue.genre[pool.rows],
            bits=settings.min_entropy,
            length=min(LONGEST, len(pool.rows)),
        ),
    )
    without = [] if profile.traits else ["personality_default"]
    if ranking.relaxed.get("artist_cap", LONGEST + 1) <= LONGEST:  # the reserves may be less strict
        without.append("cap_relaxed")
    asked = request.candidate_ids or []
    known = catalogue.rows_of(asked) >= 0
    kept = KeptList(
        recommendation_id=recommendation_id,
        tracks=_tracks(pool, ranking, weights, served.catalogue),
        metadata=ListMetadata(
            response_time_ms=0.0,
            cold_start_stage=profile.stage.value,
            cache="miss",
            total_candidates=len(pool.rows),
            weights=dict(weights),
            models=served.models,
            personality=Personality(confidence=profile.confidence, method=profile.method),
            degraded=without,
            generated_at=now,
            expires_at=now + timedelta(seconds=LIST_SECONDS),
            unknown_ids=[i for i, is_known in zip(asked, known, strict=True) if not is_known],
        ),
    )
    prefix = listener_state(listener.traits)
    states = [join_state(prefix, halves[place[row]]) for row in pool.rows[ranking.place[:LONGEST]]]
    computed = ComputedList(
        recommendation_id=recommendation_id,
        user_id=profile.user_id,
        cache_key=served.cache_key(request),
        recommendation_type="candidates" if by_caller else profile.stage.value,
        tracks=[msgspec.Raw(track) for track in kept.written],
        scores=_means(ranking),
        metadata=kept.metadata,
        impressions=[
            Impression(
                position=track.rank,
                track_id=track.track_id,
                score=track.score,
                components=track.components,
                rl_adjustment=track.rl_adjustment,
                propensity=track.propensity,
                state=state,
            )
            for track, state in zip(kept.tracks[:LONGEST], states, strict=True)
        ],
        policy=policy.name,
        model_versions=served.models,
        total_candidates=len(pool.rows),
        age_days=profile.account_age_days,
        personality=profile.traits,
        generated_at=now,
        expires_at=kept.metadata.expires_at,
        revision=revision,
        is_valid=not by_caller,
    )
    return kept, computed


def _learned(
    listener: Listener, served: Served, halves: Sequence[str], place: IndexArray
) -> tuple[FloatArray, Beliefs | None]:
    """Return what feedback adds to scores, and what is believed of the candidates' states.

    With a consolidated table by the pooled rule, else by the seed's.
    """
    if served.qtable is None:
        return adjustments(listener.q_table, listener.traits, halves, place), None
    distinct, group = np.unique(place, return_inverse=True)
    prefix = listener_state(listener.traits)
    states = [join_state(prefix, halves[at]) for at in distinct.tolist()]
    mean, spread = served.qtable.model.believed(states, listener.own_sums)
    return adjustment(mean)[group], Beliefs(mean[group], spread[group], group)


def excluded_rows(listener: Listener, settings: RankingSettings) -> IndexArray:
    """Return the catalogue rows that a list leaves out while there is enough else."""
    rows = [listener.disliked]
    rows += [listener.heard] if settings.exclude_heard else []
    rows += [listener.shown] if settings.exclude_shown else []
    return np.unique(np.concatenate(rows))


def _rules(
    tracks: Tracks, listener: Listener, settings: RankingSettings, *, by_caller: bool
) -> Rules:
    def among(rows: IndexArray, applies: bool) -> np.ndarray:
        return tracks.are_among(rows if applies and not by_caller else rows[:0])

    return Rules(
        never=among(listener.disliked, True),
        heard=among(listener.heard, settings.exclude_heard),
        shown=among(listener.shown, settings.exclude_shown),
        artist_cap=None if by_caller else ARTIST_CAP,
    )


def _means(ranking: Ranking) -> dict[str, float]:
    """Return the mean of each component over the list without its reserves."""
    if not len(ranking.place):
        return {}
    shown = np.array([values[:LONGEST] for values in ranking.components.values()])
    return dict(zip(ranking.components, shown.mean(axis=1).tolist(), strict=True))


def _tracks(
    pool: Pool, ranking: Ranking, weights: Weights, named: NamedCatalogue
) -> list[RecommendedTrack]:
    # Diversity has a value only where a track was chosen: its average is that of the list.
    average = {
        key: float(pool.components.get(key, values).mean()) if len(values) else 0.0
        for key, values in ranking.components.items()
        if weights.get(key)  # no other is explained by
    }
    rows = pool.rows[ranking.place]
    explanations = explain(ranking.components, average, weights, ranking.rl_adjustment)
    columns = [values.tolist() for values in ranking.components.values()]
    of_track = zip(
        rows.tolist(),
        named.catalogue.ids_of(rows),
        pool.sources[ranking.place].tolist(),
        ranking.score.tolist(),
        zip(*columns, strict=True),
        ranking.rl_adjustment.tolist(),
        ranking.propensity.tolist(),
        explanations,
        strict=True,
    )
    return [
        RecommendedTrack(
            rank=rank,
            track_id=track_id,
            track_name=named.names[row],
            artist_name=named.artists[row],
            genre=named.genre_of(row),
            score=score,
            components=dict(zip(ranking.components, values, strict=True)),
            rl_adjustment=rl_adjustment,
            propensity=propensity,
            source=_SOURCES[source],
            explanation=explanation if propensity >= 1.0 else EXPLORED,
        )
        for rank, (
            row, track_id, source, score, values, rl_adjustment, propensity, explanation,
        ) in enumerate(of_track, start=1)
    ]  # fmt: skip
