"""The bytes in docs/protocol-vectors.json, which strangers check their clients against, are what we speak.

Remake them after a wanted change of the protocol (and say so in the changelog): `python -m tests.netcode.test_vectors`.
"""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any

from game.view import ViewLayout
from netcode import messages
from netcode.control import ControlChannel, message_bytes
from netcode.delta import DeltaDecoder
from netcode.frame import FrameDecoder
from netcode.inputs import InputWindow
from netcode.seal import CLIENT_TO_SERVER, DatagramType, Opener, Sealer, Suite

FILE = Path(__file__).parents[2] / "docs" / "protocol-vectors.json"
KEY = bytes(range(32))
CONNECTION = 0x0123456789ABCDEF
VIEW = {
    "shared": [
        {"name": "x", "per": "seat", "count": 3, "bits": 16, "signed": False, "shift": 6, "exact": False},
        {"name": "facing", "per": "seat", "count": 3, "bits": 8, "signed": False, "shift": 8, "exact": False},
        {"name": "shot", "per": 20, "count": 20, "bits": 32, "signed": False, "shift": 0, "exact": False},
        {"name": "phase", "per": "room", "count": 1, "bits": 8, "signed": True, "shift": 0, "exact": False},
    ],
    "own": [{"name": "x", "per": "seat", "count": 1, "bits": 8, "signed": False, "shift": 0, "exact": True}],
}
FULL = {"shared": [100, 200, 65535, 0, 128, 255] + [0] * 17 + [4294967295, 7, 0] + [-1], "own": [63]}
NEXT = {"shared": [101, 200, 1, 250, 128, 3] + [0] * 17 + [0, 7, 0] + [1], "own": [2]}


def make() -> dict[str, Any]:
    """The vectors, made by the code as it is. The deltas are written out by hand."""
    sealed = []
    for suite in Suite:
        for sequence in (1, 65537):
            sealer = Sealer(KEY, CONNECTION, CLIENT_TO_SERVER, suite)
            sealer.sequence = sequence - 1
            datagram = sealer.seal(DatagramType.INPUT, b"holdfast")
            sealed.append(
                {
                    "suite": suite.value,
                    "key": KEY.hex(),
                    "connection": CONNECTION,
                    "direction": "client to server",
                    "type": 1,
                    "sequence": sequence,
                    "plaintext": b"holdfast".hex(),
                    "datagram": datagram.hex(),
                }
            )
    window = InputWindow(last_seq=65534)
    for packed in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
        window.add(packed)
    return {
        "sealed": sealed,
        "control": [
            {
                "message": {"t": "hello", "protocol": 1, "agent": "example"},
                "bytes": message_bytes(messages.Hello(protocol=1, agent="example")).hex(),
            }
        ],
        "input_packet": {
            "stream": 2,
            "acks": [9, 5],
            "baseline": 70000,
            "seen": 69999,
            "newest_seq": 65537,
            "inputs_oldest_first": ["0100", "0200", "0300"],
            "plaintext": window.packet(2, (9, 5), 70000, 69999).hex(),
        },
        "frames": {
            "view": VIEW,
            "stream": 2,
            "epoch": 0,
            "last_seq": 65534,
            "plaintexts": [_frame(70000, 0, _full()).hex(), _frame(70001, 1, _next()).hex()],
            "ticks": [70000, 70001],
            "views": [FULL, NEXT],
        },
    }


def _frame(tick: int, age: int, deltas: bytes) -> bytes:
    low, seq = (tick & 0xFFFF).to_bytes(2, "little"), (65536 & 0xFFFF).to_bytes(2, "little")
    return bytes([0, 2, 0]) + low + bytes([age]) + seq + bytes([1]) + deltas


def _full() -> bytes:
    # codes: x 2 (int16; 65535 is -1), facing 1 (128 is -128, 255 is -1), shot 1 (4294967295 is -1), phase 1
    shared = bytes([0b01_01_01_10, 0b111, 0b110, 0b100, 0b0000_0110])
    values = (
        (100).to_bytes(2, "little") + (200).to_bytes(2, "little") + b"\xff\xff" + b"\x80\xff" + b"\xff\x07" + b"\xff"
    )
    return shared + values + bytes([0b01, 63])


def _next() -> bytes:
    # x: +1, -, +2 (65535 to 1); facing: -6 (0 to 250), -, +4 (255 to 3); shot: +1; phase: +2; own: -61
    shared = bytes([0b01_01_01_01, 0b101, 0b101, 0b100, 0b0000_0010])
    return shared + bytes([1, 2, 0xFA, 4, 1, 2]) + bytes([0b01, 0xC3])


def test_the_file_holds_what_the_code_makes() -> None:
    assert json.loads(FILE.read_text()) == make()


def test_sealed_vectors_open() -> None:
    for vector in json.loads(FILE.read_text())["sealed"]:
        opener = Opener(bytes.fromhex(vector["key"]), vector["connection"], CLIENT_TO_SERVER, Suite(vector["suite"]))
        if vector["sequence"] > 65535:
            opener.window.accept(vector["sequence"] - 1)
        opened = opener.open(bytes.fromhex(vector["datagram"]))
        assert opened == (DatagramType.INPUT, vector["sequence"], bytes.fromhex(vector["plaintext"]))


def test_control_vectors_are_read() -> None:
    for vector in json.loads(FILE.read_text())["control"]:
        assert ControlChannel(server=True).receive_data(bytes.fromhex(vector["bytes"])) == [
            messages.Hello(protocol=1, agent="example")
        ]


def test_frame_vectors_are_read() -> None:
    frames = json.loads(FILE.read_text())["frames"]
    layout = ViewLayout.from_description(frames["view"])
    decoder = FrameDecoder(layout, frames["stream"], frames["epoch"], 69999, frames["last_seq"])
    for plaintext, tick, view in zip(frames["plaintexts"], frames["ticks"], frames["views"], strict=True):
        frame = decoder.receive(bytes.fromhex(plaintext))
        assert frame is not None
        assert (frame.tick, frame.last_seq, frame.depth) == (tick, 65536, 1)
        assert (frame.shared.tolist(), frame.own.tolist()) == (view["shared"], view["own"])
        assert DeltaDecoder(layout.own).decode(bytes([0]), 0, array("q", [5])) == (array("q", [5]), 1)


if __name__ == "__main__":
    FILE.write_text(json.dumps(make(), indent=1) + "\n")
