"""Errors over HTTP: our codes as JSON, each under the status that fits it."""

from __future__ import annotations

import json
import traceback
from typing import Any

from starlette.responses import Response

from netcode.errors import ErrorCode, ProtocolError

STATUS = {
    ErrorCode.BAD_MESSAGE: 400,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.TIMED_OUT: 408,
    ErrorCode.BAD_LOGIN: 401,
    ErrorCode.UNKNOWN_ROOM: 404,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.ROOM_CLOSED: 409,
    ErrorCode.NOT_ALLOWED: 403,
    ErrorCode.LIMITED: 429,
    ErrorCode.SHUTTING_DOWN: 503,
    ErrorCode.ROOM_MOVING: 503,
    ErrorCode.INTERNAL: 500,
}
"""The status of every code that is told over HTTP."""
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "name", "retryable", "message"],
            "additionalProperties": False,
            "properties": {
                "code": {"type": "integer", "description": "as on every other channel: docs/protocol.md, Errors"},
                "name": {"type": "string"},
                "retryable": {"type": "boolean", "description": "the same request may work a little later"},
                "message": {"type": "string"},
            },
        }
    },
}


class Refused(ProtocolError):
    """A refusal under another status than its code's own."""

    def __init__(self, code: ErrorCode, message: str, status: int, headers: dict[str, str] | None = None) -> None:
        super().__init__(code, message)
        self.status = status
        self.headers = headers or {}


def error_response(error: ProtocolError) -> Response:
    """What tells of an error."""
    code = error.code
    told = {"code": code.number, "name": code.wire_name, "retryable": code.retryable, "message": str(error)}
    status, headers = STATUS.get(code, 500), dict[str, str]()
    if isinstance(error, Refused):
        status, headers = error.status, dict(error.headers)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        headers["Retry-After"] = "1"
    return json_response({"error": told}, status, headers)


def told_of(error: BaseException) -> dict[str, str]:
    """What the log says of a fault of ours: no traceback, for a pretty one takes a second, which ticks would wait."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    at = [f"{frame.filename}:{frame.lineno}" for frame in frames[-1:]]
    return {"error": f"{type(error).__name__}: {error}"[:300], "at": "".join(at)}


def json_response(told: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Plain data as JSON."""
    body = json.dumps(told, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return Response(body, status, headers, "application/json")
