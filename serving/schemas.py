"""What crosses the wire: requests as they must be, answers as they are."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from features.standing import GenrePreference, ListenerStanding

Id = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\x00]+$")]
Milliseconds = Annotated[int, Meta(ge=0, le=86_400_000)]
Answer = Annotated[int, Meta(ge=0, le=5)] | None
Score = Annotated[float, Meta(ge=0.0, le=100.0)]
Context = Literal["workout", "party", "focus", "relax", "commute", "sleep"]
FeedbackType = Literal[
    "like", "save", "add_to_playlist", "play", "repeat", "share", "dislike", "skip"
]


class RecommendRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The body of POST /v1/recommend; every field may be left out."""

    max_results: Annotated[int, Meta(ge=1, le=50)] = 50
    force_refresh: bool = False
    genre: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    context: Context | None = None
    spotify_token: Annotated[str, Meta(max_length=4096)] | None = None
    exclude_ids: Annotated[list[Id], Meta(max_length=1000)] = []
    candidate_ids: Annotated[list[Id], Meta(max_length=500)] | None = None


class RecommendedTrack(msgspec.Struct, kw_only=True, frozen=True):
    """One position of a list."""

    rank: int
    track_id: str
    track_name: str
    artist_name: str
    genre: str | None
    score: float
    components: dict[str, float]
    rl_adjustment: float
    propensity: float
    source: str
    explanation: str


class Personality(msgspec.Struct, kw_only=True, frozen=True):
    """How much the ranking knows of the listener's personality, and from where."""

    confidence: float
    method: str


class ListMetadata(msgspec.Struct, kw_only=True, frozen=True):
    """What a list was made from."""

    response_time_ms: float
    cold_start_stage: str
    cache: Literal["hit", "rerank", "miss"]
    total_candidates: int
    weights: dict[str, float]
    models: dict[str, int]
    personality: Personality
    degraded: list[str]
    generated_at: datetime
    expires_at: datetime
    unknown_ids: list[str] = []


class RecommendResponse(msgspec.Struct, kw_only=True, frozen=True):
    """The answer of POST /v1/recommend."""

    user_id: str
    recommendation_id: UUID
    recommendations: list[RecommendedTrack]
    total_count: int
    metadata: ListMetadata


class FeedbackRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The body of POST /v1/feedback."""

    event_id: UUID
    track_id: Id
    feedback_type: FeedbackType
    recommendation_id: UUID | None = None
    position: Annotated[int, Meta(ge=1, le=500)] | None = None
    listen_duration_ms: Milliseconds | None = None
    track_duration_ms: Annotated[int, Meta(ge=1, le=86_400_000)] | None = None
    context: Context | None = None
    occurred_at: Annotated[datetime, Meta(tz=True)] | None = None


class FeedbackResponse(msgspec.Struct, kw_only=True, frozen=True):
    """The answer of POST /v1/feedback; the middle three are null while only journalled."""

    event_id: UUID
    reward: float | None
    q_value: float | None
    state: str | None
    duplicate: bool


class PersonalityRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The body of POST /v1/personality: an instrument with its answers, or scores of 0-100."""

    instrument: Literal["bfi44", "ipip50"] | None = None
    answers: Annotated[list[Answer], Meta(max_length=50)] | None = None
    scores: (
        dict[
            Literal[
                "openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism"
            ],
            Score,
        ]
        | None
    ) = None


class Confidence(msgspec.Struct, kw_only=True, frozen=True):
    """How far to trust an assessment, in [0, 1]."""

    overall: float
    traits: dict[str, float]


class PersonalityResponse(msgspec.Struct, kw_only=True, frozen=True):
    """The answer of POST /v1/personality."""

    scores: dict[str, float]
    confidence: Confidence
    method: str


class NothingRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A body that says nothing: {} or none."""


class ExplainRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The body of POST /v1/explain: a track of a list that the listener got."""

    recommendation_id: UUID
    track_id: Id


class Part(msgspec.Struct, kw_only=True, frozen=True):
    """One component's part in a score: contribution = weight x value."""

    value: float
    weight: float
    contribution: float


class RanksWithout(msgspec.Struct, kw_only=True, frozen=True):
    """Where the track would stand among the same tracks, one thing left out."""

    personality: int
    history: int
    colisten: int
    rl: int


