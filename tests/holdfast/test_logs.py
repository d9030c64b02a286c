"""Logs: entries of several processes stay apart, and commands that are no servers tell errors alone."""

from __future__ import annotations

import io
import json
import os
import socket
import sys

import pytest
import structlog

from holdfast.logs import configure, only_errors


def test_an_entry_is_one_write_so_that_those_of_several_nodes_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    before = structlog.get_config()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)  # every write is a datagram of its own
    raw = io.FileIO(os.dup(theirs.fileno()), "w")
    with ours, theirs, io.TextIOWrapper(raw, write_through=True) as stderr:  # as with PYTHONUNBUFFERED
        monkeypatch.setattr(sys, "stderr", stderr)
        configure("info", "json")
        try:
            structlog.get_logger().info("node_started", port=1)
        finally:
            structlog.configure(**before)
        entry = ours.recv(4096)
    assert entry.endswith(b"}\n")
    assert json.loads(entry)["port"] == 1


def test_only_errors_are_told_and_only_for_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    log, before = structlog.get_logger(), structlog.get_config()
    with only_errors():
        log.warning("of no use")
        log.error("bad")
    out, err = capsys.readouterr()
    assert out == ""
    assert "bad" in err
    assert "of no use" not in err
    assert structlog.get_config() == before
