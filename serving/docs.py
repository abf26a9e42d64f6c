"""The OpenAPI document, made from the very types that decode and encode what crosses the wire."""

import json
from typing import Any

import msgspec

from serving import schemas

CALLS = {
    "/v1/recommend": (
        "A ranked list for the listener, with every score's components",
        schemas.RecommendRequest,
        schemas.RecommendResponse,
        (401, 403, 413, 422, 429, 503),
    ),
    "/v1/feedback": (
        "What the listener did with a track; the next list shows it",
        schemas.FeedbackRequest,
        schemas.FeedbackResponse,
        (401, 403, 404, 413, 422, 429, 503),
    ),
    "/v1/personality": (
        "A Big Five assessment: a questionnaire's answers, or scores of 0-100",
        schemas.PersonalityRequest,
        schemas.PersonalityResponse,
        (401, 403, 413, 422, 429, 503),
    ),
}


def openapi() -> bytes:
    """Return the document that /docs.json answers."""
    types = [t for _, request, response, _ in CALLS.values() for t in (request, response)]
    refs, components = msgspec.json.schema_components(
        [*types, schemas.Problem], ref_template="#/components/schemas/{name}"
    )
    ref = dict(zip([*types, schemas.Problem], refs, strict=True))
    problem = {"application/problem+json": {"schema": ref[schemas.Problem]}}
    paths: dict[str, Any] = {}
    for path, (summary, request, response, statuses) in CALLS.items():
        answer = {"content": {"application/json": {"schema": ref[response]}}}
        responses: dict[str, Any] = {"200": {"description": "Done", **answer}}
        if path == "/v1/feedback":
            responses["202"] = {"description": "On disk, not judged yet", **answer}
        responses |= {str(s): {"description": "See detail", "content": problem} for s in statuses}
        paths[path] = {
            "post": {
                "summary": summary,
                "operationId": path.rsplit("/", 1)[1],
                "security": [{"token": []}],
                "requestBody": {
                    "required": path != "/v1/recommend",
                    "content": {"application/json": {"schema": ref[request]}},
                },
                "responses": responses,
            }
        }
    for path, summary in (
        ("/livez", "Whether the process is alive"),
        ("/readyz", "Whether it can answer"),
        ("/metrics", "Prometheus metrics"),
    ):
        ok = {"200": {"description": "Yes", "content": {"text/plain": {"schema": {}}}}}
        paths[path] = {"get": {"summary": summary, "operationId": path[1:], "responses": ok}}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Bondhu", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }
    return json.dumps(document).encode()
