"""The table of routes: each handler enters itself with all that one may know of it.

    @endpoint("GET", "/api/v1/rooms/{room}", "One room", answers=ROOM, parameters=(ROOM_ID,), errors=(UNKNOWN_ROOM,))
    async def room(site: Site, asked: Asked) -> Any: …

The app (`server.http.app`) routes and checks by it, the description (`server.http.openapi`) is made of it, so neither
can say what the other does not. A handler gets values that fit what it has declared and answers plain data, or a
Response; what it refuses it raises as ProtocolError.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import attrs
import trio
from starlette.requests import ClientDisconnect, Request

from netcode.errors import ErrorCode, ProtocolError
from server.http.errors import Refused
from server.http.turns import away

if TYPE_CHECKING:
    from server.http.site import Site

BODY_BYTES_MAX = 4096
BODY_S = 5.0
"""For a request's body to come."""

Schema = dict[str, Any]


class Access(enum.Enum):
    """Who may ask."""

    EVERYBODY = "everybody"
    """Tells nothing that a player does not know."""
    MACHINE = "this machine, or with the token"
    TOKEN = "with the token"


@attrs.frozen
class Parameter:
    """A value in the path or the query."""

    name: str
    schema: Schema
    about: str
    place: str = "query"
    default: Any = None


@attrs.frozen
class Asked:
    """A request that may be answered."""

    request: Request
    values: Mapping[str, Any]
    """By parameter, and by property of the body."""
    local: bool
    """It comes from this machine."""


Handler = Callable[["Site", Asked], Awaitable[Any]]


@attrs.frozen
class Endpoint:
    """One line of the table."""

    method: str
    path: str
    about: str
    handler: Handler
    access: Access = Access.TOKEN
    parameters: tuple[Parameter, ...] = ()
    body: Schema | None = None
    answers: Schema | None = None
    """Schema of what is answered; None: of another type than JSON."""
    type: str = "application/json"
    errors: tuple[ErrorCode, ...] = ()
    """What it refuses beyond what any request is refused."""
    also: tuple[int, ...] = ()
    """Other statuses under which it answers the same."""


TABLE: list[Endpoint] = []


def endpoint(method: str, path: str, about: str, **more: Any) -> Callable[[Handler], Handler]:
    """Decorator: enter a handler."""

    def enter(handler: Handler) -> Handler:
        TABLE.append(Endpoint(method, path, about, handler, **more))
        return handler

    return enter


async def asked_of(endpoint: Endpoint, request: Request, local: bool) -> Asked:
    """What a request asks for, checked. Raises ProtocolError."""
    values: dict[str, Any] = {}
    names = [name for name, _ in request.query_params.multi_items()]
    known = {parameter.name for parameter in endpoint.parameters if parameter.place == "query"}
    if len(set(names)) < len(names) or not known.issuperset(names):
        raise _bad(f"the query takes {', '.join(sorted(known)) or 'nothing'}, each once")
    for parameter in endpoint.parameters:
        there = request.path_params if parameter.place == "path" else request.query_params
        if parameter.name in there:
            values[parameter.name] = _parse(parameter.name, parameter.schema, there[parameter.name])
        else:
            values[parameter.name] = parameter.default
    if endpoint.body is not None:
        values |= _check_body(endpoint.body, await _read_body(request))
    return Asked(request, values, local)


def _bad(text: str) -> ProtocolError:
    return ProtocolError(ErrorCode.BAD_MESSAGE, text)


def _parse(name: str, schema: Schema, text: str) -> Any:
    value: Any = text
    if schema["type"] == "integer":
        if not re.fullmatch(r"-?[0-9]{1,9}", text, re.ASCII):
            raise _bad(f"{name} is a whole number")
        value = int(text)
    return _checked(name, schema, value)


def _checked(name: str, schema: Schema, value: Any) -> Any:
    """A value that fits its schema, as far as ours go: integer, string, their limits. Raises ProtocolError."""
    kind = {"integer": int, "string": str}[schema["type"]]
    good = type(value) is kind
    if good and kind is int:
        good = schema.get("minimum", value) <= value <= schema.get("maximum", value)
    elif good:
        good = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 1024)
        good = good and value in schema.get("enum", [value])
        good = good and ("pattern" not in schema or re.search(schema["pattern"], value, re.ASCII) is not None)
    if not good:
        wanted = {key: limit for key, limit in schema.items() if key not in ("description", "default")}
        raise _bad(f"{name} does not fit {json.dumps(wanted)}")
    return value


async def _read_body(request: Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(ErrorCode.BAD_MESSAGE, "the body is to be application/json", 415)
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > 9 or int(length) > BODY_BYTES_MAX:
        raise _too_large()
    body = b""
    try:
        with trio.fail_after(BODY_S):
            async with away(), aclosing(request.stream()) as parts:
                async for part in parts:
                    body += part
                    if len(body) > BODY_BYTES_MAX:
                        raise _too_large()
    except trio.TooSlowError:
        raise ProtocolError(ErrorCode.TIMED_OUT, f"the body did not come within {BODY_S:g} s") from None
    except ClientDisconnect:
        raise _bad("the body ended early") from None
    return body


def _too_large() -> ProtocolError:
    return ProtocolError(ErrorCode.TOO_LARGE, f"a body has at most {BODY_BYTES_MAX} bytes")


def _check_body(schema: Schema, body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        raise _bad("the body is no JSON") from None
    if not isinstance(told, dict) or not told.keys() <= schema["properties"].keys():
        raise _bad(f"the body is an object of {', '.join(schema['properties'])}")
    missing = [name for name in schema["required"] if name not in told]
    if missing:
        raise _bad(f"the body lacks {', '.join(missing)}")
    return {
        name: _checked(name, part, told[name]) if name in told else part.get("default")
        for name, part in schema["properties"].items()
    }
