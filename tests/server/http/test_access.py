"""Who may ask what: the token, the Host, the Origin, and what is never told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.requests import Request

from netcode.errors import ErrorCode, ProtocolError
from server.http import app, guard
from server.http.guard import Doorkeeper
from server.http.routes import TABLE, Access
from server.http.token import BadToken, load_token
from tests.server.http.asking import serving_web

assert app.ENTERED, "the table is filled by these files"
CLOSED = [(one.method, one.path) for one in TABLE if one.access is Access.TOKEN]


@pytest.mark.parametrize("token", [None, "wrong" * 8, "\xe9" * 20])
async def test_nothing_is_told_or_done_without_the_token(tmp_path: Path, token: str | None) -> None:
    async with serving_web(tmp_path) as web:
        for method, path in CLOSED:
            shown = path.replace("{room}", "0" * 16).replace("{session}", "0" * 32).replace("{node}", "node")
            answer = await web.ask(method, shown, token=token)
            assert (answer.status, answer.error) == (401, "bad_login"), path
            assert answer.headers["www-authenticate"] == "Bearer"
        assert not web.node.stop.is_set()
        assert len(CLOSED) > 10


async def test_the_right_token_is_taken_after_many_wrong_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "WRONG_TOKENS_PER_S", 0.1)
    monkeypatch.setattr(guard, "WRONG_TOKENS_BURST", 3.0)
    async with serving_web(tmp_path, limit_loopback=True) as web:
        statuses = [(await web.get("/api/v1/node", token="wrong" * 8)).status for _ in range(6)]
        assert set(statuses) == {401, 429}
        assert (await web.get("/api/v1/node")).status == 200


async def test_a_page_of_somebody_elses_gets_nothing_done(tmp_path: Path) -> None:
    async with serving_web(tmp_path) as web:
        foreign = [
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": f"https://127.0.0.1:{web.port}"},
            {"Origin": f"http://127.0.0.1:{web.port}.evil.example"},
            {"Sec-Fetch-Site": "cross-site"},
        ]
        for headers in foreign:
            answer = await web.post("/api/v1/nodes/node/drain", headers=headers)
            assert (answer.status, answer.error) == (403, "not_allowed"), headers
            assert "access-control-allow-origin" not in answer.headers
        assert not web.node.stop.is_set()
        own = {"Origin": f"http://127.0.0.1:{web.port}", "Sec-Fetch-Site": "same-origin"}
        assert (await web.post("/api/v1/broadcast", {"text": "hello"}, headers=own)).status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "a b", "127.0.0.1.evil.example", "", "x,y"])
async def test_a_name_that_is_not_ours_is_misdirected(tmp_path: Path, host: str) -> None:
    async with serving_web(tmp_path) as web:
        answer = await web.get("/healthz", headers={"Host": host})
        assert answer.status in (400, 421)
        assert answer.body == b"" or answer.error == "not_allowed"


async def test_names_that_are_ours(tmp_path: Path) -> None:
    async with serving_web(tmp_path, http_names="play.example, other.example", advertise="mine.example") as web:
        for host in (
            "localhost",
            "LOCALHOST:1",
            "[::1]:80",
            "10.0.0.7",
            "play.example:443",
            "other.example",
            "mine.example",
        ):
            assert (await web.get("/healthz", host=host)).status == 200, host
        answer = await web.get("/healthz", host="play.example")
        assert "ws://play.example:* wss://play.example:*" in answer.headers["content-security-policy"]


async def test_figures_are_for_this_machine_or_the_token(tmp_path: Path) -> None:
    async with serving_web(tmp_path) as web:
        assert (await web.get("/metrics", token=None)).status == 200
        through = {"X-Forwarded-For": "203.0.113.9"}
        assert (await web.get("/metrics", token=None, headers=through)).status == 401
        assert (await web.get("/metrics", headers=through)).status == 200
        assert (await web.get("/metrics", token="wrong" * 8)).status == 401


@pytest.mark.parametrize(
    ("peer", "secure", "refused"),
    [("127.0.0.1", False, False), ("203.0.113.9", True, False), ("203.0.113.9", False, True)],
)
def test_over_plain_http_the_token_is_taken_from_this_machine_only(
    tmp_path: Path, peer: str, secure: bool, refused: bool
) -> None:
    token = load_token(tmp_path)
    keeper = Doorkeeper(SimpleNamespace(secure=secure, token=token))  # type: ignore[arg-type]
    shown = [(b"authorization", token.header().encode())]
    request = Request({"type": "http", "headers": shown, "client": (peer, 1)})
    for access in (Access.TOKEN, Access.MACHINE):
        if refused:
            with pytest.raises(ProtocolError) as caught:
                keeper.let_in(request, access)
            assert caught.value.code is ErrorCode.NOT_ALLOWED
        else:
            assert keeper.let_in(request, access) == (peer == "127.0.0.1")
    assert keeper.let_in(Request({"type": "http", "headers": [], "client": (peer, 1)}), Access.EVERYBODY) is not None


async def test_nodes_are_killed_in_demonstrations_only(tmp_path: Path) -> None:
    async with serving_web(tmp_path) as web:
        answer = await web.post("/api/v1/nodes/node/kill")
        assert (answer.status, answer.error) == (403, "not_allowed")
        assert (await web.get("/api/v1/server", token=None)).told["may_kill"] is False
    async with serving_web(tmp_path / "demo", http_kill=True) as web:
        assert (await web.get("/api/v1/server", token=None)).told["may_kill"] is True
        answer = await web.post("/api/v1/nodes/node/kill", headers={"X-Forwarded-For": "203.0.113.9"})
        assert answer.status == 403
        assert (await web.post("/api/v1/nodes/nobody/kill")).status == 404


async def test_the_token_is_in_no_answer_and_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving_web(tmp_path) as web:
        paths = [one.path for one in TABLE if one.method == "GET" and "{" not in one.path]
        answers = [await web.get(path) for path in [*paths, "/", "/nothing"]]
        assert not any(web.token.encode() in answer.body or web.token in str(answer.headers) for answer in answers)
        assert web.token not in repr(web.node.parts.token)
    told = capsys.readouterr()
    assert web.token not in told.out + told.err


def test_the_token_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    made = load_token(tmp_path)
    file = tmp_path / "http.token"
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text().strip()
    assert len(text) >= 32
    assert load_token(tmp_path) == made
    assert made.is_shown(f"Bearer {text}")
    assert not any(
        made.is_shown(shown) for shown in ("", text, f"Basic {text}", f"Bearer {text}x", "Bearer ", "Bearer")
    )


def test_a_token_that_others_may_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    load_token(tmp_path)
    file = tmp_path / "http.token"
    file.chmod(0o644)
    with pytest.raises(BadToken, match="chmod 600"):
        load_token(tmp_path)
    own = tmp_path / "own"
    with pytest.raises(BadToken, match="cannot use"):
        load_token(tmp_path, own)
    for text in ("", "short", "two words that are long enough", "\N{SNOWMAN}" * 20):
        own.write_text(text)
        with pytest.raises(BadToken):
            load_token(tmp_path, own)
    own.write_text("a-token-of-our-own\n")
    assert load_token(tmp_path, own).is_shown("bearer a-token-of-our-own")
