"""The realtime channel at both ends: a path is proven before it is used, and nobody is made to shout at a stranger."""

from __future__ import annotations

import random

import pytest

from netcode.ends import ACKS_EVERY, PATH_IDLE_S
from netcode.frame import ACKS, HAS_ACKS
from netcode.realtime import (
    FALLBACK_S,
    KEEPALIVE_EVERY_S,
    PATH_SILENT_S,
    PROBE_EVERY_S,
    PROBE_SLOWLY_S,
    TRIAL_S,
    ClientEnd,
)
from netcode.seal import SERVER_TO_CLIENT, DatagramType, Opener, Suite
from netcode.server_end import ServerEnd
from tests.netcode.ends import AWAY, HOME, KEY_DOWN, ends, live_path, prove, seal_frame

FRAME = bytes(9) + b"body"


def path_of(server: ServerEnd) -> bytes | None:
    return server.path


def proven(client: ClientEnd) -> bool:
    return client.proven


def seated(
    client: ClientEnd,
    server: ServerEnd,
    start: float,
    seconds: float,
    *,
    tick_hz: int = 30,
    up: bool = True,
    down: bool,
) -> float:
    """A client that sends an input a tick and gets a frame a tick where they pass; when it first found out that its
    path had failed, infinity if it did not."""
    for tick in range(int(seconds * tick_hz)):
        now = start + tick / tick_hz
        if not client.usable(now):
            return now
        packet = client.seal_input(b"input", now)
        if up:
            server.receive(packet, HOME, now)
        packet = seal_frame(server, FRAME, now)
        frame = client.receive(packet, now)[0] if down else None
        if frame is not None and frame[0] & HAS_ACKS:
            highest, bits = ACKS.unpack_from(frame, 9)
            client.acknowledged(highest, bits, now)
    return float("inf")


@pytest.mark.parametrize("suite", Suite)
def test_probe_challenge_proof_frames(suite: Suite) -> None:
    client, server, drops = ends(suite)
    probe = client.due(0.0)
    assert probe is not None
    assert len(probe) == 1200
    plain, challenge = server.receive(probe, HOME, 0.0)
    assert plain is None
    assert challenge is not None
    assert len(challenge) == 35
    assert path_of(server) is None
    nothing, proof = client.receive(challenge, 0.0)
    assert nothing is None
    assert proof is not None
    assert not proven(client)
    plain, keepalive = server.receive(proof, HOME, 0.01)
    assert keepalive is not None
    assert path_of(server) == HOME
    client.receive(keepalive, 0.01)
    assert client.proven
    assert server.receive(client.seal_input(b"input", 0.02), HOME, 0.02) == (b"input", None)
    frame, reply = client.receive(seal_frame(server, FRAME, 0.02), 0.02)
    assert (frame, reply) == (FRAME, None)
    assert drops.forged == drops.malformed == drops.replayed == 0


def test_every_eighth_frame_carries_acknowledgements() -> None:
    client, server, _ = ends()
    prove(client, server)
    frames = [client.receive(seal_frame(server, FRAME, 1.0), 1.0)[0] for _ in range(2 * ACKS_EVERY)]
    assert [len(frame or b"") - len(FRAME) for frame in frames] == ([0] * 7 + [ACKS.size]) * 2
    last = frames[-1]
    assert last is not None
    assert last[0] & HAS_ACKS
    highest, bits = ACKS.unpack_from(last, 9)
    client.acks.acknowledged(highest, bits, 1.0)
    assert client.acks.newest_acked == int(server.ends.highest[server.slot]) == 2


def test_a_client_probes_until_it_is_proven_then_keeps_alive() -> None:
    client, server, _ = ends()
    assert client.due(0.0) is not None
    assert client.due(PROBE_EVERY_S * 0.9) is None
    assert client.due(PROBE_EVERY_S) is not None
    prove(client, server, now=1.0)
    assert client.due(1.0 + KEEPALIVE_EVERY_S * 0.9) is None
    keepalive = client.due(2.0)
    assert keepalive is not None
    assert len(keepalive) == 27
    plain, answer = server.receive(keepalive, HOME, 2.0)
    assert plain is None
    assert answer is not None
    client.receive(answer, 2.0)
    assert (client.heard_at, server.heard_at) == (2.0, 2.0)


def test_a_path_that_fell_silent_is_proven_anew() -> None:
    client, server, _ = ends()
    prove(client, server, now=1.0)
    assert client.unproven_since == 1.0
    packet = client.due(1.1 + PATH_SILENT_S)
    assert packet is not None
    assert len(packet) == 1200
    assert not proven(client)
    assert client.unproven_since == 1.1 + PATH_SILENT_S - FALLBACK_S
    server.receive(packet, AWAY, 10.0)
    prove(client, server, AWAY, now=20.0)
    assert client.proven
    assert server.path == AWAY