class ExplainResponse(msgspec.Struct, kw_only=True, frozen=True):
    """The answer of POST /v1/explain.

    `rank` is where it stood in the list; `rank_by_score` where it stands among the `among` tracks
    that were kept of it, positions drawn at random undone; `without` is to be compared with that.
    """

    recommendation_id: UUID
    track_id: str
    rank: int
    rank_by_score: int
    among: int
    score: float
    parts: dict[str, Part]
    rl_adjustment: float
    propensity: float
    source: str
    explanation: str
    without: RanksWithout


class PersonalityScores(msgspec.Struct, kw_only=True, frozen=True):
    """The active assessment: trait -> 0-100."""

    scores: dict[str, float]
    confidence: float
    method: str


class HistorySummary(msgspec.Struct, kw_only=True, frozen=True):
    """The listening history in numbers; `artists_counted` have counts without dates."""

    tracks: int
    plays: int
    listened_ms: int
    artists_counted: int
    last_played_at: datetime | None


class MeResponse(msgspec.Struct, kw_only=True, frozen=True):
    """The answer of POST /v1/me."""

    user_id: str
    created_at: datetime
    account_age_days: int
    cold_start_stage: str
    personality: PersonalityScores
    history: HistorySummary
    genres: list[GenrePreference]
    feedback: dict[str, int]
    lists: int

    @classmethod
    def of(cls, standing: ListenerStanding) -> "MeResponse":
        """Return a listener's standing as the wire says it."""
        return cls(
            user_id=standing.user_id,
            created_at=standing.created_at,
            account_age_days=standing.account_age_days,
            cold_start_stage=standing.cold_start_stage,
            personality=PersonalityScores(
                scores=dict(standing.scores),
                confidence=standing.confidence,
                method=standing.method,
            ),
            history=HistorySummary(
                tracks=standing.tracks,
                plays=standing.plays,
                listened_ms=standing.listened_ms,
                artists_counted=standing.artists_counted,
                last_played_at=standing.last_played_at,
            ),
            genres=standing.genres,
            feedback=dict(standing.feedback),
            lists=standing.lists,
        )


class ExportResponse(msgspec.Struct, kw_only=True, frozen=True):
    """The answer of POST /v1/me/export: table -> rows, key -> seconds left, lines on disk."""

    user_id: str
    exported_at: datetime
    postgres: dict[str, list[dict[str, Any]]]
    redis: dict[str, int]
    journal: list[str]


class DeletionReceipt(msgspec.Struct, kw_only=True, frozen=True):
    """The answer of POST /v1/me/delete: store -> what -> count, and what it does not reach."""

    receipt_id: UUID
    deleted_at: datetime
    deleted: dict[str, dict[str, int]]
    remains: str


class CacheFigures(msgspec.Struct, kw_only=True, frozen=True):
    """How one of the four caches served over seven days, in all workers."""

    cache: str
    hits: int
    reranks: int
    misses: int
    total_requests: int
    hit_rate_percent: float
    redis_memory_used_mb: float


class ModelFigures(msgspec.Struct, kw_only=True, frozen=True):
    """What is served now, to whom, and what was refused: 'scorer champion' -> why."""

    champion: dict[str, int]
    challenger: dict[str, int] | None
    challenger_share: float
    shadow_share: float
    catalogue: str
    stale: bool
    refused: dict[str, str]


class SourceFigures(msgspec.Struct, kw_only=True, frozen=True):
    """What one source brought in."""

    source: str
    tracks: int
    plays: int
    last_import_at: datetime | None


class Criterion(msgspec.Struct, kw_only=True, frozen=True):
    """One promise, as it was kept lately; `actual` is null where n is 0."""

    metric: str
    target: str
    actual: float | None
    n: int
    window: str
    met: bool | None


class StatsResponse(msgspec.Struct, kw_only=True, frozen=True):
    """The answer of POST /v1/stats."""

    caches: list[CacheFigures]
    models: ModelFigures
    sources: list[SourceFigures]
    criteria: list[Criterion]
    queues: dict[str, int]
    degraded: list[str]


class Problem(msgspec.Struct, kw_only=True, frozen=True):
    """An error, as application/problem+json (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
