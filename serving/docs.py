"""The OpenAPI document, made from the table of routes and the types that decode and encode."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from serving import examples
from serving.schemas import Problem
from serving.surface import Route

JSON = "application/json"
LIMIT_HEADERS = {
    "X-RateLimit-Limit": "Calls a minute that a listener has",
    "X-RateLimit-Remaining": "Calls left in this minute",
    "X-RateLimit-Reset": "Seconds until a slot is free",
}
ACTING_HEADER = {
    "name": "X-Bondhu-User",
    "in": "header",
    "required": False,
    "description": "The listener that a backend with role = service acts for",
    "schema": {"type": "string", "minLength": 1, "maxLength": 128},
}
LIMITED = frozenset({200, 202, 404, 413, 422, 429})
"""What is answered after the limit was asked."""


def openapi(routes: Sequence[Route]) -> bytes:
    """Return the document that /docs.json answers."""
    types = {t for route in routes for t in (route.request, route.response) if t is not None}
    ordered = [*sorted(types, key=lambda t: t.__name__), Problem]
    refs, components = msgspec.json.schema_components(
        ordered, ref_template="#/components/schemas/{name}"
    )
    ref = dict(zip(ordered, refs, strict=True))
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, ref)
    paths |= _of_bentoml()
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Bondhu",
            "version": "1",
            "description": "Personality-aware music recommendation. Every call of /v1 carries a"
            " bearer token whose subject is the listener; a backend with role = service acts for a"
            " listener by the header X-Bondhu-User.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }
    return json.dumps(document).encode()


def _operation(route: Route, ref: Mapping[type, Any]) -> dict[str, Any]:
    answer = {} if route.response is None else {"schema": ref[route.response]}
    content = {route.media_type: answer}
    problem = {"application/problem+json": {"schema": ref[Problem]}}
    headers = (
        {
            name: {"description": text, "schema": {"type": "string", "pattern": r"^\d+$"}}
            for name, text in LIMIT_HEADERS.items()
        }
        if route.needs_token
        else {}
    )
    responses: dict[str, Any] = {}
    for status in (200, *sorted(route.statuses)):
        described: dict[str, Any] = {"description": _described(route, status)}
        if status < HTTPStatus.MULTIPLE_CHOICES:
            described["content"] = content
        elif status >= HTTPStatus.BAD_REQUEST:
            described["content"] = problem
        named = headers if status in LIMITED else {}
        if status in (429, 503):
            retry = {"description": "Seconds to wait", "schema": {"type": "string"}}
            named = named | {"Retry-After": retry}
        if named:
            described["headers"] = named
        responses[str(status)] = described
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": route.path.strip("/").replace("/", "_").replace(".", "_") or "page",
        "responses": responses,
    }
    if route.needs_token:
        operation["security"] = [{"token": []}]
        operation["parameters"] = [ACTING_HEADER]
    if route.request is not None:
        body: dict[str, Any] = {"schema": ref[route.request]}
        if shown := examples.BODIES.get(route.path):
            body["examples"] = {name: {"value": value} for name, value in shown.items()}
        operation["requestBody"] = {"required": not route.takes_nothing, "content": {JSON: body}}
    return operation


def _described(route: Route, status: int) -> str:
    usual = {
        200: "Done",
        202: "On disk, not judged yet",
        401: "No valid token",
        403: "Not for this caller",
        404: "Unknown track or list",
        413: "The body is too large",
        422: "The body is not as described here",
        429: "The listener's calls of this minute are used up",
        503: "Something that is needed is down",
    }
    return route.description.get(status) or usual.get(status) or HTTPStatus(status).phrase


def _of_bentoml() -> dict[str, Any]:
    """Return what BentoML answers by itself."""
    said = {
        "/livez": ("Whether the process is alive", {"200": "Yes"}),
        "/readyz": ("Whether it can answer", {"200": "Yes", "503": "Not yet"}),
        "/metrics": ("Prometheus metrics", {"200": "In the text format"}),
    }
    return {
        path: {
            "get": {
                "summary": summary,
                "operationId": path[1:],
                "responses": {
                    status: {"description": text, "content": {"text/plain": {"schema": {}}}}
                    for status, text in statuses.items()
                },
            }
        }
        for path, (summary, statuses) in said.items()
    }