@pytest.mark.parametrize("tick_hz", [10, 20, 30, 60])
@pytest.mark.parametrize(("up", "down"), [(True, False), (False, True), (False, False)])
def test_a_path_that_fails_in_play_is_found_within_a_second(up: bool, down: bool, tick_hz: int) -> None:
    client, server, _ = ends()
    prove(client, server)
    assert seated(client, server, 0.0, 5.0, tick_hz=tick_hz, down=True) == float("inf")
    assert not client.blocked(5.0)
    found = seated(client, server, 5.0, 3.0, tick_hz=tick_hz, up=up, down=down)
    assert 5.0 < found <= 6.0 + (0.3 if tick_hz < 20 else 0.0)
    assert client.blocked(found)  # at once: its inputs have waited long enough
    assert client.fallbacks == 1
    packet = client.due(found + PROBE_EVERY_S)
    assert packet is not None
    assert len(packet) == 1200


def test_a_path_on_trial_is_proven_by_the_answer_to_a_proof_only() -> None:
    client, server, _ = ends()
    prove(client, server)
    late = [seal_frame(server, FRAME, 0.0), server._seal(DatagramType.KEEPALIVE, b"")]
    found = seated(client, server, 0.0, 3.0, up=False, down=True)
    for packet in late:
        client.receive(packet, found)
    assert not client.usable(found)
    assert client.blocked(found)
    prove(client, server, now=found + 1.0)
    assert client.usable(found + 1.0)
    assert not client.blocked(found + 1.0)
    assert seated(client, server, found + 1.0, 5.0, down=True) == float("inf")
    assert client.fallbacks == 1


def test_first_inputs_wait_a_second_for_a_path() -> None:
    client, _, _ = ends()
    assert not client.blocked(3.0)
    assert client.due(3.0) is not None
    assert not client.blocked(3.0 + FALLBACK_S * 0.9)
    assert client.blocked(3.0 + FALLBACK_S)
    assert client.blocked(9.0)
    assert client.fallbacks == 1


def test_a_path_that_stays_shut_is_probed_ever_more_slowly_but_for_ever() -> None:
    client, _, _ = ends()
    times = [now / 128 for now in range(1280) if client.due(now / 128) is not None]
    assert times[:9] == pytest.approx([PROBE_EVERY_S * number for number in range(9)], abs=0.1)
    assert times[-1] - times[-2] == pytest.approx(PROBE_SLOWLY_S)
    assert len(times) == pytest.approx(TRIAL_S / PROBE_EVERY_S + 9 / PROBE_SLOWLY_S, abs=2)


def test_a_pause_of_the_client_or_a_long_way_is_no_failure() -> None:
    client, server, _ = ends()
    prove(client, server)
    assert seated(client, server, 0.0, 1.0, down=True) == float("inf")
    assert seated(client, server, 3.5, 1.0, down=True) == float("inf")  # 2.5 s in which neither said anything
    assert seated(client, server, 4.5, 20.0, down=True) == float("inf")


def test_a_wrong_token_a_replayed_proof_and_a_proof_from_elsewhere_prove_nothing() -> None:
    client, server, drops = ends()
    probe = client.due(0.0)
    assert probe is not None
    _, challenge = server.receive(probe, HOME, 0.0)
    assert challenge is not None
    _, proof = client.receive(challenge, 0.0)
    assert proof is not None
    wrong = client._seal(DatagramType.PROOF, b"8 bytes!", 0.0)
    short = client._seal(DatagramType.PROOF, b"", 0.0)
    server.receive(wrong, HOME, 1.0)
    server.receive(short, HOME, 2.0)
    assert server.path is None
    _, answer = server.receive(proof, AWAY, 3.0)
    assert server.path is None
    assert answer is not None
    assert len(answer) == 35
    assert server.receive(proof, HOME, 4.0) == (None, None)
    assert server.path is None
    assert drops.replayed == 1


def test_tokens_are_of_one_session() -> None:
    client, server, _ = ends(connection=1)
    other, second, _ = ends(connection=2)
    probe, foreign = client.due(0.0), other.due(0.0)
    assert probe is not None
    assert foreign is not None
    _, challenge = server.receive(probe, HOME, 0.0)
    assert challenge is not None
    _, opened = second.receive(foreign, HOME, 0.0)
    assert opened is not None
    token = client.opener.open(challenge)
    assert token is not None
    second.receive(other._seal(DatagramType.PROOF, token[2], 1.0), HOME, 1.0)
    assert second.path is None


