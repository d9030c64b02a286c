"""Logs of commands that are no servers."""

from __future__ import annotations

import pytest
import structlog

from holdfast.logs import only_errors


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
