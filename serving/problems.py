"""Every error that a caller can meet, and how it looks on the wire."""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.responses import Response

from serving.schemas import Problem


class ServiceProblem(Exception):  # noqa: N818 - the wire's own word for it
    """An answer other than 2xx."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


def unavailable(what: str, retry_after_seconds: int = 5) -> ServiceProblem:
    """Return the 503 for something that is needed and down."""
    return ServiceProblem(
        503,
        f"{what} is not available right now: try again in {retry_after_seconds} seconds",
        {"Retry-After": str(retry_after_seconds)},
    )


def problem_response(problem: ServiceProblem) -> Response:
    """Return a problem as a response."""
    title = HTTPStatus(problem.status).phrase
    body = Problem(type="about:blank", title=title, status=problem.status, detail=problem.detail)
    return Response(
        msgspec.json.encode(body),
        problem.status,
        media_type="application/problem+json",
        headers=problem.headers,
    )
