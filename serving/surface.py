"""The outermost layer: a table of routes, request ids, metrics, and problems for what went wrong.

A plain look-up by path, outside of any framework's middlewares: a cached list costs little more
than its round trip to Redis. A path that is not in the table is a 404 and never becomes a label.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.headers import header
from serving.logs import new_request_id, request_id
from serving.metrics import ANSWERS, ERRORS
from serving.problems import ServiceProblem, problem_response
from serving.tally import TALLY
from serving.tracing import span

REQUEST_ID_HEADER = b"x-request-id"
LONGEST_REQUEST_ID = 128
OTHER = "other"

Endpoint = Callable[[Request], Awaitable[Response]]

log = logging.getLogger("bondhu.api")


@dataclass(frozen=True)
class Route:
    """One row of the table of calls, described as the OpenAPI document says it.

    Attributes
    ----------
    endpoint
        Answers it; raises ServiceProblem for every answer of 4xx and 5xx.
    request, response
        Types of the bodies; None: no body, or not JSON.
    statuses
        What it may answer beside 200.
    needs_token
        Whether a bearer token must come with it.
    media_type
        Of an answer that is not JSON.
    takes_nothing
        Whether a body may be left out.
    """

    path: str
    endpoint: Endpoint
    summary: str
    method: str = "POST"
    request: type | None = None
    response: type | None = None
    statuses: tuple[int, ...] = ()
    needs_token: bool = True
    media_type: str = "application/json"
    takes_nothing: bool = False
    description: dict[int, str] = field(default_factory=dict)


class Surface:
    """An ASGI application over a table of routes."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = {route.path: route for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        route = self._routes.get(scope["path"])
        request = Request(scope, receive)
        state = scope.setdefault("state", {})
        said = header(scope, REQUEST_ID_HEADER) or ""
        identity = said if 0 < len(said) <= LONGEST_REQUEST_ID and said.isprintable() else ""
        identity = identity or new_request_id()
        request_id.set(identity)
        template = route.path if route else OTHER
        state["route"] = template
        try:
            with span(template):
                response = await _endpoint(route, scope["method"])(request)
        except ServiceProblem as problem:
            response = problem_response(problem)
        except ClientDisconnect:
            return
        response.raw_headers.extend(state.get("limit_headers", ()))
        response.raw_headers.append((REQUEST_ID_HEADER, identity.encode("latin-1")))
        took = time.perf_counter() - started
        TALLY.answered(template, state.get("cache", ""), response.status_code, took)
        if log.isEnabledFor(logging.DEBUG):
            log.debug(
                "Answered %s with %d in %.1f ms",
                template,
                response.status_code,
                took * 1000,
                extra={"route": template, "status": response.status_code},
            )
        await response(scope, receive, send)


def surface(routes: Iterable[Route]) -> ASGIApp:
    """Return the application; what nobody expected is answered with 500 and goes to the log."""
    return ServerErrorMiddleware(Surface(routes), handler=_broken)


def _endpoint(route: Route | None, method: str) -> Endpoint:
    if route is None:
        raise ServiceProblem(404, "there is nothing at this address: see /docs.json")
    if method != route.method and not (method == "HEAD" and route.method == "GET"):
        raise ServiceProblem(
            405,
            f"this address takes {route.method}: see /docs.json",
            {"Allow": "GET, HEAD" if route.method == "GET" else route.method},
        )
    return route.endpoint


async def _broken(request: Request, error: Exception) -> Response:
    """Answer for what nobody expected; the exception goes on to the log after this."""
    ANSWERS.labels(request.scope.get("state", {}).get("route", OTHER), "500").inc()
    ERRORS.labels(type(error).__name__).inc()
    log.error("Something broke: %s", type(error).__name__)
    detail = f"something broke that should not have; its number is {request_id.get()}"
    response = problem_response(ServiceProblem(HTTPStatus.INTERNAL_SERVER_ERROR, detail))
    response.headers[REQUEST_ID_HEADER.decode()] = request_id.get()
    return response
