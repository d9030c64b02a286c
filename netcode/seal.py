"""Sealed datagrams: every UDP packet of a session is encrypted, authenticated and accepted once.

::

     byte  0          1                                  9          11                       -16
          +----------+----------------------------------+----------+----------------+------------+
          | ver  typ | connection id, u64 LE            | sequence | ciphertext     | tag        |
          | 4b | 4b  |                                  | u16 LE   | (>= 0 bytes)   | 16 bytes   |
          +----------+----------------------------------+----------+----------------+------------+
          '------------ authenticated ------------------'  widened  '--- AES-256-GCM or ChaCha20-Poly1305 ---'

     additional data = bytes 0..8 + direction (0 client -> server, 1 server -> client)
     nonce (12 B)    = the whole 64-bit sequence, LE, then 4 zero bytes

The sequence counts from 1 and never repeats under a key; keys come in pairs (one per direction) and are new
on every session and resume, so a nonce is never used twice. Only its low 16 bits travel; the receiver widens
them around the highest number it accepted, and a wrong guess fails the tag because the nonce is the whole
number.

The order in `Opener.open` is the invariant: *shape, version, replay window, tag, and only then advance the
window*. Whatever fails is dropped in silence and counted, because an answer would help a forger and cost us a
packet.

AEAD limits (RFC 9001, section 6.6 and appendix B.1, packets of at most 2**11 bytes): 2**28 packets under one
AES-GCM key keep its advantage over an attacker below 2**-57. `SEQUENCE_MAX` is that number for both suites:
24 days at 128 packets a second, far beyond a session's absolute timeout, after which a resume brings new
keys.
"""

from __future__ import annotations

import enum
import struct

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from netcode.errors import NetcodeError
from netcode.replay import ReplayWindow

PROTOCOL_VERSION = 1
"""The version in the high nibble of each datagram's first byte."""
PAYLOAD_MAX = 1200
"""The largest datagram in bytes, header and tag included: it passes every path that IPv6 allows (1280 B
MTU)."""
CONNECTION_AT, SEQUENCE_AT, HEADER_SIZE = 1, 9, 11
"""Where the parts of a header begin, and its end."""
TAG_SIZE = 16
NONCE_SIZE = 12
OVERHEAD = HEADER_SIZE + TAG_SIZE
"""Bytes that sealing adds to a plaintext."""
PLAINTEXT_MAX = PAYLOAD_MAX - OVERHEAD
KEY_SIZE = 32
SEQUENCE_MAX = 2**28
"""The last sequence number that may be sealed under one key."""

CLIENT_TO_SERVER = 0
SERVER_TO_CLIENT = 1


class DatagramType(enum.IntEnum):
    """What a datagram carries; the low nibble of its first byte."""

    INPUT = 1
    """Client to server: inputs and acknowledgements."""
    FRAME = 2
    """Server to client: one tick's frame."""
    PROBE = 3
    """Client to server: the first datagram of a path, padded to `PAYLOAD_MAX`."""
    CHALLENGE = 4
    """Server to client: a nonce to be returned from the address it was sent to."""
    PROOF = 5
    """Client to server: the challenge's nonce."""
    KEEPALIVE = 6
    """Both ways: nothing to say, still here."""
    CLOSE = 7
    """Both ways: the session's realtime channel ends."""


class Suite(enum.Enum):
    """The cipher; both take keys of 32 bytes and give tags of 16."""

    AES_256_GCM = "aes-256-gcm"
    CHACHA20_POLY1305 = "chacha20-poly1305"


class KeyExhausted(NetcodeError):
    """`SEQUENCE_MAX` datagrams were sealed under this key: the session must resume to get new keys."""


class DatagramTooLarge(NetcodeError):
    """A plaintext does not fit into one datagram of `PAYLOAD_MAX` bytes."""


@attrs.define
class DropCounters:
    """Datagrams dropped in silence, by reason; one object may be shared by all openers of a node."""

    malformed: int = 0
    """Too short or too long, an unknown type, or for another connection."""
    version: int = 0
    """Another protocol version."""
    replayed: int = 0
    """Seen before, or older than the replay window."""
    forged: int = 0
    """The tag does not fit."""
    unknown: int = 0
    """For no connection that is open."""
    excess: int = 0
    """Genuine, and beyond what its session may send."""


_HEADER = struct.Struct("<BQH")
_CONNECTION_ID = struct.Struct("<xQ")
_PREFIX = struct.Struct("<BQ")
_DIRECTIONS = (b"\x00", b"\x01")
_VERSION_BITS = PROTOCOL_VERSION << 4
_TYPES = {_VERSION_BITS | member: member for member in DatagramType}


def first_byte(type: DatagramType) -> int:
    """The first byte of a datagram of this type."""
    return _VERSION_BITS | type


def prefix(type: DatagramType, connection_id: int) -> bytes:
    """What all datagrams of a type begin with, up to their sequence."""
    return _PREFIX.pack(first_byte(type), connection_id)


