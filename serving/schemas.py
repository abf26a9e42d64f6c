"""What crosses the wire: requests as they must be, answers as they are."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

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


class Problem(msgspec.Struct, kw_only=True, frozen=True):
    """An error, as application/problem+json (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
