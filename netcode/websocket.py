"""One end of a WebSocket (RFC 6455) in memory: the upgrade, and messages in and out of bytes.

    bytes ─► receive ─┬ whole, unfragmented binary frames: cut and unmasked here ────────┬─► payloads
                      └ all else: `websockets`, which knows every rule ──────────────────┘
    payload ─► message ─► bytes            pongs, the echo of a close, the close after a fault ─► to_send

A binary message holds one or more whole packets of `netcode.framing`; there is no other message and no extension.
The library takes 5 to 7 µs for a message in and 1.8 for one out, the short way 0.8 and 0.3: that is most of what a
player costs a tick, and nearly all messages are one short frame. The library is asked whenever a frame is anything
else, and as long as it holds a part of one.

Every frame from a client costs, also one that brings nothing. So each counts as FRAME_COST bytes more (`overhead`,
which the owner charges), and those that bring nothing have a rate of their own: BARREN_PER_S.
"""

from __future__ import annotations

import enum
import struct

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from netcode import messages
from netcode.errors import NetcodeError
from netcode.limits import TokenBucket
from netcode.origin import UpgradePolicy

try:
    from websockets.speedups import apply_mask
except ImportError:  # no compiled part for this machine
    from websockets.utils import apply_mask

PATH = "/"
SUBPROTOCOL = Subprotocol("holdfast.1")
"""With the version of `netcode.control`."""
MESSAGE_MAX = messages.MESSAGE_MAX + 5
"""Bytes of a message to a server: the longest packet. To a client a message may have DOWN_MAX."""
DOWN_MAX = 1 << 20
HEAD_MAX = 8192
"""Bytes of an upgrade request, or of the answer, to its empty line."""
HEAD_END = b"\r\n\r\n"
FRAME_COST = 64
BARREN_PER_S, BARREN_BURST = 10.0, 100.0
"""Frames of a client that bring no payload: pings, pongs, empty fragments."""
FRAGMENTS_MAX = 64
"""Of a message; until its end nobody can be charged for them."""
_LENGTH = struct.Struct("<I")
_SHORT, _MEDIUM, _LONG = struct.Struct("!BB"), struct.Struct("!BBH"), struct.Struct("!BBQ")
_BINARY = 0x82  # FIN, opcode 2
_MASKED = 0x80


class Close(enum.IntEnum):
    """Codes of a close frame that this end sends."""

    NORMAL = 1000
    PROTOCOL = 1002
    TEXT = 1003
    HALF_PACKET = 1007
    FLOOD = 1008
    TOO_LARGE = 1009
    ERROR = 4000
    """And the number of the ErrorCode that the last message has told."""


class UpgradeFailed(NetcodeError):
    """The other end does not upgrade, or ours refuses; `answer` is what a server says to that."""

    def __init__(self, message: str, answer: bytes = b"") -> None:
        super().__init__(message)
        self.answer = answer


class WebSocket:
    """One open end. Made by `accept_upgrade`, and by `ClientUpgrade`."""

    __slots__ = ("_barren", "_library", "_parts", "_server", "fault", "open", "over", "overhead", "pongs", "whole")

    def __init__(self, library: Protocol) -> None:
        self.over = False
        """The other end has closed, or broken the protocol: nothing more is received, and a close was sent."""
        self.fault = ""
        """How it has broken the protocol; "" as long as it has not."""
        self.overhead = 0
        """Bytes that the frames received cost beyond their payload; the owner takes them off."""
        self.pongs = 0
        """Pongs that have come."""
        self.open = True
        """Messages may be sent: no close was."""
        self.whole = True
        """No part of a frame, or of a message, waits for the rest of it."""
        self._library = library
        self._server = isinstance(library, ServerProtocol)
        self._parts: list[bytes] = []  # of a message in fragments
        self._barren = TokenBucket(BARREN_PER_S, BARREN_BURST)

    def receive(self, data: bytes, now: float) -> bytes:
        """The payloads of the messages that `data` completes, joined. Look at `to_send`, `over` and `fault` afterwards;
        of what comes after a fault nothing is given."""
        payloads: list[bytes] = []
        at, size = 0, len(data)
        if self.whole and not self.over:
            masked = _MASKED if self._server else 0
            head = 6 if masked else 2
            while size - at > head and data[at] == _BINARY:
                length, body = data[at + 1] - masked, at + head
                if length == 126 and size > body + 2:
                    length, body = data[at + 2] << 8 | data[at + 3], body + 2
                elif not 0 < length < 126:
                    break
                end = body + length
                if not length or end > size:
                    break
                payload = data[body:end]
                if masked:
                    payload = apply_mask(payload, data[body - 4 : body])
                    if not holds_whole_packets(payload):
                        break  # the library will find it, too
                payloads.append(payload)
                at = end
            self.overhead += FRAME_COST * len(payloads)
        if at < size and not self.over:
            self._receive(data[at:] if at else data, payloads, now)
        return payloads[0] if len(payloads) == 1 else b"".join(payloads)

    def message(self, payload: bytes) -> bytes:
        """A message, as bytes to send; b"" once a close was sent."""
        if not self.open:
            return b""
        size = len(payload)
        if not self._server:
            return Frame(Opcode.BINARY, payload).serialize(mask=True)
        if size < 126:
            return _SHORT.pack(_BINARY, size) + payload
        return (_MEDIUM.pack(_BINARY, 126, size) if size < 65536 else _LONG.pack(_BINARY, 127, size)) + payload

    def ping(self) -> bytes:
        """A ping, as bytes to send."""
        if self.open:
            self._library.send_ping(b"")
        return self.to_send()

    def close(self, code: int = Close.NORMAL, reason: str = "") -> bytes:
        """A close, as bytes to send; b"" when one was sent before."""
        if self.open:
            self.open = False
            self._library.send_close(code, reason)
        return self.to_send()

    def to_send(self) -> bytes:
        """What this end has to answer by itself."""
        return b"".join(self._library.data_to_send())

    def _receive(self, data: bytes, payloads: list[bytes], now: float) -> None:
        library = self._library
        library.receive_data(data)
        self.open = self.open and library.state is State.OPEN
        for frame in library.events_received():
            assert isinstance(frame, Frame)
            self.overhead += FRAME_COST
            if frame.opcode is Opcode.CLOSE:
                self.over = True
            elif frame.opcode is Opcode.TEXT:
                return self._fail(Close.TEXT, "a text message; there are binary ones only")
            elif self._server and brings_nothing(frame) and not self._barren.take(now):
                return self._fail(Close.FLOOD, "too many frames that bring nothing")
            elif frame.opcode is Opcode.PONG:
                self.pongs += 1
            elif frame.opcode is not Opcode.PING:
                if frame.data:
                    self._parts.append(bytes(frame.data))
                if self._server and len(self._parts) > FRAGMENTS_MAX:
                    return self._fail(Close.FLOOD, "a message in too many fragments")
                if frame.fin:
                    payload, self._parts = b"".join(self._parts), []
                    if self._server and not holds_whole_packets(payload):
                        return self._fail(Close.HALF_PACKET, "a message that does not hold whole packets")
                    payloads.append(payload)
        if library.parser_exc is not None:
            self.over, self.fault = True, str(library.parser_exc)
        self.whole = not library.reader.buffer and library.current_size is None
        return None

    def _fail(self, code: Close, why: str) -> None:
        self.open, self.over, self.fault = False, True, why
        self._library.fail(code, why)