def peek_connection_id(packet: bytes | memoryview) -> int | None:
    """The connection id of a datagram, not yet authenticated; None when it is too short to be one of ours."""
    return _CONNECTION_ID.unpack_from(packet)[0] if len(packet) >= OVERHEAD else None


class Sealer:
    """Seals the datagrams that one end of a connection sends; owns the key's only sequence counter."""

    __slots__ = ("_connection_id", "_direction", "_encrypt", "_prefix", "_sealed", "_type", "sequence")

    def __init__(self, key: bytes, connection_id: int, direction: int, suite: Suite = Suite.AES_256_GCM) -> None:
        self.sequence = 0
        """The sequence of the last datagram sealed; 0 before the first."""
        self._encrypt = make_cipher(key, suite).encrypt
        self._connection_id = connection_id
        self._direction = _DIRECTIONS[direction]
        self._switch(DatagramType.KEEPALIVE)

    def seal(self, type: DatagramType, plaintext: bytes) -> bytes:
        """The datagram for `plaintext`, under the next sequence number.

        Raises `DatagramTooLarge` beyond `PLAINTEXT_MAX` bytes and `KeyExhausted` after `SEQUENCE_MAX`
        datagrams; neither uses up a number.
        """
        sequence = self.sequence + 1
        if len(plaintext) > PLAINTEXT_MAX:
            raise DatagramTooLarge(
                f"{len(plaintext)} bytes do not fit into a datagram (at most {PLAINTEXT_MAX}): split them"
            )
        if sequence > SEQUENCE_MAX:
            raise KeyExhausted(f"this key sealed {SEQUENCE_MAX} datagrams: resume the session for new keys")
        if type is not self._type:
            self._switch(type)
        self.sequence = sequence
        return (
            self._prefix
            + (sequence & 0xFFFF).to_bytes(2, "little")
            + self._encrypt(sequence.to_bytes(NONCE_SIZE, "little"), plaintext, self._sealed)
        )

    def _switch(self, type: DatagramType) -> None:
        """Prepare what all datagrams of one type share; an end mostly sends the same type again and again."""
        self._type = type
        self._prefix = prefix(type, self._connection_id)
        self._sealed = self._prefix + self._direction


class Opener:
    """Opens the datagrams that one end of a connection receives; owns the key's replay window."""

    __slots__ = ("_connection_id", "_decrypt", "_direction", "_first", "_sealed", "drops", "window")

    def __init__(
        self,
        key: bytes,
        connection_id: int,
        direction: int,
        suite: Suite = Suite.AES_256_GCM,
        drops: DropCounters | None = None,
    ) -> None:
        """`direction` is the way that the packets travel: the same value as in the peer's `Sealer`."""
        self.drops = DropCounters() if drops is None else drops
        self.window = ReplayWindow()
        self._decrypt = make_cipher(key, suite).decrypt
        self._connection_id = connection_id
        self._direction = _DIRECTIONS[direction]
        self._first = -1
        self._sealed = b""

    @property
    def highest(self) -> int:
        """The highest sequence accepted so far; 0 before the first."""
        return self.window.highest

    def open(self, packet: bytes | memoryview) -> tuple[DatagramType, int, bytes] | None:
        """Type, whole sequence and plaintext of a genuine new datagram; None (counted in `drops`) for any
        other."""
        if not OVERHEAD <= len(packet) <= PAYLOAD_MAX:
            self.drops.malformed += 1
            return None
        first, connection_id, low = _HEADER.unpack_from(packet)
        type = _TYPES.get(first)
        if type is None or connection_id != self._connection_id:
            if first & 0xF0 != _VERSION_BITS:
                self.drops.version += 1
            else:
                self.drops.malformed += 1
            return None
        window = self.window
        # `sequence.widen` for 16 bits, spelled out: this runs once for every packet.
        highest = window.highest
        sequence = highest + (((low - highest + 0x7FFF) & 0xFFFF) - 0x7FFF)
        if sequence <= highest and not window.fresh(sequence):
            self.drops.replayed += 1
            return None
        if first != self._first:
            self._first = first
            self._sealed = _PREFIX.pack(first, connection_id) + self._direction
        try:
            plaintext = self._decrypt(sequence.to_bytes(NONCE_SIZE, "little"), packet[HEADER_SIZE:], self._sealed)
        except InvalidTag:
            self.drops.forged += 1
            return None
        window.accept(sequence)
        return type, sequence, plaintext


def make_cipher(key: bytes, suite: Suite) -> AESGCM | ChaCha20Poly1305:
    """The cipher of a suite under a key of KEY_SIZE bytes; raises ValueError for one of another size."""
    if len(key) != KEY_SIZE:
        raise ValueError(f"a key has {KEY_SIZE} bytes, not {len(key)}")
    return AESGCM(key) if suite is Suite.AES_256_GCM else ChaCha20Poly1305(key)
