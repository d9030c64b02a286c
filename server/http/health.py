"""Health, for balancers and supervisors, and the figures of Prometheus.

/healthz   200 as long as the loop answers
/readyz    200 where players are to be sent; 503 while the node drains or has lost touch with its store
/metrics   this very node's figures (`server.http.figures`)
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from server.http import schemas
from server.http.errors import json_response
from server.http.figures import CONTENT_TYPE, render
from server.http.report import state
from server.http.routes import Access, Asked, endpoint
from server.http.site import Site

HEALTH = schemas.shape(state={"type": "string", "enum": ["serving", "draining", "suspended"]})


@endpoint("GET", "/healthz", "Whether the process answers", access=Access.EVERYBODY, answers=HEALTH)
async def healthz(site: Site, asked: Asked) -> Any:
    return {"state": state(site)}


@endpoint(
    "GET",
    "/readyz",
    "Whether players are to be sent here",
    access=Access.EVERYBODY,
    answers=HEALTH,
    also=(503,),
)
async def readyz(site: Site, asked: Asked) -> Any:
    now = state(site)
    return json_response({"state": now}, 200 if now == "serving" else 503)


@endpoint(
    "GET",
    "/metrics",
    "This very node's figures, for Prometheus; without the token on the same machine only",
    access=Access.MACHINE,
    type="text/plain",
)
async def metrics(site: Site, asked: Asked) -> Any:
    return Response(await render(site), media_type=CONTENT_TYPE)