def brings_nothing(frame: Frame) -> bool:
    """Whether a frame is none of a message, or an empty part of one."""
    return not frame.data or frame.opcode in (Opcode.PING, Opcode.PONG)


def holds_whole_packets(payload: bytes) -> bool:
    """Whether a message ends where a packet does. Of a length that no packet has the packets' reader will tell."""
    at, size = 0, len(payload)
    while size - at >= 4:
        (length,) = _LENGTH.unpack_from(payload, at)
        if not 0 < length <= messages.MESSAGE_MAX + 1:
            return True
        at += 4 + length
        if at == size:
            return True
    return False


# -- the upgrade ------------------------------------------------------------------------------------------------------


def accept_upgrade(head: bytes, policy: UpgradePolicy, *, secure: bool, local: bool) -> tuple[WebSocket, bytes]:
    """A server's end for the request `head` (to its empty line), and the answer that opens it.

    `secure`: it came through TLS; `local`: from this machine. Raises UpgradeFailed with the answer.
    """
    library = ServerProtocol(subprotocols=[SUBPROTOCOL], max_size=MESSAGE_MAX)
    library.receive_data(head)
    events = library.events_received()
    if not events:  # the library has answered what is too long, and not what is no HTTP
        answer = b"".join(library.data_to_send()) or refusal(400, "this is no HTTP/1.1 request")
        raise UpgradeFailed(str(library.handshake_exc), answer)
    (request,) = events
    assert isinstance(request, Request)
    fault = (404, f"there is nothing but {PATH} here") if request.path.partition("?")[0] != PATH else None
    fault = fault or policy.fault(request.headers.get_all, secure=secure, local=local)
    if fault is not None:
        raise UpgradeFailed(f"HTTP {fault[0]}: {fault[1]}", refusal(*fault))
    response = library.accept(request)
    library.send_response(response)
    answer = b"".join(library.data_to_send())
    if response.status_code != 101:
        raise UpgradeFailed(f"HTTP {response.status_code}: {library.handshake_exc}", answer)
    return WebSocket(library), answer


def refusal(status: int, why: str) -> bytes:
    """An HTTP answer that ends the connection."""
    return ServerProtocol().reject(status, why + "\n").serialize()


class ClientUpgrade:
    """A client's half of the upgrade."""

    def __init__(self, host: str, port: int, *, secure: bool) -> None:
        self._library = ClientProtocol(
            WebSocketURI(secure, host, port, PATH, ""), subprotocols=[SUBPROTOCOL], max_size=DOWN_MAX
        )
        self._library.send_request(self._library.connect())
        self._head = b""
        self.request = b"".join(self._library.data_to_send())
        """What to send."""

    def receive(self, data: bytes) -> tuple[WebSocket, bytes] | None:
        """The open end and the bytes that came behind the answer; None before all of it is there.

        Raises UpgradeFailed.
        """
        library = self._library
        if self._head.endswith(HEAD_END):  # refused, and the reasons follow
            library.receive_data(data)
        else:
            head, end, rest = (self._head + data).partition(HEAD_END)
            self._head = head + end
            if len(self._head) > HEAD_MAX:
                raise UpgradeFailed("the answer is too long")
            if not end:
                return None
            library.receive_data(self._head)
            if library.state is State.OPEN and library.subprotocol == SUBPROTOCOL:
                library.events_received()
                return WebSocket(library), rest
            library.receive_data(rest)
        if library.state is State.OPEN:
            raise UpgradeFailed(f"the server does not speak {SUBPROTOCOL}")
        why = library.handshake_exc
        if isinstance(why, InvalidStatus):
            body = bytes(why.response.body).decode(errors="replace").strip()[:200]
            raise UpgradeFailed(f"HTTP {why.response.status_code}: {body or why.response.reason_phrase}")
        if why is not None:
            raise UpgradeFailed(str(why.__cause__ or why))
        return None
