"""Two ends of a WebSocket in memory: what arrives however it is cut, what breaks the protocol, who may upgrade."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol
from websockets.uri import parse_uri

from netcode import messages
from netcode.framing import frame
from netcode.origin import UpgradePolicy
from netcode.websocket import (
    BARREN_BURST,
    BARREN_PER_S,
    FRAGMENTS_MAX,
    FRAME_COST,
    HEAD_MAX,
    MESSAGE_MAX,
    ClientUpgrade,
    UpgradeFailed,
    WebSocket,
    accept_upgrade,
    refusal,
)

PACKET = frame(1, b"\x01input")
sizes = st.sampled_from([0, 1, 60, 119, 120, 121, 122, 200, 65529, 65530, 65535, messages.MESSAGE_MAX])
packets = st.builds(lambda size, byte: frame(0, bytes([byte]) * size), sizes, st.integers(0, 255))


def opened() -> tuple[WebSocket, WebSocket]:
    """A client's and a server's end."""
    upgrade = ClientUpgrade("127.0.0.1", 7777, secure=False)
    server, answer = accept_upgrade(upgrade.request, UpgradePolicy(), secure=False, local=True)
    found = upgrade.receive(answer)
    assert found is not None
    assert found[1] == b""
    return found[0], server


def raw(opcode: Opcode, data: bytes, *, fin: bool = True, mask: bool = True, **bits: bool) -> bytes:
    """A frame as a client sends it, right or wrong."""
    wire = bytearray(Frame(opcode, data).serialize(mask=mask) if len(data) < 126 or opcode < 8 else b"")
    if not wire:  # a control frame that is too long
        wire = bytearray(struct.pack("!BBH", 0x80 | opcode, 0xFE, len(data)) + bytes(4) + data)
    wire[0] &= 0xFF if fin else 0x7F
    wire[0] |= 0x40 if bits.get("rsv1") else 0
    return bytes(wire)


def close_code(wire: bytes) -> int | None:
    """What a client of another make is told by these bytes."""
    peer = ClientProtocol(parse_uri("ws://x/"), state=OPEN)
    peer.receive_data(wire)
    peer.receive_eof()
    return peer.close_code


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """`data` cut there."""
    at = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(at)]


@given(st.lists(st.lists(packets, min_size=1, max_size=3), max_size=5), st.lists(st.integers(0, 1 << 20), max_size=12))
def test_messages_arrive_however_the_stream_is_cut(said: list[list[bytes]], cuts: list[int]) -> None:
    client, server = opened()
    for sender, receiver in ((client, server), (server, client)):
        told = [b"".join(group) for group in said]
        told = [message for message in told if len(message) <= MESSAGE_MAX]
        wire = b"".join(sender.message(message) for message in told)
        got = b"".join(receiver.receive(piece, 0.0) for piece in pieces(wire, cuts))
        assert got == b"".join(told)
        assert (receiver.over, receiver.fault, receiver.to_send()) == (False, "", b"")


@given(st.binary(max_size=40), st.lists(st.integers(1, 30), max_size=6), st.lists(st.integers(0, 4000), max_size=12))
def test_a_message_in_fragments_with_pings_between(payload: bytes, fragments: list[int], cuts: list[int]) -> None:
    _, server = opened()
    message, wire = frame(0, payload) + PACKET, b""
    parts = pieces(message, fragments)
    for number, part in enumerate(parts):
        opcode = Opcode.BINARY if number == 0 else Opcode.CONT
        wire += raw(opcode, part, fin=number == len(parts) - 1) + raw(Opcode.PING, bytes([number]))
    wire += raw(Opcode.BINARY, PACKET)
    got = b"".join(server.receive(piece, 0.0) for piece in pieces(wire, cuts))
    assert got == message + PACKET
    assert server.to_send() == b"".join(raw(Opcode.PONG, bytes([n]), mask=False) for n in range(len(parts)))
    assert server.overhead == FRAME_COST * (2 * len(parts) + 1)


BROKEN = {
    "not masked": (raw(Opcode.BINARY, PACKET, mask=False), 1002),
    "a reserved bit": (raw(Opcode.BINARY, PACKET, rsv1=True), 1002),
    "an unknown kind": (b"\x83\x80" + bytes(4), 1002),
    "a continuation of nothing": (raw(Opcode.CONT, PACKET), 1002),
    "a message within a message": (raw(Opcode.BINARY, PACKET, fin=False) + raw(Opcode.BINARY, PACKET), 1002),
    "a long ping": (raw(Opcode.PING, bytes(126)), 1002),
    "a ping in parts": (raw(Opcode.PING, b"", fin=False), 1002),
    "text": (raw(Opcode.TEXT, b"hello"), 1003),
    "a part of a text": (raw(Opcode.TEXT, b"hel", fin=False), 1003),
    "nothing": (raw(Opcode.BINARY, b""), 1007),
    "half a packet": (raw(Opcode.BINARY, PACKET[:-1]), 1007),
    "half a packet in two parts": (raw(Opcode.BINARY, PACKET[:3], fin=False) + raw(Opcode.CONT, b"\x00"), 1007),
    "a length without its packet": (raw(Opcode.BINARY, PACKET + b"\x01\x00"), 1007),
    "too long": (struct.pack("!BBQ", 0x82, 0xFF, MESSAGE_MAX + 1), 1009),
    "giant": (struct.pack("!BBQ", 0x82, 0xFF, 2**63), 1009),
    "too long in parts": (
        raw(Opcode.BINARY, bytes(MESSAGE_MAX), fin=False) + struct.pack("!BBH", 0x80, 0xFE, 200),
        1009,
    ),
    "too many parts": (
        raw(Opcode.BINARY, b"x", fin=False) + raw(Opcode.CONT, b"x", fin=False) * FRAGMENTS_MAX,
        1008,
    ),
    "a close of one byte": (raw(Opcode.CLOSE, b"x"), 1002),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("step", [1, 10_000_000], ids=["byte by byte", "at once"])
def test_who_breaks_the_protocol_is_told_how(name: str, step: int) -> None:
    client, server = opened()
    wire, code = BROKEN[name]
    start = client.message(PACKET)
    got, answer = server.receive(start, 0.0), b""
    for at in range(0, len(wire), max(step, len(wire) // 500)):
        got += server.receive(wire[at : at + max(step, len(wire) // 500)], 0.0)
        answer += server.to_send()
    assert got == PACKET
    assert server.over
    assert server.fault
    assert close_code(answer) == code
    assert server.receive(client.message(PACKET), 1.0) == b"", "nothing is taken after a fault"
    assert server.message(PACKET) == server.ping() == server.close() == b""


def test_a_length_that_no_packet_has_is_left_to_the_packets_reader() -> None:
    _, server = opened()
    giant = struct.pack("<I", 2**31) + b"\x00rest"
    assert server.receive(raw(Opcode.BINARY, giant), 0.0) == giant
    assert not server.fault


@pytest.mark.parametrize(
    "wire",
    [raw(Opcode.PING, b"x"), raw(Opcode.PONG, b""), raw(Opcode.CONT, b"", fin=False)],
    ids=["ping", "pong", "empty part"],
)
def test_a_flood_of_frames_that_bring_nothing(wire: bytes) -> None:
    _, server = opened()
    server.receive(raw(Opcode.BINARY, PACKET, fin=False), 0.0)
    for number in range(200):
        server.receive(wire, number / BARREN_PER_S)
    assert server.fault == "", "so many a second are welcome"
    now = 200 / BARREN_PER_S
    server.to_send()
    for _ in range(int(BARREN_BURST) + 2):
        server.receive(wire, now)
    assert "bring nothing" in server.fault


def test_a_flood_is_answered_with_1008() -> None:
    _, server = opened()
    server.receive(raw(Opcode.PONG, b"") * (int(BARREN_BURST) + 1), 0.0)
    assert close_code(server.to_send()) == 1008


def test_what_a_receive_costs_is_charged() -> None:
    client, server = opened()
    server.receive(client.message(PACKET) * 3, 0.0)
    assert server.overhead == 3 * FRAME_COST


def test_a_goodbye_of_the_client_is_echoed() -> None:
    client, server = opened()
    wire = client.message(PACKET) + client.close(1000, "enough")
    assert server.receive(wire, 0.0) == PACKET, "what came before it counts"
    assert (server.over, server.fault) == (True, "")
    client.receive(server.to_send(), 0.0)
    assert client.over
    assert client.message(PACKET) == b""


def test_a_goodbye_of_the_server_carries_its_code() -> None:
    client, server = opened()
    wire = server.message(PACKET) + server.close(4031, "limited")
    assert close_code(wire) == 4031
    assert client.receive(wire, 0.0) == PACKET
    assert client.over
    assert server.receive(client.message(PACKET), 0.0) == b"", "the client has echoed the close and says no more"


def test_a_ping_is_answered_and_counted() -> None:
    client, server = opened()
    assert client.receive(server.ping(), 0.0) == b""
    assert server.receive(client.to_send(), 0.0) == b""
    assert server.pongs == 1


@given(st.lists(st.sampled_from([*(wire for wire, _ in BROKEN.values()), raw(Opcode.BINARY, PACKET)])), st.data())
def test_where_the_stream_is_cut_changes_nothing(wires: list[bytes], data: st.DataObject) -> None:
    """Whether the short way or the library reads a frame depends on that."""
    wire = b"".join(each for each in wires if len(each) < 1000)
    whole, cut = opened()[1], opened()[1]
    got = whole.receive(wire, 0.0)
    cuts = data.draw(st.lists(st.integers(0, 1 << 12), max_size=20))
    assert b"".join(cut.receive(piece, 0.0) for piece in pieces(wire, cuts)) == got
    assert (cut.over, bool(cut.fault)) == (whole.over, bool(whole.fault))


@given(st.binary(max_size=300))
def test_any_bytes_at_all(data: bytes) -> None:
    _, server = opened()
    server.receive(data, 0.0)
    server.to_send()


# -- the upgrade ------------------------------------------------------------------------------------------------------

REQUEST = {
    "Host": "127.0.0.1:7777",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "holdfast.1",
}


def request(line: str = "GET / HTTP/1.1", **changes: str | None) -> bytes:
    headers = {**REQUEST, **{name.replace("_", "-"): value for name, value in changes.items()}}
    told = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value is not None)
    return f"{line}\r\n{told}\r\n".encode()


def answer_to(head: bytes, policy: UpgradePolicy | None = None, *, secure: bool = False, local: bool = True) -> bytes:
    try:
        return accept_upgrade(head, policy or UpgradePolicy(), secure=secure, local=local)[1]
    except UpgradeFailed as error:
        return error.answer


def status_of(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 ")
    return int(answer.split(b" ")[1])


def test_the_example_of_the_rfc() -> None:
    answer = answer_to(request())
    assert status_of(answer) == 101
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer
    assert b"Sec-WebSocket-Protocol: holdfast.1" in answer
    assert b"Extensions" not in answer


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (request(), 101),
        (request("GET /?room=r HTTP/1.1"), 101),
        (request(Sec_WebSocket_Extensions="permessage-deflate"), 101),
        (request(Sec_WebSocket_Protocol="holdfast.9, holdfast.1"), 101),
        (request("GET /elsewhere HTTP/1.1"), 404),
        (request("GET http://127.0.0.1/ HTTP/1.1"), 404),
        (request("GET / HTTP/1.0"), 505),
        (request("GET /"), 400),
        (request(Upgrade=None), 426),
        (request(Connection="keep-alive"), 426),
        (request(Upgrade="h2c"), 426),
        (request(Sec_WebSocket_Key=None), 400),
        (request(Sec_WebSocket_Key="c2hvcnQ="), 400),
        (request(Sec_WebSocket_Version="8"), 400),
        (request(Sec_WebSocket_Protocol=None), 400),
        (request(Sec_WebSocket_Protocol="holdfast.2"), 400),
        (request(Host=None), 400),
        (request(Host="a, b"), 400),
        (request(Host="127.0.0.1/x"), 400),
        (request(Host="evil.example"), 421),
        (request(Origin="https://evil.example"), 403),
        (request(Origin="null"), 403),
        (request(Origin="http://127.0.0.1:8080"), 101),
        (b"GET / HTTP/1.1\r\nHost x\r\n\r\n", 400),
        (b"GET \xff\xfe\r\n\r\n", 400),
        (request().replace(b"\r\n\r\n", b"\r\nHost: localhost\r\n\r\n"), 400),
        (request(Origin="http://127.0.0.1").replace(b"\r\n\r\n", b"\r\nOrigin: null\r\n\r\n"), 400),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
        (b"GET /" + b"x" * (HEAD_MAX + 100) + b" HTTP/1.1\r\n\r\n", 414),
    ],
)
def test_requests_and_what_they_get(head: bytes, status: int) -> None:
    answer = answer_to(head)
    assert status_of(answer) == status
    if status != 101:
        assert b"Connection: close" in answer


POLICIES = [
    # policy, Host, Origin, TLS, from this machine, status
    (UpgradePolicy(), "localhost:7777", None, False, True, 101),
    (UpgradePolicy(), "game.localhost", "http://game.localhost:9", False, True, 101),
    (UpgradePolicy(), "[::1]:7777", "http://[::1]", False, True, 101),
    (UpgradePolicy(), "LOCALHOST", "http://LocalHost:80", False, True, 101),
    (UpgradePolicy(), "127.0.0.1", "http://localhost", False, True, 403),
    (UpgradePolicy(), "rebound.example:7777", "http://rebound.example:7777", False, True, 421),
    (UpgradePolicy(), "play.example", "https://play.example", True, False, 101),
    (UpgradePolicy(), "play.example", "https://play.example.evil", True, False, 403),
    (UpgradePolicy(), "play.example", "https://evil-play.example", True, False, 403),
    (UpgradePolicy(), "10.0.0.1", None, False, False, 403),
    (UpgradePolicy(plain=True), "10.0.0.1", None, False, False, 101),
    (UpgradePolicy(plain=True), "rebound.example", None, False, False, 421),
    (UpgradePolicy(plain=True, name="play.example"), "play.example", "https://play.example", False, False, 101),
    (UpgradePolicy("https://a.example, https://b.example/"), "127.0.0.1", "https://b.example", False, True, 101),
    (UpgradePolicy("https://a.example"), "127.0.0.1", "http://a.example", False, True, 403),
    (UpgradePolicy("https://a.example"), "a.example", "https://a.example", False, True, 101),
    (UpgradePolicy("*"), "any.example", "https://other.example", False, True, 101),
    (UpgradePolicy("*"), "any.example", None, False, False, 403),
    (UpgradePolicy("null"), "127.0.0.1", "null", False, True, 101),
]


@pytest.mark.parametrize(("policy", "host", "origin", "secure", "local", "status"), POLICIES)
def test_pages_and_names(
    policy: UpgradePolicy, host: str, origin: str | None, secure: bool, local: bool, status: int
) -> None:
    head = request(Host=host, Origin=origin)
    assert status_of(answer_to(head, policy, secure=secure, local=local)) == status


@given(st.binary(max_size=200))
def test_any_request_at_all_is_answered(garbage: bytes) -> None:
    assert status_of(answer_to(b"GET " + garbage.replace(b"\r\n\r\n", b"") + b"\r\n\r\n")) >= 400


def upgraded(change: Callable[[bytes], bytes], step: int) -> WebSocket | None:
    """What a client makes of an answer that was changed on the way, and comes in steps."""
    upgrade = ClientUpgrade("localhost", 7777, secure=False)
    answer = change(answer_to(upgrade.request))
    for at in range(0, len(answer), step):
        if (found := upgrade.receive(answer[at : at + step])) is not None:
            return found[0]
    return None


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_a_client_is_told_why_not(step: int) -> None:
    assert upgraded(lambda answer: answer, step) is not None
    assert upgraded(lambda answer: answer[:-2], step) is None, "not all of it is there"
    with pytest.raises(UpgradeFailed, match="403: not here"):
        upgraded(lambda _: refusal(403, "not here"), step)
    with pytest.raises(UpgradeFailed, match="does not speak"):
        upgraded(lambda answer: answer.replace(b"Sec-WebSocket-Protocol", b"X-Protocol"), step)
    with pytest.raises(UpgradeFailed, match="Accept"):
        upgraded(lambda _: answer_to(request()), step)
    with pytest.raises(UpgradeFailed, match="too long"):
        upgraded(lambda _: b"HTTP/1.1 101 x\r\n" + b"a: b\r\n" * 2000, step)


def test_what_comes_behind_the_answer_is_kept() -> None:
    upgrade = ClientUpgrade("localhost", 7777, secure=False)
    server, answer = accept_upgrade(upgrade.request, UpgradePolicy(), secure=False, local=True)
    found = upgrade.receive(answer + server.message(PACKET))
    assert found is not None
    client, rest = found
    assert client.receive(rest, 0.0) == PACKET


def test_ends_are_those_of_the_library() -> None:
    """The short way out is what the library would write."""
    _, server = opened()
    for size in (1, 125, 126, 65535, 65536):
        payload = bytes(size)
        assert server.message(payload) == Frame(Opcode.BINARY, payload).serialize(mask=False)
    assert isinstance(server._library, Protocol)
