"""The golden request: what a version must answer before listeners get it.

A fixed listener of each stage asks for a list over the catalogue at hand, through the very code
that answers callers. Every score must be the sum of its parts, every component lie in [0, 1].
"""

import math
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

from features.listeners import Heard, Profile, listener_of
from recommender.candidates import propose
from recommender.cold_start import Stage
from recommender.errors import ModelFormatError, RecommenderError
from recommender.personality import TRAITS
from recommender.qlearning import LARGEST_ADJUSTMENT
from serving import pools
from serving.list_building import RankingSettings, build
from serving.lists import LONGEST, KeptList
from serving.schemas import RecommendRequest
from serving.served import Served

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ID = UUID(int=1)
AUDIO = (0.7, 0.8, 0.6, 120.0, 0.1, 0.0, 0.05)
SETTINGS = RankingSettings(candidates=200, exploration=0.0, exclude_heard=True, exclude_shown=False)


def check(served: Served, *, rest_seconds: float = 0.0) -> None:
    """Ask for the golden lists.

    Parameters
    ----------
    rest_seconds
        After each of them: a worker that answers meanwhile catches up.

    Raises
    ------
    ModelFormatError
        An answer is not what it must be.
    """
    for stage in Stage:
        try:
            kept = _answer(served, stage)
        except (RecommenderError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise ModelFormatError(
                f"the golden request of {stage} fails: {type(error).__name__}: {error}"
            ) from None
        _judge(served, stage, kept)
        time.sleep(rest_seconds)


def _answer(served: Served, stage: Stage) -> KeptList:
    profile = Profile(
        user_id="golden",
        account_age_days=0,
        stage=stage,
        traits={trait: 0.3 + 0.1 * at for at, trait in enumerate(TRAITS)},
        confidence=1.0,
        method="golden",
        history=[Heard(AUDIO, 3, NOW - timedelta(days=10), "pop_anthems")],
        heard_tracks=[],
        heard_artists=[],
        disliked_tracks=[],
        shown_tracks=[],
        artist_plays=[],
    )
    catalogue = served.catalogue.catalogue
    listener = listener_of(profile, catalogue, now=NOW, q_table={}, colisten=served.taste)
    rows, sources = propose(catalogue, listener, size=SETTINGS.candidates, index=served.index)
    kept, _ = build(
        profile,
        listener,
        pools.judge(catalogue, listener, rows, sources),
        served,
        RecommendRequest(),
        settings=SETTINGS,
        recommendation_id=ID,
        now=NOW,
        revision=0,
    )
    return kept


def _judge(served: Served, stage: Stage, kept: KeptList) -> None:
    if len(kept.tracks) < min(LONGEST, kept.metadata.total_candidates):
        raise ModelFormatError(f"the golden list of {stage} has {len(kept.tracks)} tracks only")
    weights = kept.metadata.weights
    for track in kept.tracks:
        parts = math.fsum(w * track.components[key] for key, w in weights.items())
        is_sum = math.isclose(track.score, parts + track.rl_adjustment, abs_tol=1e-6)
        in_range = all(-1e-9 <= value <= 1 + 1e-9 for value in track.components.values())
        if not is_sum or not in_range or abs(track.rl_adjustment) > LARGEST_ADJUSTMENT:
            raise ModelFormatError(
                f"the golden list of {stage} scores {track.track_id} {track.score!r}, which is not"
                " the sum of parts in [0, 1]"
            )