def test_a_new_address_is_heard_at_once_and_sent_to_when_it_is_proven() -> None:
    client, server, _ = ends()
    prove(client, server, HOME)
    plain, challenge = server.receive(client.seal_input(b"moved", 5.0), AWAY, 5.0)
    assert plain == b"moved"
    assert challenge is not None
    assert server.path == HOME
    assert server.receive(client.seal_input(b"again", 5.01), AWAY, 5.01) == (b"again", None)  # asked a moment ago
    assert server.receive(client.seal_input(b"home", 5.02), HOME, 5.02) == (b"home", None)
    _, proof = client.receive(challenge, 5.1)
    assert proof is not None
    server.receive(proof, AWAY, 5.1)
    assert server.path == AWAY


def test_a_stranger_is_never_sent_more_than_three_times_what_came() -> None:
    chance = random.Random(3)
    client, server, _ = ends()
    prove(client, server, HOME)
    kinds = [DatagramType.INPUT, DatagramType.KEEPALIVE, DatagramType.PROOF, DatagramType.PROBE, DatagramType.CLOSE]
    came = sent = 0
    history: list[bytes] = []
    for _ in range(3000):
        now = chance.random() * 10
        if history and chance.random() < 0.3:
            packet = chance.choice(history)
        else:
            packet = client._seal(chance.choice(kinds), bytes(chance.choice([0, 0, 1, 8, 30])), now)
            history.append(packet)
        _, reply = server.receive(packet, AWAY, now)
        came += len(packet)
        sent += len(reply or b"")
        assert sent <= 3 * came
        assert server.path == HOME


def test_garbage_forged_and_replayed_datagrams_meet_silence_and_counters() -> None:
    client, server, drops = ends()
    prove(client, server)
    good = client.seal_input(b"x", 1.0)
    assert server.receive(good, HOME, 1.0) == (b"x", None)
    heard = server.heard_at
    for packet in (b"", b"\x11", bytes(40), bytes(1300), good, b"\x71" + good[1:], good[:-1]):
        assert server.receive(packet, HOME, 2.0) == (None, None)
    fresh = client.seal_input(b"y", 1.0)
    assert server.receive(fresh[:-1] + bytes([fresh[-1] ^ 1]), HOME, 2.0) == (None, None)
    down = seal_frame(server, FRAME, 1.0)
    assert server.receive(down, HOME, 2.0) == (None, None)  # our own, sent back
    assert drops.replayed >= 1
    assert drops.forged >= 1
    assert drops.version >= 1
    assert drops.malformed >= 2
    assert server.heard_at == heard
    assert server.receive(fresh, HOME, 3.0) == (b"y", None)


def test_a_client_ignores_what_is_not_for_it() -> None:
    client, server, _ = ends()
    for packet in (b"", bytes(40), client.seal_input(b"mine", 0.0)):
        assert client.receive(packet, 0.0) == (None, None)
    assert client.receive(server._seal(DatagramType.CHALLENGE, b"short"), 0.0) == (None, None)
    assert not client.proven


def test_a_path_that_falls_silent_is_given_up_and_its_token_serves_no_more() -> None:
    client, server, _ = ends()
    challenge = server.receive(client.due(0.0) or b"", HOME, 0.0)[1]
    _, proof = client.receive(challenge or b"", 0.0)
    server.receive(proof or b"", HOME, 0.0)
    assert live_path(server, PATH_IDLE_S) == HOME
    assert server.receive(client.seal_input(b"input", 4.0), AWAY, 4.0)[0] == b"input"  # from elsewhere: no sign of life
    assert live_path(server, PATH_IDLE_S + 0.1) is None
    token = server._token(HOME)
    assert token != opened_token(server, challenge)
    server.receive(client._seal(DatagramType.PROOF, opened_token(server, challenge), 6.0), HOME, 6.0)
    assert path_of(server) is None


def opened_token(server: ServerEnd, challenge: bytes | None) -> bytes:
    """The token inside a challenge."""
    opened = Opener(KEY_DOWN, server.connection, SERVER_TO_CLIENT).open(challenge or b"")
    assert opened is not None
    return opened[2]


def test_keep_alives_are_answered_at_a_bounded_rate() -> None:
    client, server, _ = ends()
    prove(client, server)
    told = [server.receive(client._seal(DatagramType.KEEPALIVE, b"", 9.0), HOME, 9.0)[1] for _ in range(50)]
    assert sum(reply is not None for reply in told) == 1
