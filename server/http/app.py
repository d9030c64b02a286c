"""The app: starlette routes made of the table, and the pages for every other path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from cluster.errors import ClusterError
from netcode.errors import ErrorCode, ProtocolError
from profiles import ProfileStoreError
from server.http import api_act, api_watch, health, openapi
from server.http.errors import Refused, error_response, json_response, told_of
from server.http.guard import Doorkeeper, Guard
from server.http.pages import Pages
from server.http.routes import TABLE, Endpoint, asked_of
from server.http.site import Site
from server.http.turns import Turns

log = structlog.get_logger("holdfast.http")
Answer = Callable[[Request], Awaitable[Response]]

ENTERED = (api_watch, api_act, health, openapi)
"""The files whose handlers are in the table."""
openapi.body()  # now, when nobody waits for it


def make_app(site: Site, turns: Turns, pages: Pages | None = None) -> ASGIApp:
    """All of it, behind the guard."""
    keeper = Doorkeeper(site)
    by_path: dict[str, dict[str, Endpoint]] = {}
    for one in TABLE:
        by_path.setdefault(one.path, {})[one.method] = one
    # A path without a parameter goes before one that would take it for a value.
    ordered = sorted(by_path.items(), key=lambda item: "{" in item[0])
    routes = [Route(path, _refusing(_answer(site, keeper, methods)), methods=ANY) for path, methods in ordered]
    page = _refusing(_page(pages or Pages()))
    return Guard(Starlette(routes=[*routes, Route("/{path:path}", page, methods=ANY)]), site, turns)


ANY = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"]
"""Methods that we refuse ourselves, as JSON, where they are not the path's."""


def _refusing(answer: Answer) -> Answer:
    """The same, which tells its refusals itself: starlette would end a request that raises."""

    async def safely(request: Request) -> Response:
        try:
            return await answer(request)
        except ProtocolError as error:
            return error_response(error)
        except (ClusterError, ProfileStoreError) as error:
            log.warning("http_without_store", path=request.url.path[:100], error=str(error))
            return error_response(Refused(ErrorCode.INTERNAL, "the store does not answer; try again", 503))
        except Exception as error:
            log.error("http_request_failed", path=request.url.path[:100], **told_of(error))
            return error_response(ProtocolError(ErrorCode.INTERNAL, "this request failed; the log says why"))

    return safely


def _answer(site: Site, keeper: Doorkeeper, methods: dict[str, Endpoint]) -> Answer:
    async def answer(request: Request) -> Response:
        one = methods.get("GET" if request.method == "HEAD" else request.method)
        if one is None:
            raise _not_taken(list(methods))
        local = keeper.let_in(request, one.access)
        told: Any = await one.handler(site, await asked_of(one, request, local))
        return told if isinstance(told, Response) else json_response(told)

    return answer


def _page(pages: Pages) -> Answer:
    async def answer(request: Request) -> Response:
        path = request.scope["path"]
        found = pages.find(path)
        if found is None:
            raise ProtocolError(ErrorCode.NOT_FOUND, "there is nothing of this name")
        if request.method not in ("GET", "HEAD"):
            raise _not_taken(["GET"])
        if isinstance(found, str):
            return RedirectResponse(found, 308)
        body, headers = found.sent(request.headers.get("accept-encoding", ""))
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type=found.type)

    return answer


def _not_taken(methods: list[str]) -> Refused:
    allow = ", ".join(sorted({*methods, *(["HEAD"] if "GET" in methods else [])}))
    return Refused(ErrorCode.NOT_ALLOWED, f"this path takes {allow}", 405, {"Allow": allow})
