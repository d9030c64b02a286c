"""The OpenAPI description, made of the table of routes; served as /api/v1/openapi.json."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from starlette.responses import Response

from netcode.errors import ErrorCode
from server.http.errors import SCHEMA, STATUS
from server.http.routes import TABLE, Access, Asked, Endpoint, endpoint
from server.http.site import Site

ALWAYS = (ErrorCode.BAD_MESSAGE, ErrorCode.NOT_ALLOWED, ErrorCode.LIMITED, ErrorCode.INTERNAL)
"""What any request may be refused."""
VERSION = "1"


@endpoint(
    "GET",
    "/api/v1/openapi.json",
    "This description",
    access=Access.EVERYBODY,
    answers={"type": "object"},
)
async def openapi(site: Site, asked: Asked) -> Any:
    return Response(body(), media_type="application/json")


@cache
def body() -> bytes:
    """The same as bytes; two milliseconds of work, once."""
    return json.dumps(describe(), separators=(",", ":")).encode()


@cache
def describe() -> dict[str, Any]:
    """The description, as plain data."""
    paths: dict[str, dict[str, Any]] = {}
    for one in TABLE:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Holdfast",
            "version": VERSION,
            "description": "Health, figures and operation of a Holdfast server. Any node answers for all of them.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {"Error": SCHEMA},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "http.token in the data folder"}
            },
        },
    }


def _operation(one: Endpoint) -> dict[str, Any]:
    content = {one.type: {"schema": one.answers or {"type": "string"}}}
    good = {"description": "done" if one.method == "POST" else "what was asked for", "content": content}
    responses = {str(status): good for status in (200, *one.also)}
    for code in _codes(one):
        responses.setdefault(str(STATUS[code]), _error(code))
    if one.body is not None:
        responses["415"] = _error(ErrorCode.BAD_MESSAGE)
    responses["421"] = _error(ErrorCode.NOT_ALLOWED)
    told: dict[str, Any] = {
        "operationId": one.handler.__name__,
        "summary": one.about,
        "parameters": [
            {
                "name": parameter.name,
                "in": parameter.place,
                "required": parameter.place == "path",
                "description": parameter.about,
                "schema": parameter.schema
                if parameter.default is None
                else {**parameter.schema, "default": parameter.default},
            }
            for parameter in one.parameters
        ],
        "responses": responses,
    }
    if one.access is Access.TOKEN:
        told["security"] = [{"token": []}]
    elif one.access is Access.MACHINE:
        told["security"] = [{}, {"token": []}]
    if one.body is not None:
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": one.body}}}
    return told


def _codes(one: Endpoint) -> list[ErrorCode]:
    codes = [*ALWAYS, *one.errors]
    if one.access is not Access.EVERYBODY:
        codes.append(ErrorCode.BAD_LOGIN)
    if one.body is not None:
        codes += [ErrorCode.TOO_LARGE, ErrorCode.TIMED_OUT]
    if ErrorCode.ROOM_MOVING not in codes:
        codes.append(ErrorCode.SHUTTING_DOWN)
    return codes


def _error(code: ErrorCode) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": code.wire_name, "content": {"application/json": {"schema": schema}}}
