"""UDP that does not pass: bots play on over the control channel, and return when it passes again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bots.blocked_udp import FRAMES_OF, can_block, play_blocked


@pytest.mark.skipif(not can_block(), reason="socket filters are Linux's")
async def test_all_bots_play_on_over_the_control_channel_and_return(tmp_path: Path) -> None:
    result = await play_blocked(20, 0.25, tmp_path, ways=["both"], open_s=0.3)
    (turn,) = result["turns"]
    assert turn["found_s"] < 2.0  # tests/netcode/test_realtime.py tells it exactly: within a second
    assert turn["frames_min"] > FRAMES_OF / 2
    report = result["report"]
    assert (report["errors"], report["could_not_play"]) == ({}, 0)
    assert report["fallbacks"] == 20
    assert report["inputs"]["sent"] == report["inputs"]["acknowledged"]
    assert (report["inputs"]["lost"], report["inputs"]["duplicated"]) == (0, 0)
    assert 0.1 < report["udp_share"] < 0.9
